//! The condition variable: one word, a gate (FORMAT.md, "Condition variable").
//!
//! A waiter sets the sleeper bit while it holds the mutex. A thread that changes the awaited state acquires
//! the mutex after that, so its notification sees the bit.
//!
//! A notification announces nothing, and a notifier may die before it notifies at all. No recovery can make
//! up for that, so waits wake spuriously at least every 100 ms.
//!
//! | A death of | Leaves | Repaired by |
//! |---|---|---|
//! | a notifier, before the wake | waiters asleep | their sleeps, which last at most 100 ms |
//! | a waiter that is announced | a notification that it may have consumed | recoverer: wakes all |
//! | a waiter that acquires the mutex again | the mutex, perhaps held | recovery of the mutex |

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::peer::Machine;
use crate::sync::algorithms::exclusive::{Acquisition, Exclusive, ReleaseState};
use crate::sync::algorithms::mutex::RawMutex;
use crate::sync::core::announcement::Kind;
use crate::sync::core::gate::{self, SLEEPER, Wake};
use crate::sync::core::waiter::IDLE;

/// The bounds of a timed wait.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// The moment at which the sleep ends.
    pub(crate) until: Duration,
    /// The longest time to block for the mutex afterwards.
    pub(crate) relock: Duration,
}

/// The mutex, acquired again after a wait.
#[derive(Debug)]
#[must_use]
pub(crate) struct Woken {
    pub(crate) held: Acquisition,
    /// The deadline passed without a notification.
    pub(crate) timed_out: bool,
}

/// A condition variable in an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawCondvar {
    at: u64,
}

impl RawCondvar {
    /// The size of a condition variable. All zeros are one without waiters.
    pub(crate) const SIZE: u64 = 16;

    /// Describes the condition variable at offset `at`, a multiple of 16.
    pub(crate) fn new(at: u64) -> Self {
        Self { at }
    }

    /// Releases the mutex in the state `leave`, sleeps until a notification, a spurious wake or the moment
    /// `limit.until`, and acquires the mutex again, blocking for at most `limit.relock`.
    ///
    /// After an error the mutex is not held, unless its word could not be stored: then it stays held until
    /// this process has ended.
    pub(crate) fn wait<W: Machine>(
        self,
        machine: &W,
        mutex: RawMutex,
        held: Acquisition,
        leave: ReleaseState,
        limit: Option<Limit>,
    ) -> Result<Woken> {
        if machine.is_cancelled() {
            mutex.unlock(machine, held, leave)?;
            return Err(self.cancelled());
        }
        // Announced before the bit is set: a death in between makes recovery wake, and nothing else.
        // Registered before the mutex is released: a notifier that acquires the mutex sees the bit.
        let registered = machine.announce(Kind::Sleeper.of(self.at)).and_then(|announced| {
            match machine.fetch_or_32(self.at, SLEEPER) {
                Ok(before) => Ok((announced, before | SLEEPER)),
                Err(error) => {
                    let _ = machine.withdraw(announced);
                    Err(error)
                }
            }
        });
        let unlocked = mutex.unlock(machine, held, leave);
        // Only now: the mutex is released even if this thread could not register.
        let (announced, key) = registered?;
        let bound = match limit {
            Some(limit) => IDLE.min(limit.until.saturating_sub(machine.now())),
            None => IDLE,
        };
        let slept = unlocked.and_then(|()| machine.wait(self.at, key, bound));
        // Errors from here on leave the mutex free.
        let cancelled = machine.is_cancelled();
        // Before the announcement is withdrawn: after a death in between, recovery wakes all.
        let passed = if cancelled { self.pass_on(machine, key) } else { Ok(()) };
        // The announcement ends with the sleep. A notification that this thread consumed is lost if it dies
        // while it acquires the mutex; the other waiters wake within 100 ms.
        machine.withdraw(announced)?;
        slept?;
        passed?;
        if cancelled {
            return Err(self.cancelled());
        }
        let Some(limit) = limit else {
            return Ok(Woken { held: mutex.lock(machine, None)?, timed_out: false });
        };
        // A gate that has advanced means a notification, or a recovery, since this thread registered. It counts
        // even if it came after the deadline.
        let now = machine.now();
        let timed_out = now >= limit.until && machine.load_32(self.at)? | SLEEPER == key;
        let held = mutex.lock(machine, now.checked_add(limit.relock))?;
        Ok(Woken { held, timed_out })
    }

    /// Notifies the next waiter if this one, registered with `key`, may have consumed a notification that a
    /// waiter needs that is not cancelled.
    #[cold]
    fn pass_on<W: Machine>(self, machine: &W, key: u32) -> Result<()> {
        if machine.load_32(self.at)? | SLEEPER == key { Ok(()) } else { self.notify_one(machine) }
    }

    #[cold]
    fn cancelled(self) -> Error {
        Error::new(ErrorKind::Cancelled, "wait for a notification").with_lock_offset(self.at)
    }

    /// Wakes one waiter, if there is any.
    #[inline]
    pub(crate) fn notify_one<W: Machine>(self, machine: &W) -> Result<()> {
        let seen = machine.load_32(self.at)?;
        if seen & SLEEPER != 0 { self.wake_one(machine, seen) } else { Ok(()) }
    }

    /// Wakes one waiter, if the gate, last loaded as `seen`, says that any may sleep.
    ///
    /// The sleeper bit stays set for the others. If no waiter slept, the bit was out of date: it is cleared, and all
    /// waiters that have registered since are woken.
    ///
    /// The sequence advances, so that a waiter that registered and is not asleep yet counts as notified.
    #[cold]
    fn wake_one<W: Machine>(self, machine: &W, mut seen: u32) -> Result<()> {
        while seen & SLEEPER != 0 {
            let found =
                machine.compare_exchange_32(self.at, seen, gate::advanced(seen) | SLEEPER)?;
            if found == seen {
                if machine.wake(self.at, 1)? == 0 {
                    // Or every notification would make a system call.
                    return gate::open(machine, self.at, Wake::All);
                }
                return Ok(());
            }
            seen = found;
        }
        Ok(())
    }

    /// Wakes all waiters.
    #[inline]
    pub(crate) fn notify_all<W: Machine>(self, machine: &W) -> Result<()> {
        gate::open(machine, self.at, Wake::All)
    }
}

/// Recovers a condition variable that a dead lane announced: the thread slept, or died with a notification
/// that one of the other waiters needs.
pub(crate) fn recover<W: Machine>(machine: &W, at: u64) -> Result<()> {
    gate::wake_all_after_recovery(machine, at)
}
