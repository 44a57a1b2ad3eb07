//! Tests of the contract (`sys/contract.rs`), which every port must pass.
//!
//! On a system that lacks a call, the test of that call prints the reason and ends. `docs/PLATFORMS.md` lists
//! these calls.

#![allow(unsafe_code, reason = "a port's functions take addresses")]

mod shm;

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::sys::{
    Access, Create, FileKind, HugePages, MapRequest, OpenRequest, PageState, Protection, Recovery,
    Span, arch, fault, file, map, process, slice,
};

use crate::error::{ErrorKind, Result};

/// A temporary file, removed on drop. Each byte depends on its offset ([`byte_at`]).
struct Scratch(PathBuf);

impl Scratch {
    fn new(len: usize) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sharemap-conformance-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let bytes: Vec<u8> = (0..len).map(byte_at).collect();
        fs::write(&path, bytes).unwrap();
        Self(path)
    }

    fn open(&self) -> File {
        file::open(&self.0, existing(true)).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Returns the byte that a [`Scratch`] has at `offset`.
fn byte_at(offset: usize) -> u8 {
    (offset / 256 * 7 + offset) as u8
}

/// Returns a request for an existing file.
fn existing(write: bool) -> OpenRequest {
    OpenRequest { write, create: Create::Never, exclusive: false, timeout: Duration::ZERO }
}

/// Returns a request for `len` bytes without further reservation.
fn request(file: Option<&File>, len: usize, access: Access) -> MapRequest<'_> {
    MapRequest {
        file,
        offset: 0,
        len,
        reserve: len,
        access,
        executable: false,
        huge: HugePages::Default,
    }
}

/// A span that is unmapped on drop.
struct Mapped(Span);

impl Mapped {
    fn new(request: &MapRequest<'_>) -> Self {
        Self(map::map(request).unwrap())
    }

    /// Returns the byte at an offset; `None` if the access faults.
    fn get(&self, at: usize) -> Option<u8> {
        let mut byte = [0];
        self.read(at, &mut byte).then_some(byte[0])
    }

    /// Returns `true` if all bytes were read without a fault.
    fn read(&self, at: usize, to: &mut [u8]) -> bool {
        // SAFETY: the range lies within the span, or past it if the test expects a fault.
        let done = unsafe {
            fault::copy_from_foreign(self.0.base.wrapping_add(at), to.as_mut_ptr(), to.len())
        };
        done == to.len()
    }

    /// Returns `true` if the byte was written without a fault.
    fn set(&self, at: usize, byte: u8) -> bool {
        // SAFETY: the byte lies within the span, or past it if the test expects a fault.
        unsafe { fault::copy_to_foreign(self.0.base.wrapping_add(at), &byte, 1) == 1 }
    }

    fn at(&self, offset: usize) -> *mut u8 {
        self.0.base.wrapping_add(offset)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the span belongs to this value, and no reference into it exists.
        unsafe { map::unmap(&self.0).unwrap() }
    }
}

