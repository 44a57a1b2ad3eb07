//! A [`Machine`] on which waiters always sleep, and that detects missed wake-ups.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::Fence;
use crate::error::Result;
use crate::peer::{Announced, Liveness, Machine, Session, delegate_world};
use crate::sync::core::gate::SLEEPER;

/// A session on which waiters sleep at once, until they are woken or until far more time has passed than a
/// wake takes.
pub(super) struct Sleepy<'a> {
    session: &'a Session,
    fence: Fence,
    pub(super) slept: Cell<u32>,
    pub(super) missed: Cell<u32>,
}

impl<'a> Sleepy<'a> {
    pub(super) fn new(session: &'a Session, fence: Fence) -> Self {
        Self { session, fence, slept: Cell::new(0), missed: Cell::new(0) }
    }

    fn bound(&self) -> Duration {
        match self.fence {
            Fence::Whole => Duration::from_secs(10),
            Fence::LeftOut => Duration::from_millis(200),
        }
    }
}

impl Machine for Sleepy<'_> {
    delegate_world!(session: words lanes others notes);

    fn fence_all(&self) -> bool {
        self.fence == Fence::LeftOut || self.session.fence_all()
    }

    fn wait(&self, at: u64, expected: u32, _: Duration) -> Result<()> {
        let start = Instant::now();
        self.slept.set(self.slept.get() + 1);
        self.session.wait(at, expected, self.bound())?;
        let ran_out = start.elapsed() >= self.bound();
        // If the gate is unchanged, the releaser has not seen the sleeper.
        if ran_out && expected & SLEEPER != 0 && self.session.load_32(at)? == expected {
            self.missed.set(self.missed.get() + 1);
        }
        Ok(())
    }

    fn nap(&self, _: Duration) {}

    fn spin(&self, _: u32) -> Option<u32> {
        None
    }
}
