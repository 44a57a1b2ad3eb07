//! Parts of an object. Their bounds are checked once, so that operations on locks need not check them
//! at each access.

#![allow(unsafe_code, reason = "guarded accesses within checked bounds")]

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::guard::AtomicWord;
use crate::peer::machine::{AnnounceOrdering, Announced, Liveness, Machine, delegate_world};
use crate::peer::memory::Memory;
use crate::peer::seat::Spot;
use crate::peer::session::Session;
use crate::sys::fence;

/// A type that determines the length of a part of an object.
pub(crate) trait Extent {
    /// The length in bytes.
    const LEN: u64;
}

/// A part of an object, of length `E::LEN`, that is known to lie within the object.
pub(crate) struct Span<E> {
    session: Arc<Session>,
    /// The offset of the part.
    at: u64,
    /// The address at which the part is mapped.
    address: *mut u8,
    extent: PhantomData<fn() -> E>,
}

// SAFETY: the address is the mapping's, which lives as long as the session, and may be used by any
// thread; accesses are guarded.
unsafe impl<E> Send for Span<E> {}
// SAFETY: as above.
unsafe impl<E> Sync for Span<E> {}

impl<E: Extent> Span<E> {
    /// Creates the part at offset `at`. Fails with `OutOfBounds` if it does not lie within the object.
    pub(crate) fn new(session: &Arc<Session>, at: u64) -> Result<Self> {
        let address = session.memory.at(at, E::LEN)?;
        Ok(Self { session: Arc::clone(session), at, address, extent: PhantomData })
    }

    /// Returns access to the part for one operation. Each access returns its fault.
    #[inline(always)]
    pub(crate) fn near(&self) -> Near<'_> {
        self.near_with(AtOnce)
    }

    /// Returns access to the part for one operation that tests for faults once: the caller must check
    /// [`Near::fault`] at the end, and rely on no loaded value before.
    #[inline(always)]
    pub(crate) fn near_asked_later(&self) -> Near<'_, Later> {
        self.near_with(Later(Cell::new(0)))
    }

    #[inline(always)]
    fn near_with<F>(&self, faults: F) -> Near<'_, F> {
        let (at, address) = (self.at, self.address);
        Near { session: &self.session, at, address, len: E::LEN, faults }
    }
}

impl<E> fmt::Debug for Span<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Span").field("at", &self.at).finish_non_exhaustive()
    }
}

/// One operation's access to an object, of which one part has checked bounds.
///
/// An offset in the part costs no check at run time: where the operation is inlined, the compiler
/// knows its distance from `at` and the constant `len`. Other offsets are checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Near<'a, F = AtOnce> {
    session: &'a Session,
    /// The offset of the part.
    at: u64,
    /// The address of the part: `len` bytes in the session's memory.
    address: *mut u8,
    len: u64,
    /// The way in which faults are reported.
    faults: F,
}

/// A way to report faults: at once, or at the end of an operation.
pub(crate) trait Faults {
    /// Returns the address of an earlier fault; 0: none.
    fn before(&self) -> usize;
    /// Returns the result of an access that began with [`before`](Self::before) and ended with
    /// `fault`, the address of the first fault; 0: none.
    fn judge<T>(&self, memory: &Memory, fault: usize, value: T) -> Result<T>;
}

/// Reports a fault as the error of its access.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtOnce;

impl Faults for AtOnce {
    #[inline(always)]
    fn before(&self) -> usize {
        0
    }

    #[inline(always)]
    fn judge<T>(&self, memory: &Memory, fault: usize, value: T) -> Result<T> {
        if fault == 0 { Ok(value) } else { Err(memory.fault(fault)) }
    }
}

/// Keeps the address of the first fault for [`Near::fault`]. Accesses succeed meanwhile, and loads
/// that faulted return arbitrary values.
#[derive(Debug)]
pub(crate) struct Later(Cell<usize>);

impl Faults for Later {
    #[inline(always)]
    fn before(&self) -> usize {
        self.0.get()
    }

    #[inline(always)]
    fn judge<T>(&self, _: &Memory, fault: usize, value: T) -> Result<T> {
        self.0.set(fault);
        Ok(value)
    }
}

impl Near<'_, Later> {
    /// Returns the address of the first fault of the operation; 0: all accesses succeeded.
    #[inline(always)]
    pub(crate) fn fault(&self) -> usize {
        self.faults.0.get()
    }
}

impl<'a, F: Faults> Near<'a, F> {
    /// Returns the offset of the part.
    #[inline(always)]
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Returns the error that reports a fault at `address`.
    pub(crate) fn fault_at(&self, address: usize) -> Error {
        self.session.memory.fault(address)
    }

