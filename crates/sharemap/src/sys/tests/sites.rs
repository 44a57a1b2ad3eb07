//! Faults at every position of every site: for each access of a site, the site is placed so that this access
//! is the first, or the last, that is not possible.

#![allow(unsafe_code, reason = "the sites themselves, on memory that faults")]

use crate::sys::arch::{self, Baseline, Scan, Vectors};
use crate::sys::{
    Access, HugePages, MapRequest, Protection, Recovery, Span, fault, map, map::page_size,
};

/// Three pages, of which only the second is accessible.
struct Island(Span);

impl Island {
    /// Returns the pages, or `None`, with a message, if this machine has no sites.
    fn new() -> Option<Self> {
        if fault::recovery() != Recovery::InPlace {
            eprintln!("skipped: no accesses are recovered in place here");
            return None;
        }
        let len = 3 * page_size();
        let island = Self(
            map::map(&MapRequest {
                file: None,
                offset: 0,
                len,
                reserve: len,
                access: Access::CopyOnWrite,
                executable: false,
                huge: HugePages::Default,
            })
            .unwrap(),
        );
        for place in [0, 2 * page_size()] {
            let at = island.0.base.wrapping_add(place);
            // SAFETY: the test owns the span.
            unsafe { map::protect(at, page_size(), Protection::None).unwrap() };
        }
        Some(island)
    }

    /// Returns the first accessible address.
    fn start(&self) -> usize {
        self.0.base as usize + page_size()
    }

    fn fill(&self, byte: impl Fn(usize) -> u8) {
        for at in 0..page_size() {
            // SAFETY: the page belongs to the test.
            unsafe { ((self.start() + at) as *mut u8).write_volatile(byte(at)) };
        }
    }

    /// Returns the byte at an accessible address.
    fn get(&self, address: usize) -> u8 {
        assert!(self.has(address));
        // SAFETY: the page belongs to the test.
        unsafe { (address as *const u8).read_volatile() }
    }

    fn has(&self, address: usize) -> bool {
        address.wrapping_sub(self.start()) < page_size()
    }

    /// Returns the addresses, in steps of `step`, at which `len` bytes are near either border.
    fn places(&self, len: usize, step: usize) -> impl Iterator<Item = usize> {
        let (start, end) = (self.start(), self.start() + page_size());
        let before = (start - len - 1..start + 2).chain(end - len - 1..end + 2);
        before.filter(move |at| at % step == 0)
    }

    /// Returns the number of `pieces` before the first that faults at `address`, and the address that must be
    /// reported for that one.
    fn first_fault(&self, address: usize, pieces: &[(usize, usize)]) -> Option<(usize, usize)> {
        pieces.iter().enumerate().find_map(|(index, &(offset, len))| {
            let bytes = address + offset..address + offset + len;
            bytes.clone().find(|&at| !self.has(at)).map(|at| (index, at))
        })
    }

    /// Checks the address that a site reported. On aarch64, it is somewhere in the access that faulted.
    fn check(&self, what: &str, address: usize, pieces: &[(usize, usize)], reported: usize) {
        let what = format!("{what} at the page {:+}", address as isize - self.start() as isize);
        let Some((index, first)) = self.first_fault(address, pieces) else {
            assert_eq!(reported, 0, "{what}: no fault was to be expected");
            return;
        };
        if cfg!(target_arch = "x86_64") {
            assert_eq!(reported, first, "{what}: fault in access {index}");
        } else {
            let (offset, len) = pieces[index];
            let access = address + offset..address + offset + len;
            assert!(access.contains(&reported), "{what}: fault in access {index}: {reported:#x}");
        }
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        // SAFETY: the span belongs to this value, and no reference into it exists.
        unsafe { map::unmap(&self.0).unwrap() }
    }
}

/// Returns consecutive pieces of the given lengths, as offsets and lengths.
pub(crate) fn run(count: usize, len: usize) -> Vec<(usize, usize)> {
    (0..count).map(|index| (index * len, len)).collect()
}

