//! The vectored exception handler that recovers guarded accesses, and copies that need none.
//!
//! It is asked before every frame-based handler and before the vectored ones that were there first.
//! What is not a guarded access it passes on unchanged, so that stack overflow detection, crash
//! reporters and structured handlers see what they saw without it.

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

/// What an access violation was: a read (0), a write (1), or an attempt to execute.
const EXECUTE: usize = 8;

/// A page, readable and writable, that redirected accesses may do with as they please.
static SCRATCH: AtomicUsize = AtomicUsize::new(0);

/// The page of the self-test that is under way; 0 where there is none.
static PROBE: AtomicUsize = AtomicUsize::new(0);

static INSTALLED: AtomicBool = AtomicBool::new(false);
static VERDICT: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const IN_PLACE: u8 = 1;
const SYSCALL: u8 = 2;

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
            // SAFETY: the handler continues only what it has recovered.
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

/// Nothing blocks an exception.
pub(crate) fn thread_ready() -> bool {
    true
}

fn allocate_scratch() -> bool {
    let len = page_size().max(2 * arch::REACH);
    // SAFETY: new memory.
    let page = unsafe { VirtualAlloc(ptr::null(), len, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE) };
    SCRATCH.store(page as usize, Ordering::Release);
    !page.is_null()
}

/// Keeps the module that holds the handler from being unloaded.
fn pin_module() {
    let mut module: HMODULE = ptr::null_mut();
    let flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN;
    // SAFETY: any address within the module names it.
    unsafe { GetModuleHandleExW(flags, handler as *const () as *const u16, &mut module) };
}

/// The registers that a recovery reads and writes: program counter, address, flag.
#[cfg(target_arch = "x86_64")]
fn registers(context: &mut CONTEXT) -> (usize, &mut u64, &mut u64) {
    (context.Rip as usize, &mut context.R10, &mut context.R11)
}

#[cfg(target_arch = "aarch64")]
fn registers(context: &mut CONTEXT) -> (usize, &mut u64, &mut u64) {
    let program_counter = context.Pc as usize;
    // SAFETY: both forms of the general registers are plain integers.
    let (low, high) = unsafe { context.Anonymous.X.split_at_mut(10) };
    (program_counter, &mut high[0], &mut low[9])
}

/// Ends a string copy, if it is one and the fault is on its guarded side.
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

/// Called by the system, on the stack of the thread that raised the exception.
unsafe extern "system" fn handler(exception: *mut EXCEPTION_POINTERS) -> i32 {
    // SAFETY: the system's records; the program counter was being executed.
    unsafe {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        if let Some(at) = fault_address(exception) {
            let context = &mut *(*exception).ContextRecord;
            let program_counter = registers(context).0;
            if !readable(program_counter) {
                return EXCEPTION_CONTINUE_SEARCH;
            }
            let kind = arch::site_kind(program_counter, readable);
            if kind == Some(0) || kind.is_some_and(|kind| end_copy(kind, at, context)) {
                let (_, address, flag) = registers(context);
                if *flag == 0 {
                    *flag = if at == 0 { 1 } else { at as u64 };
                }
                if kind == Some(0) {
                    *address = SCRATCH.load(Ordering::Relaxed) as u64;
                }
                return EXCEPTION_CONTINUE_EXECUTION;
            }
        }
        EXCEPTION_CONTINUE_SEARCH
    }
}

/// The address, if the exception is one that a load or store raises.
///
/// # Safety
/// `exception` is the system's.
#[inline(always)]
unsafe fn fault_address(exception: *mut EXCEPTION_POINTERS) -> Option<usize> {
    // SAFETY: the parameters that these two exceptions are documented to have.
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

/// Whether the eight bytes around an address can be read, without an exception.
#[inline(never)]
fn readable(at: usize) -> bool {
    let mut bytes = [0u8; 8];
    // SAFETY: the system checks the source.
    unsafe { copy_whole_from((at & !7) as *const u8, bytes.as_mut_ptr(), bytes.len()) }
}

/// Whether faults are recovered: a guarded load of a page that cannot be read. A second handler,
/// asked last, makes the page readable where ours was not asked, so that the process lives on.
fn recovers() -> bool {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: a page of our own, without references to it.
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

unsafe extern "system" fn backstop(exception: *mut EXCEPTION_POINTERS) -> i32 {
    let probe = PROBE.load(Ordering::Acquire);
    // SAFETY: the system's record.
    if probe == 0 || unsafe { fault_address(exception) } != Some(probe) {
        return EXCEPTION_CONTINUE_SEARCH;
    }
    let mut before = 0;
    // SAFETY: the page of the self-test.
    let readable =
        unsafe { VirtualProtect(probe as *const _, page_size(), PAGE_READWRITE, &mut before) };
    if readable != 0 { EXCEPTION_CONTINUE_EXECUTION } else { EXCEPTION_CONTINUE_SEARCH }
}

/// Copies `len` bytes that may be inaccessible into private memory, and gives how many were copied
/// before the first page that is.
///
/// # Safety
/// `to` has room for them.
pub(crate) unsafe fn copy_from_foreign(from: *const u8, to: *mut u8, len: usize) -> usize {
    // SAFETY: within the caller's bytes.
    page_by_page(from as usize, len, |done, bytes| unsafe {
        copy_whole_from(from.add(done), to.add(done), bytes)
    })
}

/// Copies private bytes to where it may fail, and gives how many were copied before the first page
/// that cannot be written.
///
/// # Safety
/// `from` has them.
pub(crate) unsafe fn copy_to_foreign(to: *mut u8, from: *const u8, len: usize) -> usize {
    // SAFETY: within the caller's bytes.
    page_by_page(to as usize, len, |done, bytes| unsafe {
        writable(to as usize + done, bytes) && {
            let mut moved = 0;
            let process = GetCurrentProcess();
            let (to, from) = (to.add(done).cast(), from.add(done).cast());
            WriteProcessMemory(process, to, from, bytes, &mut moved) != 0 && moved == bytes
        }
    })
}

/// Everything at once, or else up to the first page that fails: how much of a failed call was
/// copied is not dependable.
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

/// # Safety
/// `to` has room for `len` bytes.
unsafe fn copy_whole_from(from: *const u8, to: *mut u8, len: usize) -> bool {
    let mut moved = 0;
    // SAFETY: the system checks the source; the destination is the caller's.
    unsafe {
        ReadProcessMemory(GetCurrentProcess(), from.cast(), to.cast(), len, &mut moved) != 0
            && moved == len
    }
}

/// `WriteProcessMemory` is made for debuggers and would write to code that is only readable.
fn writable(base: usize, len: usize) -> bool {
    const WRITABLE: u32 =
        PAGE_READWRITE | PAGE_WRITECOPY | PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY;
    regions(base, base.saturating_add(len)).all(|region| {
        region.State == MEM_COMMIT
            && region.Protect & WRITABLE != 0
            && region.Protect & PAGE_GUARD == 0
    })
}
