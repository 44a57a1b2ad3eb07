//! Memory that the kernel zeroes in a forked child, by which a child recognizes that it is one.

#![allow(unsafe_code, reason = "maps memory")]

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use rustix::mm::{self, MapFlags, ProtFlags};

use super::map::page_size;
use crate::error::Result;
use crate::sys::posix::errno;

pub(crate) use crate::sys::posix::fork::{HeldOff, hold_off};

/// The length of a slot of the [`region`]: room for a participant and 512 lanes, and some more.
const SLOT: usize = 33 << 10;
/// The number of slots, at most 64.
const SLOTS: usize = 48;
/// The bytes of the region before the first slot. They begin with the number of this process.
const HEAD: usize = 64;

/// The slots in use, one bit each. Not in the region: a child's copies of its parent's values keep their
/// slots.
static USED: AtomicU64 = AtomicU64::new(0);

/// Private memory, zeroed at first, that a child finds zeroed again, after a raw `clone`, too.
///
/// If the kernel cannot do that ([`wipes`] returns `false`), the child has a copy and must compare
/// [`process`].
///
/// All values of a process lie in one mapping, the [`region`]: its pages are mapped once, and a value costs
/// no system call. Long values, and those for which no slot is free, have mappings of their own.
#[derive(Debug)]
pub(crate) struct WipeOnFork {
    base: *mut u8,
    home: Home,
    /// The bytes that may have been written, which are zeroed for the next user of the slot.
    written: AtomicUsize,
}

/// What contains a value's memory.
#[derive(Debug)]
enum Home {
    /// The slot of this number.
    Slot(u32),
    /// A mapping of this length.
    Mapping(usize),
}

// SAFETY: the value owns plain memory.
unsafe impl Send for WipeOnFork {}
// SAFETY: a shared reference only returns the address, and changes an atomic.
unsafe impl Sync for WipeOnFork {}

impl WipeOnFork {
    /// Allocates at least `len` bytes.
    pub(crate) fn new(len: usize) -> Result<Self> {
        let region = if len <= SLOT { region() } else { None };
        if let Some((region, slot)) = region.and_then(|region| Some((region, claim_slot()?))) {
            let base = region.as_ptr().wrapping_add(HEAD + slot as usize * SLOT);
            return Ok(Self { base, home: Home::Slot(slot), written: AtomicUsize::new(0) });
        }
        let len = len.next_multiple_of(page_size());
        let (base, home) = (map(len)?, Home::Mapping(len));
        Ok(Self { base, home, written: AtomicUsize::new(0) })
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }

    /// Records that the first `len` bytes may have been written.
    pub(crate) fn note_written(&self, len: usize) {
        self.written.fetch_max(len, Ordering::Relaxed);
    }
}

impl Drop for WipeOnFork {
    fn drop(&mut self) {
        match self.home {
            Home::Slot(slot) => {
                let written = (*self.written.get_mut()).min(SLOT);
                // SAFETY: the bytes belong to this value, and no reference to them is left.
                unsafe { ptr::write_bytes(self.base, 0, written) };
                release_slot(slot);
            }
            Home::Mapping(len) => {
                // SAFETY: the mapping belongs to this value; a child has its own.
                let _ = unsafe { mm::munmap(self.base.cast(), len) };
            }
        }
    }
}

/// Claims the lowest free slot. Returns `None` if all are in use.
fn claim_slot() -> Option<u32> {
    // While it lives, no fork begins. Otherwise a child could find a value in the slot, but the bit not set, and
    // claim the slot once more: the kernel copies a process piece by piece, while the other threads run. (A raw
    // `clone` does not wait. Its child must not use what another thread of the parent creates at that moment.)
    let _no_fork = hold_off();
    let mut used = USED.load(Ordering::Relaxed);
    loop {
        let slot = used.trailing_ones();
        if slot as usize >= SLOTS {
            return None;
        }
        // Acquires what the last user of the slot released: its zeros.
        match USED.compare_exchange(used, used | 1 << slot, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => return Some(slot),
            Err(found) => used = found,
        }
    }
}

/// Releases a slot, which is zeroed.
fn release_slot(slot: u32) {
    // As in `claim_slot`: a child must not find the bit clear, and still use the slot.
    let _no_fork = hold_off();
    USED.fetch_and(!(1 << slot), Ordering::Release);
}

/// Maps zeroed pages that a child finds zeroed.
fn map(len: usize) -> Result<*mut u8> {
    const OPERATION: &str = "map memory for an attachment";
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: maps new anonymous memory at an address that the kernel chooses.
    let base = unsafe {
        mm::mmap_anonymous(ptr::null_mut(), len, protection, flags | MapFlags::NORESERVE)
    }
    .map_err(|errno| errno::memory_error(OPERATION, errno))?;
    if wipes() {
        // SAFETY: the pages were mapped above and are still zeroed.
        if let Err(errno) = unsafe { mm::madvise(base, len, mm::Advice::LinuxWipeOnFork) } {
            // SAFETY: no other code knows the pages.
            let _ = unsafe { mm::munmap(base, len) };
            return Err(errno::memory_error(OPERATION, errno));
        }
    }
    Ok(base.cast())
}

