//! Whether a thread spins before it sleeps.
//!
//! Spinning pays if the owner runs on another processor and releases soon. Whether it does is not known in
//! advance: the processors that this thread may use tell nothing about those of the owner. So threads spin while
//! spinning has paid lately. A thread that has spun in vain, or does not spin, offers its processor once to other
//! threads before it registers to sleep. On one processor the owner then runs and releases, mostly before this
//! thread runs again, and no thread needs to sleep or to be woken.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys::process;

/// The turns of a wait that spins: some microseconds.
const TURNS: u32 = 100;
/// The turn after the offer.
const OVER: u32 = u32::MAX;
/// The most waits in vain until threads stop spinning.
const CREDIT: u32 = 8;
/// One in so many waits spins while spinning does not pay, to notice when it does.
const TRIAL: u32 = 32;

/// What the threads of one session have learned about spinning.
#[derive(Debug)]
pub(super) struct Spinning {
    /// How often waits may still spin in vain; 0: spinning does not pay. Threads may overwrite each other's
    /// changes, which makes the number less exact, and nothing else.
    credit: AtomicU32,
    /// The waits without spinning.
    skipped: AtomicU32,
}

impl Spinning {
    pub(super) fn new() -> Self {
        // On a single processor, the owner cannot run while this thread spins.
        let credit = if process::processors() > 1 { CREDIT } else { 0 };
        Self { credit: AtomicU32::new(credit), skipped: AtomicU32::new(1) }
    }

    /// Waits for one turn: a pause of the processor, or the offer. `turn` is 0 at first, and then what the previous
    /// turn returned. Returns `None`, without a wait, if it is time to sleep.
    ///
    /// The first turn decides whether this wait spins; otherwise it is the offer. A wait that spins and is not
    /// continued up to the offer counts as one that paid, even if its deadline ended it.
    pub(super) fn turn(&self, turn: u32) -> Option<u32> {
        match turn {
            OVER => return None,
            0 if !self.begin() => return Some(offer()),
            TURNS => {
                // Also takes back what `begin` added.
                let credit = self.credit.load(Ordering::Relaxed);
                self.credit.store(credit.saturating_sub(2), Ordering::Relaxed);
                return Some(offer());
            }
            _ => {}
        }
        std::hint::spin_loop();
        Some(turn + 1)
    }

    /// Returns `true` if a wait spins. The wait counts as one that paid, until its last turn shows that it was in
    /// vain.
    fn begin(&self) -> bool {
        let credit = self.credit.load(Ordering::Relaxed);
        if credit > 0 {
            self.credit.store((credit + 1).min(CREDIT), Ordering::Relaxed);
            return true;
        }
        let skipped = self.skipped.load(Ordering::Relaxed);
        self.skipped.store(skipped.wrapping_add(1), Ordering::Relaxed);
        let tries = skipped % TRIAL == 0;
        if tries {
            // One wait that pays is enough to go on.
            self.credit.store(2, Ordering::Relaxed);
        }
        tries
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

    /// Waits until it is time to sleep, and returns the turns that were spent spinning.
    fn in_vain(spinning: &Spinning) -> u32 {
        let (mut turn, mut spun) = (0, 0);
        while let Some(next) = spinning.turn(turn) {
            spun += u32::from(next != OVER);
            turn = next;
        }
        spun
    }

    fn spinning(credit: u32) -> Spinning {
        Spinning { credit: AtomicU32::new(credit), skipped: AtomicU32::new(1) }
    }

    #[test]
    fn threads_stop_spinning_in_vain() {
        let spinning = spinning(CREDIT);
        let spun = (0..10 * TRIAL).filter(|_| in_vain(&spinning) > 0).count() as u32;
        assert!((CREDIT - 1..=CREDIT + 12).contains(&spun), "{spun}");
    }

    #[test]
    fn threads_spin_again_when_it_pays() {
        let spinning = spinning(0);
        let mut spun = 0;
        for _ in 0..2 * TRIAL {
            // The second turn finds the lock free.
            let first = spinning.turn(0).unwrap();
            spun += u32::from(first != OVER);
        }
        assert!(spun >= TRIAL, "{spun}");
        assert_eq!(in_vain(&spinning), TURNS);
    }
}
