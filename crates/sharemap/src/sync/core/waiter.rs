//! One thread's wait at a gate, from its first look to the end of its patience.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::peer::Machine;
use crate::sync::core::gate::{self, SLEEPER, STARVING, Wake};

/// The longest sleep where somebody's death is to be noticed: a probe follows each.
pub(crate) const OWNED: Duration = Duration::from_millis(4);
/// The longest sleep where nothing is missed but what the dead would have done.
pub(crate) const IDLE: Duration = Duration::from_millis(100);
/// The first sleep, and each that a missed wake-up may have to end because the fence failed.
const SHORT: Duration = Duration::from_millis(1);
/// Sleeping unregistered after a wake that came to nothing leaves the lock to those who run.
const NAP: Duration = Duration::from_micros(100);
/// How long one comes too late for a lock before those who release it are to give way.
const LONG_MS: u32 = 10;

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
    longest: Duration,
    until: Option<Duration>,
    turn: u32,
    key: u32,
    fenced: Option<u32>,
    /// Since when it sleeps at the gate as it is: with that key.
    since: (u32, u32),
    fence_holds: bool,
    slept: bool,
    /// The millisecond in which it first went to sleep.
    began: u32,
    may_nap: bool,
    probed: bool,
}

impl Waiter {
    pub(crate) fn new(
        operation: &'static str,
        at: u64,
        gate: u64,
        change: Change,
        longest: Duration,
        until: Option<Duration>,
    ) -> Self {
        Self {
            operation,
            at,
            gate,
            change,
            longest,
            until,
            turn: 0,
            key: 0,
            fenced: None,
            since: (0, 0),
            fence_holds: true,
            slept: false,
            began: 0,
            may_nap: false,
            probed: false,
        }
    }

    /// Passes a moment without sleeping, as long as that is worth it.
    pub(crate) fn spin<W: Machine>(&mut self, machine: &W) -> bool {
        if machine.spin(self.turn) {
            self.turn += 1;
            return true;
        }
        if self.may_nap {
            self.may_nap = false;
            machine.nap(NAP);
            return true;
        }
        false
    }

    /// An error if there is no time left, or the wait is cancelled.
    pub(crate) fn check_deadline<W: Machine>(&self, machine: &W) -> Result<()> {
        if machine.is_cancelled() {
            return Err(self.error(ErrorKind::Cancelled));
        }
        if self.is_over(machine) { Err(self.error(ErrorKind::Timeout)) } else { Ok(()) }
    }

    /// Returns `true` if the deadline has passed.
    pub(crate) fn is_over<W: Machine>(&self, machine: &W) -> bool {
        self.until.is_some_and(|until| machine.now() >= until)
    }

    /// Says that somebody sleeps. The caller looks again before it does.
    pub(crate) fn register<W: Machine>(&mut self, machine: &W) -> Result<()> {
        self.register_as(machine, SLEEPER)
    }

    /// The same for something that others want as well, and take again and again.
    pub(crate) fn register_among_others<W: Machine>(&mut self, machine: &W) -> Result<()> {
        let starving = self.slept && machine.milliseconds().wrapping_sub(self.began) >= LONG_MS;
        self.register_as(machine, if starving { SLEEPER | STARVING } else { SLEEPER })
    }

    fn register_as<W: Machine>(&mut self, machine: &W, bits: u32) -> Result<()> {
        self.key = machine.fetch_or_32(self.gate, bits)? | bits;
        if self.change == Change::Plain && self.fenced != Some(self.key) {
            self.fence_holds = machine.fence_all();
            self.fenced = Some(self.key);
        }
        Ok(())
    }

    /// Sleeps until the gate opens, a few milliseconds at most.
    pub(crate) fn sleep<W: Machine>(&mut self, machine: &W) -> Result<()> {
        let sure = self.change == Change::Atomic || self.slept && self.fence_holds;
        let bound = if sure { self.longest } else { SHORT };
        let bound = match self.until {
            Some(until) => bound.min(until.saturating_sub(machine.now())),
            None => bound,
        };
        // A key has the bit set, so that it is never 0.
        if self.since.0 != self.key {
            self.since = (self.key, machine.milliseconds());
        }
        if !self.slept {
            self.began = self.since.1;
        }
        machine.note_wait(self.since.1);
        let waited = machine.wait(self.gate, self.key, bound);
        machine.note_wait(0);
        waited?;
        self.may_nap = true;
        self.slept = true;
        self.turn = 0;
        Ok(())
    }

    /// Probes the lane's participant, if this waiter has probed none: before its first sleep.
    pub(crate) fn probe_once<W: Machine>(&mut self, machine: &W, lane: u32) -> Result<()> {
        if !self.probed {
            self.probed = true;
            machine.probe_liveness(lane)?;
        }
        Ok(())
    }

    /// Where one is woken at a time, the wake cleared the bit for all: whoever was woken and now has
    /// what only one can have sets it again for those who still sleep.
    pub(crate) fn restore_sleeper_bit<W: Machine>(&self, machine: &W) -> Result<()> {
        if self.slept {
            machine.fetch_or_32(self.gate, SLEEPER)?;
        }
        Ok(())
    }

    /// The same for one who goes without, or may have left something: wakes the next if there is
    /// something to have.
    pub(crate) fn wake_next<W: Machine>(
        &self,
        machine: &W,
        available: impl FnOnce() -> Result<bool>,
    ) -> Result<()> {
        if !self.slept {
            return Ok(());
        }
        machine.fetch_or_32(self.gate, SLEEPER)?;
        if self.change == Change::Plain {
            machine.fence_all();
        }
        if available()? { gate::open(machine, self.gate, Wake::One) } else { Ok(()) }
    }

    #[cold]
    pub(crate) fn error(&self, kind: ErrorKind) -> Error {
        Error::new(kind, self.operation).with_offset(self.at)
    }
}
