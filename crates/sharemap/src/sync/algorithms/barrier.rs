//! A place where members wait until all have come; if one dies, all are told.
//!
//! Who is a member, and who has come, is in the members' own slots; the state has only the number
//! of the round. Whoever finds that all have come begins the next.

use std::time::Duration;

use crate::error::{ErrorKind, Result};
use crate::peer::{Announced, Machine};
use crate::sync::core::announcement::{self, Kind};
use crate::sync::core::gate::{self, Wake};
use crate::sync::core::waiter::{Change, OWNED, Waiter};

// The state is at the start: whether a member died in this round, whether the last round ended by a
// restart, and above them the number of the round.
const BROKEN: u32 = 1;
const RESTARTED: u32 = 2;
const ROUND: u32 = 4;
const GATE: u64 = 4;
/// How many members make it full.
const MEMBERS: u64 = 8;

const NUMBER_SHIFT: u32 = 48;

/// A barrier in an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawBarrier {
    at: u64,
}

/// That this thread is a member.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(in crate::sync) announced: Announced,
}

fn round(state: u32) -> u32 {
    state / ROUND
}

/// What the slot of a member says who has come in the round.
fn arrived(at: u64, state: u32) -> u64 {
    u64::from(round(state) & 0xffff) << NUMBER_SHIFT | Kind::Arrived.of(at)
}

/// Whether the slot of a member says that it has come in this state's round. What it says of an
/// earlier one stays there until it comes again.
pub(in crate::sync) fn has_come(what: u64, at: u64, state: u32) -> bool {
    what == arrived(at, state)
}

impl RawBarrier {
    /// Bytes that it takes: zeros but for the number of members, of 32 bits at [`Self::MEMBERS_AT`].
    pub(crate) const SIZE: u64 = 16;
    pub(crate) const MEMBERS_AT: u64 = MEMBERS;

    /// The barrier at `at`, a multiple of 16.
    pub(crate) fn new(at: u64) -> Self {
        Self { at }
    }

    /// Becomes a member, of whom there are not more than the barrier was made for. `None` if it is
    /// full; of two who come for the last place at once, neither may get it.
    pub(crate) fn join<W: Machine>(self, machine: &W) -> Result<Option<Membership>> {
        let announced = machine.announce_seq_cst(Kind::Member.of(self.at))?;
        let full = self.is_too_full(machine).and_then(|full| {
            if full {
                // Places of the dead, for whom perhaps nobody waits.
                self.probe_members(machine, None)?;
                return self.is_too_full(machine);
            }
            Ok(false)
        });
        match full {
            Ok(false) => Ok(Some(Membership { announced })),
            Ok(true) => machine.withdraw(announced).map(|()| None),
            Err(error) => {
                let _ = machine.withdraw(announced);
                Err(error)
            }
        }
    }

    fn is_too_full<W: Machine>(self, machine: &W) -> Result<bool> {
        let mut members = 0;
        announcement::lanes(machine, |_, what| {
            let (at, kind) = announcement::parse(what);
            members += u32::from(at == self.at && kind.is_some_and(Kind::is_member));
            Ok(true)
        })?;
        Ok(members > machine.load_32(self.at + MEMBERS)?)
    }

    /// Gives the membership up: another may join in its place.
    pub(crate) fn leave<W: Machine>(self, machine: &W, membership: Membership) -> Result<()> {
        machine.withdraw(membership.announced)
    }

    /// Waits until all have come. Gives whether it is this one who opened the way. One who runs out
    /// of time counts as come, and may wait again.
    pub(crate) fn wait<W: Machine>(
        self,
        machine: &W,
        membership: &Membership,
        until: Option<Duration>,
    ) -> Result<bool> {
        let gate = self.at + GATE;
        let mut waiter =
            Waiter::new("wait at the barrier", self.at, gate, Change::Atomic, OWNED, until);
        let state = machine.load_32(self.at)?;
        if state & BROKEN != 0 {
            return Err(waiter.error(ErrorKind::Broken));
        }
        machine.swap_64(membership.announced.slot, arrived(self.at, state))?;
        if self.have_all_come(machine, state)? {
            let found = machine.compare_exchange_32(self.at, state, next(state))?;
            if found == state {
                gate::open(machine, gate, Wake::All)?;
                return Ok(true);
            }
        }
        self.await_round(machine, round(state), &mut waiter)
    }

    fn have_all_come<W: Machine>(self, machine: &W, state: u32) -> Result<bool> {
        let mut missing = machine.load_32(self.at + MEMBERS)?;
        announcement::lanes(machine, |_, what| {
            missing = missing.saturating_sub(u32::from(has_come(what, self.at, state)));
            Ok(missing > 0)
        })?;
        Ok(missing == 0)
    }

    fn await_round<W: Machine>(self, machine: &W, mine: u32, waiter: &mut Waiter) -> Result<bool> {
        loop {
            let state = machine.load_32(self.at)?;
            if round(state) != mine {
                let passed = round(state) == round(mine.wrapping_add(1).wrapping_mul(ROUND));
                return match passed && state & RESTARTED == 0 {
                    true => Ok(false),
                    false => Err(waiter.error(ErrorKind::Broken)),
                };
            }
            if state & BROKEN != 0 {
                return Err(waiter.error(ErrorKind::Broken));
            }
            if waiter.spin(machine) {
                continue;
            }
            waiter.check_deadline(machine)?;
            waiter.register(machine)?;
            if machine.load_32(self.at)? != state {
                continue;
            }
            waiter.sleep(machine)?;
            if machine.load_32(self.at)? == state {
                self.probe_members(machine, Some(waiter))?;
            }
        }
    }

    fn probe_members<W: Machine>(self, machine: &W, waiter: Option<&Waiter>) -> Result<()> {
        announcement::probe_all(machine, &[Kind::Member, Kind::Arrived], self.at, waiter)
    }

    /// Begins a new round of a broken barrier; those who wait yet are told that it broke.
    pub(crate) fn restart<W: Machine>(self, machine: &W) -> Result<()> {
        let mut state = machine.load_32(self.at)?;
        while state & BROKEN != 0 {
            let found = machine.compare_exchange_32(self.at, state, next(state) | RESTARTED)?;
            if found == state {
                return gate::open(machine, self.at + GATE, Wake::All);
            }
            state = found;
        }
        Ok(())
    }
}

fn next(state: u32) -> u32 {
    (state & !(BROKEN | RESTARTED)).wrapping_add(ROUND)
}

/// A member died: whoever waits for it is told.
pub(crate) fn recover<W: Machine>(machine: &W, at: u64) -> Result<()> {
    machine.fetch_or_32(at, BROKEN)?;
    gate::wake_all_after_recovery(machine, at + GATE)
}
