//! A part of an object whose bounds were checked once, as one thread uses it.

#![allow(unsafe_code, reason = "guarded accesses within checked bounds")]

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::guard::AtomicWord;
use crate::peer::lanes::AnnounceOrdering;
use crate::peer::machine::{Announced, Liveness, Machine, delegate_world};
use crate::peer::memory::Memory;
use crate::peer::seat::Spot;
use crate::peer::session::Session;
use crate::sys::fence;

/// How long a part is, which the type tells.
pub(crate) trait Extent {
    const LEN: u64;
}

/// A part of an object, known to lie within it, of the length that `E` tells.
pub(crate) struct Span<E> {
    session: Arc<Session>,
    at: u64,
    address: *mut u8,
    extent: PhantomData<fn() -> E>,
}

// SAFETY: the address is the mapping's, which lives as long as the session, and may be used by any
// thread; accesses are guarded.
unsafe impl<E> Send for Span<E> {}
// SAFETY: as above.
unsafe impl<E> Sync for Span<E> {}

impl<E: Extent> Span<E> {
    /// The part at `at`.
    pub(crate) fn new(session: &Arc<Session>, at: u64) -> Result<Self> {
        let address = session.memory.at(at, E::LEN)?;
        Ok(Self { session: Arc::clone(session), at, address, extent: PhantomData })
    }

    /// For the accesses of one operation.
    #[inline(always)]
    pub(crate) fn near(&self) -> Near<'_> {
        self.near_with(AtOnce)
    }

    /// The same; whether all accesses succeeded is to be asked at the end.
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

/// An object, of which one part is accessed without a check that the compiler could not do: `at`
/// and `len` are known where an operation is inlined.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Near<'a, F = AtOnce> {
    session: &'a Session,
    at: u64,
    /// Of `len` bytes in the session's memory.
    address: *mut u8,
    len: u64,
    faults: F,
}

/// What becomes of a fault.
pub(crate) trait Faults {
    /// The address of one met before; 0: there was none.
    fn before(&self) -> usize;
    /// What comes of an access that found or left this address.
    fn judge<T>(&self, memory: &Memory, fault: usize, value: T) -> Result<T>;
}

/// It is an error at once.
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

/// It is kept, and what was loaded is not to be relied on before it was asked for.
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
    /// The address of a fault, if there was one; else 0.
    #[inline(always)]
    pub(crate) fn fault(&self) -> usize {
        self.faults.0.get()
    }
}

impl<'a, F: Faults> Near<'a, F> {
    /// Where the part begins.
    #[inline(always)]
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// What a fault at this address is to be told as.
    pub(crate) fn fault_at(&self, address: usize) -> Error {
        self.session.memory.fault(address)
    }

    /// Announces by a plain store.
    #[inline(always)]
    pub(crate) fn announce_in_spot(&self, what: u64) -> Result<Spot<'a>> {
        self.session.announce_by(what, AnnounceOrdering::Plain)
    }

    /// The spot of an announcement.
    pub(crate) fn spot_of(&self, announced: Announced) -> Option<Spot<'a>> {
        self.session.spot(announced)
    }

    /// Whether it is this thread's: not so in a process that was forked since.
    #[inline(always)]
    pub(crate) fn is_mine(&self, spot: Spot<'_>) -> bool {
        self.session.is_mine(spot)
    }

    /// Empties a spot that is this thread's.
    #[inline(always)]
    pub(crate) fn withdraw_from(&self, spot: Spot<'_>) -> Result<()> {
        self.access(spot.address(), |_, fault| spot.clear(fault))
    }

    /// The address of so many bytes, in the part or elsewhere.
    #[inline(always)]
    fn address(&self, at: u64, size: u64) -> Result<*mut u8> {
        let offset = at.wrapping_sub(self.at);
        if size <= self.len && offset <= self.len - size {
            Ok(self.address.wrapping_add(offset as usize))
        } else {
            self.session.memory.at(at, size)
        }
    }

    #[inline(always)]
    fn word<W: AtomicWord, T>(
        &self,
        at: u64,
        access: impl FnOnce(*mut u8, &mut usize) -> T,
    ) -> Result<T> {
        let address = self.address(at, size_of::<W>() as u64)?;
        self.access(address, access)
    }

    #[inline(always)]
    fn access<T>(
        &self,
        address: *mut u8,
        access: impl FnOnce(*mut u8, &mut usize) -> T,
    ) -> Result<T> {
        self.access_by(&self.faults, address, access)
    }

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
        // SAFETY: within the session's memory, here and below.
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
            // SAFETY: as above, both.
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
        // The next store may publish these bytes, so they must all be written.
        self.access_by(&AtOnce, address, write)
    }

    #[inline(always)]
    fn stores_release(&self) -> bool {
        fence::is_registered()
    }

    delegate_world!(session: lanes waits others);
}
