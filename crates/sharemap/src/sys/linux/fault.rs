//! Faults on Linux: the registers of an interrupted thread, the code that stays readable, and copies by
//! system call.

#![allow(unsafe_code, reason = "signal contexts and raw system calls")]

use std::ffi::{CStr, c_int, c_void};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::slice;

pub(crate) use super::action::{
    Action, bit, interrupted_mask, mask, send, set_default, set_mask, unblock,
};
pub(crate) use super::self_test::try_out;
use crate::sys::os::map::page_size;
pub(crate) use crate::sys::posix::fault::{check, inspect, recovery, thread_ready};

/// The saved registers of an interrupted thread that a recovery reads and writes.
pub(crate) struct Registers {
    pub(crate) program_counter: *mut Register,
    pub(crate) address: *mut Register,
    pub(crate) flag: *mut Register,
    /// The source, destination and count of a string copy, on machines that have such instructions.
    pub(crate) copy: Option<[*mut Register; 3]>,
}

#[cfg(target_arch = "x86_64")]
pub(crate) type Register = i64;
#[cfg(not(target_arch = "x86_64"))]
pub(crate) type Register = u64;

impl Registers {
    /// Returns the registers in a signal handler's `context`.
    ///
    /// # Safety
    /// `context` is the third argument that the kernel passed to a signal handler.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) unsafe fn of(context: *mut c_void) -> Self {
        let context: *mut libc::ucontext_t = context.cast();
        // SAFETY: fields of the kernel's context.
        unsafe {
            let registers: *mut Register = (&raw mut (*context).uc_mcontext.gregs).cast();
            Self {
                program_counter: registers.add(libc::REG_RIP as usize),
                address: registers.add(libc::REG_R10 as usize),
                flag: registers.add(libc::REG_R11 as usize),
                copy: Some([
                    registers.add(libc::REG_RSI as usize),
                    registers.add(libc::REG_RDI as usize),
                    registers.add(libc::REG_RCX as usize),
                ]),
            }
        }
    }

    /// Returns the registers in a signal handler's `context`.
    ///
    /// # Safety
    /// `context` is the third argument that the kernel passed to a signal handler.
    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    pub(crate) unsafe fn of(context: *mut c_void) -> Self {
        let context: *mut libc::ucontext_t = context.cast();
        // SAFETY: fields of the kernel's context.
        unsafe {
            let registers: *mut Register = (&raw mut (*context).uc_mcontext.regs).cast();
            Self {
                program_counter: &raw mut (*context).uc_mcontext.pc,
                address: registers.add(10),
                flag: registers.add(9),
                copy: None,
            }
        }
    }

    /// Returns no registers: without sites no handler is installed, so this is never called.
    ///
    /// # Safety
    /// None.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(crate) unsafe fn of(_: *mut c_void) -> Self {
        Self {
            program_counter: std::ptr::null_mut(),
            address: std::ptr::null_mut(),
            flag: std::ptr::null_mut(),
            copy: None,
        }
    }
}

/// Returns `true` if a memory access raised the signal: `SIGBUS` with `ADRALN`, `ADRERR`, `OBJERR` or
/// `MCEERR_AR`, or `SIGSEGV` with `MAPERR`, `ACCERR` or `PKUERR`. `MCEERR_AO` is asynchronous, and a code
/// of zero or less means that a process sent the signal.
#[inline(always)]
pub(crate) fn claims(signal: c_int, code: c_int) -> bool {
    if signal == libc::SIGBUS {
        code == 1 || code == 2 || code == 3 || code == 4
    } else {
        code == 1 || code == 2 || code == 4
    }
}

/// Returns `true` if the interrupted instruction raises the signal again when it is executed again.
pub(crate) fn is_synchronous(signal: c_int, code: c_int) -> bool {
    const MCEERR_AO: c_int = 5;
    code > 0 && !(signal == libc::SIGBUS && code == MCEERR_AO)
}

/// Returns the address that faulted.
///
/// # Safety
/// `info` belongs to a `SIGBUS` or `SIGSEGV` that the processor raised.
#[inline(always)]
pub(crate) unsafe fn address(info: *mut libc::siginfo_t) -> *mut c_void {
    // In the kernel's layout, the address is a pointer after three integers.
    const AT: usize = (3 * size_of::<c_int>()).next_multiple_of(align_of::<*mut c_void>());
    // SAFETY: within `info`, at the offset just computed.
    unsafe { *info.byte_add(AT).cast() }
}

/// Returns `true` if the aligned eight bytes that contain `at` can be read, without faulting.
///
/// The kernel reads a signal set from these bytes, failing with `EFAULT` if it cannot, before it rejects
/// the invalid operation. An address below 8 is replaced by 8, because a null pointer means no set.
#[inline(never)]
pub(crate) fn readable(at: usize) -> bool {
    const NO_SUCH_HOW: c_int = -1;
    // SAFETY: the call fails in any case and changes only errno, which is restored: the code that a
    // handler interrupts may be about to read it.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        let set = (at & !7).max(8);
        libc::syscall(libc::SYS_rt_sigprocmask, NO_SUCH_HOW, set, 0usize, 8usize);
        let readable = *errno != libc::EFAULT;
        *errno = before;
        readable
    }
}

