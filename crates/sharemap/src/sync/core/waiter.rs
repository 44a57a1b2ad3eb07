//! One thread's wait at a gate: spin, register, sleep, and pass the wake on.
//!
//! Each caller has a loop of this form (`word::acquire` is one): load the state; if it is not the awaited
//! one, [`spin`](Waiter::spin); when spinning ends, [`check_deadline`](Waiter::check_deadline),
//! [`register`](Waiter::register), load the state again, [`sleep`](Waiter::sleep), and probe the owner.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::peer::{ANSWER_TURN, Liveness, Machine, OWNED_TURN};
use crate::sync::core::gate::{self, SLEEPER, STARVING, Wake};

/// The longest sleep of a waiter that has to notice an owner's death: it probes the owner after each sleep.
pub(crate) const OWNED: Duration = Duration::from_millis(4);
/// The longest sleep where nothing is owned: it ends a wait if the wake was lost with a dead process.
pub(crate) const IDLE: Duration = Duration::from_millis(100);
/// The longest first sleep for a change by a plain store, after which the owner is probed early. Also the
/// longest of each sleep that a missed wake may have to end, because the fence failed.
const SHORT: Duration = Duration::from_millis(1);
/// The length of an unregistered sleep after a wake that acquired nothing. The threads that are running use
/// the lock undisturbed for so long, without fences and wakes.
const NAP: Duration = Duration::from_micros(100);
/// The longest time by which probes of owners may delay a wait that ends at its deadline.
const GRACE: Duration = Duration::from_millis(1);
/// The milliseconds after which a waiter counts as starving.
const LONG_MS: u32 = 10;

/// How the awaited state change is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// By a plain store: the waiter must fence after it has registered.
    Plain,
    /// By a plain store, as often as threads wait. Most waits end before the first sleep would, so the waiter fences
    /// before its second sleep only: the first is short, whether it misses its wake or not.
    Frequent,
    /// By an atomic operation.
    Atomic,
}

/// The state of one wait.
pub(crate) struct Waiter {
    /// A verb phrase for errors.
    operation: &'static str,
    /// The lock's offset, for errors.
    at: u64,
    gate: u64,
    change: Change,
    /// The longest sleep.
    longest: Duration,
    /// The deadline.
    until: Option<Duration>,
    /// The next turn of spinning, and the first one of each wait.
    turn: u32,
    first_turn: u32,
    /// The gate as this waiter registered in it: it sleeps while the gate is this.
    key: u32,
    /// The key at the last fence. While the gate stays at it, the sleeper bit has been set since that
    /// fence, and another fence would add nothing.
    fenced: Option<u32>,
    /// A key, and the millisecond in which this waiter first slept at it.
    since: (u32, u32),
    /// The last fence succeeded.
    fence_holds: bool,
    slept: bool,
    /// The millisecond of the first sleep.
    began: u32,
    may_nap: bool,
    probed: bool,
}

