//! The event: it is set or not, and waiters block while it is not (FORMAT.md, "Event").
//!
//! A manual-reset event releases all waiters until it is reset. An auto-reset event releases one waiter,
//! which resets it. A waiter that resets an auto-reset event and dies takes the signal with it.

use std::time::Duration;

use crate::error::Result;
use crate::peer::Machine;
use crate::sync::core::announcement::Kind;
use crate::sync::core::gate::{self, Wake};
use crate::sync::core::waiter::{Change, IDLE, Waiter};

// The state is at offset 0: bit 0 says that the event is set, the bits above count how often it was set.
const SET: u32 = 1;
const TIMES: u32 = 2;
const GATE: u64 = 4;

/// How an event is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Reset {
    /// By a call.
    Manual = 0,
    /// By the waiter that it releases.
    Auto = 1,
}

/// An event in an object, by its offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawEvent {
    at: u64,
    reset: Reset,
}

impl RawEvent {
    /// The length of an event. All zeros are a manual-reset event that is not set.
    pub(crate) const SIZE: u64 = 16;
    /// The offset of its [`Reset`], in 32 bits. It never changes.
    pub(crate) const MODE_AT: u64 = 8;

    /// Returns the event at `at`, a multiple of 16.
    pub(crate) fn new(at: u64, reset: Reset) -> Self {
        Self { at, reset }
    }

    /// Sets the event and wakes waiters. The state of an event that is set does not change.
    pub(crate) fn set<W: Machine>(self, machine: &W) -> Result<()> {
        let mut state = machine.load_32(self.at)?;
        loop {
            // Counted by the same exchange, so that a waiter learns that the event was set even if it is
            // reset before the waiter runs.
            let set = if state & SET != 0 { state } else { state.wrapping_add(TIMES) | SET };
            let found = machine.compare_exchange_32(self.at, state, set)?;
            if found == state {
                break;
            }
            state = found;
        }
        // Also if the event was set before: the process that set it may have died at this point.
        // Death here: the event is set, waiters sleep. Setting announces nothing, so recovery does not help:
        // sleeps end within 100 ms.
        let wake = if self.reset == Reset::Auto { Wake::One } else { Wake::All };
        gate::open(machine, self.at + GATE, wake)
    }

    /// Resets the event. Threads that were waiting when a manual-reset event was set are released all the
    /// same.
    pub(crate) fn reset<W: Machine>(self, machine: &W) -> Result<()> {
        self.clear(machine).map(drop)
    }

    /// Returns `true` if the event is set.
    pub(crate) fn is_set<W: Machine>(self, machine: &W) -> Result<bool> {
        Ok(machine.load_32(self.at)? & SET != 0)
    }

    /// Resets the event. Returns `true` if it was set and this call reset it.
    fn clear<W: Machine>(self, machine: &W) -> Result<bool> {
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

    /// Returns `true` if the event is set, and resets it if it is an auto-reset event.
    pub(crate) fn try_wait<W: Machine>(self, machine: &W) -> Result<bool> {
        match self.reset {
            Reset::Manual => self.is_set(machine),
            Reset::Auto => self.clear(machine),
        }
    }

    /// Blocks the current thread until the event is set, or until the moment `until`; `None`: no
    /// limit. Resets an auto-reset event.
    ///
    /// An event that is set ends the call even if `until` has passed. A manual-reset event that was set
    /// during the call ends it even if the event has been reset since.
    ///
    /// Fails with `Timeout`, with `Cancelled` if the call had to block, or with the error of an access or
    /// of the claim of a lane, which may take about 100 ms more. A call that fails has not reset the
    /// event.
    pub(crate) fn wait<W: Machine>(self, machine: &W, until: Option<Duration>) -> Result<()> {
        // Before the first attempt: a set and a reset after this load end the wait.
        let since = machine.load_32(self.at)?;
        if self.try_wait(machine)? {
            return Ok(());
        }
        // A waiter is announced because a wake can die with it: recovery then wakes the others.
        let announced = machine.announce(Kind::Waiter.of(self.at))?;
        let gate = self.at + GATE;
        let mut waiter =
            Waiter::new("wait for an event", self.at, gate, Change::Atomic, IDLE, until);
        let result = self.await_set(machine, since, &mut waiter);
        // Setting a manual-reset event woke all. The wake for an auto-reset event cleared bit 0 for all but
        // woke one waiter: if the event is set again by now, or if this waiter gave up, the next one is woken.
        // The outcome is that of the event: an error after it was reset must not lose the signal. If the wake
        // fails, others sleep for at most 100 ms more.
        if self.reset == Reset::Auto {
            let _ = waiter.wake_next(machine, || self.is_set(machine));
        }
        let _ = machine.withdraw(announced);
        result
    }

    /// Spins and then sleeps until the event is set. `since` is the state when the wait began.
    fn await_set<W: Machine>(self, machine: &W, since: u32, waiter: &mut Waiter) -> Result<()> {
        // The event was set since the wait began, and may have been reset. A wait for an auto-reset event
        // continues, because another waiter was released.
        let missed = |state: u32| self.reset == Reset::Manual && state / TIMES != since / TIMES;
        loop {
            if missed(machine.load_32(self.at)?) || self.try_wait(machine)? {
                return Ok(());
            }
            if waiter.spin(machine) {
                continue;
            }
            waiter.check_deadline(machine)?;
            // Sets bit 0, then loads the state. A setter exchanges the state, then loads the gate. Each
            // makes its change visible before it loads, so one of the two sees the other: no fence.
            waiter.register(machine)?;
            let state = machine.load_32(self.at)?;
            if state & SET == 0 && !missed(state) {
                waiter.sleep(machine)?; // at most 100 ms
            }
        }
    }
}
