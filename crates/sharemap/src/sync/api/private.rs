//! The local copy of a value that a guard holds, the errors of dropped guards, and panic states.

use std::mem::MaybeUninit;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Element, Shareable};
use crate::peer::Machine;
use crate::sync::algorithms::mutex::ReleaseState;
use crate::sync::api::shared_type::LockRef;
use crate::sync::core::double_buffer::{DoubleBuffer, is_word};

/// A local copy of the value that a lock guards.
#[derive(Clone, Copy, Debug)]
pub(super) struct Private<T> {
    pub(super) value: T,
    /// Bit 0: the stored copy that the value was read from (FORMAT.md, "Mutex"). Bit 1: the value may
    /// have changed. Bits 17 and 18: the [`ReleaseState`].
    state: u32,
}

const CHANGED: u32 = 2;
const LEAVE: u32 = ReleaseState::Died as u32 | ReleaseState::Poisoned as u32;

impl<T: Element + Shareable> Private<T> {
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
            Ok(value) => Ok(Self { value, state: selector | leave as u32 }),
            Err(_) => Err(place.error(ErrorKind::Invalid, operation)),
        }
    }

    /// Returns the value, to be changed: from now on it is written back.
    #[inline(always)]
    pub(super) fn change(&mut self) -> &mut T {
        self.state |= CHANGED;
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
        ReleaseState::as_found(self.state)
    }

    #[inline(always)]
    pub(super) fn set_leave(&mut self, leave: ReleaseState) {
        self.state = self.state & !LEAVE | leave as u32;
    }

    /// Writes the value back if it may have changed. A value that one store writes is always written,
    /// as the store costs less than the test. The caller must hold the lock exclusively.
    #[inline(always)]
    pub(super) fn write<W: Machine>(&self, machine: &W, copies: DoubleBuffer) -> Result<()> {
        if is_word(size_of::<T>()) || self.is_changed() {
            copies.write(machine, self.state, self.value.as_bytes())
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

/// The first error that dropping a guard met, kept for the handle's next call.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Set while `error` holds one, so that calls without an error need not lock.
    any: AtomicBool,
    error: Mutex<Option<Error>>,
}

impl Kept {
    /// Keeps `error`, unless an earlier one is still kept.
    #[cold]
    pub(super) fn keep(&self, error: Error) {
        let mut kept = self.error.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        kept.get_or_insert(error);
        self.any.store(true, Ordering::Release);
    }

    /// Returns `true` if an error may be kept. A thread may see the flag late, and then returns the error
    /// with a later call.
    #[inline(always)]
    fn is_any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Returns the error that is kept, if there is one, and keeps it no longer.
    #[inline(always)]
    pub(super) fn take(&self) -> Result<()> {
        if self.is_any() { self.take_slowly() } else { Ok(()) }
    }

    #[cold]
    #[inline(never)]
    fn take_slowly(&self) -> Result<()> {
        let mut kept = self.error.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        self.any.store(false, Ordering::Release);
        kept.take().map_or(Ok(()), Err)
    }
}

/// The panic state of the thread when a guard was made: `Yes` if the thread was not panicking.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(super) enum Calm {
    No,
    Yes,
}

impl Calm {
    /// Returns the present state of the thread.
    #[inline(always)]
    pub(super) fn now() -> Self {
        if std::thread::panicking() { Self::No } else { Self::Yes }
    }

    /// Returns `true` if a panic has begun since this state. What the guard changed may be incomplete.
    #[inline(always)]
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Yes) && std::thread::panicking()
    }
}
