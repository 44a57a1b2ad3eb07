//! A count that anybody raises, and whoever waits takes one from: nobody owns what it counts.

use std::time::Duration;

use crate::error::{ErrorKind, Result};
use crate::peer::Machine;
use crate::sync::core::announcement::Kind;
use crate::sync::core::gate::{self, Wake};
use crate::sync::core::waiter::{Change, IDLE, Waiter};

// The count is at the start.
const GATE: u64 = 4;

/// A signal in an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawCountingSemaphore {
    at: u64,
}

impl RawCountingSemaphore {
    /// Bytes that it takes; zeros are a count of zero.
    pub(crate) const SIZE: u64 = 16;

    /// The signal at `at`, a multiple of 16.
    pub(crate) fn new(at: u64) -> Self {
        Self { at }
    }

    /// Raises the count.
    #[inline]
    pub(crate) fn post<W: Machine>(self, machine: &W, how_many: u32) -> Result<()> {
        let mut count = machine.load_32(self.at)?;
        loop {
            let Some(raised) = count.checked_add(how_many) else {
                return Err(self.waiter(None).error(ErrorKind::Overflow));
            };
            let found = machine.compare_exchange_32(self.at, count, raised)?;
            if found == count {
                break;
            }
            count = found;
        }
        gate::open(machine, self.at + GATE, if how_many == 1 { Wake::One } else { Wake::All })
    }

    /// Takes one, if there is one.
    #[inline]
    pub(crate) fn try_wait<W: Machine>(self, machine: &W) -> Result<bool> {
        let mut count = machine.load_32(self.at)?;
        while count != 0 {
            let found = machine.compare_exchange_32(self.at, count, count - 1)?;
            if found == count {
                return Ok(true);
            }
            count = found;
        }
        Ok(false)
    }

    /// Takes one; waits until `until`, or for ever.
    #[inline]
    pub(crate) fn wait<W: Machine>(self, machine: &W, until: Option<Duration>) -> Result<()> {
        if self.try_wait(machine)? { Ok(()) } else { self.wait_slowly(machine, until) }
    }

    #[cold]
    #[inline(never)]
    fn wait_slowly<W: Machine>(self, machine: &W, until: Option<Duration>) -> Result<()> {
        let announced = machine.announce(Kind::Waiter.of(self.at))?;
        let mut waiter = self.waiter(until);
        let result = self.await_one(machine, &mut waiter);
        let handed = waiter.wake_next(machine, || Ok(machine.load_32(self.at)? != 0));
        let withdrawn = machine.withdraw(announced);
        result.and(handed).and(withdrawn)
    }

    fn await_one<W: Machine>(self, machine: &W, waiter: &mut Waiter) -> Result<()> {
        loop {
            if self.try_wait(machine)? {
                return Ok(());
            }
            if waiter.spin(machine) {
                continue;
            }
            waiter.check_deadline(machine)?;
            waiter.register(machine)?;
            if machine.load_32(self.at)? == 0 {
                waiter.sleep(machine)?;
            }
        }
    }

    /// What the count is at the moment.
    pub(crate) fn count<W: Machine>(self, machine: &W) -> Result<u32> {
        machine.load_32(self.at)
    }

    fn waiter(self, until: Option<Duration>) -> Waiter {
        let gate = self.at + GATE;
        Waiter::new("wait for a signal", self.at, gate, Change::Atomic, IDLE, until)
    }
}

/// The lane died waiting, perhaps with a wake that is the next one's.
pub(crate) fn recover<W: Machine>(machine: &W, at: u64) -> Result<()> {
    gate::wake_all_after_recovery(machine, at + GATE)
}
