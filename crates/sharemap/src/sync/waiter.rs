//! One thread's wait at a gate, from its first look to the end of its patience.

use std::time::Duration;

use super::gate::{self, SLEEPER, Wake};
use crate::error::{Error, ErrorKind, Result};
use crate::peer::World;

/// The first sleep is short: a probe of the owner follows it. So is every sleep that a missed
/// wake-up may have to end, because the fence failed.
const SHORT: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_millis(4);
/// Sleeping unregistered after a wake that came to nothing leaves the lock to those who run.
const NAP: Duration = Duration::from_micros(100);

/// How what is waited for comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// By a plain store: who waits has to fence.
    Plain,
    /// By an atomic operation.
    Atomic,
}

pub(crate) struct Waiter {
    /// A verb phrase for errors.
    operation: &'static str,
    /// The lock's offset, for errors.
    at: u64,
    gate: u64,
    change: Change,
    until: Option<Duration>,
    turn: u32,
    key: u32,
    fenced: Option<u32>,
    fence_holds: bool,
    slept: bool,
    may_nap: bool,
}

impl Waiter {
    pub(crate) fn new(
        operation: &'static str,
        at: u64,
        gate: u64,
        change: Change,
        until: Option<Duration>,
    ) -> Self {
        Self {
            operation,
            at,
            gate,
            change,
            until,
            turn: 0,
            key: 0,
            fenced: None,
            fence_holds: true,
            slept: false,
            may_nap: false,
        }
    }

    /// Whether a wake may have been meant for this waiter.
    pub(crate) fn slept(&self) -> bool {
        self.slept
    }

    /// Passes a moment without sleeping, as long as that is worth it.
    pub(crate) fn linger<W: World>(&mut self, world: &W) -> bool {
        if world.spin(self.turn) {
            self.turn += 1;
            return true;
        }
        if self.may_nap {
            self.may_nap = false;
            world.nap(NAP);
            return true;
        }
        false
    }

    /// An error if there is no time left, or the wait is cancelled.
    pub(crate) fn go_on<W: World>(&self, world: &W) -> Result<()> {
        if world.is_cancelled() {
            return Err(self.error(ErrorKind::Cancelled));
        }
        match self.until {
            Some(until) if world.now() >= until => Err(self.error(ErrorKind::Timeout)),
            _ => Ok(()),
        }
    }

    /// Says that somebody sleeps. The caller looks again before it does.
    pub(crate) fn register<W: World>(&mut self, world: &W) -> Result<()> {
        self.key = world.fetch_or_32(self.gate, SLEEPER)? | SLEEPER;
        if self.change == Change::Plain && self.fenced != Some(self.key) {
            self.fence_holds = world.fence_all();
            self.fenced = Some(self.key);
        }
        Ok(())
    }

    /// Sleeps until the gate opens, a few milliseconds at most.
    pub(crate) fn sleep<W: World>(&mut self, world: &W) -> Result<()> {
        let bound = if self.slept && self.fence_holds { LONG } else { SHORT };
        let bound = match self.until {
            Some(until) => bound.min(until.saturating_sub(world.now())),
            None => bound,
        };
        world.wait(self.gate, self.key, bound)?;
        self.may_nap = true;
        self.slept = true;
        self.turn = 0;
        Ok(())
    }

    /// Sets the bit again for those who still sleep, when this one, woken, has what it waited for.
    pub(crate) fn wake_next_at_release<W: World>(&self, world: &W) -> Result<()> {
        if self.slept {
            world.fetch_or_32(self.gate, SLEEPER)?;
        }
        Ok(())
    }

    /// Hands on a wake that may have been meant for this waiter, which goes.
    pub(crate) fn give_up<W: World>(
        &self,
        world: &W,
        available: impl FnOnce() -> Result<bool>,
    ) -> Result<()> {
        if !self.slept {
            return Ok(());
        }
        world.fetch_or_32(self.gate, SLEEPER)?;
        if self.change == Change::Plain {
            world.fence_all();
        }
        if available()? { gate::open(world, self.gate, Wake::One) } else { Ok(()) }
    }

    #[cold]
    pub(crate) fn error(&self, kind: ErrorKind) -> Error {
        Error::new(kind, self.operation).with_offset(self.at)
    }
}
