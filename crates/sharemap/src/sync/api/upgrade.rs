//! From reading upgradably to writing, whatever the lock is of.

use std::time::Duration;

use crate::error::{ErrorKind, Result};
use crate::peer::Machine;
use crate::sync::algorithms::mutex::Acquisition;
use crate::sync::algorithms::rwlock::RawRwLock;
use crate::sync::api::shared_type::LockRef;

/// Waits until all who read have left. A copy of a guard in a child process has nothing to go on from.
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
            .error(ErrorKind::Invalid, "go on to write")
            .with_detail("the process that this one was forked from has it, and this one has not")),
    }
}
