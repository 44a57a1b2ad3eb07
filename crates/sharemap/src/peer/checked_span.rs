//! Parts of an object. Their bounds are checked once, so that operations on locks need not check them at each
//! access.

#![allow(unsafe_code, reason = "guarded accesses within checked bounds")]

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::Result;
use crate::guard::{self, AtomicWord};
use crate::peer::lane_cache::{AnnouncementRef, LaneCache};
use crate::peer::lanes::cached_lane;
use crate::peer::machine::{
    Announced, Exchange, LeadWord, Liveness, Machine, Slot, delegate_world,
};
use crate::peer::memory::Memory;
use crate::peer::session::Session;
use crate::peer::window::Window;
use crate::sys::fence;

/// A type that determines the length of a part of an object.
pub(crate) trait FixedLen {
    /// The length in bytes.
    const LEN: u64;
}

/// A part of an object, of length `E::LEN`, that is known to lie within the object.
pub(crate) struct TypedSpan<E> {
    session: Arc<Session>,
    /// The session's key, or [`NO_KEY`].
    key: AtomicU64,
    /// The offset of the part.
    at: u64,
    /// The address at which the part is mapped.
    address: *mut u8,
    extent: PhantomData<fn() -> E>,
}

/// No session has this key, so that no lane is found by it.
const NO_KEY: u64 = u64::MAX;

// SAFETY: the address is the mapping's, which lives as long as the session, and may be used by any
// thread; accesses are guarded.
unsafe impl<E> Send for TypedSpan<E> {}
// SAFETY: as above.
unsafe impl<E> Sync for TypedSpan<E> {}

impl<E: FixedLen> TypedSpan<E> {
    /// Creates the part at offset `at`. Fails with `OutOfBounds` if it does not lie within the object.
    pub(crate) fn new(session: &Arc<Session>, at: u64) -> Result<Self> {
        let address = session.memory.at(at, E::LEN)?;
        let key = AtomicU64::new(session.key);
        Ok(Self { session: Arc::clone(session), key, at, address, extent: PhantomData })
    }

    /// Returns the memory of the object.
    #[inline(always)]
    pub(crate) fn memory(&self) -> &Memory {
        &self.session.memory
    }

    /// Returns the first bytes of the part.
    #[inline(always)]
    pub(crate) fn window<const LEN: u64>(&self) -> Window<'_, LEN> {
        const { assert!(LEN <= E::LEN) }
        // SAFETY: `new` has checked the bounds, and the session lives as long as the borrow.
        unsafe { Window::new(self.memory(), self.address) }
    }

    /// Returns access to the part for one operation.
    #[inline(always)]
    pub(crate) fn checked(&self) -> CheckedSpan<'_> {
        let (session, at, address) = (&self.session, self.at, self.address);
        CheckedSpan { session, at, address, len: E::LEN, fault: Cell::new(0) }
    }

    /// Returns an empty slot of a lane that this thread has claimed, to announce something in. `None` unless
    /// nothing is unusual: the key tells that of the handle, and the slot's record all else.
    ///
    /// The slot is recorded as in use until it is withdrawn.
    #[inline(always)]
    pub(crate) fn ready_slot(&self) -> Option<AnnouncementRef<'_>> {
        cached_lane(self.key.load(Ordering::Relaxed), &self.session).and_then(LaneCache::take_ready)
    }

    /// Makes [`ready_slot`](Self::ready_slot) return `None`, on every thread, though perhaps not at once. For
    /// a handle that must tell something to its next caller.
    pub(crate) fn disable_ready_slots(&self) {
        self.key.store(NO_KEY, Ordering::Relaxed);
    }

    /// Reverts [`disable_ready_slots`](Self::disable_ready_slots).
    pub(crate) fn enable_ready_slots(&self) {
        self.key.store(self.session.key, Ordering::Relaxed);
    }
}

impl<E> fmt::Debug for TypedSpan<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedSpan").field("at", &self.at).finish_non_exhaustive()
    }
}

/// One operation's access to an object, of which one part has checked bounds.
///
/// An offset in the part costs no check at run time: where the operation is inlined, the compiler knows its
/// distance from `at` and the constant `len`. Other offsets are checked.
///
/// Faults are tested for once, at the end of the operation or of a part of it, as a test after each access
/// costs time: accesses succeed meanwhile, and loads that faulted return arbitrary values. The operation must
/// check [`fault`](Self::fault) before it relies on a loaded value, and before a step that may follow only
/// after the earlier ones.
#[derive(Debug)]
pub(crate) struct CheckedSpan<'a> {
    /// Not loaded unless needed.
    session: &'a Arc<Session>,
    /// The offset of the part.
    at: u64,
    /// The address of the part: `len` bytes in the session's memory.
    address: *mut u8,
    len: u64,
    /// The address of the first fault; 0: none.
    fault: Cell<usize>,
}

