//! Whether a thread spins before it sleeps.
//!
//! Spinning pays if the owner runs on another processor and releases soon. Whether it does is not known in
//! advance: the processors that this thread may use tell nothing about those of the owner. So threads spin while
//! spinning has paid lately. A thread that has spun in vain, or does not spin, offers its processor once to other
//! threads before it registers to sleep. On one processor the owner then runs and releases, mostly before this
//! thread runs again, and no thread needs to sleep or to be woken.

use std::sync::atomic::{AtomicU32, Ordering};

use super::machine::{ANSWER_TURN, OWNED_TURN};
use crate::sys::process;

/// The last turn of a wait for an answer that spins.
const LAST: u32 = 2000;
/// The turns of most waits that spin: some microseconds.
const TURNS: u32 = 100;
/// The first and the last turn of a wait for an owner that spins.
const OWNER: u32 = LAST + 1;
const OWNER_LAST: u32 = OWNER + TURNS;
/// The turn after the offer.
const OVER: u32 = u32::MAX;
/// The most waits in vain until threads stop spinning.
const CREDIT: u32 = 8;
/// While spinning does not pay, one in so many waits spins, to notice when it does.
const TRIAL: u32 = 32;
/// The most waits between two trials of an answer, of which each costs a tenth of a millisecond.
const RAREST: u32 = 1024;

/// What the threads of one session have learned about spinning.
#[derive(Debug)]
pub(super) struct Spinning {
    /// How often waits may still spin in vain; 0: spinning does not pay. Threads may overwrite each other's
    /// changes, here and below, which makes the numbers less exact, and nothing else.
    credit: AtomicU32,
    /// The number of waits until the next trial.
    skipped: AtomicU32,
    /// The number of waits after a trial of an answer: twice as many as before the trial.
    interval: AtomicU32,
}

impl Spinning {
    pub(super) fn new() -> Self {
        // On a single processor, the owner cannot run while this thread spins.
        Self::with_credit(if process::processors() > 1 { CREDIT } else { 0 })
    }

    fn with_credit(credit: u32) -> Self {
        Self {
            credit: AtomicU32::new(credit),
            skipped: AtomicU32::new(TRIAL),
            interval: AtomicU32::new(TRIAL),
        }
    }

    /// Waits for one turn: some pauses of the processor, or the offer. `turn` is [`OWNED_TURN`] or [`ANSWER_TURN`] at
    /// first, and then what the previous turn returned. Returns `None`, without a wait, if it is time to sleep.
    ///
    /// The first turn decides whether this wait spins, and for how long; otherwise it is the offer. If a caller that
    /// spins does not continue up to the offer, its spinning counts as having paid, even if its deadline ended the
    /// wait.
    pub(super) fn turn(&self, turn: u32) -> Option<u32> {
        let turn = match turn {
            OVER => return None,
            OWNED_TURN | ANSWER_TURN => match self.begin(turn == ANSWER_TURN) {
                Some(first) => first,
                None => return Some(offer()),
            },
            LAST | OWNER_LAST.. => {
                // Also takes back what `begin` added.
                let credit = self.credit.load(Ordering::Relaxed);
                self.credit.store(credit.saturating_sub(2), Ordering::Relaxed);
                return Some(offer());
            }
            turn => turn,
        };
        // Each look at the word of a lock takes its cache line away from the owner. So the time between two looks
        // doubles, and an owner that acquires the lock again and again does more in between.
        let pauses = turn.checked_sub(OWNER).map_or(1, |spent| spent + 1);
        for _ in 0..pauses {
            std::hint::spin_loop();
        }
        Some(turn + pauses)
    }

