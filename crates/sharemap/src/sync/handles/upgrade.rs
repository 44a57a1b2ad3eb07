//! From reading upgradably to writing, whatever the lock is of.

use std::time::Duration;

use crate::error::{ErrorKind, Result};
use crate::peer::World;
use crate::sync::anchor::Place;
use crate::sync::mutex::Held;
use crate::sync::rwlock::RawRwLock;

/// Waits until all who read have left. A copy of a guard in a child process has nothing to go on from.
pub(super) fn upgrade(
    place: &Place,
    raw: RawRwLock,
    held: Option<&Held>,
    until: Option<Duration>,
) -> Result<()> {
    match held {
        Some(held) if place.is_own(held.lane()) => {
            raw.upgrade(place, held, until).map_err(|error| place.named(error))
        }
        _ => Err(place
            .error(ErrorKind::Invalid, "go on to write")
            .with_detail("the process that this one was forked from has it, and this one has not")),
    }
}
