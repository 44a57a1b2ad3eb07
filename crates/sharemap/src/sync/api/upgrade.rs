//! The upgrade from upgradable reading to writing, for locks over values and over elements.

use std::time::Duration;

use crate::error::{ErrorKind, Result};
use crate::peer::Machine;
use crate::sync::algorithms::mutex::Acquisition;
use crate::sync::algorithms::rwlock::RawRwLock;
use crate::sync::api::shared_type::LockRef;

/// Turns the upgradable lock `held` into a write lock, blocking until all readers have released it.
///
/// Fails with `Invalid` if `held` is a copy in a forked child: the lock belongs to the parent. If the
/// call fails in the owning process, the lock is upgradable as before.
pub(super) fn upgrade(
    place: &LockRef,
    raw: RawRwLock,
    held: Option<&Acquisition>,
    until: Option<Duration>,
) -> Result<()> {
    match held {
        Some(held) if place.is_own(held.lane()) => {
            raw.upgrade(place, held, until).map_err(|error| place.with_object_path(error))
        }
        _ => Err(place
            .error(ErrorKind::Invalid, "upgrade the lock")
            .with_detail("the parent of this forked process holds it; acquire it in this process")),
    }
}
