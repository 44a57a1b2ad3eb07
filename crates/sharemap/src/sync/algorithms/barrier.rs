//! The barrier: members wait until all of them have arrived, and learn of a member's death (FORMAT.md,
//! "Barrier").
//!
//! Membership and arrival are announced in the members' slots, so recovery finds both. The state only
//! contains the number of the round and two flags. A member that finds that all have arrived begins the
//! next round by one exchange, and wakes the others.

use std::time::Duration;

use crate::error::{ErrorKind, Result};
use crate::peer::{Announced, Machine};
use crate::sync::core::announcement::{self, Kind};
use crate::sync::core::gate::{self, Wake};
use crate::sync::core::waiter::{Change, OWNED, Waiter};

// The state is at offset 0: two flags, and above them the number of the round.
/// A member died in this round.
const BROKEN: u32 = 1;
/// The previous round did not complete, but was ended by a restart.
const RESTARTED: u32 = 2;
/// One round, in units of the state.
const ROUND: u32 = 4;
const GATE: u64 = 4;
/// The offset of the number of members.
const MEMBERS: u64 = 8;

/// The position of the round in an announcement of kind `Arrived`.
const NUMBER_SHIFT: u32 = 48;

/// A barrier in an object, by its offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawBarrier {
    at: u64,
}

/// The membership of this thread: the slot that announces it.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(in crate::sync) announced: Announced,
}

/// Returns the number of the round.
fn round(state: u32) -> u32 {
    state / ROUND
}

/// Returns the announcement of a member that has arrived in the round of `state`.
fn arrived(at: u64, state: u32) -> u64 {
    u64::from(round(state) & 0xffff) << NUMBER_SHIFT | Kind::Arrived.of(at)
}

/// Returns `true` if the announcement `what` is that of a member that has arrived in the round of `state`.
///
/// An arrival stays in the slot until the member arrives again, so it may be one in an earlier round.
pub(in crate::sync) fn has_arrived(what: u64, at: u64, state: u32) -> bool {
    what == arrived(at, state)
}

impl RawBarrier {
    /// The length of a barrier. A new one is all zeros, except the number of members.
    pub(crate) const SIZE: u64 = 16;
    /// The offset of the number of members, in 32 bits. It never changes.
    pub(crate) const MEMBERS_AT: u64 = MEMBERS;

    /// Returns the barrier at `at`, a multiple of 16.
    pub(crate) fn new(at: u64) -> Self {
        Self { at }
    }

