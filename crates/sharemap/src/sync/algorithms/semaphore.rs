//! The semaphore: permits that belong to their holders, and are recovered when these die (FORMAT.md,
//! "Permits").
//!
//! # The problem
//! The number of free permits is one word. A thread that acquires a permit decrements the word, and must
//! also record in a slot of its lane that it now has a permit, so that recovery can find the permit. These
//! are two stores. A death between them would lose the permit, or free it twice.
//!
//! # The protocol
//! The word therefore also contains the lane that made the last change, and the number of that change. A
//! change has four steps:
//!
//! 1. *Witness*: complete the previous change in the slots of the lane that the word names, because the
//!    word is about to forget it.
//! 2. Announce the intended change in an own slot, with the next number.
//! 3. Exchange the word for the new count, the own lane and that number. If the word has changed, begin
//!    again at 1.
//! 4. Store the outcome over the intention.
//!
//! | A death | leaves in the slot | in the word | and recovery concludes |
//! |---|---|---|---|
//! | before 2 | the state before the change | another change | the change was not made |
//! | between 2 and 3 | an intention with a number | another lane or number | the change was not made |
//! | between 3 and 4 | an intention with a number | the same lane and number | the change was made |
//! | after 4, or after a witness | the outcome | any | what the slot says |
//!
//! # The number
//! The lane alone would not tell whether an intention was carried out. A lane can have changed the word
//! earlier, announced a new intention, and died before its exchange succeeded. The new intention has
//! another number than that earlier change. Numbers have 16 bits: a thread would have to stop between
//! its load of the word and step 3 for exactly a multiple of 65,536 changes to be deceived.

use std::time::Duration;

use crate::error::Result;
use crate::peer::{Announced, Machine};
use crate::sync::core::announcement::{self, Kind};
use crate::sync::core::gate::{self, Wake};
use crate::sync::core::waiter::{Change, OWNED, Waiter};

// The word is at offset 0: the free permits (32 bits), the lane + 1 (16), the number of the change (16).
const LANE_SHIFT: u32 = 32;
const NUMBER_SHIFT: u32 = 48;
const GATE: u64 = 8;

/// A semaphore in an object, by its offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawSemaphore {
    at: u64,
}

/// A permit that this thread holds: the slot that announces it.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permitted {
    pub(in crate::sync) announced: Announced,
}

/// Returns the number of free permits.
fn free(word: u64) -> u32 {
    word as u32
}

/// Returns the lane that changed the word last; `None` if the word is new.
fn lane(word: u64) -> Option<u32> {
    ((word >> LANE_SHIFT) as u32 & 0xffff).checked_sub(1)
}

/// Returns the number of the last change.
fn number(word: u64) -> u64 {
    word >> NUMBER_SHIFT
}

impl RawSemaphore {
    /// The length of a semaphore. The word of a new one is its number of permits; the rest is zeros.
    pub(crate) const SIZE: u64 = 16;

    /// Returns the semaphore at `at`, a multiple of 16.
    pub(crate) fn new(at: u64) -> Self {
        Self { at }
    }

    /// Acquires a permit, blocking the current thread until one is free, or until `until`.
    pub(crate) fn acquire<W: Machine>(
        self,
        machine: &W,
        until: Option<Duration>,
    ) -> Result<Permitted> {
        // A waiter is announced because a wake can die with it: recovery then wakes the others.
        let announced = machine.announce(Kind::PermitWaiter.of(self.at))?;
        let gate = self.at + GATE;
        let mut waiter =
            Waiter::new("acquire a permit", self.at, gate, Change::Atomic, OWNED, until);
        let result = self.acquire_contended(machine, announced, &mut waiter);
        // The wake cleared bit 0 for all but woke one waiter. If this thread gives up, or if a second
        // permit is free, the next waiter must be woken. If that fails, others sleep for at most 4 ms
        // more, and the acquired permit is kept.
        let _ = waiter.wake_next(machine, || Ok(free(machine.load_64(self.at)?) != 0));
        match result {
            Ok(()) => Ok(Permitted { announced }),
            Err(error) => {
                let _ = machine.withdraw(announced);
                Err(error)
            }
        }
    }

