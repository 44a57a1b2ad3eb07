//! What can be told of a lock without taking part, also by those who only look.

use super::mutex::MutexHandle;
use super::rwlock::RwLockHandle;
use super::slices::{MutexSliceHandle, RwLockSliceHandle};
use crate::error::Result;
use crate::layout::{Element, Pod, Shareable};
use crate::peer::Machine;
use crate::sync::api::shared_type::LockRef;
use crate::sync::core::word::{self, POISONED};

/// The lock's word, which is its first.
fn word(place: &LockRef) -> Result<u32> {
    place.session().load_32(place.at).map_err(|error| place.with_object_path(error))
}

macro_rules! looks {
    ($($handle:ident of $element:ident: $had:literal)*) => { $(
        impl<T: $element + Shareable> $handle<T> {
            #[doc = $had]
            ///
            /// # Errors
            /// [`Fault`](crate::ErrorKind::Fault).
            pub fn is_locked(&self) -> Result<bool> {
                Ok(word::owner(word(self.place())?).is_some())
            }

            /// Returns `true` if an owner poisoned the lock, and no owner since has accepted the value.
            ///
            /// # Errors
            /// [`Fault`](crate::ErrorKind::Fault).
            pub fn is_poisoned(&self) -> Result<bool> {
                Ok(word(self.place())? & POISONED != 0)
            }
        }
    )* };
}

looks! {
    MutexHandle of Element: "Whether somebody has it, at the moment, dead or alive."
    MutexSliceHandle of Pod: "Whether somebody has it, at the moment, dead or alive."
    RwLockHandle of Element:
        "Whether somebody has it to write, or may go on to, at the moment, dead or alive. Readers \
         are not counted."
    RwLockSliceHandle of Pod:
        "Whether somebody has it to write, or may go on to, at the moment, dead or alive. Readers \
         are not counted."
}