fn reach(pieces: &[(usize, usize)]) -> usize {
    pieces.iter().map(|(offset, len)| offset + len).max().unwrap()
}

/// Checks a load of `pieces`, in this order, at every position around both borders.
///
/// `load` is given the address and a buffer, and returns the address of the fault. It puts the loaded bytes
/// where they lie in memory, at their offsets.
pub(crate) fn check_load(
    what: &str,
    pieces: &[(usize, usize)],
    step: usize,
    load: impl Fn(*const u8, &mut [u8]) -> usize,
) {
    let Some(island) = Island::new() else { return };
    island.fill(|at| (at % 251) as u8 + 1);
    let len = reach(pieces);
    for address in island.places(len, step) {
        let mut bytes = vec![0; len];
        let reported = load(address as *const u8, &mut bytes);
        island.check(what, address, pieces, reported);
        if reported == 0 {
            for &(offset, len) in pieces {
                for (at, byte) in (offset..).zip(&bytes[offset..offset + len]) {
                    assert_eq!(*byte, island.get(address + at), "{what}: byte {at}");
                }
            }
        }
    }
}

/// Checks a store of `pieces`, in this order, at every position around both borders. `store` is given the
/// address, stores bytes of 0xee, and returns the address of the fault.
pub(crate) fn check_store(
    what: &str,
    pieces: &[(usize, usize)],
    step: usize,
    store: impl Fn(*mut u8) -> usize,
) {
    let Some(island) = Island::new() else { return };
    for address in island.places(reach(pieces), step) {
        island.fill(|_| 0);
        let reported = store(address as *mut u8);
        island.check(what, address, pieces, reported);
        let done = island.first_fault(address, pieces).map_or(pieces.len(), |(index, _)| index);
        let covers = |pieces: &[(usize, usize)], at: usize| {
            pieces.iter().any(|&(offset, len)| at.wrapping_sub(address + offset) < len)
        };
        // On aarch64, the pieces of a pair are sites of their own, and are stored after a fault, too.
        let all = cfg!(target_arch = "aarch64");
        let tried = if all { pieces.len() } else { pieces.len().min(done + 1) };
        for at in island.start()..island.start() + page_size() {
            if covers(&pieces[..done], at) {
                assert_eq!(island.get(at), 0xee, "{what}: not stored before the fault");
            } else if !covers(&pieces[..tried], at) {
                // What follows the access that faulted goes to the scratch area.
                assert_eq!(island.get(at), 0, "{what}: stored after the fault");
            }
        }
    }
}

/// Checks a copy of `len` bytes, which reports only whether it was whole, at every position around both
/// borders. It is given the address and private memory, which is at several positions within a cache line.
pub(crate) fn check_copy(what: &str, len: usize, copy: impl Fn(*mut u8, &mut [u8]) -> bool) {
    let Some(island) = Island::new() else { return };
    let mut private = vec![0; len + 63];
    for address in island.places(len, 1) {
        for shift in [0, 1, 40, 63] {
            island.fill(|at| (at % 251) as u8);
            let bytes = &mut private[shift..][..len];
            bytes.iter_mut().zip(0..).for_each(|(byte, at)| *byte = (at % 241) as u8);
            let whole = island.has(address) && island.has(address + len - 1);
            let at = address as isize - island.start() as isize;
            let copied = copy(address as *mut u8, bytes);
            assert_eq!(copied, whole, "{what} of {len} bytes at the page {at:+}");
            let is_equal = |(at, byte): (usize, &u8)| island.get(address + at) == *byte;
            assert!(!whole || bytes.iter().enumerate().all(is_equal), "{what}: {len} at {at:+}");
        }
    }
}

/// Runs a load of a block and one of a half by the vectors of a scan.
pub(crate) struct Once(*const u8);

/// The bytes of one block and one half, each with the address of its fault.
pub(crate) type Loaded = [(Vec<u8>, usize); 2];

impl Scan for Once {
    type Output = Loaded;

