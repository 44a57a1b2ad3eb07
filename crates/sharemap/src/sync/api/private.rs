//! A guard's own copy of a value, and the way back.

use std::mem::MaybeUninit;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Element, Shareable};
use crate::peer::Machine;
use crate::sync::algorithms::mutex::ReleaseState;
use crate::sync::api::shared_type::LockRef;
use crate::sync::core::double_buffer::{DoubleBuffer, is_word};

/// A value as it was copied out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Private<T> {
    pub(super) value: T,
    /// Bit 0: which copy it came from; bit 1: it was changed; above: how the lock is to be left.
    state: u32,
}

const CHANGED: u32 = 2;
const LEAVE: u32 = ReleaseState::Died as u32 | ReleaseState::Poisoned as u32;

impl<T: Element + Shareable> Private<T> {
    /// Copies the value out. The caller has the lock.
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

    #[inline(always)]
    pub(super) fn change(&mut self) -> &mut T {
        self.state |= CHANGED;
        &mut self.value
    }

    #[inline(always)]
    pub(super) fn is_changed(&self) -> bool {
        self.state & CHANGED != 0
    }

    /// How the lock is to be left.
    #[inline(always)]
    pub(super) fn leave(&self) -> ReleaseState {
        ReleaseState::as_found(self.state)
    }

    #[inline(always)]
    pub(super) fn set_leave(&mut self, leave: ReleaseState) {
        self.state = self.state & !LEAVE | leave as u32;
    }

    /// Writes it back if it was changed, or if that is less than to ask. The caller has the lock,
    /// alone.
    #[inline(always)]
    pub(super) fn write<W: Machine>(&self, machine: &W, copies: DoubleBuffer) -> Result<()> {
        if is_word(size_of::<T>()) || self.is_changed() {
            copies.write(machine, self.state, self.value.as_bytes())
        } else {
            Ok(())
        }
    }
}

/// The bytes of a value that were all written.
#[allow(unsafe_code, reason = "bytes of a value without padding")]
#[inline(always)]
fn as_bytes<T: Element>(value: &mut MaybeUninit<T>) -> &mut [u8] {
    // SAFETY: so many bytes, initialised to zeros by who made it; any byte may be written.
    unsafe { std::slice::from_raw_parts_mut(value.as_mut_ptr().cast::<u8>(), size_of::<T>()) }
}

/// An error that a guard met when it was dropped, kept for the next call.
#[derive(Debug, Default)]
pub(super) struct Kept {
    any: AtomicBool,
    error: Mutex<Option<Error>>,
}

impl Kept {
    /// Keeps the first.
    #[cold]
    pub(super) fn keep(&self, error: Error) {
        let mut kept = self.error.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        kept.get_or_insert(error);
        self.any.store(true, Ordering::Release);
    }

    #[inline(always)]
    fn is_any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Gives what was kept, once.
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

/// Whether a panic began since the guard was made.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(super) enum Calm {
    No,
    Yes,
}

impl Calm {
    #[inline(always)]
    pub(super) fn now() -> Self {
        if std::thread::panicking() { Self::No } else { Self::Yes }
    }

    #[inline(always)]
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Yes) && std::thread::panicking()
    }
}
