//! Waiting, under a mutex, for what others change under it: one word, a gate.
//!
//! A waiter registers while it has the mutex, so that whoever takes the mutex afterwards sees that
//! somebody sleeps. No sleep is longer than a moment, because whoever was to notify may have died:
//! waiters look again, as they must anyway.

use std::time::Duration;

use super::gate::{self, SLEEPER, Wake};
use super::kind::Kind;
use super::mutex::{Held, Leave, RawMutex};
use super::waiter::IDLE;
use crate::error::{Error, ErrorKind, Result};
use crate::peer::World;

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
    pub(crate) held: Held,
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
    pub(crate) fn wait<W: World>(
        self,
        world: &W,
        mutex: RawMutex,
        held: Held,
        leave: Leave,
        limit: Option<Limit>,
    ) -> Result<Woken> {
        if world.is_cancelled() {
            mutex.unlock(world, held, leave)?;
            let error = Error::new(ErrorKind::Cancelled, "wait for a notification");
            return Err(error.with_offset(self.at));
        }
        let registered =
            world.announce(Kind::Sleeper.of(self.at)).and_then(|announced| {
                match world.fetch_or_32(self.at, SLEEPER) {
                    Ok(before) => Ok((announced, before | SLEEPER)),
                    Err(error) => {
                        let _ = world.withdraw(announced);
                        Err(error)
                    }
                }
            });
        let unlocked = mutex.unlock(world, held, leave);
        let (announced, key) = registered?;
        let bound = match limit {
            Some(limit) => IDLE.min(limit.until.saturating_sub(world.now())),
            None => IDLE,
        };
        let slept = unlocked.and_then(|()| world.wait(self.at, key, bound));
        world.withdraw(announced)?;
        slept?;
        let Some(limit) = limit else {
            return Ok(Woken { held: mutex.lock(world, None)?, timed_out: false });
        };
        // A notification that arrives after the deadline, or that this thread sees late, still
        // counts.
        let now = world.now();
        let timed_out = now >= limit.until && world.load_32(self.at)? | SLEEPER == key;
        let held = mutex.lock(world, now.checked_add(limit.relock))?;
        Ok(Woken { held, timed_out })
    }

    /// Wakes one of those who wait, if there are any.
    #[inline]
    pub(crate) fn notify_one<W: World>(self, world: &W) -> Result<()> {
        let seen = world.load_32(self.at)?;
        if seen & SLEEPER != 0 { self.wake_one(world, seen) } else { Ok(()) }
    }

    /// The bit stays: others may sleep. Advancing stops whoever is about to.
    #[cold]
    fn wake_one<W: World>(self, world: &W, mut seen: u32) -> Result<()> {
        while seen & SLEEPER != 0 {
            let found = world.compare_exchange_32(self.at, seen, gate::advanced(seen) | SLEEPER)?;
            if found == seen {
                if world.wake(self.at, 1)? == 0 {
                    // Nobody slept when it was tried. Who registered since may.
                    return gate::open(world, self.at, Wake::All);
                }
                return Ok(());
            }
            seen = found;
        }
        Ok(())
    }

    /// Wakes all who wait.
    #[inline]
    pub(crate) fn notify_all<W: World>(self, world: &W) -> Result<()> {
        gate::open(world, self.at, Wake::All)
    }
}

/// The lane died asleep, or with a wake that was meant for one of many.
pub(crate) fn recover<W: World>(world: &W, at: u64) -> Result<()> {
    gate::open_for_the_dead(world, at)
}
