//! What a lane announces: the offset of a lock, with the kind of its part in it in the low bits.

use crate::error::Result;
use crate::peer::{KIND_MASK, Machine, OFFSET_MASK};
use crate::sync::core::waiter::Waiter;

/// The low four bits of an announcement. 0 is none: the slot is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Kind {
    /// Holds or asks for a mutex.
    Mutex = 1,
    /// Holds, or asks for, the word of a lock for readers and writers.
    Writer = 2,
    /// Reads, or asks to.
    Reader = 3,
    /// Reads no more; about to wake who waited for that.
    Leaving = 4,
    /// Sleeps on a condition variable.
    Sleeper = 5,
    /// Waits for a signal or an event.
    Waiter = 6,
    /// Does, or asks to do, what is done once.
    Once = 7,
    /// Waits for a permit, or has given one back.
    PermitWaiter = 8,
    /// About to take a permit; the number of the change is in the upper bits.
    PermitTaker = 9,
    /// Has a permit.
    Permit = 10,
    /// About to give a permit back; the number of the change is in the upper bits.
    PermitReturner = 11,
    /// A member of a barrier that has not come.
    Member = 12,
    /// A member of a barrier; the round to which it has come is in the upper bits.
    Arrived = 13,
}

impl Kind {
    pub(crate) fn of(self, at: u64) -> u64 {
        debug_assert!(at & !OFFSET_MASK == 0, "locks lie on multiples of 16");
        at | self as u64
    }

    pub(crate) fn is_member(self) -> bool {
        matches!(self, Self::Member | Self::Arrived)
    }
}

/// The offset and kind of an announcement; anybody may have written it.
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

/// Calls `visit` with each lane and what it announces, as it is at the moment it is looked at.
/// `visit` says whether to go on.
pub(crate) fn lanes<W: Machine>(
    machine: &W,
    mut visit: impl FnMut(u32, u64) -> Result<bool>,
) -> Result<()> {
    for lane in 0..machine.lanes() {
        for index in 0..W::SLOTS {
            let what = machine.load_64(machine.slots(lane) + 8 * index)?;
            if what != 0 && !visit(lane, what)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Probes each lane that announces the lock at `at` with a kind in `kinds` once, and recovers dead
/// participants. Stops at the deadline of `waiter`, so that a table full of announcements cannot
/// delay the caller.
pub(crate) fn probe_all<W: Machine>(
    machine: &W,
    kinds: &[Kind],
    at: u64,
    waiter: Option<&Waiter>,
) -> Result<()> {
    let mut last = None;
    lanes(machine, |lane, what| {
        let (place, kind) = parse(what);
        let is_meant = place == at && kind.is_some_and(|kind| kinds.contains(&kind));
        if !is_meant || last == Some(lane) || machine.is_own(lane) {
            return Ok(true);
        }
        if waiter.is_some_and(|waiter| waiter.is_over(machine)) {
            return Ok(false);
        }
        last = Some(lane);
        machine.probe_liveness(lane).map(|_| true)
    })
}
