//! The vectored exception handler that recovers guarded accesses, and copies by system calls that need no
//! handler.
//!
//! The system calls the handler before every frame-based handler, and before the vectored handlers that
//! were installed earlier. Exceptions of other code are passed on unchanged, so that stack overflow
//! detection, crash reporters and structured handlers work as without it.

#![allow(unsafe_code, reason = "exception contexts and copies between processes")]

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use windows_sys::Win32::Foundation::{
    EXCEPTION_ACCESS_VIOLATION, EXCEPTION_IN_PAGE_ERROR, HMODULE,
};
use windows_sys::Win32::System::Diagnostics::Debug::{
    AddVectoredExceptionHandler, CONTEXT, EXCEPTION_POINTERS, ReadProcessMemory,
    RemoveVectoredExceptionHandler, WriteProcessMemory,
};
use windows_sys::Win32::System::LibraryLoader::{
    GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_PIN, GetModuleHandleExW,
};
use windows_sys::Win32::System::Memory::{
    MEM_COMMIT, MEM_RELEASE, MEM_RESERVE, PAGE_EXECUTE_READWRITE, PAGE_EXECUTE_WRITECOPY,
    PAGE_GUARD, PAGE_NOACCESS, PAGE_READWRITE, PAGE_WRITECOPY, VirtualAlloc, VirtualFree,
    VirtualProtect,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

use super::map::page_size;
use super::section::regions;
use crate::sys::{Recovery, arch};

const EXCEPTION_CONTINUE_EXECUTION: i32 = -1;
const EXCEPTION_CONTINUE_SEARCH: i32 = 0;

/// The first parameter of an access violation by execution. A read has 0, a write 1.
const EXECUTE: usize = 8;

/// The middle of a readable and writable area without meaning, to which faulted accesses are redirected. It
/// extends [`arch::REACH`] bytes to both sides.
static SCRATCH: AtomicUsize = AtomicUsize::new(0);

/// The page of the self-test that runs now; 0 if none runs.
static PROBE: AtomicUsize = AtomicUsize::new(0);

static INSTALLED: AtomicBool = AtomicBool::new(false);
/// The result of the last self-test.
static VERDICT: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const IN_PLACE: u8 = 1;
const SYSCALL: u8 = 2;

/// Returns whether guarded accesses are made in place or by system calls. The first call installs the
/// handler and tests it.
pub(crate) fn recovery() -> Recovery {
    match VERDICT.load(Ordering::Acquire) {
        IN_PLACE => Recovery::InPlace,
        SYSCALL => Recovery::Syscall,
        _ => install(),
    }
}

#[cold]
fn install() -> Recovery {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let recovers = arch::AVAILABLE && allocate_scratch() && {
            pin_module();
            // SAFETY: the handler resumes only accesses that it has recovered.
            let installed = unsafe { AddVectoredExceptionHandler(1, Some(handler)) };
            INSTALLED.store(!installed.is_null(), Ordering::Relaxed);
            !installed.is_null() && recovers()
        };
        VERDICT.store(if recovers { IN_PLACE } else { SYSCALL }, Ordering::Release);
    });
    recovery()
}

/// Returns the answer for new mappings. Windows has no list of handlers to inspect, and a trial
/// would run them in this process.
pub(crate) fn inspect() -> Recovery {
    recovery()
}

/// Tests recovery again, for new mappings, by an exception that every handler sees.
pub(crate) fn check() -> Recovery {
    recovery();
    let recovers = INSTALLED.load(Ordering::Relaxed) && recovers();
    VERDICT.store(if recovers { IN_PLACE } else { SYSCALL }, Ordering::Release);
    if recovers { Recovery::InPlace } else { Recovery::Syscall }
}

/// Returns `true`: a thread cannot block exceptions.
pub(crate) fn thread_ready() -> bool {
    true
}

/// Allocates the scratch area. Returns `true` on success.
fn allocate_scratch() -> bool {
    let (len, kind) = (2 * arch::REACH, MEM_RESERVE | MEM_COMMIT);
    // SAFETY: new memory.
    let area = unsafe { VirtualAlloc(ptr::null(), len, kind, PAGE_READWRITE) };
    SCRATCH.store((area as usize).wrapping_add(arch::REACH), Ordering::Release);
    !area.is_null()
}

