//! The once: an action that runs until it succeeds, in one thread at a time (FORMAT.md, "Once").
//!
//! A thread that runs the action owns the word. It releases the word to [`DONE`], which is final, or without
//! it if the action failed. If it dies, recovery sets [`DIED`], and the next thread learns that the action may
//! have run in part. All waiters are woken, as all of them can go on once the word is `DONE`.

use std::time::Duration;

use crate::error::Result;
use crate::peer::Machine;
use crate::sync::algorithms::exclusive::Acquisition;
use crate::sync::core::announcement::Kind;
use crate::sync::core::gate::Wake;
use crate::sync::core::unlock::Unlock;
use crate::sync::core::waiter::{Change, OWNED, Waiter};
use crate::sync::core::word::{self, AcquireRequest, Acquired, DIED, DONE};

// The offset in the once. Its first four bytes are the word.
const GATE: u64 = 4;

/// A once in an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawOnce {
    at: u64,
}

/// What the caller of [`RawOnce::begin`] has to do.
#[derive(Debug)]
#[must_use]
pub(crate) enum Turn {
    /// Nothing: the once is complete.
    Done,
    /// Run the action, and then [`finish`](RawOnce::finish) or [`abandon`](RawOnce::abandon) it. If
    /// [`Acquisition::died`], a thread died while it ran the action.
    Mine(Acquisition),
}

impl RawOnce {
    /// The size of a once. All zeros are a once that no thread has begun.
    pub(crate) const SIZE: u64 = 16;

    /// Describes the once at offset `at`, a multiple of 16.
    pub(crate) fn new(at: u64) -> Self {
        Self { at }
    }

    /// Returns `true` if the action has succeeded.
    #[inline]
    pub(crate) fn is_done<W: Machine>(self, machine: &W) -> Result<bool> {
        Ok(machine.load_32(self.at)? & DONE != 0)
    }

    /// Acquires the right to run the action, blocking while another thread runs it, until the moment `until`.
    ///
    /// Fails with `Deadlock` if this thread runs the action already, with `Timeout`, `Cancelled`, or the error
    /// of an access or of a claim of a lane.
    #[inline]
    pub(crate) fn begin<W: Machine>(self, machine: &W, until: Option<Duration>) -> Result<Turn> {
        if self.is_done(machine)? { Ok(Turn::Done) } else { self.begin_slowly(machine, until) }
    }

    #[cold]
    #[inline(never)]
    fn begin_slowly<W: Machine>(self, machine: &W, until: Option<Duration>) -> Result<Turn> {
        // Before the exchange of the word, as for a mutex: recovery must find a word that names the lane.
        let announced = machine.announce(Kind::Once.of(self.at))?;
        let gate = self.at + GATE;
        let mut waiter =
            Waiter::new("wait for the one-time action", self.at, gate, Change::Plain, OWNED, until);
        let request = AcquireRequest::new(self.at, announced, DONE);
        let acquired = word::acquire(machine, request, &mut waiter);
        if let Ok(Acquired::Owned(word)) = acquired {
            return Ok(Turn::Mine(Acquisition::of(announced, word)));
        }
        // No wake to pass on: a release wakes all waiters.
        let withdrawn = machine.withdraw(announced);
        acquired?;
        withdrawn.map(|()| Turn::Done)
    }

    /// Completes the once. The action's effects are visible to every thread that finds it done.
    pub(crate) fn finish<W: Machine>(self, machine: &W, held: Acquisition) -> Result<()> {
        self.end(machine, held, DONE)
    }

    /// Releases the once after the action failed, so that another thread can run it. A death that this thread
    /// was told of is reported to that thread, too.
    pub(crate) fn abandon<W: Machine>(self, machine: &W, held: Acquisition) -> Result<()> {
        let flags = if held.died() { DIED } else { 0 };
        self.end(machine, held, flags)
    }

    /// Releases the word to `flags` (`core/unlock.rs` for the order, and for what a death leaves).
    fn end<W: Machine>(self, machine: &W, held: Acquisition, flags: u32) -> Result<()> {
        let unlock = Unlock { word: self.at, flags, gate: self.at + GATE, wake: Wake::All };
        unlock.run(machine, held.announced())
    }
}
