//! Queries about a lock that need no participant: read-only and copy-on-write openings can make them.

use super::mutex::MutexHandle;
use super::rwlock::RwLockHandle;
use crate::error::Result;
use crate::peer::Machine;
use crate::sync::api::shared_type::LockRef;
use crate::sync::core::word::{self, POISONED};

/// Loads the lock's word, which is the first of every lock (FORMAT.md, "Locks").
fn word(place: &LockRef) -> Result<u32> {
    place.session().load_32(place.at).map_err(|error| place.with_object_path(error))
}

/// Implements the queries for handles, with the first paragraph of the documentation of `is_locked`.
macro_rules! queries {
    ($($handle:ident: $is_locked:literal)*) => { $(
        impl<T: ?Sized> $handle<T> {
            #[doc = $is_locked]
            ///
            /// The answer may be outdated when the call returns. An owner that died counts until the
            /// lock is recovered. A read-only opening can make this call.
            ///
            /// # Errors
            /// - `Fault` - the memory could not be accessed.
            pub fn is_locked(&self) -> Result<bool> {
                Ok(word::owner(word(self.place())?).is_some())
            }

            /// Returns `true` if an owner poisoned the lock, and no owner since has called
            /// `mark_consistent` and released the lock.
            ///
            /// # Errors
            /// - `Fault` - the memory could not be accessed.
            pub fn is_poisoned(&self) -> Result<bool> {
                Ok(word(self.place())? & POISONED != 0)
            }
        }
    )* };
}

queries! {
    MutexHandle: "Returns `true` if a thread of any process holds the mutex."
    RwLockHandle:
        "Returns `true` if a thread of any process holds the lock for writing, or with the right \
         to upgrade. Readers do not count."
}