/// Returns the region: the head and the slots. It is mapped once and never unmapped. `None` if it cannot be mapped.
///
/// It is shorter than a huge page, so that a first access never allocates one.
fn region() -> Option<NonNull<u8>> {
    /// The address that stands for no region: mapping it failed.
    const NONE: NonNull<u8> = NonNull::dangling();
    static REGION: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
    // No lock: a thread that held it at a fork does not exist in the child. Of two threads that map a region,
    // the first to store its address wins, and the other unmaps its own.
    let mut region = REGION.load(Ordering::Acquire);
    if region.is_null() {
        let mut len = (HEAD + SLOTS * SLOT).next_multiple_of(page_size());
        let mapped = map(len).or_else(|_| {
            // There may be room for the head, where a process may lock little memory and locks all. Before the
            // region can be found: no slot is free in a head.
            USED.store(u64::MAX, Ordering::Relaxed);
            len = page_size();
            map(len)
        });
        let new = mapped.unwrap_or(NONE.as_ptr());
        match REGION.compare_exchange(region, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => region = new,
            Err(found) => {
                region = found;
                if new != NONE.as_ptr() {
                    // SAFETY: mapped above, and known to this thread only.
                    let _ = unsafe { mm::munmap(new.cast(), len) };
                }
            }
        }
    }
    NonNull::new(region).filter(|&region| region != NONE)
}

/// Returns `true` if a child finds [`WipeOnFork`] memory zeroed. Kernels before 4.14 cannot do that, and an
/// emulator that accepts unknown advice follows none.
pub(crate) fn wipes() -> bool {
    // No lock: a thread that held it at a fork does not exist in the child. Concurrent calls find the same
    // answer.
    static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);
    const UNKNOWN: u8 = 2;
    match ANSWER.load(Ordering::Relaxed) {
        UNKNOWN => {}
        answer => return answer == 1,
    }
    // SAFETY: the range is empty. The kernel checks the advice before the range.
    let takes = |advice| unsafe { libc::madvise(ptr::null_mut(), 0, advice) } == 0;
    let answer = takes(libc::MADV_WIPEONFORK) && !takes(libc::c_int::MAX);
    ANSWER.store(answer.into(), Ordering::Relaxed);
    answer
}

/// Returns a number, not 0, that distinguishes this process from those it was forked from. A process id
/// does not: the first process of each pid namespace has id 1.
///
/// If memory is not wiped, or cannot be mapped, the number is the process id.
pub(crate) fn process() -> u32 {
    // SAFETY: null, or the address of a word that stays mapped.
    match unsafe { NUMBER.load(Ordering::Acquire).as_ref() }
        .map(|word| word.load(Ordering::Relaxed))
    {
        None | Some(0) => number_process(),
        Some(known) => known,
    }
}

/// The word that holds the number of this process, in memory that a child finds zeroed; null before the first call.
static NUMBER: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());

/// Returns the number of a process that has none yet, or cannot record it.
#[cold]
fn number_process() -> u32 {
    /// The last number given. A child continues from its parent's, so it gets a number of its own.
    static LAST: AtomicU32 = AtomicU32::new(0);
    let Some(number) = own_number() else { return std::process::id() };
    NUMBER.store(ptr::from_ref(number).cast_mut(), Ordering::Release);
    let next = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
    match number.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => next,
        Err(found) => found,
    }
}

/// Returns the word that holds the number, in memory that a child finds zeroed. `None` if there is no such memory.
fn own_number() -> Option<&'static AtomicU32> {
    let region = if wipes() { region() } else { None };
    // SAFETY: the region begins with the word, was zeroed, and stays mapped.
    region.map(|region| unsafe { region.cast().as_ref() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::fork;

    const LEN: usize = 4096;

    /// Returns `true` if all bytes have this value.
    fn is_filled(memory: &WipeOnFork, value: u8) -> bool {
        // SAFETY: the value has at least so many bytes, and no other thread writes to them.
        let bytes = unsafe { std::slice::from_raw_parts(memory.base(), LEN) };
        bytes.iter().all(|&byte| byte == value)
    }

    fn fill(memory: &WipeOnFork, value: u8) {
        memory.note_written(LEN);
        // SAFETY: as above, and no reference to the bytes exists.
        unsafe { memory.base().write_bytes(value, LEN) };
    }

    /// In a child, which has one thread: no other test claims slots meanwhile.
    #[test]
    fn a_slot_is_zeroed_and_used_again() {
        let child = fork(|| {
            let mut first = None;
            for _ in 0..100 {
                let memory = WipeOnFork::new(LEN).unwrap();
                if let Home::Mapping(_) = memory.home {
                    eprintln!("skipped: other tests use all slots");
                    return;
                }
                assert_eq!(*first.get_or_insert(memory.base()), memory.base());
                assert!(is_filled(&memory, 0));
                fill(&memory, 7);
            }
        });
        assert!(child.unwrap().passed());
    }

    /// Twice as many values as there are slots. The others have mappings of their own.
    #[test]
    fn a_child_finds_all_values_zeroed_and_keeps_their_places() {
        if !wipes() {
            eprintln!("skipped: this kernel does not wipe memory in a child");
            return;
        }
        let new = |_| WipeOnFork::new(LEN).unwrap();
        let mut values: Vec<_> = (0..2 * SLOTS).map(new).collect();
        values.iter().for_each(|value| fill(value, 7));
        let child = fork(|| {
            assert!(values.iter().all(|value| is_filled(value, 0)));
            // The child may write to its copies, and gets no memory that one of them has.
            values.iter().for_each(|value| fill(value, 8));
            let more: Vec<_> = (0..2 * SLOTS).map(new).collect();
            assert!(more.iter().all(|value| is_filled(value, 0)));
            more.iter().for_each(|value| fill(value, 9));
            assert!(values.iter().all(|value| is_filled(value, 8)));
            // Dropping its copies gives the child their slots.
            values.clear();
            let more: Vec<_> = (0..2 * SLOTS).map(new).collect();
            assert!(more.iter().all(|value| is_filled(value, 0)));
        });
        assert!(child.unwrap().passed());
        assert!(values.iter().all(|value| is_filled(value, 7)), "a child has memory of its own");
    }
}