/// Keeps the module that holds the handler from being unloaded.
fn pin_module() {
    let mut module: HMODULE = ptr::null_mut();
    let flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN;
    // SAFETY: with these flags, the name is any address within the module.
    unsafe { GetModuleHandleExW(flags, handler as *const () as *const u16, &mut module) };
}

/// Returns the registers that a recovery uses: program counter, address and flag.
#[cfg(target_arch = "x86_64")]
fn registers(context: &mut CONTEXT) -> (usize, &mut u64, &mut u64) {
    (context.Rip as usize, &mut context.R10, &mut context.R11)
}

#[cfg(target_arch = "aarch64")]
fn registers(context: &mut CONTEXT) -> (usize, &mut u64, &mut u64) {
    let program_counter = context.Pc as usize;
    // SAFETY: both variants of the union are plain integers.
    let (low, high) = unsafe { context.Anonymous.X.split_at_mut(10) };
    (program_counter, &mut high[0], &mut low[9])
}

/// Points the address register of a site at the scratch area. Returns `false` if it points there already:
/// such a site reaches too far, and would fault for ever.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn redirect(address: &mut u64) -> bool {
    let scratch = SCRATCH.load(Ordering::Relaxed) as u64;
    std::mem::replace(address, scratch) != scratch
}

/// Ends a string copy whose guarded side faulted, by setting its count to zero. Returns `false`, and
/// changes nothing, for other faults.
#[cfg(target_arch = "x86_64")]
fn end_copy(kind: u8, at: usize, context: &mut CONTEXT) -> bool {
    let (source, destination) = (context.Rsi as usize, context.Rdi as usize);
    let ours = arch::is_guarded_side(kind, at, source, destination, context.Rcx as usize);
    if ours {
        context.Rcx = 0;
    }
    ours
}

#[cfg(target_arch = "aarch64")]
fn end_copy(_: u8, _: usize, _: &mut CONTEXT) -> bool {
    false
}

/// Recovers a guarded access that faulted, as described in `arch`, and passes other exceptions on.
///
/// The system calls this function on the stack of the thread that raised the exception.
unsafe extern "system" fn handler(exception: *mut EXCEPTION_POINTERS) -> i32 {
    // SAFETY: the records are the system's; the instruction at the program counter was being executed.
    unsafe {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        if let Some(at) = fault_address(exception) {
            let context = &mut *(*exception).ContextRecord;
            let program_counter = registers(context).0;
            if !readable(program_counter) {
                return EXCEPTION_CONTINUE_SEARCH;
            }
            let recovered = match arch::site_kind(program_counter, readable) {
                Some(0) => redirect(registers(context).1),
                Some(kind) => end_copy(kind, at, context),
                None => false,
            };
            if recovered {
                let flag = registers(context).2;
                // Of several faults in a run of accesses, the first is reported.
                if *flag == 0 {
                    *flag = if at == 0 { 1 } else { at as u64 };
                }
                return EXCEPTION_CONTINUE_EXECUTION;
            }
        }
        EXCEPTION_CONTINUE_SEARCH
    }
}

/// Returns the address of the fault. `None` for exceptions that loads and stores do not raise.
///
/// # Safety
/// `exception` is the system's.
#[inline(always)]
unsafe fn fault_address(exception: *mut EXCEPTION_POINTERS) -> Option<usize> {
    // SAFETY: the record is the system's; both exceptions are documented to have these parameters.
    unsafe {
        let record = &*(*exception).ExceptionRecord;
        let claimed = record.ExceptionCode == EXCEPTION_ACCESS_VIOLATION
            || record.ExceptionCode == EXCEPTION_IN_PAGE_ERROR;
        if claimed && record.NumberParameters >= 2 && record.ExceptionInformation[0] != EXECUTE {
            Some(record.ExceptionInformation[1])
        } else {
            None
        }
    }
}

/// Returns `true` if the eight aligned bytes around an address can be read. Raises no exception.
#[inline(never)]
fn readable(at: usize) -> bool {
    let mut bytes = [0u8; 8];
    // SAFETY: the system checks the source.
    unsafe { copy_whole_from((at & !7) as *const u8, bytes.as_mut_ptr(), bytes.len()) }
}

