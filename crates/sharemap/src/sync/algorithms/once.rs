//! Something to be done once, by whoever comes first, and again only if that one fails or dies.

use std::time::Duration;

use crate::error::Result;
use crate::peer::Machine;
use crate::sync::algorithms::mutex::Acquisition;
use crate::sync::core::announcement::Kind;
use crate::sync::core::gate::Wake;
use crate::sync::core::unlock::Unlock;
use crate::sync::core::waiter::{Change, OWNED, Waiter};
use crate::sync::core::word::{self, AcquireRequest, Acquired, DIED, DONE};

// The word is at the start.
const GATE: u64 = 4;

/// Something to be done once, in an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawOnce {
    at: u64,
}

/// What is to be done by whoever asks.
#[derive(Debug)]
#[must_use]
pub(crate) enum Turn {
    /// Nothing.
    Done,
    /// All of it; who was at it before may have died half-way.
    Mine(Acquisition),
}

impl RawOnce {
    /// Bytes that it takes; zeros are one that is not done.
    pub(crate) const SIZE: u64 = 16;

    /// The one at `at`, a multiple of 16.
    pub(crate) fn new(at: u64) -> Self {
        Self { at }
    }

    #[inline]
    pub(crate) fn is_done<W: Machine>(self, machine: &W) -> Result<bool> {
        Ok(machine.load_32(self.at)? & DONE != 0)
    }

    /// Waits, until `until` or for ever, until it is done or there is nobody at it.
    #[inline]
    pub(crate) fn begin<W: Machine>(self, machine: &W, until: Option<Duration>) -> Result<Turn> {
        if self.is_done(machine)? { Ok(Turn::Done) } else { self.begin_slowly(machine, until) }
    }

    #[cold]
    #[inline(never)]
    fn begin_slowly<W: Machine>(self, machine: &W, until: Option<Duration>) -> Result<Turn> {
        let announced = machine.announce(Kind::Once.of(self.at))?;
        let gate = self.at + GATE;
        let mut waiter =
            Waiter::new("wait until it is done", self.at, gate, Change::Plain, OWNED, until);
        let taken = word::take(machine, AcquireRequest::new(self.at, announced, DONE), &mut waiter);
        if let Ok(Acquired::Mine(word)) = taken {
            return Ok(Turn::Mine(Acquisition::of(announced, word)));
        }
        let withdrawn = machine.withdraw(announced);
        taken?;
        withdrawn.map(|()| Turn::Done)
    }

    /// It is done.
    pub(crate) fn finish<W: Machine>(self, machine: &W, held: Acquisition) -> Result<()> {
        self.end(machine, held, DONE)
    }

    /// It failed: the next one begins anew, and is told of a death that this one was told of.
    pub(crate) fn abandon<W: Machine>(self, machine: &W, held: Acquisition) -> Result<()> {
        let flags = if held.died() { DIED } else { 0 };
        self.end(machine, held, flags)
    }

    fn end<W: Machine>(self, machine: &W, held: Acquisition, flags: u32) -> Result<()> {
        let unlock = Unlock { word: self.at, flags, gate: self.at + GATE, wake: Wake::All };
        unlock.run(machine, held.announced())
    }
}