/// Returns the value of a call. If the system lacks the call, prints the reason and returns `None`.
fn supported<T>(what: &str, result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            println!("skipped: {what}: {error}");
            None
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

/// Returns a byte of the file, as a read call sees it.
fn on_disk(path: &Path, at: usize) -> u8 {
    let mut byte = [0];
    let mut file = File::open(path).unwrap();
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.read_exact(&mut byte).unwrap();
    byte[0]
}

#[test]
fn sizes_are_powers_of_two() {
    assert!(map::page_size().is_power_of_two() && map::granularity().is_power_of_two());
    assert_eq!(map::granularity() % map::page_size(), 0);
}

#[test]
fn a_view_starts_at_any_multiple_of_the_granularity() {
    let unit = map::granularity();
    let scratch = Scratch::new(3 * unit + 100);
    let file = scratch.open();
    for start in 0..4 {
        let mut request = request(Some(&file), 100, Access::Read);
        request.offset = (start * unit) as u64;
        let mapped = Mapped::new(&request);
        for at in [0, 1, 99] {
            assert_eq!(mapped.get(at), Some(byte_at(start * unit + at)));
        }
        assert!(!mapped.set(0, 1), "a store through a read-only view succeeded");
    }
}

#[test]
fn shared_stores_reach_the_file_and_private_ones_do_not() {
    let page = map::page_size();
    let scratch = Scratch::new(2 * page);
    let file = scratch.open();
    let shared = Mapped::new(&request(Some(&file), 2 * page, Access::Write));
    let private = Mapped::new(&request(Some(&file), 2 * page, Access::CopyOnWrite));
    assert!(shared.set(page, 201) && private.set(0, 202));
    assert_eq!((private.get(page), shared.get(0)), (Some(201), Some(byte_at(0))));
    // SAFETY: the range is the whole span.
    unsafe { map::flush(shared.0.base, 2 * page, Some(&file)).unwrap() };
    // SAFETY: the range is the whole span.
    unsafe { map::flush_async(shared.0.base, 2 * page, Some((&file, 0))).unwrap() };
    assert_eq!((on_disk(&scratch.0, page), on_disk(&scratch.0, 0)), (201, byte_at(0)));
    drop(file);
    assert_eq!(shared.get(page), Some(201), "the mapping outlives the handle");
}

#[test]
fn a_file_grows_in_place() {
    let page = map::page_size();
    let scratch = Scratch::new(page + 10);
    let file = scratch.open();
    let mut request = request(Some(&file), page + 10, Access::Write);
    request.reserve = 64 << 20;
    let mapped = Mapped::new(&request);
    assert_eq!(mapped.0.reserved, 64 << 20);
    let mut before = page + 10;
    for wanted in [page + 20, 5 * page, 5 * page + 1, 9 << 20, 64 << 20] {
        file::set_len(&file, wanted as u64).unwrap();
        // SAFETY: the test owns the span, and has grown the file.
        unsafe { map::extend(&mapped.0, &request, before, wanted).unwrap() };
        assert!(mapped.set(wanted - 1, 77));
        assert_eq!(mapped.get(3), Some(byte_at(3)));
        // SAFETY: the range is mapped. It may consist of several views.
        unsafe { map::flush(mapped.0.base, wanted.next_multiple_of(page), Some(&file)).unwrap() };
        assert_eq!(on_disk(&scratch.0, wanted - 1), 77);
        before = wanted;
    }
    // SAFETY: the test owns the range, which may consist of several views.
    unsafe { map::protect(mapped.0.base, 10 << 20, Protection::Read).unwrap() };
    assert!(!mapped.set(9 << 20, 1) && mapped.set(11 << 20, 1));
    // SAFETY: the range lies within the span.
    unsafe { map::protect(mapped.0.base, 10 << 20, Protection::ReadWrite).unwrap() };
    assert!(mapped.set(9 << 20, 1));
}

#[test]
fn anonymous_memory_is_zero_grows_and_is_discarded() {
    let page = map::page_size();
    for access in [Access::Write, Access::CopyOnWrite] {
        let mut request = request(None, page, access);
        request.reserve = 1 << 30;
        let mapped = Mapped::new(&request);
        assert!(mapped.set(page - 1, 5));
        // SAFETY: the test owns the span.
        unsafe { map::extend(&mapped.0, &request, page, 16 * page).unwrap() };
        assert_eq!((mapped.get(page - 1), mapped.get(16 * page - 1)), (Some(5), Some(0)));
        assert!(mapped.set(16 * page - 1, 6));
        if access == Access::CopyOnWrite {
            // SAFETY: the test owns the span.
            let discarded = unsafe { map::discard(mapped.0.base, 2 * page) };
            let Some(()) = supported("discard", discarded) else { return };
            assert_eq!((mapped.get(page - 1), mapped.get(16 * page - 1)), (Some(0), Some(6)));
        }
    }
}

#[test]
fn discarded_private_pages_read_as_the_file_again() {
    let page = map::page_size();
    let scratch = Scratch::new(2 * page);
    let file = scratch.open();
    let mapped = Mapped::new(&request(Some(&file), 2 * page, Access::CopyOnWrite));
    assert!(mapped.set(0, 9) && mapped.set(page, 9));
    // SAFETY: the test owns the span.
    let Some(()) = supported("discard", unsafe { map::discard(mapped.0.base, page) }) else {
        return;
    };
    assert_eq!((mapped.get(0), mapped.get(page)), (Some(byte_at(0)), Some(9)));
}

#[test]
fn protection_forbids_and_allows_accesses() {
    let page = map::page_size();
    let mapped = Mapped::new(&request(None, 3 * page, Access::CopyOnWrite));
    // SAFETY: the test owns the span.
    let protect = |at, protection| unsafe { map::protect(mapped.at(at), page, protection) };
    protect(page, Protection::None).unwrap();
    assert_eq!(
        (mapped.get(page - 1), mapped.get(page), mapped.get(2 * page)),
        (Some(0), None, Some(0))
    );
    let mut bytes = vec![1; 3 * page];
    // SAFETY: the range lies within the span, and `bytes` has room for it.
    let done = unsafe { fault::copy_from_foreign(mapped.at(7), bytes.as_mut_ptr(), 3 * page - 7) };
    assert_eq!(done, page - 7);
    protect(page, Protection::Read).unwrap();
    // SAFETY: the range lies within the span.
    let done = unsafe { fault::copy_to_foreign(mapped.at(7), bytes.as_ptr(), 3 * page - 7) };
    assert_eq!(done, page - 7);
    protect(page, Protection::ReadExecute).unwrap();
    assert_eq!((mapped.get(page), mapped.set(page, 1)), (Some(0), false));
    protect(page, Protection::ReadWrite).unwrap();
    assert!(mapped.set(page, 1));
}

#[test]
fn faults_are_recovered_in_place_on_machines_with_sites() {
    assert_eq!(fault::recovery() == Recovery::InPlace, arch::AVAILABLE);
    assert_eq!(fault::check(), fault::recovery());
    assert_eq!(fault::inspect(), fault::recovery());
    assert!(fault::thread_ready());
    let page = map::page_size();
    let mapped = Mapped::new(&request(None, 3 * page, Access::CopyOnWrite));
    // SAFETY: the test owns the span.
    unsafe { map::protect(mapped.at(page), page, Protection::None).unwrap() };
    let mut flag = 0;
    // SAFETY: the second load faults and sets the flag. The second store faults, too, and keeps the first
    // address in the flag.
    unsafe {
        arch::store_64(mapped.at(8), 42, &mut flag);
        assert_eq!((arch::load_64(mapped.at(8), &mut flag), flag), (42, 0));
        arch::load_64(mapped.at(page + 16), &mut flag);
        arch::store_64(mapped.at(page + 32), 1, &mut flag);
    }
    assert_eq!(flag, mapped.at(page + 16) as usize);
}

#[test]
fn residency_does_not_report_a_touched_page_as_absent() {
    let page = map::page_size();
    let scratch = Scratch::new(4 * page);
    let file = scratch.open();
    let mapped = Mapped::new(&request(Some(&file), 4 * page, Access::Write));
    assert!(mapped.set(page, 1));
    // SAFETY: the test owns the span.
    let states = unsafe { map::residency(mapped.0.base, 4 * page, Some(&file)) };
    let Some(states) = supported("residency", states) else {
        return;
    };
    assert_eq!(states.len(), 4);
    assert_ne!(states[1], PageState::Absent);
}

#[test]
fn locking_unlocking_advising_and_populating_succeed() {
    let page = map::page_size();
    let mapped = Mapped::new(&request(None, 4 * page, Access::CopyOnWrite));
    // SAFETY: the test owns the span.
    unsafe {
        map::lock(mapped.0.base, 2 * page).unwrap();
        map::unlock(mapped.0.base, 2 * page).unwrap();
        map::unlock(mapped.0.base, 2 * page).unwrap();
        map::advise(mapped.0.base, 4 * page, crate::sys::Advice::Normal).unwrap();
        supported("populate", map::populate(mapped.0.base, 4 * page, Access::CopyOnWrite));
    }
    if let (Some(count), Some(limit)) = (process::mapping_count(), process::limits().mappings) {
        assert!(count > 0 && count < limit);
    }
}

#[test]
fn files_have_kinds_and_sizes() {
    let scratch = Scratch::new(1000);
    let file = scratch.open();
    let status = file::status(&file).unwrap();
    assert_eq!((status.kind, status.len), (FileKind::Regular, 1000));
    file::allocate(&file, 0..100_000).unwrap();
    assert_eq!(file::status(&file).unwrap().len, 100_000);
    file::allocate(&file, 0..10).unwrap();
    // A pebibyte exceeds the free space. The failure keeps the length.
    assert_eq!(file::allocate(&file, 0..1 << 50).unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(file::status(&file).unwrap().len, 100_000);
    assert_eq!(on_disk(&scratch.0, 999), byte_at(999));
    assert_eq!(on_disk(&scratch.0, 1000), 0);
    file::set_len(&file, 500).unwrap();
    assert_eq!(file::status(&file::duplicate(&file).unwrap()).unwrap().len, 500);
    file::sync_data(&file).unwrap();
    if let Some(name) = supported("file system", file::file_system(&file)) {
        assert!(!name.is_empty());
    }
    assert!(file::immutable(&file).is_err());
    let directory = file::open(&std::env::temp_dir(), existing(false))
        .and_then(|directory| file::status(&directory));
    match directory {
        Ok(status) => assert_eq!(status.kind, FileKind::Directory),
        Err(error) => assert_eq!(error.kind(), ErrorKind::IsDirectory),
    }
}

#[test]
fn opening_creates_fails_or_excludes_as_requested() {
    let scratch = Scratch::new(10);
    let open = |create, exclusive| {
        file::open(
            &scratch.0,
            OpenRequest { write: true, create, exclusive, timeout: Duration::ZERO },
        )
    };
    assert_eq!(open(Create::New, false).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(file::status(&open(Create::IfMissing, false).unwrap()).unwrap().len, 10);
    let held = open(Create::Never, true).unwrap();
    assert_eq!(open(Create::IfMissing, true).unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(file::status(&held).unwrap().len, 10);
    drop(held);
    drop(open(Create::IfMissing, true).unwrap());
    fs::remove_file(&scratch.0).unwrap();
    assert_eq!(open(Create::Never, false).unwrap_err().kind(), ErrorKind::NotFound);
    (&open(Create::New, false).unwrap()).write_all(b"x").unwrap();
}

#[test]
fn holes_read_as_zeros_and_extents_cover_the_data() {
    const MIB: usize = 1 << 20;
    let scratch = Scratch::new(3 * MIB);
    let file = scratch.open();
    let Some(()) = supported("punch_hole", file::punch_hole(&file, MIB as u64..2 * MIB as u64))
    else {
        return;
    };
    for (at, byte) in [(MIB - 1, byte_at(MIB - 1)), (MIB, 0), (2 * MIB, byte_at(2 * MIB))] {
        assert_eq!(on_disk(&scratch.0, at), byte);
    }
    assert_eq!(file::status(&file).unwrap().len, 3 * MIB as u64);
    let Some(extents) = supported("data_extents", file::data_extents(&file, 0..3 * MIB as u64))
    else {
        return;
    };
    assert!(extents.iter().any(|range| range.contains(&0)), "{extents:?}");
    assert!(extents.iter().any(|range| range.contains(&(3 * MIB as u64 - 1))), "{extents:?}");
}

/// A guarded span shows its part of the file, at any offset, also after the file is closed.
#[test]
fn a_guarded_span_shows_its_part_of_the_file() {
    let scratch = Scratch::new(3 * map::page_size());
    for (offset, len) in [(0, 3 * map::page_size()), (5, 10), (map::page_size() + 1, 7000)] {
        let file = scratch.open();
        let status = file::status(&file).unwrap();
        let span = match slice::GuardedSpan::map(&file, status, offset as u64, len) {
            Ok(span) => span,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                eprintln!("skipped: {error}");
                return;
            }
        };
        drop(file);
        // SAFETY: the span has so many bytes, which do not change.
        let bytes = unsafe { std::slice::from_raw_parts(span.base(), len) };
        assert!((0..len).all(|at| bytes[at] == byte_at(offset + at)));
        assert_eq!(span.lost(), None);
    }
}
