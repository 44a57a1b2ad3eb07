//! Blocks on a word of shared memory, by named semaphores: `WaitOnAddress` does not reach other processes.
//!
//! Each wait bucket of an object counts its waiters, and has a semaphore that is named by the object's id
//! and the bucket (FORMAT.md, "Wait buckets"). A waiter adds itself to the count, loads the word again, and
//! waits for the semaphore if the word is unchanged. A waker has changed the word before, and releases the
//! semaphore once for each waiter of the bucket, because several words share the bucket.
//!
//! - A waiter that dies leaves the count too high. Later wakes then release the semaphore too often, and
//!   waiters wake spuriously.
//! - A waiter of another word can consume a wake-up. The waiter that misses it sleeps until its timeout,
//!   which callers keep short.

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

/// The maximum count of a semaphore.
const MOST: i32 = 1024;

/// The semaphores of one object, each opened at its first use.
#[derive(Debug)]
pub(crate) struct Waits {
    id: [u8; 16],
    open: Mutex<HashMap<u32, Arc<OwnedHandle>>>,
}

impl Waits {
    /// Creates the set for the object with this id. Opens no semaphore.
    pub(crate) fn new(id: [u8; 16]) -> Self {
        Self { id, open: Mutex::default() }
    }

    /// Returns the semaphore of `bucket`. Opens it, or creates it if no process has it open.
    fn semaphore(&self, bucket: u32) -> Result<Arc<OwnedHandle>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = open.get(&bucket) {
            return Ok(Arc::clone(semaphore));
        }
        let id: String = self.id.iter().map(|byte| format!("{byte:02x}")).collect();
        let name: Vec<u16> =
            format!("Local\\sharemap-{id}-{bucket}").encode_utf16().chain([0]).collect();
        // SAFETY: the name ends with a zero. Nothing else owns the new handle.
        let semaphore = unsafe {
            let handle = CreateSemaphoreW(ptr::null(), 0, MOST, name.as_ptr());
            if handle.is_null() {
                return Err(code::last("wait for a lock"));
            }
            Arc::new(OwnedHandle::from_raw_handle(handle))
        };
        open.insert(bucket, Arc::clone(&semaphore));
        Ok(semaphore)
    }

    /// Blocks this thread while the word is `expected`, for at most `timeout`. May return early.
    ///
    /// # Safety
    /// As for every port: the caller must own the spans of both words.
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
        // The count comes before the load. A waker changes the word before it reads the count, so either
        // the load sees the change, or the waker sees this waiter. A death until the subtraction below
        // leaves the count too high.
        // SAFETY: both words lie in spans of the caller.
        let now = unsafe {
            arch::atomic_fetch_add_32(place.sleepers, 1, &mut fault);
            arch::atomic_load_32(place.word, &mut fault)
        };
        let mut result = 0;
        if fault == 0 && now == expected {
            // SAFETY: the handle is open.
            result = unsafe { WaitForSingleObject(semaphore.as_raw_handle(), milliseconds) };
        }
        let failed = (result == WAIT_FAILED).then(|| code::last("wait for a lock"));
        // SAFETY: as above.
        unsafe { arch::atomic_fetch_add_32(place.sleepers, u32::MAX, &mut fault) };
        match failed {
            _ if fault != 0 => Err(Error::new(ErrorKind::Fault, "wait for a lock")),
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Wakes the waiters of the word's bucket, at most `MOST` of them. Returns the count of waiters.
    ///
    /// # Safety
    /// As for every port: the caller must own the span of the word.
    pub(crate) unsafe fn wake(&self, place: &WaitPlace, _: u32) -> Result<u32> {
        let mut fault = 0;
        // A plain load could overtake the caller's store to the word. This read-modify-write cannot, so a
        // waiter that saw the old word is counted here.
        // SAFETY: the count lies in a span of the caller.
        let sleepers = unsafe { arch::atomic_fetch_add_32(place.sleepers, 0, &mut fault) };
        if fault != 0 {
            return Err(Error::new(ErrorKind::Fault, "wake the waiters of a lock"));
        }
        if sleepers == 0 {
            return Ok(0);
        }
        let semaphore = self.semaphore(place.bucket)?;
        let count = i32::try_from(sleepers).unwrap_or(MOST).min(MOST);
        // Fails, and adds nothing, if the count would exceed `MOST`. Wake-ups of earlier calls are left
        // then, and sleeps are bounded.
        // SAFETY: the handle is open.
        unsafe { ReleaseSemaphore(semaphore.as_raw_handle(), count, ptr::null_mut()) };
        Ok(sleepers)
    }
}
