//! Something that has happened or not: once set, it lets all through until it is reset, or one, who
//! resets it.

use std::time::Duration;

use crate::error::Result;
use crate::peer::Machine;
use crate::sync::core::announcement::Kind;
use crate::sync::core::gate::{self, Wake};
use crate::sync::core::waiter::{Change, IDLE, Waiter};

// The state is at the start: bit 0 "set", and above it how often it was set.
const SET: u32 = 1;
const TIMES: u32 = 2;
const GATE: u64 = 4;

/// Who resets an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Reset {
    /// Whoever calls for it.
    Manual = 0,
    /// The one who is let through.
    Auto = 1,
}

/// An event in an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawEvent {
    at: u64,
    reset: Reset,
}

impl RawEvent {
    /// Bytes that it takes; zeros are one that is not set.
    pub(crate) const SIZE: u64 = 16;
    /// Where it says who resets it, in 32 bits.
    pub(crate) const MODE_AT: u64 = 8;

    /// The event at `at`, a multiple of 16.
    pub(crate) fn new(at: u64, reset: Reset) -> Self {
        Self { at, reset }
    }

    /// Sets it; nothing changes if it is set.
    pub(crate) fn set<W: Machine>(self, machine: &W) -> Result<()> {
        let mut state = machine.load_32(self.at)?;
        loop {
            let set = if state & SET != 0 { state } else { state.wrapping_add(TIMES) | SET };
            let found = machine.compare_exchange_32(self.at, state, set)?;
            if found == state {
                break;
            }
            state = found;
        }
        let wake = if self.reset == Reset::Auto { Wake::One } else { Wake::All };
        gate::open(machine, self.at + GATE, wake)
    }

    /// Resets it. Those who had been waiting when it was set are let through all the same, unless
    /// it lets only one through.
    pub(crate) fn reset<W: Machine>(self, machine: &W) -> Result<()> {
        self.take(machine).map(drop)
    }

    /// Whether it is set.
    pub(crate) fn is_set<W: Machine>(self, machine: &W) -> Result<bool> {
        Ok(machine.load_32(self.at)? & SET != 0)
    }

    fn take<W: Machine>(self, machine: &W) -> Result<bool> {
        let mut state = machine.load_32(self.at)?;
        while state & SET != 0 {
            let found = machine.compare_exchange_32(self.at, state, state & !SET)?;
            if found == state {
                return Ok(true);
            }
            state = found;
        }
        Ok(false)
    }

    /// Goes through if it is set.
    pub(crate) fn try_wait<W: Machine>(self, machine: &W) -> Result<bool> {
        match self.reset {
            Reset::Manual => self.is_set(machine),
            Reset::Auto => self.take(machine),
        }
    }

    /// Goes through; waits until `until`, or for ever.
    pub(crate) fn wait<W: Machine>(self, machine: &W, until: Option<Duration>) -> Result<()> {
        let since = machine.load_32(self.at)?;
        if self.try_wait(machine)? {
            return Ok(());
        }
        let announced = machine.announce(Kind::Waiter.of(self.at))?;
        let gate = self.at + GATE;
        let mut waiter =
            Waiter::new("wait for an event", self.at, gate, Change::Atomic, IDLE, until);
        let result = self.await_set(machine, since, &mut waiter);
        let handed = match self.reset {
            Reset::Manual => Ok(()),
            Reset::Auto => waiter.wake_next(machine, || self.is_set(machine)),
        };
        let withdrawn = machine.withdraw(announced);
        result.and(handed).and(withdrawn)
    }

    fn await_set<W: Machine>(self, machine: &W, since: u32, waiter: &mut Waiter) -> Result<()> {
        // Set and reset again since this wait began.
        let missed = |state: u32| self.reset == Reset::Manual && state / TIMES != since / TIMES;
        loop {
            if missed(machine.load_32(self.at)?) || self.try_wait(machine)? {
                return Ok(());
            }
            if waiter.spin(machine) {
                continue;
            }
            waiter.check_deadline(machine)?;
            waiter.register(machine)?;
            let state = machine.load_32(self.at)?;
            if state & SET == 0 && !missed(state) {
                waiter.sleep(machine)?;
            }
        }
    }
}