/// Prevents the module that contains `handler` from being unloaded.
///
/// The program itself is never unloaded. It is not pinned, because the loader would open its file.
pub(crate) fn pin_module(handler: *const c_void) {
    let module_of = |address| {
        // SAFETY: the call only writes the answer; all zeros are a valid answer.
        unsafe {
            let mut found = MaybeUninit::<libc::Dl_info>::zeroed().assume_init();
            (libc::dladdr(address, &mut found) != 0).then_some(found)
        }
    };
    // SAFETY: the calls only query the loader; the name lives as long as the module.
    unsafe {
        let program = module_of(libc::getauxval(libc::AT_PHDR) as *const c_void);
        let Some(found) = module_of(handler).filter(|found| !found.dli_fname.is_null()) else {
            return;
        };
        if program.is_none_or(|program| program.dli_fbase != found.dli_fbase) {
            let name = CStr::from_ptr(found.dli_fname);
            libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE);
        }
    }
}

/// Calls `note` with each range of code that stays readable until the process ends: the code of the
/// program, and of the pinned module that contains `inside`.
pub(crate) fn permanent_code(inside: usize, note: fn(Range<usize>)) {
    struct Search {
        inside: usize,
        note: fn(Range<usize>),
        is_first: bool,
    }

    unsafe extern "C" fn visit(
        info: *mut libc::dl_phdr_info,
        _: libc::size_t,
        search: *mut c_void,
    ) -> c_int {
        // SAFETY: the loader passes its record, keeps the program headers in it valid, and passes
        // the search below unchanged.
        let (info, search) = unsafe { (&*info, &mut *search.cast::<Search>()) };
        if info.dlpi_phdr.is_null() {
            return 0;
        }
        // SAFETY: the record's headers are valid and not null.
        let headers = unsafe { slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        let code = || {
            let readable = |flags| flags & (libc::PF_R | libc::PF_X) == libc::PF_R | libc::PF_X;
            headers
                .iter()
                .filter(move |header| header.p_type == libc::PT_LOAD && readable(header.p_flags))
                .map(|header| {
                    let start = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
                    start..start.saturating_add(header.p_memsz as usize)
                })
        };
        // The first module is the program.
        if std::mem::take(&mut search.is_first) || code().any(|code| code.contains(&search.inside))
        {
            code().for_each(search.note);
        }
        0
    }

    let mut search = Search { inside, note, is_first: true };
    // SAFETY: the search outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut search).cast()) };
}

/// Copies up to `len` bytes from memory that may fault (`process_vm_readv`).
///
/// Returns the number of bytes copied before the first inaccessible one.
///
/// # Safety
/// `to` is valid for writes of `len` bytes.
pub(crate) unsafe fn copy_from_foreign(from: *const u8, to: *mut u8, len: usize) -> usize {
    let call = |done: usize| {
        // SAFETY: the kernel checks the foreign side; the other is the caller's.
        unsafe {
            let ours = libc::iovec { iov_base: to.add(done).cast(), iov_len: len - done };
            let theirs =
                libc::iovec { iov_base: from.add(done).cast_mut().cast(), iov_len: len - done };
            libc::process_vm_readv(libc::getpid(), &ours, 1, &theirs, 1, 0)
        }
    };
    // SAFETY: within the caller's bytes.
    transfer(
        len,
        call,
        |done, chunk| unsafe { through_pipe(from.add(done), to.add(done), chunk) },
        from as usize,
    )
}

/// Copies up to `len` bytes to memory that may fault (`process_vm_writev`).
///
/// Returns the number of bytes copied before the first inaccessible one.
///
/// # Safety
/// `from` is valid for reads of `len` bytes.
pub(crate) unsafe fn copy_to_foreign(to: *mut u8, from: *const u8, len: usize) -> usize {
    let call = |done: usize| {
        // SAFETY: the kernel checks the foreign side; the other is the caller's.
        unsafe {
            let ours =
                libc::iovec { iov_base: from.add(done).cast_mut().cast(), iov_len: len - done };
            let theirs = libc::iovec { iov_base: to.add(done).cast(), iov_len: len - done };
            libc::process_vm_writev(libc::getpid(), &ours, 1, &theirs, 1, 0)
        }
    };
    // SAFETY: within the caller's bytes.
    transfer(
        len,
        call,
        |done, chunk| unsafe { through_pipe(from.add(done), to.add(done), chunk) },
        to as usize,
    )
}

/// Repeats `call` until `len` bytes are copied or it reports a fault. Returns the number of bytes copied.
///
/// If the call fails for another reason, such as a sandbox that denies it, the bytes go through a pipe,
/// at most to the next page boundary of `foreign` at a time.
fn transfer(
    len: usize,
    call: impl Fn(usize) -> isize,
    by_pipe: impl Fn(usize, usize) -> bool,
    foreign: usize,
) -> usize {
    let mut done = 0;
    while done < len {
        match call(done) {
            moved @ 1.. => done += moved as usize,
            _ if std::io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT) => break,
            _ => {
                // A chunk lies in one page of the foreign side, so it is accessible as a whole or not at
                // all, and it fits the pipe.
                let page = page_size();
                let chunk =
                    (len - done).min(page - (foreign.wrapping_add(done) & (page - 1))).min(4096);
                if !by_pipe(done, chunk) {
                    break;
                }
                done += chunk;
            }
        }
    }
    done
}

/// Copies at most 4 KiB through a new pipe. Reads and writes report bad addresses as errors.
///
/// Returns `true` if all `len` bytes were copied.
unsafe fn through_pipe(from: *const u8, to: *mut u8, len: usize) -> bool {
    let mut ends = [0; 2];
    // SAFETY: the kernel checks both addresses. The pipe holds at least a page, so the write does not
    // block; it would fail rather than wait.
    unsafe {
        if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) != 0 {
            return false;
        }
        let moved = libc::write(ends[1], from.cast(), len) == len as isize
            && libc::read(ends[0], to.cast(), len) == len as isize;
        libc::close(ends[0]);
        libc::close(ends[1]);
        moved
    }
}