    /// Acquires a free permit, spinning and then sleeping until there is one.
    fn acquire_contended<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
        waiter: &mut Waiter,
    ) -> Result<()> {
        loop {
            if self.acquire_free(machine, announced)? {
                return Ok(());
            }
            if waiter.spin(machine) {
                continue;
            }
            let recover = |until| {
                self.probe_holders(machine, Some(until))?;
                Ok(free(machine.load_64(self.at)?) != 0)
            };
            if waiter.check_deadline_after(machine, recover)? {
                continue;
            }
            // Sets bit 0, then loads the word. A releaser exchanges the word, then loads the gate. Each
            // makes its change visible before it loads, so one of the two sees the other: no fence.
            waiter.register_among_others(machine)?;
            if free(machine.load_64(self.at)?) != 0 {
                continue;
            }
            waiter.sleep(machine)?; // at most 4 ms
            if free(machine.load_64(self.at)?) == 0 {
                self.probe_holders(machine, waiter.until())?;
            }
        }
    }

    /// Acquires a permit without waiting. Returns `None` if none is free after the permits of dead
    /// holders have been recovered.
    pub(crate) fn try_acquire<W: Machine>(self, machine: &W) -> Result<Option<Permitted>> {
        let announced = machine.announce(Kind::PermitWaiter.of(self.at))?;
        let acquired = self.acquire_free(machine, announced).and_then(|acquired| {
            if acquired {
                return Ok(true);
            }
            self.probe_holders(machine, None)?;
            self.acquire_free(machine, announced)
        });
        if matches!(acquired, Ok(true)) {
            return Ok(Some(Permitted { announced }));
        }
        machine.withdraw(announced)?;
        acquired.map(|_| None)
    }

    /// Acquires a permit if one is free, without blocking: repeats a failed exchange while there are
    /// free permits. Returns `false` if there is none.
    ///
    /// The slot may then keep the intention of an exchange that failed. It stands for no permit: its
    /// number is not that of a change by this lane.
    fn acquire_free<W: Machine>(self, machine: &W, announced: Announced) -> Result<bool> {
        loop {
            let word = machine.load_64(self.at)?;
            if free(word) == 0 {
                return Ok(false);
            }
            if self.change(machine, announced, word, Kind::PermitTaker, free(word) - 1)? {
                // Step 4. A peer may have witnessed the change before: it stored the same value. If the store
                // fails, the permit is acquired all the same: the word proves the intention, and the next
                // change of the word completes it.
                let _ = machine.store_64(announced.slot, Kind::Permit.of(self.at));
                return Ok(true);
            }
        }
    }

    /// Releases a permit: the word, then the gate, then the announcement.
    ///
    /// If the word cannot be changed, the permit stays held, and recovery frees it when the process has ended.
    /// Later errors do not prevent the next step.
    pub(crate) fn release<W: Machine>(self, machine: &W, permitted: Permitted) -> Result<()> {
        let announced = permitted.announced;
        // Death before the exchange: recovery finds the permit and releases it.
        if let Err(error) = self.free_for(machine, announced) {
            // The announcement stays, so that recovery finds the permit. Not as an intention: the next change
            // by this lane gets the same number, and would seem to prove it.
            let _ = machine.store_64(announced.slot, Kind::Permit.of(self.at));
            return Err(error);
        }
        let stored = machine.store_64(announced.slot, Kind::PermitWaiter.of(self.at));
        // Death here: the permit is free, waiters sleep. Recovery finds this announcement and wakes all.
        // A waiter detects the death after its sleep of at most 4 ms.
        let opened = gate::open(machine, self.at + GATE, Wake::One);
        // Last, because recovery wakes waiters only for what is announced.
        let withdrawn = machine.withdraw(announced);
        stored.and(opened).and(withdrawn)
    }

    /// Frees the permit that the slot `holder` announces. Does not store the outcome in the slot, which keeps
    /// the intention.
    ///
    /// The holder is the calling thread, or a dead lane. Recovery makes the change in the name of the
    /// dead lane, so that the next recoverer can tell whether it was made if this one dies, too.
    fn free_for<W: Machine>(self, machine: &W, holder: Announced) -> Result<()> {
        loop {
            let word = machine.load_64(self.at)?;
            let more = free(word).saturating_add(1);
            if self.change(machine, holder, word, Kind::PermitReturner, more)? {
                return Ok(());
            }
        }
    }

    /// Makes steps 1 to 3 of a change by `by`: sets the number of free permits to `count`. Returns
    /// `false` if the word is no longer `word`.
    fn change<W: Machine>(
        self,
        machine: &W,
        by: Announced,
        word: u64,
        kind: Kind,
        count: u32,
    ) -> Result<bool> {
        // Step 1. The exchange below replaces lane and number, the only proof of the previous change. A
        // witness after it could be too late: a death in between would leave the previous change in doubt.
        self.witness(machine, word)?;
        let next = number(word).wrapping_add(1) & 0xffff;
        // Step 2. A plain store suffices: the exchange below makes it visible first, so a thread that finds
        // this lane and number in the word also finds the intention.
        // Death here: the word does not have this lane with this number; the change was not made.
        machine.store_64(by.slot, next << NUMBER_SHIFT | kind.of(self.at))?;
        // Step 3. Death after it: the word has this lane and number until the change is witnessed.
        let new = u64::from(count) | u64::from(by.lane + 1) << LANE_SHIFT | next << NUMBER_SHIFT;
        Ok(machine.compare_exchange_64(self.at, word, new)? == word)
    }

    /// Stores the outcome of the last change, which `word` proves, in the slot that announces it.
    ///
    /// The lane that made the change may do so itself at the same time, or may be dead.
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
            // An exchange, not a store: the lane may live, have stored the outcome itself, and use the
            // slot for something else by now.
            machine.compare_exchange_64(slot, what, outcome.of(self.at))?;
        }
        Ok(())
    }

    /// Replaces each intention of a dead lane by its outcome.
    ///
    /// All slots of the lane are resolved before recovery changes the word in its name. That change gets
    /// the next number, which an intention in another slot may also have: it was announced before an
    /// exchange that was never made. The word would then seem to prove that intention.
    fn resolve_intentions<W: Machine>(self, machine: &W, dead: u32) -> Result<()> {
        // The word proves the last change. Earlier changes were witnessed before the word was replaced. So
        // an intention that remains after this was not carried out, and the slot returns to its state
        // before.
        let word = machine.load_64(self.at)?;
        self.witness(machine, word)?;
        for index in 0..W::SLOTS {
            let slot = machine.slots(dead) + 8 * index;
            let what = machine.load_64(slot)?;
            let before = match announcement::parse(what) {
                (at, Some(Kind::PermitTaker)) if at == self.at => Kind::PermitWaiter,
                (at, Some(Kind::PermitReturner)) if at == self.at => Kind::Permit,
                _ => continue,
            };
            machine.compare_exchange_64(slot, what, before.of(self.at))?;
        }
        Ok(())
    }

    /// Probes the lanes that announce this semaphore, and recovers those that are dead. Waiters are
    /// probed, too: a waiter may have died with a wake, or after a release.
    fn probe_holders<W: Machine>(self, machine: &W, until: Option<Duration>) -> Result<()> {
        let kinds = [Kind::PermitTaker, Kind::Permit, Kind::PermitReturner, Kind::PermitWaiter];
        announcement::probe_all(machine, &kinds, self.at, until)
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
        // The count is exact if the word is unchanged afterwards: no permit was acquired, released or
        // recovered meanwhile.
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

    /// Returns `true` if lane `holder` holds a permit by the announcement `what`. As in recovery, the word
    /// proves whether an intended change was made.
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

/// Releases the permit that the dead lane `dead` announces in the slot at offset `slot`, if it has one, and
/// wakes all waiters. Also resolves the intentions in the lane's other slots. The caller empties the slot.
///
/// A recoverer may die at any step, and the next one repeats all of them. A release in the name of the dead
/// lane is then proved by the word, as any other change.
pub(crate) fn recover<W: Machine>(machine: &W, at: u64, slot: u64, dead: u32) -> Result<()> {
    let semaphore = RawSemaphore::new(at);
    semaphore.resolve_intentions(machine, dead)?;
    let (_, kind) = announcement::parse(machine.load_64(slot)?);
    if kind == Some(Kind::Permit) {
        semaphore.free_for(machine, Announced { lane: dead, slot })?;
        machine.store_64(slot, Kind::PermitWaiter.of(at))?;
    }
    // All: the dead lane may have been woken, or may have cleared bit 0 and not woken a waiter.
    gate::wake_all_after_recovery(machine, at + GATE)
}
