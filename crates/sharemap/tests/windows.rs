//! Windows: foreign exceptions, handlers beside the library's, and the lengths of mapped files.

#![cfg(windows)]
#![allow(unsafe_code, reason = "raises exceptions, and handles them")]

mod common;

use std::fs::File;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{TempDir, child, passes, pattern, role};
use sharemap::guard::{self, Recovery};
use sharemap::{ErrorKind, Mapping, MappingMut, Protection, page_size};
use windows_sys::Win32::Foundation::{
    ERROR_USER_MAPPED_FILE, EXCEPTION_ACCESS_VIOLATION, EXCEPTION_STACK_OVERFLOW,
};
use windows_sys::Win32::System::Diagnostics::Debug::{
    AddVectoredExceptionHandler, EXCEPTION_POINTERS, RemoveVectoredExceptionHandler,
    SEM_NOGPFAULTERRORBOX, SetErrorMode,
};
use windows_sys::Win32::System::Memory::{
    MEM_COMMIT, MEM_RESERVE, PAGE_NOACCESS, PAGE_READWRITE, VirtualAlloc, VirtualProtect,
};

const CONTINUE_EXECUTION: i32 = -1;
const CONTINUE_SEARCH: i32 = 0;

/// Returns a mapping with a second page that faults.
fn ours() -> MappingMut {
    let map = MappingMut::anonymous(3 * page_size()).unwrap();
    map.protect(page_size()..2 * page_size(), Protection::None).unwrap();
    map
}

fn check(map: &MappingMut) {
    let error = map.bytes().get(page_size() + 5).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Fault, Some(page_size() as u64 + 5)));
    assert_eq!(map.bytes().to_vec().unwrap_err().completed(), Some(page_size()));
    assert_eq!(map.bytes().get(2 * page_size()).unwrap(), 0);
}

fn bad_page() -> *mut u8 {
    // SAFETY: allocates new memory.
    let kind = MEM_RESERVE | MEM_COMMIT;
    unsafe { VirtualAlloc(ptr::null(), page_size(), kind, PAGE_NOACCESS) }.cast()
}

fn touch(page: *const u8) {
    // SAFETY: the page is readable, or the access ends the process on purpose.
    unsafe { std::hint::black_box(page.read_volatile()) };
}

fn code_of(test: &str) -> u32 {
    let status = child(test, "x").output().unwrap().status;
    status.code().unwrap() as u32
}

/// A foreign access violation ends the process with its usual code.
#[test]
fn foreign_faults_end_the_process() {
    const TEST: &str = "foreign_faults_end_the_process";
    if role(TEST).is_some() {
        check(&ours());
        // SAFETY: takes only a number. There is no user to answer an error dialogue.
        unsafe { SetErrorMode(SEM_NOGPFAULTERRORBOX) };
        touch(bad_page());
        unreachable!("no handler takes the fault");
    }
    assert_eq!(code_of(TEST), EXCEPTION_ACCESS_VIOLATION as u32);
}

fn deeper(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 512]);
    if depth == u64::MAX { 0 } else { deeper(depth + 1) + frame[7] }
}

/// A stack overflow is reported as without the library.
#[test]
fn a_stack_overflow_is_reported_as_usual() {
    const TEST: &str = "a_stack_overflow_is_reported_as_usual";
    if role(TEST).is_some() {
        check(&ours());
        // SAFETY: takes only a number.
        unsafe { SetErrorMode(SEM_NOGPFAULTERRORBOX) };
        std::thread::spawn(|| deeper(0)).join().unwrap();
    }
    let output = child(TEST, "x").output().unwrap();
    assert_eq!(output.status.code().unwrap() as u32, EXCEPTION_STACK_OVERFLOW as u32);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("has overflowed its stack"), "{said}");
}

static CALLS: AtomicUsize = AtomicUsize::new(0);
static OWN: AtomicUsize = AtomicUsize::new(0);

/// Returns the address of an access violation.
///
/// # Safety
///
/// `exception` must come from the system.
unsafe fn violated(exception: *mut EXCEPTION_POINTERS) -> Option<usize> {
    // SAFETY: the system passes a valid record.
    let record = unsafe { &*(*exception).ExceptionRecord };
    (record.ExceptionCode == EXCEPTION_ACCESS_VIOLATION).then(|| record.ExceptionInformation[1])
}

