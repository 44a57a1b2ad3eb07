//! Announcements: the offset of a lock, with what the lane's thread does there in the low bits (FORMAT.md,
//! "What a lane announces").
//!
//! A thread announces a lock before it may come to hold it, and withdraws the announcement after the release
//! is complete. Recovery of a dead lane therefore finds every lock that the thread may have held, or may have
//! released without waking its waiters. `recover` in `sync/mod.rs` chooses what to do for each kind.

use std::time::Duration;

use crate::error::Result;
use crate::peer::{KIND_MASK, Machine, OFFSET_MASK};

/// The kind of an announcement: its low four bits. 0 is an empty slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Kind {
    /// Holds or requests a mutex.
    Mutex = 1,
    /// Holds or requests the word of a reader-writer lock, for writing or upgradably.
    Writer = 2,
    /// Holds or requests a reader-writer lock for reading.
    Reader = 3,
    /// Has released a read lock, and is about to wake the writers that waited for that.
    Leaving = 4,
    /// Waits on a condition variable.
    Sleeper = 5,
    /// Waits for a counting semaphore or an event.
    Waiter = 6,
    /// Runs, or requests to run, the action of a once.
    Once = 7,
    /// Waits for a permit of a semaphore, or has released one.
    PermitWaiter = 8,
    /// Is about to take a permit; the upper bits hold the number of the change.
    PermitTaker = 9,
    /// Holds a permit.
    Permit = 10,
    /// Is about to release a permit; the upper bits hold the number of the change.
    PermitReturner = 11,
    /// A member of a barrier that has not arrived.
    Member = 12,
    /// A member of a barrier that has arrived at the round in the upper bits.
    Arrived = 13,
}

impl Kind {
    /// Returns the announcement of this kind for the lock at `at`.
    pub(crate) fn of(self, at: u64) -> u64 {
        debug_assert!(at & !OFFSET_MASK == 0, "locks lie on multiples of 16");
        at | self as u64
    }

    /// Returns `true` for the announcements of a barrier's members.
    pub(crate) fn is_member(self) -> bool {
        matches!(self, Self::Member | Self::Arrived)
    }
}

/// Splits an announcement into offset and kind. A misbehaving peer may have written it, so the kind may be
/// unknown, and the offset may lie anywhere.
pub(crate) fn parse(announcement: u64) -> (u64, Option<Kind>) {
    let kind = match announcement & KIND_MASK {
        1 => Some(Kind::Mutex),
        2 => Some(Kind::Writer),
        3 => Some(Kind::Reader),
        4 => Some(Kind::Leaving),
        5 => Some(Kind::Sleeper),
        6 => Some(Kind::Waiter),
        7 => Some(Kind::Once),
        8 => Some(Kind::PermitWaiter),
        9 => Some(Kind::PermitTaker),
        10 => Some(Kind::Permit),
        11 => Some(Kind::PermitReturner),
        12 => Some(Kind::Member),
        13 => Some(Kind::Arrived),
        _ => None,
    };
    (announcement & OFFSET_MASK, kind)
}

/// Calls `visit` with each lane and each of its announcements, until `visit` returns `false`.
///
/// The announcements are no snapshot: each is loaded at a moment of its own.
pub(crate) fn lanes<W: Machine>(
    machine: &W,
    mut visit: impl FnMut(u32, u64) -> Result<bool>,
) -> Result<()> {
    for lane in 0..machine.lanes() {
        for index in 0..W::SLOTS {
            let announcement = machine.load_64(machine.slots(lane) + 8 * index)?;
            if announcement != 0 && !visit(lane, announcement)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Probes each lane of other threads that announces the lock at `at` with a kind in `kinds`, once, and
/// recovers dead participants. Stops at the moment `until`, so that a table full of announcements cannot
/// delay the caller.
pub(crate) fn probe_all<W: Machine>(
    machine: &W,
    kinds: &[Kind],
    at: u64,
    until: Option<Duration>,
) -> Result<()> {
    // Lanes are visited in order, so only the lane that was probed last can come again.
    let mut last = None;
    lanes(machine, |lane, announcement| {
        let (offset, kind) = parse(announcement);
        let is_meant = offset == at && kind.is_some_and(|kind| kinds.contains(&kind));
        if !is_meant || last == Some(lane) || machine.is_own(lane) {
            return Ok(true);
        }
        if until.is_some_and(|until| machine.now() >= until) {
            return Ok(false);
        }
        last = Some(lane);
        machine.probe_liveness(lane).map(|_| true)
    })
}
