//! A bare ring of one sender and one receiver: plain atomics in shared memory, cached positions, no guards, no waiting.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::peers::shared::SharedBytes;
use crate::reason::Reason;

/// The offset of the first slot. The tail is at offset 0, and the head at 128.
const SLOTS: usize = 256;

/// One side of the ring. Each side uses its own part of the methods.
pub struct Ring<T> {
    memory: Rc<SharedBytes>,
    mask: u64,
    own: u64,
    other: u64,
    pauses: u32,
    message: std::marker::PhantomData<T>,
}

impl<T: Copy> Ring<T> {
    /// Allocates the memory of a ring of `depth` messages, a power of two.
    pub fn memory(depth: usize) -> Result<Rc<SharedBytes>, Reason> {
        SharedBytes::new(SLOTS + depth * size_of::<T>()).map(Rc::new)
    }

    /// Creates a side that pauses so often between two looks.
    pub fn new(memory: &Rc<SharedBytes>, depth: usize, pauses: u32) -> Self {
        let (memory, message) = (Rc::clone(memory), std::marker::PhantomData);
        Self { memory, mask: depth as u64 - 1, own: 0, other: 0, pauses, message }
    }

    #[inline(always)]
    fn word(&self, at: usize) -> &AtomicU64 {
        // SAFETY: the words lie in the memory, aligned, and only atomics refer to them.
        unsafe { &*self.memory.base().add(at).cast() }
    }

    #[inline(always)]
    fn slot(&self) -> *mut T {
        let index = (self.own & self.mask) as usize;
        // SAFETY: all slots lie in the memory.
        unsafe { self.memory.base().add(SLOTS).cast::<T>().add(index) }
    }

    #[inline(always)]
    fn pause(&self) {
        (0..self.pauses).for_each(|_| std::hint::spin_loop());
    }

    #[inline(always)]
    pub fn send(&mut self, value: &T) {
        while self.own - self.other > self.mask {
            self.other = self.word(128).load(Ordering::Acquire);
            if self.own - self.other > self.mask {
                self.pause();
            }
        }
        // As this library's sender does: the line of a slot some messages ahead is fetched before it is stored to.
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the instruction is a hint, which never faults.
        unsafe {
            let ahead = self.slot().cast::<u8>().wrapping_add(128);
            std::arch::asm!("prefetchw [{}]", in(reg) ahead, options(nostack, readonly));
        }
        // SAFETY: the slot is free, and the receiver does not look at it before the tail has passed.
        unsafe { self.slot().write(*value) };
        self.own += 1;
        self.word(0).store(self.own, Ordering::Release);
    }

    #[inline(always)]
    pub fn receive(&mut self, into: &mut T) {
        while self.own == self.other {
            self.other = self.word(0).load(Ordering::Acquire);
            if self.own == self.other {
                self.pause();
            }
        }
        // SAFETY: the slot has a message, and the sender does not touch it before the head has passed.
        unsafe { *into = self.slot().read() };
        self.own += 1;
        self.word(128).store(self.own, Ordering::Release);
    }
}