fn mend(at: usize) -> i32 {
    let mut before = 0;
    // SAFETY: a page that this test made inaccessible.
    unsafe { VirtualProtect(at as *const _, 1, PAGE_READWRITE, &mut before) };
    CONTINUE_EXECUTION
}

/// A handler that counts all faults and handles those of one page.
unsafe extern "system" fn handle_own(exception: *mut EXCEPTION_POINTERS) -> i32 {
    // SAFETY: the pointer comes from the system.
    let Some(at) = (unsafe { violated(exception) }) else { return CONTINUE_SEARCH };
    CALLS.fetch_add(1, Ordering::Relaxed);
    if at == OWN.load(Ordering::Relaxed) { mend(at) } else { CONTINUE_SEARCH }
}

/// A handler that handles every access violation.
unsafe extern "system" fn handle_all(exception: *mut EXCEPTION_POINTERS) -> i32 {
    // SAFETY: the pointer comes from the system.
    unsafe { violated(exception) }.map_or(CONTINUE_SEARCH, mend)
}

/// Handlers installed before and after the library's receive their own faults, and a handler that
/// keeps every fault is detected.
#[test]
fn other_handlers_receive_their_own_faults() {
    const TEST: &str = "other_handlers_receive_their_own_faults";
    if role(TEST).is_none() {
        passes(child(TEST, "x"));
        return;
    }
    let own_fault = || {
        OWN.store(bad_page() as usize, Ordering::Relaxed);
        touch(OWN.load(Ordering::Relaxed) as *const u8);
        CALLS.swap(0, Ordering::Relaxed)
    };
    // SAFETY: the handlers continue only after they made the page accessible.
    unsafe {
        // This handler comes first until the library installs its own.
        let before = AddVectoredExceptionHandler(1, Some(handle_own));
        let map = ours();
        if guard::recovery() == Recovery::Syscall {
            common::skip!("accesses are system calls here");
        }
        check(&map);
        CALLS.store(0, Ordering::Relaxed);
        check(&map);
        assert_eq!(CALLS.load(Ordering::Relaxed), 0, "guarded faults do not reach it");
        assert_eq!(own_fault(), 1);
        RemoveVectoredExceptionHandler(before);

        // This handler comes before the library's: it sees every fault, and passes on those of
        // others.
        let after = AddVectoredExceptionHandler(1, Some(handle_own));
        check(&map);
        assert!(CALLS.swap(0, Ordering::Relaxed) > 0);
        assert_eq!(own_fault(), 1);
        assert_eq!(guard::check(), Recovery::InPlace);
        RemoveVectoredExceptionHandler(after);

        // A handler that keeps every fault is detected, and new mappings then use system calls.
        let keeping = AddVectoredExceptionHandler(1, Some(handle_all));
        assert_eq!(guard::check(), Recovery::Syscall);
        let careful = ours();
        assert_eq!(careful.recovery(), Recovery::Syscall);
        check(&careful);
        RemoveVectoredExceptionHandler(keeping);
        assert_eq!(guard::check(), Recovery::InPlace);
        check(&map);
    }
}

/// A mapped file cannot be truncated below what is mapped.
#[test]
fn mapped_files_keep_their_length() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(3 * page_size()));
    let map = Mapping::open(&path).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    let error = file.set_len(10).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(ERROR_USER_MAPPED_FILE as i32));
    assert!(map.is_current().unwrap());
    let mut other = MappingMut::open(&path).unwrap();
    let error = other.resize(10).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.to_string().contains("mapped"), "{error}");
    assert_eq!(other.bytes().to_vec().unwrap(), pattern(3 * page_size()));
    drop(map);
    other.resize(10).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), &pattern(10)[..]);
}

/// A mapped file can be truncated back to what is mapped, on which a failed growth relies.
#[test]
fn mapped_files_can_be_cut_to_what_is_mapped() {
    let dir = TempDir::new();
    for len in [1000, 3 * page_size(), 300_000] {
        let path = dir.file("a", pattern(len));
        let map = MappingMut::open(&path).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(len as u64 + 1_000_000).unwrap();
        if let Err(error) = file.set_len(len as u64) {
            assert_eq!(error.raw_os_error(), Some(ERROR_USER_MAPPED_FILE as i32));
            common::skip!("no mapped file is shortened here, not even to what is mapped (Wine)");
        }
        assert_eq!(map.bytes().to_vec().unwrap(), pattern(len));
    }
}
