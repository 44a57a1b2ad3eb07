//! Waits on words of shared memory (`futex`).

#![allow(unsafe_code, reason = "raw system calls on shared addresses")]

use std::ffi::c_long;
use std::ptr;
use std::time::Duration;

use rustix::io::Errno;

use super::map::checked;
use crate::error::{ErrorKind, Result};
use crate::sys::WaitPlace;
use crate::sys::posix::errno;

/// The resources for waits on an object's words. Linux needs none: a futex between processes is identified
/// by the memory itself.
#[derive(Debug)]
pub(crate) struct Waits;

impl Waits {
    pub(crate) fn new(_id: [u8; 16]) -> Self {
        Self
    }

    /// Blocks until a wake if the word is `expected`, for at most `timeout`. May return early.
    ///
    /// # Safety
    /// The caller keeps the word's span mapped (`sys/contract.rs`).
    pub(crate) unsafe fn wait(
        &self,
        place: &WaitPlace,
        expected: u32,
        timeout: Option<Duration>,
    ) -> Result<()> {
        // This call's `timespec` has two `long`s. The C library's type may differ on 32-bit systems.
        let timeout = timeout.map(|timeout| {
            let seconds = c_long::try_from(timeout.as_secs()).unwrap_or(c_long::MAX);
            [seconds, timeout.subsec_nanos() as c_long]
        });
        let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        // The call has no private flag, so the kernel identifies the word by its memory, for all
        // processes. The relative timeout is measured on the monotonic clock.
        // SAFETY: the kernel checks the address.
        let result = unsafe {
            libc::syscall(libc::SYS_futex, place.word, libc::FUTEX_WAIT, expected, timeout)
        };
        match checked(result) {
            // Woken, not as expected, timed out, or interrupted: the caller loads the word again.
            Ok(_) | Err(Errno::AGAIN | Errno::TIMEDOUT | Errno::INTR) => Ok(()),
            Err(errno) => Err(failure("wait for a lock", errno)),
        }
    }

    /// Wakes up to `count` threads, of all processes, that wait on the word. Returns their number.
    ///
    /// # Safety
    /// The caller keeps the word's span mapped (`sys/contract.rs`).
    pub(crate) unsafe fn wake(&self, place: &WaitPlace, count: u32) -> Result<u32> {
        let count = count.min(i32::MAX as u32);
        // SAFETY: the kernel checks the address.
        let result = unsafe { libc::syscall(libc::SYS_futex, place.word, libc::FUTEX_WAKE, count) };
        checked(result)
            .map(|woken| woken as u32)
            .map_err(|errno| failure("wake the waiters of a lock", errno))
    }
}

/// Returns the error of a futex call that failed with `errno`.
#[cold]
fn failure(operation: &'static str, errno: Errno) -> crate::error::Error {
    let error = errno::error(operation, errno);
    match errno {
        // The page no longer exists, or an I/O error makes it inaccessible.
        Errno::FAULT => error.with_kind(ErrorKind::Fault),
        _ => error,
    }
}