    #[inline(always)]
    unsafe fn run<V: Vectors>(self) -> Loaded {
        let mut loaded = [(vec![0; size_of::<V::Block>()], 0), (vec![0; size_of::<V::Half>()], 0)];
        // SAFETY: the address is that of memory of the test; the buffers have the sizes of the vectors.
        unsafe {
            let (bytes, fault) = &mut loaded[0];
            let block = V::load_block(self.0, fault);
            bytes.as_mut_ptr().cast::<V::Block>().write_unaligned(block);
            let (bytes, fault) = &mut loaded[1];
            let half = V::load_half(self.0, fault);
            bytes.as_mut_ptr().cast::<V::Half>().write_unaligned(half);
        }
        loaded
    }
}

/// Checks the loads of a scan, whose pieces are vectors of `block` and `half` bytes.
pub(crate) fn check_scan(what: &str, block: usize, half: usize, scan: impl Fn(Once) -> Loaded) {
    let sizes = scan(Once([0u8; 512].as_ptr())).map(|(bytes, _)| bytes.len());
    for (index, vector) in [block, half].into_iter().enumerate() {
        let pieces = run(sizes[index] / vector, vector);
        check_load(&format!("{what}, load {index}"), &pieces, 1, |address, to| {
            let (bytes, fault) = &scan(Once(address))[index];
            to.copy_from_slice(bytes);
            *fault
        });
    }
}

#[test]
fn plain_words() {
    macro_rules! check {
        ($int:ty, $load:ident, $store:ident) => {
            let pieces = run(1, size_of::<$int>());
            check_load(stringify!($load), &pieces, 1, |address, to| {
                let mut fault = 0;
                // SAFETY: memory of the test.
                let value = unsafe { arch::$load(address, &mut fault) };
                to.copy_from_slice(&value.to_ne_bytes());
                fault
            });
            check_store(stringify!($store), &pieces, 1, |address| {
                let mut fault = 0;
                let value = <$int>::from_ne_bytes([0xee; size_of::<$int>()]);
                // SAFETY: memory of the test.
                unsafe { arch::$store(address, value, &mut fault) };
                fault
            });
        };
    }
    check!(u8, load_8, store_8);
    check!(u16, load_16, store_16);
    check!(u32, load_32, store_32);
    check!(u64, load_64, store_64);
}

/// Checks a change of one word from zero, at the aligned positions.
fn changes<R>(what: &str, size: usize, change: impl Fn(*mut u8, &mut usize) -> R) {
    check_store(what, &run(1, size), size, |address| {
        let mut fault = 0;
        change(address, &mut fault);
        fault
    });
}

#[test]
fn atomic_words() {
    macro_rules! check {
        ($int:ty, $load:ident, $store:ident, $swap:ident, $exchange:ident, $add:ident) => {{
            let size = size_of::<$int>();
            let pieces = run(1, size);
            let ee = <$int>::from_ne_bytes([0xee; size_of::<$int>()]);
            check_load(stringify!($load), &pieces, size, |address, to| {
                let mut fault = 0;
                // SAFETY: memory of the test.
                let value = unsafe { arch::$load(address, &mut fault) };
                to.copy_from_slice(&value.to_ne_bytes());
                fault
            });
            // SAFETY: memory of the test, which holds zeros.
            unsafe {
                changes(stringify!($store), size, |at, fault| arch::$store(at, ee, fault));
                changes(stringify!($swap), size, |at, fault| arch::$swap(at, ee, fault));
                changes(stringify!($exchange), size, |at, fault| arch::$exchange(at, 0, ee, fault));
                changes(stringify!($add), size, |at, fault| arch::$add(at, ee, fault));
            }
        }};
    }
    check!(
        u32,
        atomic_load_32,
        atomic_store_32,
        atomic_swap_32,
        atomic_compare_exchange_32,
        atomic_fetch_add_32
    );
    check!(
        u64,
        atomic_load_64,
        atomic_store_64,
        atomic_swap_64,
        atomic_compare_exchange_64,
        atomic_fetch_add_64
    );
}