    /// Announces `what` by a plain release store, and returns the slot.
    #[inline(always)]
    pub(crate) fn announce_in_spot(&self, what: u64) -> Result<Spot<'a>> {
        self.session.announce_by(what, AnnounceOrdering::Plain)
    }

    /// Returns the mapped slot of an announcement. `None` if no lane of this process can have it.
    pub(crate) fn spot_of(&self, announced: Announced) -> Option<Spot<'a>> {
        self.session.spot(announced)
    }

    /// Returns `true` unless this process was forked after the announcement was made. `spot` must be an
    /// announcement that the calling thread has made.
    #[inline(always)]
    pub(crate) fn is_mine(&self, spot: Spot<'_>) -> bool {
        self.session.is_mine(spot)
    }

    /// Empties the slot of `spot`, which [`is_mine`](Self::is_mine) has confirmed.
    #[inline(always)]
    pub(crate) fn withdraw_from(&self, spot: Spot<'_>) -> Result<()> {
        self.access(spot.address(), |_, fault| spot.clear(fault))
    }

    /// Returns the address of `size` bytes at offset `at`, in the part or elsewhere in the object.
    #[inline(always)]
    fn address(&self, at: u64, size: u64) -> Result<*mut u8> {
        let offset = at.wrapping_sub(self.at);
        if size <= self.len && offset <= self.len - size {
            Ok(self.address.wrapping_add(offset as usize))
        } else {
            self.session.memory.at(at, size)
        }
    }

    /// Accesses the word at offset `at`.
    #[inline(always)]
    fn word<W: AtomicWord, T>(
        &self,
        at: u64,
        access: impl FnOnce(*mut u8, &mut usize) -> T,
    ) -> Result<T> {
        let address = self.address(at, size_of::<W>() as u64)?;
        self.access(address, access)
    }

    /// Makes an access at `address`, and reports its fault in the way of this operation.
    #[inline(always)]
    fn access<T>(
        &self,
        address: *mut u8,
        access: impl FnOnce(*mut u8, &mut usize) -> T,
    ) -> Result<T> {
        self.access_by(&self.faults, address, access)
    }

    /// Makes an access at `address`, and reports its fault in the way of `faults`.
    #[inline(always)]
    fn access_by<T>(
        &self,
        faults: &impl Faults,
        address: *mut u8,
        access: impl FnOnce(*mut u8, &mut usize) -> T,
    ) -> Result<T> {
        let mut fault = faults.before();
        let value = access(address, &mut fault);
        faults.judge(&self.session.memory, fault, value)
    }
}

impl<F: Faults> Machine for Near<'_, F> {
    #[inline(always)]
    fn load_32(&self, at: u64) -> Result<u32> {
        // SAFETY: the address lies in the session's memory, here and below.
        self.word::<u32, _>(at, |address, fault| unsafe { u32::load(address, fault) })
    }

    #[inline(always)]
    fn store_32(&self, at: u64, value: u32) -> Result<()> {
        self.word::<u32, _>(at, |address, fault| unsafe {
            // SAFETY: as above.
            u32::store(address, value, Ordering::Release, fault);
        })
    }

    #[inline(always)]
    fn store_and_load_32(&self, at: u64, value: u32, elsewhere: u64) -> Result<u32> {
        let to = self.address(at, 4)?;
        self.word::<u32, _>(elsewhere, |from, fault| unsafe {
            // SAFETY: as above, for both addresses.
            u32::store(to, value, Ordering::Release, fault);
            u32::load(from, fault)
        })
    }

    #[inline(always)]
    fn swap_32(&self, at: u64, value: u32) -> Result<u32> {
        // SAFETY: as above.
        self.word::<u32, _>(at, |address, fault| unsafe { u32::swap(address, value, fault) })
    }

    #[inline(always)]
    fn compare_exchange_32(&self, at: u64, current: u32, new: u32) -> Result<u32> {
        self.word::<u32, _>(at, |address, fault| unsafe {
            // SAFETY: as above.
            u32::compare_exchange(address, current, new, fault)
        })
    }

    #[inline(always)]
    fn load_64(&self, at: u64) -> Result<u64> {
        // SAFETY: as above.
        self.word::<u64, _>(at, |address, fault| unsafe { u64::load(address, fault) })
    }

    #[inline(always)]
    fn store_64(&self, at: u64, value: u64) -> Result<()> {
        self.word::<u64, _>(at, |address, fault| unsafe {
            // SAFETY: as above.
            u64::store(address, value, Ordering::Release, fault);
        })
    }

    #[inline(always)]
    fn swap_64(&self, at: u64, value: u64) -> Result<u64> {
        // SAFETY: as above.
        self.word::<u64, _>(at, |address, fault| unsafe { u64::swap(address, value, fault) })
    }

    #[inline(always)]
    fn compare_exchange_64(&self, at: u64, current: u64, new: u64) -> Result<u64> {
        self.word::<u64, _>(at, |address, fault| unsafe {
            // SAFETY: as above.
            u64::compare_exchange(address, current, new, fault)
        })
    }

    #[inline(always)]
    fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        let address = self.address(at, into.len() as u64)?;
        // SAFETY: as above.
        self.access(address, |address, fault| unsafe {
            self.session.memory.read_at(address, into, fault);
        })
    }

    #[inline(always)]
    fn write(&self, at: u64, from: &[u8]) -> Result<()> {
        let address = self.address(at, from.len() as u64)?;
        let write = |address, fault: &mut usize| {
            // SAFETY: as above.
            unsafe { self.session.memory.write_at(address, from, fault) };
        };
        // A fault is reported at once even if the operation reports faults at its end: the next store
        // may publish these bytes, so all of them must have been written.
        self.access_by(&AtOnce, address, write)
    }

    #[inline(always)]
    fn stores_release(&self) -> bool {
        fence::is_registered()
    }

    delegate_world!(session: lanes waits others);
}
