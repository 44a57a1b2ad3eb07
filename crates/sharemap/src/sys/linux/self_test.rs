//! Tests, in a child process, whether faults at guarded accesses are recovered.
//!
//! The child reports through a page that it shares with its parent. Its exit status would be no proof: a
//! foreign handler may exit with status 0, and another thread that waits for all children may take the
//! status. The child has no exit signal, so the parent receives no `SIGCHLD` for it.

#![allow(unsafe_code, reason = "raw processes and mappings")]

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::sys::os::map::page_size;
use crate::sys::posix::fault::{Child, PROBED_PAGES, are_ours, probe, set_probed};

/// The time limit of a test. A handler that has not returned by then counts as keeping faults.
const PATIENCE_SECONDS: libc::time_t = 1;

/// The time after which an emulator's child that should share the memory counts as stuck. A kernel suspends this
/// thread until such a child exits, and no child gets stuck.
const STUCK: Duration = Duration::from_secs(5);
/// How often a test is made while its child gets stuck.
const ATTEMPTS: usize = 3;

/// The report that all faults were recovered.
const RECOVERED: u32 = 0x5ac7;
/// The report that a foreign handler was installed, so nothing was tested.
const NOT_OURS: u32 = 0x5ac8;

/// Tests whether faults that raise `signals` are recovered. `None` if the test was impossible: no
/// child could be created, or a child that shares the memory found a foreign handler.
pub(crate) fn try_out(child: Child, signals: &[c_int]) -> Option<bool> {
    let pages = Pages::map()?;
    let test = Test { pages: &pages, signals };
    set_probed(pages.base as usize);
    let pid = (0..ATTEMPTS).find_map(|_| test.start(child)).unwrap_or(-1);
    set_probed(0);
    let report = pages.report().load(Ordering::Acquire);
    (pid > 0 && report != NOT_OURS).then_some(report == RECOVERED)
}

/// Waits for the child to end, for at most `patience` if there is one, and then kills it. Returns `true` if the
/// child ended by itself, or if another thread has already waited for it.
///
/// `__WALL` includes children without an exit signal.
pub(super) fn wait(pid: libc::pid_t, patience: Option<Duration>) -> bool {
    let start = Instant::now();
    let mut status = 0;
    // SAFETY: `waitpid` writes only `status`. The child is this function's own, so its id is not used again
    // before it has been waited for.
    unsafe {
        let mut waited = |flags| loop {
            let found = libc::waitpid(pid, &mut status, libc::__WALL | flags);
            if found >= 0 || *libc::__errno_location() != libc::EINTR {
                return found;
            }
        };
        let Some(patience) = patience else { return waited(0) != 0 };
        while waited(libc::WNOHANG) == 0 {
            if start.elapsed() >= patience {
                libc::kill(pid, libc::SIGKILL);
                waited(0);
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    true
}

struct Test<'a> {
    pages: &'a Pages,
    signals: &'a [c_int],
}

impl Test<'_> {
    /// Makes the test once. Returns the child's id, which is negative if there was no child, or `None` if the
    /// child was stuck.
    fn start(&self, child: Child) -> Option<libc::pid_t> {
        // The child inherits the full mask, and unblocks only the signals that it tests: no other handler may
        // run in it.
        let mask = Mask::block_all();
        self.pages.report().store(0, Ordering::Relaxed);
        let start = |exit_signal| match child {
            Child::SharingMemory => self.borrow_memory(exit_signal),
            Child::WithACopy => self.copy_memory(exit_signal),
        };
        let (mut pid, mut patience) = (start(0), None);
        if pid < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
            // qemu refuses a child without an exit signal, and forks one that should share the memory. A child
            // with a copy is killed by its own timer.
            pid = start(libc::SIGCHLD);
            patience = matches!(child, Child::SharingMemory).then_some(STUCK);
        }
        drop(mask);
        // On a kernel, this is one call of `wait4`: a sandbox may allow no other.
        (pid <= 0 || wait(pid, patience)).then_some(pid)
    }

    /// Starts a child that shares this process's memory. Returns its id once it has ended: until then,
    /// this thread is suspended (`CLONE_VFORK`).
    fn borrow_memory(&self, exit_signal: c_int) -> libc::pid_t {
        const STACK: usize = 64 << 10;
        extern "C" fn start(test: *mut c_void) -> c_int {
            // SAFETY: the test is the parent's, which outlives the child. The child must not use the
            // alternate stack that it inherits: the parent may be in a handler that runs on it.
            unsafe {
                let mut none: libc::stack_t = MaybeUninit::zeroed().assume_init();
                none.ss_flags = libc::SS_DISABLE;
                libc::sigaltstack(&none, ptr::null_mut());
                let test = &*test.cast::<Test<'_>>();
                // Another thread may have installed a handler just before the child was created. A foreign
                // handler must not run in this memory. The child's signal actions are a copy, so
                // the answer stays true.
                if !are_ours(test.signals) {
                    test.pages.report().store(NOT_OURS, Ordering::Release);
                    libc::_exit(0);
                }
                test.run()
            }
        }
        let mut stack = Vec::<u128>::with_capacity(STACK / 16);
        // The flags of `posix_spawn`, because valgrind accepts no others.
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | exit_signal;
        // SAFETY: the stack and the test outlive the child.
        unsafe {
            let top = stack.as_mut_ptr().add(STACK / 16);
            libc::clone(start, top.cast(), flags, ptr::from_ref(self).cast_mut().cast())
        }
    }

    /// Starts a child with a copy of this process's memory, without running fork handlers.
    ///
    /// Copying takes time in proportion to the process's private memory.
    fn copy_memory(&self, exit_signal: c_int) -> libc::pid_t {
        // SAFETY: like a fork, after which the child makes only async-signal-safe calls. The limit of 1
        // suppresses core dumps to files and to pipes. The session of its own keeps `kill(0, …)` of a
        // foreign handler from the parent. `close_range` closes all descriptors (from Linux 5.9 on).
        unsafe {
            let flags = exit_signal as usize;
            let pid = libc::syscall(libc::SYS_clone, flags, 0usize, 0usize, 0usize, 0usize)
                as libc::pid_t;
            if pid == 0 {
                libc::setrlimit(libc::RLIMIT_CORE, &libc::rlimit { rlim_cur: 1, rlim_max: 1 });
                libc::setsid();
                kill_later();
                libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
                self.run();
            }
            pid
        }
    }

    /// Tests each signal, reports the result and exits.
    fn run(&self) -> ! {
        // SAFETY: the pages belong to the test. `_exit` runs no exit handlers of the parent.
        unsafe {
            if self.signals.iter().all(|&signal| probe(signal, self.pages.raising(signal))) {
                self.pages.report().store(RECOVERED, Ordering::Release);
            }
            libc::_exit(0)
        }
    }
}

