//! The local copy of a value that a guard holds, and the state of the guard.

use std::mem::MaybeUninit;

use crate::error::{ErrorKind, Result};
use crate::layout::Element;
use crate::peer::{AnnouncementRef, CheckedSpan, Machine};
use crate::sync::algorithms::exclusive::ReleaseState;
use crate::sync::api::shared_type::LockRef;
use crate::sync::core::double_buffer::{DoubleBuffer, LastStore, is_word};

/// A local copy of the value that a lock guards. The guard of a slice has a copy of `()`: nothing is copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalCopy<T> {
    pub(super) value: T,
    /// Bit 0: the stored copy that the value was read from (FORMAT.md, "Mutex"). Bit 1: the value may
    /// have changed. Bit 2: the thread was panicking when it acquired the lock. Bit 3: the lock is held
    /// upgradably. Bits 17 and 18: the [`ReleaseState`].
    /// A word of 64 bits, so that no padding has to be kept beside it.
    state: u64,
}

const SELECTOR: u64 = 1;
const CHANGED: u64 = 2;
const PANICKING: u64 = 4;
const UPGRADABLE: u64 = 8;
const LEAVE: u64 = ReleaseState::Died as u64 | ReleaseState::Poisoned as u64;

impl<T: Element> LocalCopy<T> {
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
                Ok(Self { value, state: u64::from(selector) | panicking() | leave as u64 })
            }
            Err(_) => Err(place.error(ErrorKind::Invalid, operation)),
        }
    }

    /// Copies the value of a consistent lock out of the object, after `lead` was loaded
    /// ([`DoubleBuffer::read_after`]). The caller must hold the lock, and not be panicking.
    ///
    /// Returns `None` after an error or a fault, or if the bytes are not a `T`. The caller tests for a fault at
    /// `lead`.
    #[inline(always)]
    pub(super) fn read_after(
        span: &CheckedSpan<'_>,
        copies: DoubleBuffer,
        lead: u64,
    ) -> Option<Self> {
        let mut bytes = MaybeUninit::<T>::zeroed();
        let selector = copies.read_after(span, lead, as_bytes(&mut bytes)).ok()?;
        // A word has been loaded as `lead`, and needs no second access.
        if !is_word(size_of::<T>()) && span.fault() != 0 {
            return None;
        }
        let value = T::try_read_from_bytes(as_bytes(&mut bytes)).ok()?;
        Some(Self { value, state: selector.into() })
    }

    /// Returns `true` if plain stores alone may release the lock: it is held exclusively and is to be left consistent,
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
    fn is_interrupted(&self) -> bool {
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
    fn is_changed(&self) -> bool {
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

    /// Records that the lock is held upgradably: the value is not written back.
    pub(super) fn set_upgradable(&mut self) {
        self.state |= UPGRADABLE;
    }

    /// Records that the lock is held for writing from now on. No change has been interrupted by an earlier panic.
    pub(super) fn set_upgraded(&mut self) {
        self.state = self.state & !(UPGRADABLE | PANICKING) | panicking();
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

    /// Writes the value back, unless it must be discarded, and returns the state in which to leave the lock. The
    /// caller must own the lock's word.
    pub(super) fn write_back<W: Machine>(
        &self,
        machine: &W,
        copies: DoubleBuffer,
    ) -> (Result<()>, ReleaseState) {
        let leave = self.leave();
        if self.state & UPGRADABLE != 0 || leave == ReleaseState::Poisoned {
            // A reader has changed nothing. A poisoned value that was not repaired stays as it is stored.
            return (Ok(()), leave);
        }
        if self.is_interrupted() {
            // A panic may have interrupted a change: the copy is discarded, and the next owner is told.
            return (Ok(()), ReleaseState::Died);
        }
        // A value that one store writes is always written, as the store costs less than the test.
        let written = if is_word(size_of::<T>()) || self.is_changed() {
            copies.write(machine, self.state as u32, self.value.as_bytes())
        } else {
            Ok(())
        };
        (written, leave)
    }
}

/// Returns [`PANICKING`] if the thread is panicking.
fn panicking() -> u64 {
    if std::thread::panicking() { PANICKING } else { 0 }
}

/// Returns the bytes of `value`. The caller must have initialised all of them.
#[allow(unsafe_code, reason = "bytes of a value without padding")]
#[inline(always)]
fn as_bytes<T: Element>(value: &mut MaybeUninit<T>) -> &mut [u8] {
    // SAFETY: the slice covers `value` exactly, and the caller has initialised its bytes to zeros. A
    // `MaybeUninit` may hold any bytes, so any may be written.
    unsafe { std::slice::from_raw_parts_mut(value.as_mut_ptr().cast::<u8>(), size_of::<T>()) }
}
