//! Memory that the kernel zeroes in a forked child, by which a child recognizes that it is one.

#![allow(unsafe_code, reason = "maps memory")]

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};

use rustix::mm::{self, MapFlags, ProtFlags};

use super::map::page_size;
use crate::error::Result;
use crate::sys::posix::errno;

pub(crate) use crate::sys::posix::fork::{HeldOff, hold_off};

/// Private memory, zeroed at first, that a child finds zeroed again, after a raw `clone`, too.
///
/// If the kernel cannot do that ([`wipes`] returns `false`), the child has a copy and must compare
/// [`process`].
#[derive(Debug)]
pub(crate) struct WipeOnFork {
    base: *mut u8,
    len: usize,
}

// SAFETY: the value owns plain memory.
unsafe impl Send for WipeOnFork {}
// SAFETY: a shared reference only returns the address.
unsafe impl Sync for WipeOnFork {}

impl WipeOnFork {
    /// Maps at least `len` bytes.
    pub(crate) fn new(len: usize) -> Result<Self> {
        let len = len.next_multiple_of(page_size());
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: maps new anonymous memory at an address that the kernel chooses.
        let base = unsafe {
            mm::mmap_anonymous(ptr::null_mut(), len, protection, flags | MapFlags::NORESERVE)
        }
        .map_err(|errno| errno::memory_error("map memory for an attachment", errno))?;
        let memory = Self { base: base.cast(), len };
        if wipes() {
            // SAFETY: the pages belong to this value and are still zeroed.
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
        // SAFETY: the mapping belongs to this value; a child has its own.
        let _ = unsafe { mm::munmap(self.base.cast(), self.len) };
    }
}

/// Returns `true` if a child finds [`WipeOnFork`] memory zeroed. Kernels before 4.14 cannot do that, and an
/// emulator that accepts unknown advice follows none.
pub(crate) fn wipes() -> bool {
    // No lock: a thread that held it at a fork does not exist in the child. Concurrent calls find the same
    // answer.
    static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);
    const UNKNOWN: u8 = 2;
    match ANSWER.load(Ordering::Relaxed) {
        UNKNOWN => {}
        answer => return answer == 1,
    }
    // SAFETY: the range is empty. The kernel checks the advice before the range.
    let takes = |advice| unsafe { libc::madvise(ptr::null_mut(), 0, advice) } == 0;
    let answer = takes(libc::MADV_WIPEONFORK) && !takes(libc::c_int::MAX);
    ANSWER.store(answer.into(), Ordering::Relaxed);
    answer
}

/// Returns a number, not 0, that distinguishes this process from those it was forked from. A process id
/// does not: the first process of each pid namespace has id 1.
///
/// If memory is not wiped, or cannot be mapped, the number is the process id.
pub(crate) fn process() -> u32 {
    /// The last number given. A child continues from its parent's, so it gets a number of its own.
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

/// Returns the word that holds the number, in memory that a child finds zeroed. The word is mapped once
/// and never unmapped. `None` if there is no such memory.
fn own_number() -> Option<&'static AtomicU32> {
    static WORD: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());
    // No lock: a thread that held it at a fork does not exist in the child. Of two threads that map a word,
    // the first to store its address wins, and the other unmaps its own.
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
    // SAFETY: the word begins a page that was zeroed and stays mapped.
    (word != NO_WORD.as_ptr()).then(|| unsafe { &*word })
}

/// The address that stands for no word: mapping one failed.
const NO_WORD: NonNull<AtomicU32> = NonNull::dangling();