/// Makes a timer kill this process at the time limit. `SIGKILL` can be neither blocked nor handled.
unsafe fn kill_later() {
    // SAFETY: plain structures, for which all zeros are valid.
    unsafe {
        let mut event: libc::sigevent = MaybeUninit::zeroed().assume_init();
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = libc::SIGKILL;
        let mut when: libc::itimerspec = MaybeUninit::zeroed().assume_init();
        when.it_value.tv_sec = PATIENCE_SECONDS;
        let mut timer: c_int = 0;
        libc::syscall(
            libc::SYS_timer_create,
            libc::CLOCK_MONOTONIC,
            &raw mut event,
            &raw mut timer,
        );
        libc::syscall(libc::SYS_timer_settime, timer, 0, &raw const when, 0);
    }
}

/// Three shared pages. The first holds the report. An access to the second raises `SIGBUS`, because it lies
/// past the end of the memory object; an access to the third raises `SIGSEGV`, because it is protected.
struct Pages {
    base: *mut u8,
}

impl Pages {
    fn map() -> Option<Self> {
        let page = page_size();
        // SAFETY: maps new memory. Growing a shared mapping does not grow its memory object.
        unsafe {
            let base = libc::mmap(
                ptr::null_mut(),
                page,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if base == libc::MAP_FAILED {
                return None;
            }
            let grown = libc::mremap(base, page, PROBED_PAGES * page, libc::MREMAP_MAYMOVE);
            if grown == libc::MAP_FAILED {
                libc::munmap(base, page);
                return None;
            }
            let pages = Self { base: grown.cast() };
            libc::mprotect(pages.raising(libc::SIGSEGV).cast(), page, libc::PROT_NONE);
            Some(pages)
        }
    }

    /// Returns the word through which the child reports.
    fn report(&self) -> &AtomicU32 {
        // SAFETY: the first page is mapped, and serves only as the report.
        unsafe { AtomicU32::from_ptr(self.base.cast()) }
    }

    /// Returns the page that raises `signal` on an access.
    fn raising(&self, signal: c_int) -> *mut u8 {
        let index = if signal == libc::SIGBUS { 1 } else { 2 };
        self.base.wrapping_add(index * page_size())
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the pages belong to this value, and the child has ended.
        unsafe { libc::munmap(self.base.cast(), PROBED_PAGES * page_size()) };
    }
}

/// The thread's previous signal mask, restored on drop. All signals are blocked until then.
struct Mask(libc::sigset_t);

impl Mask {
    fn block_all() -> Self {
        // SAFETY: both sets are initialized before they are read.
        unsafe {
            let mut all = MaybeUninit::uninit();
            let mut before = MaybeUninit::zeroed();
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr());
            Self(before.assume_init())
        }
    }
}

impl Drop for Mask {
    fn drop(&mut self) {
        // SAFETY: the saved set is a valid one.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, ptr::null_mut()) };
    }
}