    /// Returns the first turn if this wait spins. Its spinning then counts as having paid, until the last turn shows
    /// that it was in vain.
    ///
    /// Some waits for an answer spin for so long that they outlast a wake: trials, and two of the waits that use up
    /// the credit. Otherwise two threads that wake each other would sleep for ever once they slept, because each
    /// would spin for less time than the other takes to wake up. Waits for an owner do not, because the owner may
    /// wait for this processor.
    fn begin(&self, is_answer: bool) -> Option<u32> {
        let first = |is_long: bool| match (is_answer, is_long) {
            (false, _) => OWNER,
            (true, true) => ANSWER_TURN,
            (true, false) => LAST - TURNS,
        };
        let credit = self.credit.load(Ordering::Relaxed);
        if credit > 0 {
            self.credit.store((credit + 1).min(CREDIT), Ordering::Relaxed);
            self.interval.store(TRIAL, Ordering::Relaxed);
            return Some(first(is_answer && credit % 4 == 1));
        }
        let skipped = self.skipped.load(Ordering::Relaxed);
        if skipped > 1 {
            self.skipped.store(skipped - 1, Ordering::Relaxed);
            return None;
        }
        let mut interval = TRIAL;
        if is_answer {
            interval = (2 * self.interval.load(Ordering::Relaxed)).min(RAREST);
            self.interval.store(interval, Ordering::Relaxed);
        }
        self.skipped.store(interval, Ordering::Relaxed);
        // One wait that pays is enough to go on.
        self.credit.store(2, Ordering::Relaxed);
        Some(first(is_answer))
    }
}

/// Offers the processor to other threads, once.
fn offer() -> u32 {
    std::thread::yield_now();
    OVER
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The looks of a wait in vain for an owner, of which each is after twice as long as the one before.
    const LOOKS: u32 = TURNS.ilog2() + 1;

    /// Waits until it is time to sleep, and returns the turns that were spent spinning.
    fn in_vain(spinning: &Spinning, first: u32) -> u32 {
        let (mut turn, mut spun) = (first, 0);
        while let Some(next) = spinning.turn(turn) {
            spun += u32::from(next != OVER);
            turn = next;
        }
        spun
    }

    #[test]
    fn threads_stop_spinning_in_vain() {
        let spinning = Spinning::with_credit(CREDIT);
        let spun: Vec<u32> = (0..10 * TRIAL).map(|_| in_vain(&spinning, OWNED_TURN)).collect();
        let count = spun.iter().filter(|turns| **turns == LOOKS).count() as u32;
        // The credit of a wait that has just begun is at its limit.
        assert_eq!(count, CREDIT - 1 + 9);
        assert_eq!(spun.iter().filter(|turns| **turns == 0).count() as u32, 10 * TRIAL - count);
    }

    #[test]
    fn threads_spin_again_when_it_pays() {
        let spinning = Spinning::with_credit(0);
        let mut spun = 0;
        for _ in 0..2 * TRIAL {
            // The second turn finds the lock free.
            let first = spinning.turn(OWNED_TURN).unwrap();
            spun += u32::from(first != OVER);
        }
        assert_eq!(spun, TRIAL + 1);
        assert_eq!(in_vain(&spinning, OWNED_TURN), LOOKS);
    }

    /// Two waits in vain for an answer are long, and then trials, which become rarer up to a limit, and frequent
    /// again once spinning has paid.
    #[test]
    fn waits_for_an_answer_outlast_a_wake() {
        const LONG: u32 = LAST - ANSWER_TURN;
        let spinning = Spinning::with_credit(CREDIT);
        let wait = || in_vain(&spinning, ANSWER_TURN);
        let short = TURNS;
        assert_eq!([(); 7].map(|()| wait()), [short, short, LONG, short, short, short, LONG]);
        let waits_to_trial = || (1..).find(|_| wait() == LONG);
        let trials = [(); 7].map(|()| waits_to_trial().unwrap());
        assert_eq!(trials, [32, 64, 128, 256, 512, 1024, 1024]);
        while spinning.turn(ANSWER_TURN) == Some(OVER) {}
        while wait() > 0 {}
        waits_to_trial();
        assert_eq!(waits_to_trial(), Some(2 * TRIAL));
    }
}
