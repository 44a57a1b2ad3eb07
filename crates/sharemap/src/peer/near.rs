//! A part of an object whose bounds were checked once, as one thread uses it.

#![allow(unsafe_code, reason = "guarded accesses within checked bounds")]

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::Result;
use crate::guard::AtomicWord;
use crate::peer::lanes::Way;
use crate::peer::seat::Spot;
use crate::peer::session::Session;
use crate::peer::world::{Announced, Settled, World};
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
        let address = session.memory.span(at, E::LEN)?;
        Ok(Self { session: Arc::clone(session), at, address, extent: PhantomData })
    }

    /// For the accesses of one operation.
    #[inline(always)]
    pub(crate) fn near(&self) -> Near<'_> {
        let (at, address) = (self.at, self.address);
        Near { session: &self.session, at, address, len: E::LEN }
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
pub(crate) struct Near<'a> {
    session: &'a Session,
    at: u64,
    /// Of `len` bytes in the session's memory.
    address: *mut u8,
    len: u64,
}

impl<'a> Near<'a> {
    /// Where the part begins.
    #[inline(always)]
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Announces by a plain store.
    #[inline(always)]
    pub(crate) fn announce_in_spot(&self, what: u64) -> Result<Spot<'a>> {
        self.session.announce_by(what, Way::Plain)
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
        self.session.withdraw_from(spot)
    }

    /// The address of so many bytes, in the part or elsewhere.
    #[inline(always)]
    fn address(&self, at: u64, size: u64) -> Result<*mut u8> {
        let offset = at.wrapping_sub(self.at);
        if size <= self.len && offset <= self.len - size {
            Ok(self.address.wrapping_add(offset as usize))
        } else {
            self.session.memory.span(at, size)
        }
    }

    #[inline(always)]
    fn word<W: AtomicWord, T>(
        &self,
        at: u64,
        access: impl FnOnce(*mut u8, &mut usize) -> T,
    ) -> Result<T> {
        let address = self.address(at, size_of::<W>() as u64)?;
        self.session.memory.access(address, access)
    }
}

impl World for Near<'_> {
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
        unsafe { self.session.memory.read_at(address, into) }
    }

    #[inline(always)]
    fn write(&self, at: u64, from: &[u8]) -> Result<()> {
        let address = self.address(at, from.len() as u64)?;
        // SAFETY: as above.
        unsafe { self.session.memory.write_at(address, from) }
    }

    fn lanes(&self) -> u32 {
        self.session.lanes()
    }

    fn slots(&self, lane: u32) -> u64 {
        self.session.slots(lane)
    }

    fn is_own(&self, lane: u32) -> bool {
        self.session.is_own(lane)
    }

    #[inline(always)]
    fn announce(&self, what: u64) -> Result<Announced> {
        self.session.announce(what)
    }

    #[inline(always)]
    fn announce_first(&self, what: u64) -> Result<Announced> {
        self.session.announce_first(what)
    }

    fn announced(&self, what: u64) -> Result<Option<Announced>> {
        self.session.announced(what)
    }

    #[inline(always)]
    fn withdraw(&self, announced: Announced) -> Result<()> {
        self.session.withdraw(announced)
    }

    #[inline(always)]
    fn stores_release(&self) -> bool {
        fence::is_registered()
    }

    fn fence_all(&self) -> bool {
        self.session.fence_all()
    }

    fn wait(&self, at: u64, expected: u32, at_most: Duration) -> Result<()> {
        self.session.wait(at, expected, at_most)
    }

    fn wake(&self, at: u64, how_many: u32) -> Result<u32> {
        self.session.wake(at, how_many)
    }

    fn nap(&self, time: Duration) {
        self.session.nap(time);
    }

    fn spin(&self, turn: u32) -> bool {
        self.session.spin(turn)
    }

    fn settle(&self, lane: u32) -> Result<Settled> {
        self.session.settle(lane)
    }

    fn settle_rarely(&self, lane: u32) -> Result<Settled> {
        self.session.settle_rarely(lane)
    }

    fn now(&self) -> Duration {
        self.session.now()
    }

    fn milliseconds(&self) -> u32 {
        self.session.milliseconds()
    }

    fn note_wait(&self, since: u32) {
        self.session.note_wait(since);
    }

    fn is_cancelled(&self) -> bool {
        self.session.is_cancelled()
    }
}
