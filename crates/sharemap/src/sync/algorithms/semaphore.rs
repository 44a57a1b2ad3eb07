//! A number of permits that belong to whoever took them, and come back when it dies.
//!
//! The count is one word with the lane that changed it last, and a number for that change. Who is
//! about to change it says so in its slot, with the number; so of one who dies there, the word tells
//! whether it did. Before the word is changed again, that is written into the slot of whoever it
//! names, as they may never come to do it themselves.

use std::time::Duration;

use crate::error::Result;
use crate::peer::{Announced, Machine};
use crate::sync::core::announcement::{self, Kind};
use crate::sync::core::gate::{self, Wake};
use crate::sync::core::waiter::{Change, OWNED, Waiter};

// The word is at the start: how many are free, the lane plus one, the number of the change.
const LANE_SHIFT: u32 = 32;
const NUMBER_SHIFT: u32 = 48;
const GATE: u64 = 8;

/// Permits in an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawSemaphore {
    at: u64,
}

/// That this thread has a permit.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permitted {
    pub(in crate::sync) announced: Announced,
}

fn free(word: u64) -> u32 {
    word as u32
}

fn lane(word: u64) -> Option<u32> {
    ((word >> LANE_SHIFT) as u32 & 0xffff).checked_sub(1)
}

fn number(word: u64) -> u64 {
    word >> NUMBER_SHIFT
}

impl RawSemaphore {
    /// Bytes that they take. The word is to begin as the number of permits.
    pub(crate) const SIZE: u64 = 16;

    /// The permits at `at`, a multiple of 16.
    pub(crate) fn new(at: u64) -> Self {
        Self { at }
    }

    /// Takes one; waits until `until`, or for ever.
    pub(crate) fn acquire<W: Machine>(
        self,
        machine: &W,
        until: Option<Duration>,
    ) -> Result<Permitted> {
        let announced = machine.announce(Kind::PermitWaiter.of(self.at))?;
        let gate = self.at + GATE;
        let mut waiter = Waiter::new("take a permit", self.at, gate, Change::Atomic, OWNED, until);
        let result = self.await_one(machine, announced, &mut waiter);
        // If that fails, others wait somewhat longer: a permit that was taken is not lost for it.
        let _ = waiter.wake_next(machine, || Ok(free(machine.load_64(self.at)?) != 0));
        match result {
            Ok(()) => Ok(Permitted { announced }),
            Err(error) => {
                let _ = machine.withdraw(announced);
                Err(error)
            }
        }
    }

