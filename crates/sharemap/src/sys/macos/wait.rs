//! Blocks on a word of shared memory, by `os_sync_wait_on_address`, which needs macOS 14.4. On older systems,
//! a waiter sleeps for at most a millisecond and returns, so that its caller polls the word.

#![allow(unsafe_code, reason = "foreign functions on shared addresses")]

use std::ffi::{CStr, c_int, c_void};
use std::mem;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::io::Errno;

use crate::error::Result;
use crate::sys::WaitPlace;
use crate::sys::posix::errno;

/// `OS_SYNC_WAIT_ON_ADDRESS_SHARED`, and the flag of the same value for wakes.
const SHARED: u32 = 1;
/// `OS_CLOCK_MACH_ABSOLUTE_TIME`.
const MONOTONIC: u32 = 32;
/// The interval of polling on systems without the calls.
const LOOK: Duration = Duration::from_millis(1);

type WaitFor = unsafe extern "C" fn(*mut c_void, u64, usize, u32, u32, u64) -> c_int;
type Wake = unsafe extern "C" fn(*mut c_void, usize, u32) -> c_int;

#[derive(Clone, Copy)]
struct Calls {
    wait: WaitFor,
    wake_one: Wake,
    wake_all: Wake,
}

/// Returns the system's calls. `None` before macOS 14.4.
fn calls() -> Option<Calls> {
    static CALLS: OnceLock<Option<Calls>> = OnceLock::new();
    let find = |name: &CStr| {
        // SAFETY: the name ends with a zero.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        (!found.is_null()).then_some(found)
    };
    *CALLS.get_or_init(|| {
        // SAFETY: the system's functions with these names have these types.
        unsafe {
            Some(Calls {
                wait: mem::transmute::<*mut c_void, WaitFor>(find(
                    c"os_sync_wait_on_address_with_timeout",
                )?),
                wake_one: mem::transmute::<*mut c_void, Wake>(find(
                    c"os_sync_wake_by_address_any",
                )?),
                wake_all: mem::transmute::<*mut c_void, Wake>(find(
                    c"os_sync_wake_by_address_all",
                )?),
            })
        }
    })
}

/// The resources for waits on an object's words. macOS needs none, because the kernel identifies a word by its
/// memory.
#[derive(Debug)]
pub(crate) struct Waits;

impl Waits {
    pub(crate) fn new(_id: [u8; 16]) -> Self {
        Self
    }

    /// Blocks this thread until a wake if the word is `expected`, for at most `timeout`. May return early.
    ///
    /// # Safety
    /// As for every port: the caller must own the span of the word.
    pub(crate) unsafe fn wait(
        &self,
        place: &WaitPlace,
        expected: u32,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let Some(calls) = calls() else {
            std::thread::sleep(timeout.unwrap_or(LOOK).min(LOOK));
            return Ok(());
        };
        // The call needs a timeout. The caller loads the word again after an early return.
        let timeout = timeout.unwrap_or(Duration::from_secs(3600));
        let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX).max(1);
        // SAFETY: the kernel checks the address.
        let result = unsafe {
            (calls.wait)(place.word.cast(), expected.into(), 4, SHARED, MONOTONIC, nanoseconds)
        };
        match last(result) {
            Ok(_) | Err(Errno::TIMEDOUT | Errno::INTR | Errno::AGAIN) => Ok(()),
            Err(errno) => Err(errno::error("wait for a lock", errno)),
        }
    }

    /// Wakes one waiter, or all if `count` is greater than 1. Returns 1 if there was a waiter and 0 otherwise,
    /// or always 0 on systems without the calls.
    ///
    /// # Safety
    /// As for every port: the caller must own the span of the word.
    pub(crate) unsafe fn wake(&self, place: &WaitPlace, count: u32) -> Result<u32> {
        let Some(calls) = calls() else { return Ok(0) };
        if count > 1 {
            // SAFETY: the kernel checks the address.
            let result = unsafe { (calls.wake_all)(place.word.cast(), 4, SHARED) };
            return woken(result);
        }
        // SAFETY: the kernel checks the address.
        let result = unsafe { (calls.wake_one)(place.word.cast(), 4, SHARED) };
        woken(result)
    }
}

/// Returns the number of threads to report for the result of a wake.
fn woken(result: c_int) -> Result<u32> {
    match last(result) {
        Ok(_) => Ok(1),
        Err(Errno::NOENT) => Ok(0),
        Err(errno) => Err(errno::error("wake the waiters of a lock", errno)),
    }
}

/// Converts the result of a call that reports errors by `errno`.
fn last(result: c_int) -> std::result::Result<c_int, Errno> {
    if result >= 0 {
        return Ok(result);
    }
    Err(errno::last())
}
