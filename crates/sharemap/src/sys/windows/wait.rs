//! Sleeping on a word of shared memory: semaphores with names, as `WaitOnAddress` does not reach
//! other processes.
//!
//! An object's wait buckets each count their sleepers and have a semaphore, named by the object's
//! id and the bucket. Whoever sleeps counts itself, looks at the word again, and waits for the
//! semaphore; whoever wakes releases it once for each sleeper of the bucket, as several words share
//! it. Sleepers that die leave the count too high, which costs wake-ups without a reason, and one
//! that takes another's wake-up costs that one a bounded sleep.

#![allow(unsafe_code, reason = "handles, and counts in shared memory")]

use std::collections::HashMap;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use windows_sys::Win32::Foundation::WAIT_FAILED;
use windows_sys::Win32::System::Threading::{
    CreateSemaphoreW, INFINITE, ReleaseSemaphore, WaitForSingleObject,
};

use super::code;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{WaitPlace, arch};

/// More wake-ups than this are not kept.
const MOST: i32 = 1024;

/// The semaphores of one object, opened as they are needed.
#[derive(Debug)]
pub(crate) struct Waits {
    id: [u8; 16],
    open: Mutex<HashMap<u32, Arc<OwnedHandle>>>,
}

impl Waits {
    pub(crate) fn new(id: [u8; 16]) -> Self {
        Self { id, open: Mutex::default() }
    }

    fn semaphore(&self, bucket: u32) -> Result<Arc<OwnedHandle>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = open.get(&bucket) {
            return Ok(Arc::clone(semaphore));
        }
        let id: String = self.id.iter().map(|byte| format!("{byte:02x}")).collect();
        let name: Vec<u16> =
            format!("Local\\sharemap-{id}-{bucket}").encode_utf16().chain([0]).collect();
        // SAFETY: a terminated name; the handle is nobody else's.
        let semaphore = unsafe {
            let handle = CreateSemaphoreW(ptr::null(), 0, MOST, name.as_ptr());
            if handle.is_null() {
                return Err(code::last("wait at"));
            }
            Arc::new(OwnedHandle::from_raw_handle(handle))
        };
        open.insert(bucket, Arc::clone(&semaphore));
        Ok(semaphore)
    }

    /// # Safety
    /// The contract of a backend.
    pub(crate) unsafe fn wait(
        &self,
        place: &WaitPlace,
        expected: u32,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let semaphore = self.semaphore(place.bucket)?;
        let milliseconds = timeout.map_or(INFINITE, |timeout| {
            let rounded = timeout.as_nanos().div_ceil(1_000_000);
            u32::try_from(rounded).unwrap_or(INFINITE - 1).min(INFINITE - 1)
        });
        let mut fault = 0;
        // SAFETY: both words lie in a span of the caller's.
        let now = unsafe {
            arch::atomic_fetch_add_32(place.sleepers, 1, &mut fault);
            arch::atomic_load_32(place.word, &mut fault)
        };
        let mut result = 0;
        if fault == 0 && now == expected {
            // SAFETY: an open handle.
            result = unsafe { WaitForSingleObject(semaphore.as_raw_handle(), milliseconds) };
        }
        let failed = (result == WAIT_FAILED).then(|| code::last("wait at"));
        // SAFETY: as above.
        unsafe { arch::atomic_fetch_add_32(place.sleepers, u32::MAX, &mut fault) };
        match failed {
            _ if fault != 0 => Err(Error::new(ErrorKind::Fault, "wait at")),
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// # Safety
    /// The contract of a backend.
    pub(crate) unsafe fn wake(&self, place: &WaitPlace, _: u32) -> Result<u32> {
        let mut fault = 0;
        // An addition of nothing, so that it is not done before the word was changed.
        // SAFETY: the word lies in a span of the caller's.
        let sleepers = unsafe { arch::atomic_fetch_add_32(place.sleepers, 0, &mut fault) };
        if fault != 0 {
            return Err(Error::new(ErrorKind::Fault, "wake those who wait at"));
        }
        if sleepers == 0 {
            return Ok(0);
        }
        let semaphore = self.semaphore(place.bucket)?;
        let count = i32::try_from(sleepers).unwrap_or(MOST).min(MOST);
        // One that is full has wake-ups enough.
        // SAFETY: an open handle.
        unsafe { ReleaseSemaphore(semaphore.as_raw_handle(), count, ptr::null_mut()) };
        Ok(sleepers)
    }
}
