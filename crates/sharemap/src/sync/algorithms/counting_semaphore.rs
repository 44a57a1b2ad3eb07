//! The counting semaphore: a count that any thread may raise, and that waiters decrement (FORMAT.md,
//! "Signal").
//!
//! No thread owns what is counted. A decrement by a thread that dies is lost, and recovery only wakes
//! waiters. For counts that come back, see `semaphore`.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::peer::Machine;
use crate::sync::core::announcement::Kind;
use crate::sync::core::gate::{self, Wake};
use crate::sync::core::waiter::{Change, IDLE, Waiter};

// The count is at offset 0.
const GATE: u64 = 4;

/// A counting semaphore in an object, by its offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawCountingSemaphore {
    at: u64,
}

impl RawCountingSemaphore {
    /// The length of a counting semaphore. All zeros are a count of zero.
    pub(crate) const SIZE: u64 = 16;

    /// Returns the counting semaphore at `at`, a multiple of 16.
    pub(crate) fn new(at: u64) -> Self {
        Self { at }
    }

    /// Adds `how_many` to the count, and wakes waiters.
    #[inline]
    pub(crate) fn post<W: Machine>(self, machine: &W, how_many: u32) -> Result<()> {
        let mut count = machine.load_32(self.at)?;
        loop {
            let Some(raised) = count.checked_add(how_many) else {
                return Err(Error::new(ErrorKind::Overflow, "post to the semaphore")
                    .with_lock_offset(self.at)
                    .with_detail("its count has 32 bits; wait on it before posting more"));
            };
            let found = machine.compare_exchange_32(self.at, count, raised)?;
            if found == count {
                break;
            }
            count = found;
        }
        // Death here: the count is raised, waiters sleep. Posting announces nothing, so recovery does not
        // help: sleeps end within 100 ms.
        gate::open(machine, self.at + GATE, if how_many == 1 { Wake::One } else { Wake::All })
    }

    /// Decrements the count unless it is zero. Returns `true` if it was decremented.
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

    /// Decrements the count, blocking the current thread while it is zero, or until `until`.
    #[inline]
    pub(crate) fn wait<W: Machine>(self, machine: &W, until: Option<Duration>) -> Result<()> {
        if self.try_wait(machine)? { Ok(()) } else { self.wait_contended(machine, until) }
    }

    #[cold]
    #[inline(never)]
    fn wait_contended<W: Machine>(self, machine: &W, until: Option<Duration>) -> Result<()> {
        // A waiter is announced because a wake can die with it: recovery then wakes the others.
        let announced = machine.announce(Kind::Waiter.of(self.at))?;
        let mut waiter = self.waiter(until);
        let result = self.await_count(machine, &mut waiter);
        // The wake cleared bit 0 for all but woke one waiter. If more is left, the next one is woken.
        // The outcome is that of the count: an error after the decrement must not lose what was taken. If the
        // wake fails, others sleep for at most 100 ms more.
        let _ = waiter.wake_next(machine, || Ok(machine.load_32(self.at)? != 0));
        let _ = machine.withdraw(announced);
        result
    }

    fn await_count<W: Machine>(self, machine: &W, waiter: &mut Waiter) -> Result<()> {
        loop {
            if self.try_wait(machine)? {
                return Ok(());
            }
            if waiter.spin(machine) {
                continue;
            }
            waiter.check_deadline(machine)?;
            // Sets bit 0, then loads the count. A poster exchanges the count, then loads the gate. Each
            // makes its change visible before it loads, so one of the two sees the other: no fence.
            waiter.register(machine)?;
            if machine.load_32(self.at)? == 0 {
                waiter.sleep(machine)?; // at most 100 ms
            }
        }
    }

    /// Returns the current count.
    pub(crate) fn count<W: Machine>(self, machine: &W) -> Result<u32> {
        machine.load_32(self.at)
    }

    fn waiter(self, until: Option<Duration>) -> Waiter {
        let gate = self.at + GATE;
        Waiter::new("wait for the semaphore", self.at, gate, Change::Atomic, IDLE, until)
    }
}

/// Wakes the waiters at `at` after a waiter died, perhaps with a wake that another waiter needs.
pub(crate) fn recover<W: Machine>(machine: &W, at: u64) -> Result<()> {
    gate::wake_all_after_recovery(machine, at + GATE)
}
