//! Memory that a forked child finds empty: how it learns that it is one.

#![allow(unsafe_code, reason = "maps memory")]

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};

use rustix::mm::{self, MapFlags, ProtFlags};

use super::map::page_size;
use crate::error::Result;
use crate::sys::posix::errno;

pub(crate) use crate::sys::posix::fork::{HeldOff, hold_off};

/// Zeroed private memory that is zero again in a child, however it was forked.
///
/// Where the system does not wipe ([`wipes`]), a child has a copy, and has to compare [`process`].
#[derive(Debug)]
pub(crate) struct WipeOnFork {
    base: *mut u8,
    len: usize,
}

// SAFETY: it owns plain memory.
unsafe impl Send for WipeOnFork {}
// SAFETY: as above; it only gives the address.
unsafe impl Sync for WipeOnFork {}

impl WipeOnFork {
    pub(crate) fn new(len: usize) -> Result<Self> {
        let len = len.next_multiple_of(page_size());
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: new anonymous memory at an address of the kernel's choice.
        let base = unsafe {
            mm::mmap_anonymous(ptr::null_mut(), len, protection, flags | MapFlags::NORESERVE)
        }
        .map_err(|errno| errno::memory_error("map memory for an attachment", errno))?;
        let memory = Self { base: base.cast(), len };
        if wipes() {
            // SAFETY: our own pages.
            unsafe { mm::madvise(base, len, mm::Advice::LinuxWipeOnFork) }
                .map_err(|errno| errno::memory_error("map memory for an attachment", errno))?;
        }
        Ok(memory)
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }
}

impl Drop for WipeOnFork {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, in a child too.
        let _ = unsafe { mm::munmap(self.base.cast(), self.len) };
    }
}

/// Whether [`WipeOnFork`] memory is empty in a child. Kernels before 4.14 cannot, and an emulator that
/// accepts any advice follows none.
pub(crate) fn wipes() -> bool {
    // No lock: a child may not wait for a thread that it does not have.
    static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);
    const UNKNOWN: u8 = 2;
    match ANSWER.load(Ordering::Relaxed) {
        UNKNOWN => {}
        answer => return answer == 1,
    }
    // SAFETY: no page is concerned; the kernel looks at the advice first.
    let takes = |advice| unsafe { libc::madvise(ptr::null_mut(), 0, advice) } == 0;
    let answer = takes(libc::MADV_WIPEONFORK) && !takes(libc::c_int::MAX);
    ANSWER.store(answer.into(), Ordering::Relaxed);
    answer
}

/// A number for this process, and for none of those that it was forked from: their ids it may have, as
/// the first of each namespace of ids has the same.
///
/// Where memory is not wiped, or none is to be had, it is the id after all.
pub(crate) fn process() -> u32 {
    /// A child goes on from its parent's.
    static LAST: AtomicU32 = AtomicU32::new(0);
    let Some(number) = own_number() else { return std::process::id() };
    match number.load(Ordering::Relaxed) {
        0 => {
            let next = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
            match number.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => next,
                Err(found) => found,
            }
        }
        known => known,
    }
}

/// Where the number is, in memory that is wiped; made once, and then never given back.
fn own_number() -> Option<&'static AtomicU32> {
    static WORD: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());
    // No lock: a child may not wait for a thread that it does not have.
    let mut word = WORD.load(Ordering::Acquire);
    if word.is_null() {
        let memory = if wipes() { WipeOnFork::new(size_of::<AtomicU32>()).ok() } else { None };
        let new = memory.as_ref().map_or(NO_WORD.as_ptr(), |memory| memory.base().cast());
        match WORD.compare_exchange(word, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                std::mem::forget(memory);
                word = new;
            }
            Err(found) => word = found,
        }
    }
    // SAFETY: it is aligned and as long as a word, zeros in the beginning, and stays mapped.
    (word != NO_WORD.as_ptr()).then(|| unsafe { &*word })
}

/// Says that there is none.
const NO_WORD: NonNull<AtomicU32> = NonNull::dangling();
