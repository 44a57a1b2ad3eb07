//! Sleeping on a word of shared memory: `os_sync_wait_on_address`, which came with macOS 14.4.
//! Before it, those who wait look once a millisecond.

#![allow(unsafe_code, reason = "foreign functions on shared addresses")]

use std::ffi::{CStr, c_int, c_void};
use std::mem;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::io::Errno;

use crate::error::Result;
use crate::sys::WaitPlace;
use crate::sys::posix::errno;

const SHARED: u32 = 1;
/// `OS_CLOCK_MACH_ABSOLUTE_TIME`.
const MONOTONIC: u32 = 32;
const LOOK: Duration = Duration::from_millis(1);

type WaitFor = unsafe extern "C" fn(*mut c_void, u64, usize, u32, u32, u64) -> c_int;
type Wake = unsafe extern "C" fn(*mut c_void, usize, u32) -> c_int;

#[derive(Clone, Copy)]
struct Calls {
    wait: WaitFor,
    wake_one: Wake,
    wake_all: Wake,
}

fn calls() -> Option<Calls> {
    static CALLS: OnceLock<Option<Calls>> = OnceLock::new();
    let find = |name: &CStr| {
        // SAFETY: a terminated name.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        (!found.is_null()).then_some(found)
    };
    *CALLS.get_or_init(|| {
        // SAFETY: the system's functions of these names have these types.
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
        let Some(calls) = calls() else {
            std::thread::sleep(timeout.unwrap_or(LOOK).min(LOOK));
            return Ok(());
        };
        // Without end is an hour at a time.
        let timeout = timeout.unwrap_or(Duration::from_secs(3600));
        let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX).max(1);
        // SAFETY: the kernel checks the address.
        let result = unsafe {
            (calls.wait)(place.word.cast(), expected.into(), 4, SHARED, MONOTONIC, nanoseconds)
        };
        match last(result) {
            Ok(_) | Err(Errno::TIMEDOUT | Errno::INTR | Errno::AGAIN) => Ok(()),
            Err(errno) => Err(errno::error("wait at", errno)),
        }
    }

    /// # Safety
    /// The contract of a backend.
    pub(crate) unsafe fn wake(&self, place: &WaitPlace, count: u32) -> Result<u32> {
        let Some(calls) = calls() else { return Ok(0) };
        if count > 1 {
            // SAFETY: the kernel checks the address.
            let result = unsafe { (calls.wake_all)(place.word.cast(), 4, SHARED) };
            return woken(result);
        }
        // SAFETY: as above.
        let result = unsafe { (calls.wake_one)(place.word.cast(), 4, SHARED) };
        woken(result)
    }
}

fn woken(result: c_int) -> Result<u32> {
    match last(result) {
        Ok(_) => Ok(1),
        Err(Errno::NOENT) => Ok(0),
        Err(errno) => Err(errno::error("wake those who wait at", errno)),
    }
}

fn last(result: c_int) -> std::result::Result<c_int, Errno> {
    if result >= 0 {
        return Ok(result);
    }
    Err(errno::last())
}
