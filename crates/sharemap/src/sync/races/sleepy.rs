//! A world in which whoever waits sleeps, and a wake that is missed is noticed.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::Fence;
use crate::error::Result;
use crate::peer::{Announced, Session, Settled, World};
use crate::sync::gate::SLEEPER;

/// A session that goes to sleep whenever it has to wait, and sleeps until somebody wakes it, or much
/// longer than that takes.
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

impl World for Sleepy<'_> {
    fn load_32(&self, at: u64) -> Result<u32> {
        self.session.load_32(at)
    }

    fn store_32(&self, at: u64, value: u32) -> Result<()> {
        self.session.store_32(at, value)
    }

    fn swap_32(&self, at: u64, value: u32) -> Result<u32> {
        self.session.swap_32(at, value)
    }

    fn compare_exchange_32(&self, at: u64, current: u32, new: u32) -> Result<u32> {
        self.session.compare_exchange_32(at, current, new)
    }

    fn load_64(&self, at: u64) -> Result<u64> {
        self.session.load_64(at)
    }

    fn store_64(&self, at: u64, value: u64) -> Result<()> {
        self.session.store_64(at, value)
    }

    fn swap_64(&self, at: u64, value: u64) -> Result<u64> {
        self.session.swap_64(at, value)
    }

    fn compare_exchange_64(&self, at: u64, current: u64, new: u64) -> Result<u64> {
        self.session.compare_exchange_64(at, current, new)
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        self.session.read(at, into)
    }

    fn write(&self, at: u64, from: &[u8]) -> Result<()> {
        self.session.write(at, from)
    }

    fn lanes(&self) -> u32 {
        self.session.lanes()
    }

    fn slots(&self, lane: u32) -> u64 {
        self.session.slots(lane)
    }

    fn is_own(&self, lane: u32) -> bool {
        self.session.is_own(lane)
    }

    fn announce(&self, what: u64) -> Result<Announced> {
        self.session.announce(what)
    }

    fn announce_first(&self, what: u64) -> Result<Announced> {
        self.session.announce_first(what)
    }

    fn announced(&self, what: u64) -> Result<Option<Announced>> {
        self.session.announced(what)
    }

    fn withdraw(&self, announced: Announced) -> Result<()> {
        self.session.withdraw(announced)
    }

    fn stores_release(&self) -> bool {
        self.session.stores_release()
    }

    fn fence_all(&self) -> bool {
        self.fence == Fence::LeftOut || self.session.fence_all()
    }

    fn wait(&self, at: u64, expected: u32, _: Duration) -> Result<()> {
        let start = Instant::now();
        self.slept.set(self.slept.get() + 1);
        self.session.wait(at, expected, self.bound())?;
        let ran_out = start.elapsed() >= self.bound();
        // If nobody has touched the gate, nobody who released has seen the sleeper.
        if ran_out && expected & SLEEPER != 0 && self.session.load_32(at)? == expected {
            self.missed.set(self.missed.get() + 1);
        }
        Ok(())
    }

    fn wake(&self, at: u64, how_many: u32) -> Result<u32> {
        self.session.wake(at, how_many)
    }

    fn nap(&self, _: Duration) {}

    fn spin(&self, _: u32) -> bool {
        false
    }

    fn settle(&self, lane: u32) -> Result<Settled> {
        self.session.settle(lane)
    }

    fn settle_rarely(&self, lane: u32) -> Result<Settled> {
        self.session.settle_rarely(lane)
    }

    fn now(&self) -> Duration {
        self.session.now()
    }

    fn milliseconds(&self) -> u32 {
        self.session.milliseconds()
    }

    fn note_wait(&self, since: u32) {
        self.session.note_wait(since);
    }

    fn is_cancelled(&self) -> bool {
        self.session.is_cancelled()
    }
}