    fn await_one<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
        waiter: &mut Waiter,
    ) -> Result<()> {
        loop {
            if self.take(machine, announced)? {
                return Ok(());
            }
            if waiter.spin(machine) {
                continue;
            }
            waiter.check_deadline(machine)?;
            waiter.register_among_others(machine)?;
            if free(machine.load_64(self.at)?) != 0 {
                continue;
            }
            waiter.sleep(machine)?;
            if free(machine.load_64(self.at)?) == 0 {
                self.probe_holders(machine, Some(waiter))?;
            }
        }
    }

    /// Takes one if there is one, or if somebody died with one.
    pub(crate) fn try_acquire<W: Machine>(self, machine: &W) -> Result<Option<Permitted>> {
        let announced = machine.announce(Kind::PermitWaiter.of(self.at))?;
        let taken = self.take(machine, announced).and_then(|taken| {
            if taken {
                return Ok(true);
            }
            self.probe_holders(machine, None)?;
            self.take(machine, announced)
        });
        if matches!(taken, Ok(true)) {
            return Ok(Some(Permitted { announced }));
        }
        machine.withdraw(announced)?;
        taken.map(|_| None)
    }

    fn take<W: Machine>(self, machine: &W, announced: Announced) -> Result<bool> {
        loop {
            let word = machine.load_64(self.at)?;
            if free(word) == 0 {
                return Ok(false);
            }
            if self.change(machine, announced, word, Kind::PermitTaker, free(word) - 1)? {
                machine.store_64(announced.slot, Kind::Permit.of(self.at))?;
                return Ok(true);
            }
        }
    }

    /// Gives one back.
    pub(crate) fn release<W: Machine>(self, machine: &W, permitted: Permitted) -> Result<()> {
        let announced = permitted.announced;
        let released = self.put_back(machine, announced);
        let opened = gate::open(machine, self.at + GATE, Wake::One);
        let withdrawn = machine.withdraw(announced);
        released.and(opened).and(withdrawn)
    }

    /// In the name of the lane whose slot it is: its own, or a dead one's.
    fn put_back<W: Machine>(self, machine: &W, holder: Announced) -> Result<()> {
        loop {
            let word = machine.load_64(self.at)?;
            let more = free(word).saturating_add(1);
            if self.change(machine, holder, word, Kind::PermitReturner, more)? {
                return machine.store_64(holder.slot, Kind::PermitWaiter.of(self.at));
            }
        }
    }

    /// Changes the count, if the word is still as it was seen.
    fn change<W: Machine>(
        self,
        machine: &W,
        by: Announced,
        word: u64,
        kind: Kind,
        count: u32,
    ) -> Result<bool> {
        self.witness(machine, word)?;
        let next = number(word).wrapping_add(1) & 0xffff;
        machine.store_64(by.slot, next << NUMBER_SHIFT | kind.of(self.at))?;
        let new = u64::from(count) | u64::from(by.lane + 1) << LANE_SHIFT | next << NUMBER_SHIFT;
        Ok(machine.compare_exchange_64(self.at, word, new)? == word)
    }

    /// Writes the success of whoever changed the word last into its slot, if it has not yet.
    fn witness<W: Machine>(self, machine: &W, word: u64) -> Result<()> {
        let Some(last) = lane(word) else { return Ok(()) };
        let numbered = |kind: Kind| number(word) << NUMBER_SHIFT | kind.of(self.at);
        for index in 0..W::SLOTS {
            let slot = machine.slots(last) + 8 * index;
            let what = machine.load_64(slot)?;
            let outcome = if what == numbered(Kind::PermitTaker) {
                Kind::Permit
            } else if what == numbered(Kind::PermitReturner) {
                Kind::PermitWaiter
            } else {
                continue;
            };
            machine.compare_exchange_64(slot, what, outcome.of(self.at))?;
        }
        Ok(())
    }

    /// Writes into all slots of a dead lane what became of the changes it was about to make. Before
    /// any is made in its name, as that has the number of one that was not.
    fn judge<W: Machine>(self, machine: &W, dead: u32) -> Result<()> {
        // What the word tells is in the slots afterwards; what it no longer tells was there before.
        let word = machine.load_64(self.at)?;
        self.witness(machine, word)?;
        for index in 0..W::SLOTS {
            let slot = machine.slots(dead) + 8 * index;
            let what = machine.load_64(slot)?;
            let as_before = match announcement::parse(what) {
                (at, Some(Kind::PermitTaker)) if at == self.at => Kind::PermitWaiter,
                (at, Some(Kind::PermitReturner)) if at == self.at => Kind::Permit,
                _ => continue,
            };
            machine.compare_exchange_64(slot, what, as_before.of(self.at))?;
        }
        Ok(())
    }

    fn probe_holders<W: Machine>(self, machine: &W, waiter: Option<&Waiter>) -> Result<()> {
        let kinds = [Kind::PermitTaker, Kind::Permit, Kind::PermitReturner, Kind::PermitWaiter];
        announcement::probe_all(machine, &kinds, self.at, waiter)
    }

    /// Recovers the permits of dead holders, and returns the number of free permits.
    pub(crate) fn available<W: Machine>(self, machine: &W) -> Result<u32> {
        self.probe_holders(machine, None)?;
        Ok(free(machine.load_64(self.at)?))
    }

    /// Returns the number of permits that are free or held by lanes that `count_dead` counts as dead.
    /// Changes nothing, for read-only attachments, which cannot recover.
    pub(crate) fn available_to_reader<W: Machine>(
        self,
        machine: &W,
        count_dead: impl Fn(&[u32]) -> Result<u32>,
    ) -> Result<u32> {
        // The count is exact if the word is unchanged: no permit was acquired, released or
        // recovered.
        const TRIES: u32 = 8;
        let mut word = machine.load_64(self.at)?;
        let mut count = free(word);
        for _ in 0..TRIES {
            let mut holders = Vec::new();
            announcement::lanes(machine, |holder, what| {
                if self.holds(word, holder, what) {
                    holders.push(holder);
                }
                Ok(true)
            })?;
            count = free(word).saturating_add(count_dead(&holders)?);
            let now = machine.load_64(self.at)?;
            if now == word {
                break;
            }
            word = now;
        }
        Ok(count)
    }

    /// Returns `true` if the announcement is that of a held permit. As in recovery, the word tells
    /// whether an announced change was made.
    fn holds(self, word: u64, holder: u32, what: u64) -> bool {
        let was_made = lane(word) == Some(holder) && number(word) == number(what);
        match announcement::parse(what) {
            (at, _) if at != self.at => false,
            (_, Some(Kind::Permit)) => true,
            (_, Some(Kind::PermitTaker)) => was_made,
            (_, Some(Kind::PermitReturner)) => !was_made,
            _ => false,
        }
    }
}

/// The lane died with a permit, or while it asked for one or gave it back.
pub(crate) fn recover<W: Machine>(machine: &W, at: u64, slot: u64, dead: u32) -> Result<()> {
    let permits = RawSemaphore::new(at);
    permits.judge(machine, dead)?;
    let (_, kind) = announcement::parse(machine.load_64(slot)?);
    if kind == Some(Kind::Permit) {
        permits.put_back(machine, Announced { lane: dead, slot })?;
    }
    gate::wake_all_after_recovery(machine, at + GATE)
}
