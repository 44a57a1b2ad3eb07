//! A part of an object, with one check of its bounds, and the faults of several accesses, with one test.

#![allow(unsafe_code, reason = "guarded accesses within checked bounds")]

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::guard::AtomicWord;
use crate::peer::memory::Memory;

/// `LEN` bytes of an object, which lie within it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'m, const LEN: u64> {
    /// The offset of the part.
    at: u64,
    /// Where the part is mapped; `None` if the object is a simulated one.
    address: Option<NonNull<u8>>,
    memory: PhantomData<&'m Memory>,
}

/// The first failure of some accesses to [`Part`]s and [`Window`](super::Window)s.
///
/// Accesses return no error, as a test after each costs time. Loads that failed return arbitrary values, and accesses
/// after a failure may or may not be made. Callers [check](super::Machine::check_parts) before they rely on a loaded value, and
/// before a step that may follow only after the earlier ones.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// The address of the first fault; 0: none.
    pub(super) address: usize,
    /// The first error of a simulated object.
    error: Option<Error>,
}

impl Faults {
    /// Returns `true` if no access has failed.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.address == 0 && self.error.is_none()
    }

    /// Returns the value of an access to a simulated object, or keeps its error. Makes no access after an error.
    pub(super) fn keep<T: Default>(&mut self, access: impl FnOnce() -> Result<T>) -> T {
        if self.error.is_some() {
            return T::default();
        }
        access().unwrap_or_else(|error| {
            self.error = Some(error);
            T::default()
        })
    }

    /// Fails if an access to a simulated object has failed.
    pub(super) fn take_error(&mut self) -> Result<()> {
        self.error.take().map_or(Ok(()), Err)
    }

    /// Fails if an access to `memory` has faulted.
    #[inline(always)]
    pub(super) fn check(&self, memory: &Memory) -> Result<()> {
        match self.address {
            0 => Ok(()),
            address => Err(memory.fault(address)),
        }
    }
}

impl<'m, const LEN: u64> Part<'m, LEN> {
    /// Returns the part at `at` of a simulated object.
    pub(super) fn simulated(at: u64) -> Self {
        Self { at, address: None, memory: PhantomData }
    }

    /// Returns the part at `at` of `memory`. Fails with `OutOfBounds` if it does not lie within.
    #[inline(always)]
    pub(super) fn mapped(memory: &'m Memory, at: u64) -> Result<Self> {
        let address = NonNull::new(memory.at(at, LEN)?);
        Ok(Self { at, address, memory: PhantomData })
    }

    /// Returns the offset in the object of a word in the part.
    pub(crate) fn offset(self, word: u64) -> u64 {
        self.at + word
    }

    /// Loads a word with acquire ordering.
    #[inline(always)]
    pub(super) fn load<W: AtomicWord>(self, word: u64, faults: &mut Faults) -> W {
        let address = self.address_of(word, size_of::<W>() as u64);
        // SAFETY: the word lies in the part, which lies in a mapping that lives as long, here and below; a misaligned
        // address counts as a fault.
        unsafe { W::load(address, &mut faults.address) }
    }

    /// Stores a word with release ordering.
    #[inline(always)]
    pub(super) fn store<W: AtomicWord>(self, word: u64, value: W, faults: &mut Faults) {
        let address = self.address_of(word, size_of::<W>() as u64);
        // SAFETY: as above.
        unsafe { W::store(address, value, Ordering::Release, &mut faults.address) }
    }

    /// Returns the address of a word of `size` bytes.
    ///
    /// # Panics
    /// If the word does not lie in the part, or the part is a simulated one. The compiler knows both.
    #[inline(always)]
    fn address_of(self, word: u64, size: u64) -> *mut u8 {
        assert!(word <= LEN - size);
        let address = self.address.expect("the part is mapped");
        address.as_ptr().wrapping_add(word as usize)
    }
}