    /// Makes this thread a member, without waiting for other members. Returns `None` if the barrier
    /// has all its members.
    ///
    /// If the barrier is full, dead members are recovered first, which breaks it and frees their
    /// places. A broken barrier can be joined. Of two threads that join at the same time when one place
    /// is left, both may get `None`.
    ///
    /// Claiming a lane may block for about 100 ms. After an error the thread is no member, unless its
    /// slot could not be emptied. A death during the call breaks the barrier, even that of a thread
    /// that would have got `None`.
    pub(crate) fn join<W: Machine>(self, machine: &W) -> Result<Option<Membership>> {
        // Announced by an exchange before the members are counted: of two threads that join at once, at
        // least one sees the other, so there are never too many members. Death from here on, even of a
        // thread that is refused below: recovery breaks the barrier.
        let announced = machine.announce_seq_cst(Kind::Member.of(self.at))?;
        let full = self.is_too_full(machine).and_then(|full| {
            if full {
                // Dead members occupy places, and perhaps no member waits that would detect their death.
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

    /// Returns `true` if more slots announce a member than the barrier has members.
    fn is_too_full<W: Machine>(self, machine: &W) -> Result<bool> {
        let mut members = 0;
        announcement::lanes(machine, |_, what| {
            let (at, kind) = announcement::parse(what);
            members += u32::from(at == self.at && kind.is_some_and(Kind::is_member));
            Ok(true)
        })?;
        Ok(members > machine.load_32(self.at + MEMBERS)?)
    }

    /// Ends the membership, so that another thread can join.
    pub(crate) fn leave<W: Machine>(self, machine: &W, membership: Membership) -> Result<()> {
        machine.withdraw(membership.announced)
    }

    /// Blocks the current thread until all members have arrived, or until `until`. Returns `true` in the
    /// thread that began the next round.
    ///
    /// After a timeout, the thread has still arrived, and may wait again.
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
        // An exchange, before the slots are scanned: of the members that arrive last, at least one sees all
        // others. With a plain store, each could miss the others, and all would sleep.
        // Death after it: recovery breaks the barrier, whether or not all have arrived.
        machine.swap_64(membership.announced.slot, arrived(self.at, state))?;
        if self.have_all_arrived(machine, state)? {
            // This round cannot end without this member, except by a death and a restart. The exchange
            // fails if another member was first or if the barrier broke meanwhile.
            let found = machine.compare_exchange_32(self.at, state, next(state))?;
            if found == state {
                // Death here: the next round has begun, members sleep. Recovery wakes all and breaks that
                // round; until then, sleeps end within 4 ms.
                gate::open(machine, gate, Wake::All)?;
                return Ok(true);
            }
        }
        self.await_round(machine, round(state), &mut waiter)
    }

    /// Returns `true` if as many slots as there are members announce an arrival in the round of `state`.
    fn have_all_arrived<W: Machine>(self, machine: &W, state: u32) -> Result<bool> {
        let mut missing = machine.load_32(self.at + MEMBERS)?;
        announcement::lanes(machine, |_, what| {
            missing = missing.saturating_sub(u32::from(has_arrived(what, self.at, state)));
            Ok(missing > 0)
        })?;
        Ok(missing == 0)
    }

    /// Spins and then sleeps until the round `mine` ends. Returns `false` if it was completed.
    fn await_round<W: Machine>(self, machine: &W, mine: u32, waiter: &mut Waiter) -> Result<bool> {
        loop {
            let state = machine.load_32(self.at)?;
            if round(state) != mine {
                // Completed, unless the round was restarted, or restarts have ended several rounds: no other
                // round can end without this member.
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
            let recover = |until| {
                self.probe_members(machine, Some(until))?;
                Ok(machine.load_32(self.at)? != state)
            };
            if waiter.check_deadline_after(machine, recover)? {
                continue;
            }
            // Sets bit 0, then loads the state. The state is exchanged before the gate is loaded. Each thread
            // makes its change visible before it loads, so one of the two sees the other: no fence.
            waiter.register(machine)?;
            if machine.load_32(self.at)? != state {
                continue;
            }
            waiter.sleep(machine)?; // at most 4 ms
            if machine.load_32(self.at)? == state {
                self.probe_members(machine, waiter.until())?;
            }
        }
    }

    /// Probes the members' lanes, and recovers those that are dead.
    fn probe_members<W: Machine>(self, machine: &W, until: Option<Duration>) -> Result<()> {
        announcement::probe_all(machine, &[Kind::Member, Kind::Arrived], self.at, until)
    }

    /// Begins a new round if the barrier is broken. Members that still wait in the broken round get
    /// `Broken`.
    pub(crate) fn restart<W: Machine>(self, machine: &W) -> Result<()> {
        let mut state = machine.load_32(self.at)?;
        while state & BROKEN != 0 {
            // Without the flag, members that have not seen `BROKEN` would take the round for completed.
            let found = machine.compare_exchange_32(self.at, state, next(state) | RESTARTED)?;
            if found == state {
                // Death here: members sleep for at most 4 ms more.
                return gate::open(machine, self.at + GATE, Wake::All);
            }
            state = found;
        }
        Ok(())
    }
}

/// Returns the state of the next round, without flags.
fn next(state: u32) -> u32 {
    (state & !(BROKEN | RESTARTED)).wrapping_add(ROUND)
}

/// Breaks the barrier at `at` after a member's death, and wakes its waiters.
///
/// If the recoverer dies before it clears the slot, the next one breaks the barrier again, perhaps after a
/// restart. That is a break too many, and not one too few.
pub(crate) fn recover<W: Machine>(machine: &W, at: u64) -> Result<()> {
    machine.fetch_or_32(at, BROKEN)?;
    gate::wake_all_after_recovery(machine, at + GATE)
}