impl Waiter {
    /// Creates a waiter at `gate` that sleeps for at most `longest` at a time, until the moment `until`.
    pub(crate) fn new(
        operation: &'static str,
        at: u64,
        gate: u64,
        change: Change,
        longest: Duration,
        until: Option<Duration>,
    ) -> Self {
        let is_answer = longest == IDLE || change == Change::Frequent;
        let first_turn = if is_answer { ANSWER_TURN } else { OWNED_TURN };
        Self {
            operation,
            at,
            gate,
            change,
            longest,
            until,
            turn: first_turn,
            first_turn,
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

    /// Spins for one turn, or naps once after a sleep. Returns `false` once the caller should sleep.
    pub(crate) fn spin<W: Machine>(&mut self, machine: &W) -> bool {
        if let Some(next) = machine.spin(self.turn) {
            self.turn = next;
            return true;
        }
        if self.may_nap {
            self.may_nap = false;
            machine.nap(NAP);
            return true;
        }
        false
    }

    /// Fails with `Cancelled` if waits are cancelled, and with `Timeout` if the deadline has passed.
    pub(crate) fn check_deadline<W: Machine>(&self, machine: &W) -> Result<()> {
        if machine.is_cancelled() {
            return Err(self.error(ErrorKind::Cancelled));
        }
        if self.until.is_some_and(|until| machine.now() >= until) {
            Err(self.error(ErrorKind::Timeout))
        } else {
            Ok(())
        }
    }

    /// Fails like [`check_deadline`](Self::check_deadline), but if this wait ends at its deadline and has not
    /// probed an owner before, calls `recover` first. `recover` probes owners until the moment that it is given,
    /// and returns `true` if the caller should load the state once more, as this does then.
    ///
    /// A wait that is shorter than the spinning, or than the first sleep, would otherwise end without a probe,
    /// and so would each repetition: impatient waiters would never acquire what a dead owner holds.
    pub(crate) fn check_deadline_after<W: Machine>(
        &mut self,
        machine: &W,
        recover: impl FnOnce(Duration) -> Result<bool>,
    ) -> Result<bool> {
        match self.check_deadline(machine) {
            Ok(()) => Ok(false),
            Err(error) if error.kind() != ErrorKind::Timeout || self.probed => Err(error),
            Err(error) => {
                self.probed = true;
                if recover(machine.now() + GRACE)? { Ok(true) } else { Err(error) }
            }
        }
    }

    /// Checks the deadline like [`check_deadline_after`](Self::check_deadline_after), and probes the owner `lane`.
    ///
    /// Such calls may be repeated in a loop, so they share the limit of one probe per millisecond with `try_lock`.
    pub(crate) fn check_deadline_of<W: Machine>(&mut self, machine: &W, lane: u32) -> Result<bool> {
        self.check_deadline_after(machine, |_| {
            Ok(machine.probe_throttled(lane)? == Liveness::Recovered)
        })
    }

    /// Returns `true` if this waiter has slept.
    pub(crate) fn has_slept(&self) -> bool {
        self.slept
    }

    /// Returns the deadline.
    pub(crate) fn until(&self) -> Option<Duration> {
        self.until
    }

    /// Sets the sleeper bit of the gate, and fences if the change is a plain store. The caller must load the
    /// awaited state again before it sleeps.
    pub(crate) fn register<W: Machine>(&mut self, machine: &W) -> Result<()> {
        self.register_as(machine, SLEEPER)
    }

    /// Registers like [`register`](Self::register) at a gate where other threads may acquire first. Sets the
    /// starving bit, too, from 10 ms after the first sleep on.
    pub(crate) fn register_among_others<W: Machine>(&mut self, machine: &W) -> Result<()> {
        let starving = self.slept && machine.milliseconds().wrapping_sub(self.began) >= LONG_MS;
        self.register_as(machine, if starving { SLEEPER | STARVING } else { SLEEPER })
    }

    fn register_as<W: Machine>(&mut self, machine: &W, bits: u32) -> Result<()> {
        self.key = machine.fetch_or_32(self.gate, bits)? | bits;
        // The fence comes after the bit and before the caller's next load. If that load does not see a
        // releaser's store, the releaser loads the gate after the fence, and sees the bit.
        let must_fence = match self.change {
            Change::Plain => true,
            Change::Frequent => self.slept,
            Change::Atomic => false,
        };
        if must_fence && self.fenced != Some(self.key) {
            self.fence_holds = machine.fence_all();
            self.fenced = Some(self.key);
        }
        Ok(())
    }

    /// Sleeps until the gate differs from what this waiter registered, for at most the limit given to
    /// [`new`](Self::new) and never past the deadline. May wake early.
    ///
    /// Where the change is a plain store, the first sleep lasts at most 1 ms, and so does every sleep after
    /// a fence that failed.
    pub(crate) fn sleep<W: Machine>(&mut self, machine: &W) -> Result<()> {
        let may_last = self.change == Change::Atomic || self.slept && self.fence_holds;
        let bound = if may_last { self.longest } else { SHORT };
        let bound = match self.until {
            Some(until) => bound.min(until.saturating_sub(machine.now())),
            None => bound,
        };
        // A key has the sleeper bit set, so it differs from the initial 0.
        if self.since.0 != self.key {
            self.since = (self.key, machine.milliseconds());
        }
        if !self.slept {
            self.began = self.since.1;
        }
        // The lane shows inspectors since when the gate has been unchanged. A death during the sleep leaves
        // the note in the lane, and the recoverer clears it.
        machine.note_wait(self.since.1);
        let waited = machine.wait(self.gate, self.key, bound);
        machine.note_wait(0);
        waited?;
        self.may_nap = true;
        self.slept = true;
        self.turn = self.first_turn;
        Ok(())
    }

    /// Probes the participant of `lane`, and recovers it if it is dead. Does nothing after the first call.
    pub(crate) fn probe_once<W: Machine>(&mut self, machine: &W, lane: u32) -> Result<()> {
        if !self.probed {
            self.probed = true;
            machine.probe_liveness(lane)?;
        }
        Ok(())
    }

    /// Sets the sleeper bit again, after this waiter acquired what it waited for. Does nothing if it has not slept.
    ///
    /// Needed at gates where one waiter is woken at a time: the wake of this waiter cleared the bit, and
    /// others may still sleep. No fence is needed, because the next release is this thread's own. If
    /// the thread dies before the bit is set, its lane still announces the lock, and recovery wakes all waiters.
    pub(crate) fn restore_sleeper_bit<W: Machine>(&self, machine: &W) -> Result<()> {
        if self.slept {
            machine.fetch_or_32(self.gate, SLEEPER)?;
        }
        Ok(())
    }

    /// Sets the sleeper bit again, and wakes the next waiter if `available` returns `true`.
    ///
    /// Needed at gates where one waiter is woken at a time, if this waiter gives up, or if there may be more
    /// to acquire than it did: it may have consumed a wake that another waiter needs. The caller still
    /// announces the lock, so that recovery wakes all waiters if this thread dies before the wake.
    pub(crate) fn wake_next<W: Machine>(
        &self,
        machine: &W,
        available: impl FnOnce() -> Result<bool>,
    ) -> Result<()> {
        if !self.slept {
            return Ok(());
        }
        machine.fetch_or_32(self.gate, SLEEPER)?;
        // As in `register`: a release that this thread does not see after the fence sees the bit, and wakes.
        if self.change != Change::Atomic {
            machine.fence_all();
        }
        if available()? { gate::open(machine, self.gate, Wake::One) } else { Ok(()) }
    }

    /// Returns an error of this waiter's operation on its lock.
    #[cold]
    pub(crate) fn error(&self, kind: ErrorKind) -> Error {
        Error::new(kind, self.operation).with_lock_offset(self.at)
    }
}
