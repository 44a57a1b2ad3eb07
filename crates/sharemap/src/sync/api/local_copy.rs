//! The local copy of a value that a guard holds, and panic states.

use std::mem::MaybeUninit;

use crate::error::{ErrorKind, Result};
use crate::layout::{Element, Shareable};
use crate::peer::{AnnouncementRef, Machine};
use crate::sync::algorithms::mutex::ReleaseState;
use crate::sync::api::shared_type::LockRef;
use crate::sync::core::double_buffer::{DoubleBuffer, LastStore, is_word};

/// A local copy of the value that a lock guards.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalCopy<T> {
    pub(super) value: T,
    /// Bit 0: the stored copy that the value was read from (FORMAT.md, "Mutex"). Bit 1: the value may
    /// have changed. Bit 2: the thread was panicking when it acquired the lock. Bits 17 and 18: the
    /// [`ReleaseState`].
    /// A word of 64 bits, so that no padding has to be kept beside it.
    state: u64,
}

const SELECTOR: u64 = 1;
const CHANGED: u64 = 2;
const PANICKING: u64 = 4;
const LEAVE: u64 = ReleaseState::Died as u64 | ReleaseState::Poisoned as u64;

impl<T: Element + Shareable> LocalCopy<T> {
    /// `true` if the value is so small that a guard of it can live in registers.
    pub(super) const FITS_REGISTERS: bool = size_of::<T>() <= 64;

    /// Copies the value out of the object, and checks that its bytes are a `T`. The caller must hold the
    /// lock.
    #[inline(always)]
    pub(super) fn read<W: Machine>(
        machine: &W,
        place: &LockRef,
        copies: DoubleBuffer,
        leave: ReleaseState,
        operation: &'static str,
    ) -> Result<Self> {
        let mut bytes = MaybeUninit::<T>::zeroed();
        let selector = copies.read(machine, as_bytes(&mut bytes))?;
        match T::try_read_from_bytes(as_bytes(&mut bytes)) {
            Ok(value) => {
                let panicking = if std::thread::panicking() { PANICKING } else { 0 };
                Ok(Self { value, state: u64::from(selector) | panicking | leave as u64 })
            }
            Err(_) => Err(place.error(ErrorKind::Invalid, operation)),
        }
    }

    /// Copies the value of a consistent lock out of the object, after `lead` was loaded
    /// ([`DoubleBuffer::read_after`]). The caller must hold the lock, and not be panicking.
    ///
    /// Returns `None` after an error, or if the bytes are not a `T`. After a fault, the value is arbitrary.
    #[inline(always)]
    pub(super) fn read_after<W: Machine>(
        machine: &W,
        copies: DoubleBuffer,
        lead: u64,
    ) -> Option<Self> {
        let mut bytes = MaybeUninit::<T>::zeroed();
        let selector = copies.read_after(machine, lead, as_bytes(&mut bytes)).ok()?;
        let value = T::try_read_from_bytes(as_bytes(&mut bytes)).ok()?;
        Some(Self { value, state: selector.into() })
    }

    /// Returns `true` if plain stores alone may release a lock that is held exclusively: it is to be left consistent,
    /// the thread does not panic, the slot is this process's and not the copy in a forked child, and the process is
    /// registered for membarrier.
    ///
    /// The answer stays the same while the guard is being released.
    #[inline(always)]
    pub(super) fn is_released_plainly(&self, slot: AnnouncementRef<'_>) -> bool {
        self.state & !(SELECTOR | CHANGED) == 0
            && !std::thread::panicking()
            && slot.releases_plainly()
    }

    /// Returns `true` if a panic has begun since the lock was acquired. The value may be half-changed then.
    pub(super) fn is_interrupted(&self) -> bool {
        self.state & PANICKING == 0 && std::thread::panicking()
    }

    /// Returns the value, to be changed: from now on it is written back.
    #[inline(always)]
    pub(super) fn change(&mut self) -> &mut T {
        // A word is always written back.
        if !is_word(size_of::<T>()) {
            self.state |= CHANGED;
        }
        &mut self.value
    }

    /// Returns `true` if the value may have changed.
    #[inline(always)]
    pub(super) fn is_changed(&self) -> bool {
        self.state & CHANGED != 0
    }

    /// Returns the state in which the guard leaves the lock.
    #[inline(always)]
    pub(super) fn leave(&self) -> ReleaseState {
        ReleaseState::as_found(self.state as u32)
    }

    #[inline(always)]
    pub(super) fn set_leave(&mut self, leave: ReleaseState) {
        self.state = self.state & !LEAVE | leave as u64;
    }

    /// Writes the value back like [`write`](Self::write), up to the last store, which the result describes.
    #[inline(always)]
    pub(super) fn write_before<W: Machine>(
        &self,
        machine: &W,
        copies: DoubleBuffer,
    ) -> Result<LastStore> {
        if is_word(size_of::<T>()) || self.is_changed() {
            copies.write_before(machine, self.state as u32, self.value.as_bytes())
        } else {
            Ok(LastStore::None)
        }
    }

    /// Writes the value back if it may have changed. A value that one store writes is always written,
    /// as the store costs less than the test. The caller must hold the lock exclusively.
    #[inline(always)]
    pub(super) fn write<W: Machine>(&self, machine: &W, copies: DoubleBuffer) -> Result<()> {
        if is_word(size_of::<T>()) || self.is_changed() {
            copies.write(machine, self.state as u32, self.value.as_bytes())
        } else {
            Ok(())
        }
    }
}

/// Returns the bytes of `value`. The caller must have initialised all of them.
#[allow(unsafe_code, reason = "bytes of a value without padding")]
#[inline(always)]
fn as_bytes<T: Element>(value: &mut MaybeUninit<T>) -> &mut [u8] {
    // SAFETY: the slice covers `value` exactly, and the caller has initialised its bytes to zeros. A
    // `MaybeUninit` may hold any bytes, so any may be written.
    unsafe { std::slice::from_raw_parts_mut(value.as_mut_ptr().cast::<u8>(), size_of::<T>()) }
}

/// Whether the thread was panicking when a guard was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PanicFlag {
    Calm,
    Panicking,
}

impl PanicFlag {
    /// Returns the present state of the thread.
    #[inline(always)]
    pub(super) fn now() -> Self {
        if std::thread::panicking() { Self::Panicking } else { Self::Calm }
    }

    /// Returns `true` if a panic has begun since this state. What the guard changed may be incomplete.
    #[inline(always)]
    pub(super) fn has_panicked_since(self) -> bool {
        self == Self::Calm && std::thread::panicking()
    }
}
