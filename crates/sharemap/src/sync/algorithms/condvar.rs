//! Waiting, under a mutex, for what others change under it: one word, a gate.
//!
//! A waiter registers while it has the mutex, so that whoever takes the mutex afterwards sees that
//! somebody sleeps. No sleep is longer than a moment, because whoever was to notify may have died:
//! waiters look again, as they must anyway.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::peer::Machine;
use crate::sync::algorithms::mutex::{Acquisition, RawMutex, ReleaseState};
use crate::sync::core::announcement::Kind;
use crate::sync::core::gate::{self, SLEEPER, Wake};
use crate::sync::core::waiter::IDLE;

/// The bounds of a timed wait.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// The moment when the sleep ends.
    pub(crate) until: Duration,
    /// The longest wait for the mutex afterwards.
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
    /// Bytes that it takes; zeros are one that nobody waits for.
    pub(crate) const SIZE: u64 = 16;

    /// The condition variable at `at`, a multiple of 16.
    pub(crate) fn new(at: u64) -> Self {
        Self { at }
    }

    /// Releases the mutex, sleeps until a notification, a spurious wake or the limit, and acquires
    /// the mutex again, within the limit if there is one. After an error the mutex is released.
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
            let error = Error::new(ErrorKind::Cancelled, "wait for a notification");
            return Err(error.with_offset(self.at));
        }
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
        let (announced, key) = registered?;
        let bound = match limit {
            Some(limit) => IDLE.min(limit.until.saturating_sub(machine.now())),
            None => IDLE,
        };
        let slept = unlocked.and_then(|()| machine.wait(self.at, key, bound));
        machine.withdraw(announced)?;
        slept?;
        let Some(limit) = limit else {
            return Ok(Woken { held: mutex.lock(machine, None)?, timed_out: false });
        };
        // A notification that arrives after the deadline, or that this thread sees late, still
        // counts.
        let now = machine.now();
        let timed_out = now >= limit.until && machine.load_32(self.at)? | SLEEPER == key;
        let held = mutex.lock(machine, now.checked_add(limit.relock))?;
        Ok(Woken { held, timed_out })
    }

    /// Wakes one of those who wait, if there are any.
    #[inline]
    pub(crate) fn notify_one<W: Machine>(self, machine: &W) -> Result<()> {
        let seen = machine.load_32(self.at)?;
        if seen & SLEEPER != 0 { self.wake_one(machine, seen) } else { Ok(()) }
    }

    /// The bit stays: others may sleep. Advancing stops whoever is about to.
    #[cold]
    fn wake_one<W: Machine>(self, machine: &W, mut seen: u32) -> Result<()> {
        while seen & SLEEPER != 0 {
            let found =
                machine.compare_exchange_32(self.at, seen, gate::advanced(seen) | SLEEPER)?;
            if found == seen {
                if machine.wake(self.at, 1)? == 0 {
                    // Nobody slept when it was tried. Who registered since may.
                    return gate::open(machine, self.at, Wake::All);
                }
                return Ok(());
            }
            seen = found;
        }
        Ok(())
    }

    /// Wakes all who wait.
    #[inline]
    pub(crate) fn notify_all<W: Machine>(self, machine: &W) -> Result<()> {
        gate::open(machine, self.at, Wake::All)
    }
}

/// The lane died asleep, or with a wake that was meant for one of many.
pub(crate) fn recover<W: Machine>(machine: &W, at: u64) -> Result<()> {
    gate::wake_all_after_recovery(machine, at)
}