impl CheckedSpan<'_> {
    /// Returns the offset of the part.
    #[inline(always)]
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Returns the address of the first fault of the operation; 0: all accesses succeeded.
    #[inline(always)]
    pub(crate) fn fault(&self) -> usize {
        self.fault.get()
    }

    fn memory(&self) -> &Memory {
        &self.session.memory
    }

    /// Returns the address of `size` bytes at offset `at`, in the part or elsewhere in the object.
    #[inline(always)]
    fn address(&self, at: u64, size: u64) -> Result<*mut u8> {
        let offset = at.wrapping_sub(self.at);
        if size <= self.len && offset <= self.len - size {
            Ok(self.address.wrapping_add(offset as usize))
        } else {
            self.memory().at(at, size)
        }
    }

    /// Makes an access at `address`, and keeps its fault.
    #[inline(always)]
    fn access<T>(&self, address: *mut u8, access: impl FnOnce(*mut u8, &mut usize) -> T) -> T {
        let mut fault = self.fault.get();
        let value = access(address, &mut fault);
        self.fault.set(fault);
        value
    }
}

impl Machine for CheckedSpan<'_> {
    #[inline(always)]
    fn load_32(&self, at: u64) -> Result<u32> {
        // SAFETY: the address lies in the session's memory, here and below.
        Ok(self.access(self.address(at, 4)?, |address, fault| unsafe { u32::load(address, fault) }))
    }

    #[inline(always)]
    fn load_64(&self, at: u64) -> Result<u64> {
        // SAFETY: as above.
        Ok(self.access(self.address(at, 8)?, |address, fault| unsafe { u64::load(address, fault) }))
    }

    #[inline(always)]
    fn store_32(&self, at: u64, value: u32) -> Result<()> {
        self.access(self.address(at, 4)?, |address, fault| unsafe {
            // SAFETY: as above.
            u32::store(address, value, Ordering::Release, fault);
        });
        Ok(())
    }

    #[inline(always)]
    fn acquire_and_load<const LEAD: u64>(&self, at: u64, mine: u32) -> Result<(Exchange, u64)> {
        let word = self.address(at, LEAD + 8)?;
        let (found, reached, lead) = self.access(word, |word, fault| unsafe {
            // SAFETY: as above, for all bytes up to the end of the last load, here and below.
            guard::acquire_and_load::<LEAD>(word, mine, fault)
        });
        Ok((Exchange { found, word, reached }, lead))
    }

    #[inline(always)]
    fn acquire_and_load_two<const LEAD: u64>(
        &self,
        at: u64,
        mine: u32,
    ) -> Result<(Exchange, u64, u64)> {
        let word = self.address(at, LEAD + 8)?;
        let (found, reached, next, lead) = self.access(word, |word, fault| unsafe {
            // SAFETY: as above.
            guard::acquire_and_load_two::<LEAD>(word, mine, fault)
        });
        Ok((Exchange { found, word, reached }, next, lead))
    }

    #[inline(always)]
    fn load_two<const LEAD: u64>(&self, at: u64) -> Result<(u64, u64)> {
        let address = self.address(at, LEAD + 8)?;
        Ok(self.access(address, |address, fault| unsafe {
            // SAFETY: as above.
            guard::load_two::<LEAD>(address, fault)
        }))
    }

    #[inline(always)]
    fn store_and_release<W: LeadWord, const LEAD: u64, const GATE: u64>(
        &self,
        word: u64,
        lead: W,
    ) -> Result<u32> {
        let address = self.address(word, (LEAD + 8).max(GATE + 4))?;
        Ok(self.access(address, |address, fault| unsafe {
            // SAFETY: as above.
            W::store_and_release::<LEAD, GATE>(address, lead, fault)
        }))
    }

    #[inline(always)]
    fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        let address = self.address(at, into.len() as u64)?;
        // SAFETY: as above.
        self.access(address, |address, fault| unsafe {
            self.memory().read_at(address, into, fault);
        });
        Ok(())
    }

    #[inline(always)]
    fn write(&self, at: u64, from: &[u8]) -> Result<()> {
        let (address, mut fault) = (self.address(at, from.len() as u64)?, 0);
        // SAFETY: as above.
        unsafe { self.memory().write_at(address, from, &mut fault) };
        // A fault is reported at once: the next store may publish these bytes, so all of them must have been
        // written.
        if fault == 0 { Ok(()) } else { Err(self.memory().fault(fault)) }
    }

    #[inline(always)]
    fn stores_release(&self) -> bool {
        fence::is_registered()
    }

    delegate_world!(session: exchanges lanes waits others notes);
}

impl Slot<CheckedSpan<'_>> for AnnouncementRef<'_> {
    #[inline(always)]
    fn named(self) -> u32 {
        AnnouncementRef::named(self)
    }

    #[inline(always)]
    fn group(self) -> u32 {
        self.cache.group.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn store(self, machine: &CheckedSpan<'_>, what: u64) -> Result<()> {
        machine.access(self.address(), |_, fault| self.put(what, fault));
        Ok(())
    }

    #[inline(always)]
    fn swap(self, machine: &CheckedSpan<'_>, what: u64) -> Result<()> {
        machine.access(self.address(), |_, fault| self.exchange(what, fault));
        Ok(())
    }

    /// The record of the lane must be valid. After a fault, too, the slot counts as empty, and no test is needed: it
    /// announces a lock that is not held any more, for which recovery only wakes, and the next announcement
    /// replaces it.
    #[inline(always)]
    fn withdraw(self, machine: &CheckedSpan<'_>) -> Result<()> {
        machine.access(self.address(), |_, fault| self.clear(fault));
        self.put_back();
        Ok(())
    }
}
