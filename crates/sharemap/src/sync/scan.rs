//! A look through all lanes for who announces something.

use super::kind::{self, Kind};
use super::waiter::Waiter;
use crate::error::Result;
use crate::peer::Machine;

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
        let (place, kind) = kind::parse(what);
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