/// Checks a load and a store of narrow vectors at the given offsets.
fn vectors<V: Copy, const N: usize>(
    what: &str,
    offsets: [usize; N],
    load: impl Fn(*const u8, &mut usize) -> [V; N],
    store: impl Fn(*mut u8, [V; N], &mut usize),
) {
    assert_eq!(size_of::<V>(), 16);
    let pieces = offsets.map(|offset| (offset, 16));
    check_load(&format!("{what}, load"), &pieces, 1, |address, to| {
        let mut fault = 0;
        let values = load(address, &mut fault);
        for (value, offset) in values.into_iter().zip(offsets) {
            // SAFETY: the buffer reaches to the end of the last vector.
            unsafe { to[offset..][..16].as_mut_ptr().cast::<V>().write_unaligned(value) };
        }
        fault
    });
    check_store(&format!("{what}, store"), &pieces, 1, |address| {
        let mut fault = 0;
        // SAFETY: any 16 bytes are a vector.
        let value: V = unsafe { std::mem::transmute_copy(&[0xee_u8; 16]) };
        store(address, [value; N], &mut fault);
        fault
    });
}

// Far vectors, adjoining ones, and such that overlap.
const LASTS: [usize; 6] = [0, 1, 15, 16, 17, 32];

#[test]
fn narrow_vectors() {
    // SAFETY: memory of the test.
    unsafe {
        vectors(
            "narrow",
            [0],
            |at, fault| [arch::load_narrow(at, fault)],
            |at, [value], fault| arch::store_narrow(at, value, fault),
        );
        for last in LASTS {
            vectors(
                &format!("pair, {last}"),
                [0, last],
                |at, fault| arch::load_pair(at, last, fault),
                |at, values, fault| arch::store_pair(at, last, values, fault),
            );
            vectors(
                &format!("ends, {last}"),
                [0, 16, last, last + 16],
                |at, fault| arch::load_ends(at, last, fault),
                |at, values, fault| arch::store_ends(at, last, values, fault),
            );
        }
    }
}

/// The lengths of which copies take each of their forms.
const COPIES: [usize; 14] = [65, 66, 127, 128, 129, 200, 256, 257, 300, 512, 513, 700, 1024, 1600];

#[test]
fn copies() {
    for len in COPIES {
        // SAFETY: memory of the test, here and below; the buffer has the length.
        check_copy("copy_out", len, |at, to| unsafe { arch::copy_out(at, to.as_mut_ptr(), len) });
        // SAFETY: as above.
        check_copy("copy_in", len, |at, from| unsafe { arch::copy_in(at, from.as_ptr(), len) });
        // Without wider vectors, the widest form always fails.
        // SAFETY: as above.
        check_copy("copy_out_widest", len, |at, to| unsafe {
            let to = to.as_mut_ptr();
            arch::copy_out_widest(at, to, len) || arch::copy_out(at, to, len)
        });
        // SAFETY: as above.
        check_copy("copy_in_widest", len, |at, from| unsafe {
            let from = from.as_ptr();
            arch::copy_in_widest(at, from, len) || arch::copy_in(at, from, len)
        });
    }
}

/// Bytes are counted up to the turn that faults.
#[test]
fn counts() {
    let Some(island) = Island::new() else { return };
    island.fill(|_| 7);
    let end = island.start() + page_size();
    for len in [1, 255, 256, 257, 1000] {
        for address in end - 600..end {
            // SAFETY: memory of the test.
            let (count, seen) = unsafe { arch::count_bytes(address as *const u8, len, 7) };
            assert!(seen <= len.min(end - address) && count == seen, "{count} of {seen} bytes");
        }
    }
}

#[test]
fn scans() {
    let vector = if cfg!(all(target_arch = "x86_64", target_feature = "avx")) { 32 } else { 16 };
    let widest = if cfg!(target_feature = "avx512f") { 64 } else { vector };
    // SAFETY: every processor of the target has these vectors.
    check_scan("baseline", widest, vector, |once| unsafe { once.run::<Baseline>() });
}