/// Tests recovery by a guarded load of an inaccessible page. Returns `true` if the fault was recovered.
///
/// A second handler, which the system calls last, makes the page readable if an earlier handler kept the
/// exception from ours. So a failed test does not end the process.
fn recovers() -> bool {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the page is new, and no reference to it exists.
    unsafe {
        let kind = MEM_RESERVE | MEM_COMMIT;
        let page = VirtualAlloc(ptr::null(), page_size(), kind, PAGE_NOACCESS);
        let backstop = AddVectoredExceptionHandler(0, Some(backstop));
        if page.is_null() || backstop.is_null() {
            return false;
        }
        PROBE.store(page as usize, Ordering::Release);
        let mut fault = 0;
        arch::load_64(page.cast(), &mut fault);
        PROBE.store(0, Ordering::Release);
        RemoveVectoredExceptionHandler(backstop);
        VirtualFree(page, 0, MEM_RELEASE);
        fault == page as usize
    }
}

/// Makes the page of the self-test readable, so that the load that faulted there succeeds.
unsafe extern "system" fn backstop(exception: *mut EXCEPTION_POINTERS) -> i32 {
    let probe = PROBE.load(Ordering::Acquire);
    // SAFETY: the record is the system's.
    if probe == 0 || unsafe { fault_address(exception) } != Some(probe) {
        return EXCEPTION_CONTINUE_SEARCH;
    }
    let mut before = 0;
    // SAFETY: the page belongs to the self-test.
    let readable =
        unsafe { VirtualProtect(probe as *const _, page_size(), PAGE_READWRITE, &mut before) };
    if readable != 0 { EXCEPTION_CONTINUE_EXECUTION } else { EXCEPTION_CONTINUE_SEARCH }
}

/// Copies `len` bytes that may be inaccessible into private memory. Returns the number of bytes before the
/// first inaccessible page.
///
/// # Safety
/// `to` must have room for `len` bytes.
pub(crate) unsafe fn copy_from_foreign(from: *const u8, to: *mut u8, len: usize) -> usize {
    // SAFETY: each part lies within the caller's bytes.
    page_by_page(from as usize, len, |done, bytes| unsafe {
        copy_whole_from(from.add(done), to.add(done), bytes)
    })
}

/// Copies `len` private bytes to memory that may be inaccessible. Returns the number of bytes before the
/// first page that cannot be written.
///
/// # Safety
/// `from` must have `len` bytes.
pub(crate) unsafe fn copy_to_foreign(to: *mut u8, from: *const u8, len: usize) -> usize {
    // SAFETY: each part lies within the caller's bytes.
    page_by_page(to as usize, len, |done, bytes| unsafe {
        writable(to as usize + done, bytes) && {
            let mut moved = 0;
            let process = GetCurrentProcess();
            let (to, from) = (to.add(done).cast(), from.add(done).cast());
            WriteProcessMemory(process, to, from, bytes, &mut moved) != 0 && moved == bytes
        }
    })
}

/// Copies all bytes by one call or, if that fails, page by page up to the first page that fails. The count
/// that a failed call reports is not reliable.
fn page_by_page(foreign: usize, len: usize, copy: impl Fn(usize, usize) -> bool) -> usize {
    if len == 0 || copy(0, len) {
        return len;
    }
    let page = page_size();
    let mut done = 0;
    while done < len {
        let bytes = (len - done).min(page - (foreign.wrapping_add(done) & (page - 1)));
        if !copy(done, bytes) {
            break;
        }
        done += bytes;
    }
    done
}

/// Copies `len` bytes that may be inaccessible (`ReadProcessMemory`). Returns `true` if all were copied.
///
/// # Safety
/// `to` must have room for `len` bytes.
unsafe fn copy_whole_from(from: *const u8, to: *mut u8, len: usize) -> bool {
    let mut moved = 0;
    // SAFETY: the system checks the source; the destination is the caller's.
    unsafe {
        ReadProcessMemory(GetCurrentProcess(), from.cast(), to.cast(), len, &mut moved) != 0
            && moved == len
    }
}

/// Returns `true` if all pages of the range are writable.
///
/// `WriteProcessMemory` serves debuggers, and would also write to code that is only readable.
fn writable(base: usize, len: usize) -> bool {
    const WRITABLE: u32 =
        PAGE_READWRITE | PAGE_WRITECOPY | PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY;
    regions(base, base.saturating_add(len)).all(|region| {
        region.State == MEM_COMMIT
            && region.Protect & WRITABLE != 0
            && region.Protect & PAGE_GUARD == 0
    })
}
