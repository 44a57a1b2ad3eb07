//! Sleeping on a word of shared memory: `futex`.

#![allow(unsafe_code, reason = "raw system calls on shared addresses")]

use std::ffi::c_long;
use std::ptr;
use std::time::Duration;

use rustix::io::Errno;

use super::map::checked;
use crate::error::{ErrorKind, Result};
use crate::sys::WaitPlace;
use crate::sys::posix::errno;

/// What waiting at an object takes: nothing here, as the kernel knows the memory.
#[derive(Debug)]
pub(crate) struct Waits;

impl Waits {
    pub(crate) fn new(_id: [u8; 16]) -> Self {
        Self
    }

    /// # Safety
    /// The contract of a backend.
    pub(crate) unsafe fn wait(
        &self,
        place: &WaitPlace,
        expected: u32,
        timeout: Option<Duration>,
    ) -> Result<()> {
        // The kernel's `timespec` of this call, with which 32-bit libraries do not always agree.
        let timeout = timeout.map(|timeout| {
            let seconds = c_long::try_from(timeout.as_secs()).unwrap_or(c_long::MAX);
            [seconds, timeout.subsec_nanos() as c_long]
        });
        let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the kernel checks the address and asks for a shared mapping; a relative timeout
        // is in monotonic time.
        let result = unsafe {
            libc::syscall(libc::SYS_futex, place.word, libc::FUTEX_WAIT, expected, timeout)
        };
        match checked(result) {
            Ok(_) | Err(Errno::AGAIN | Errno::TIMEDOUT | Errno::INTR) => Ok(()),
            Err(errno) => Err(failure("wait at", errno)),
        }
    }

    /// # Safety
    /// The contract of a backend.
    pub(crate) unsafe fn wake(&self, place: &WaitPlace, count: u32) -> Result<u32> {
        let count = count.min(i32::MAX as u32);
        // SAFETY: the kernel checks the address.
        let result = unsafe { libc::syscall(libc::SYS_futex, place.word, libc::FUTEX_WAKE, count) };
        checked(result)
            .map(|woken| woken as u32)
            .map_err(|errno| failure("wake those who wait at", errno))
    }
}

#[cold]
fn failure(operation: &'static str, errno: Errno) -> crate::error::Error {
    let error = errno::error(operation, errno);
    match errno {
        // A page that is gone, or that an I/O error keeps away.
        Errno::FAULT => error.with_kind(ErrorKind::Fault),
        _ => error,
    }
}
