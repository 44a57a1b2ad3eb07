//! Writing, and reading with a right to go on to it: the word, then the readers.

use std::time::Duration;

use super::{AGAIN, DRAIN, GATE, RawRwLock, SEEN, group};
use crate::error::{ErrorKind, Result};
use crate::peer::{Announced, Machine};
use crate::sync::algorithms::mutex::{Acquisition, Poison, ReleaseState};
use crate::sync::core::announcement::Kind;
use crate::sync::core::gate::{self, Wake};
use crate::sync::core::unlock::Unlock;
use crate::sync::core::waiter::Waiter;
use crate::sync::core::word::{self, AcquireRequest, Acquired, DIED, POISONED, UPGRADABLE, named};

const WRITE: &str = "lock for writing";
const UPGRADE: &str = "upgrade the lock";

impl RawRwLock {
    /// Waits until `until`, or for ever.
    #[cfg(test)]
    pub(crate) fn write<W: Machine>(
        self,
        machine: &W,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        self.write_on(machine, machine, until)
    }

    /// Acquires the lock like [`write`](Self::write), but waits on `waits`, another world of the
    /// same object, which tells when waits are cancelled.
    #[inline(always)]
    pub(crate) fn write_on<W: Machine, P: Machine>(
        self,
        machine: &W,
        waits: &P,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        let announced = machine.announce(Kind::Writer.of(self.at))?;
        if let Ok(0) = machine.compare_exchange_32(self.at, 0, named(announced.lane)) {
            if let Ok(0) = machine.load_32(self.at + SEEN) {
                return Ok(Acquisition::of(announced, 0));
            }
            return self.exclude(waits, Acquisition::of(announced, 0), WRITE, until);
        }
        self.write_slowly(waits, announced, until, Poison::Refuse)
    }

    /// Acquires the lock like [`write`](Self::write), even if it is poisoned.
    pub(crate) fn write_poisoned<W: Machine>(
        self,
        machine: &W,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        let announced = machine.announce(Kind::Writer.of(self.at))?;
        self.write_slowly(machine, announced, until, Poison::Accept)
    }

    #[cold]
    #[inline(never)]
    fn write_slowly<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
        until: Option<Duration>,
        poison: Poison,
    ) -> Result<Acquisition> {
        let held = self.own(
            machine,
            AcquireRequest::new(self.at, announced, poison as u32),
            announced,
            until,
        )?;
        self.exclude(machine, held, WRITE, until)
    }

    /// Waits for the word; readers may be inside yet.
    fn own<W: Machine>(
        self,
        machine: &W,
        ask: AcquireRequest,
        announced: Announced,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        let mut waiter = self.waiter(WRITE, GATE, until);
        match word::take(machine, ask, &mut waiter) {
            Ok(Acquired::Mine(word)) => Ok(Acquisition::of(announced, word)),
            other => {
                let _ = machine.withdraw(announced);
                Err(other.err().unwrap_or_else(|| waiter.error(ErrorKind::Poisoned)))
            }
        }
    }

    /// Waits for the readers to leave; gives the word back if they do not.
    #[cold]
    #[inline(never)]
    fn exclude<W: Machine>(
        self,
        machine: &W,
        held: Acquisition,
        operation: &'static str,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        match self.drain(machine, operation, until) {
            Ok(()) => Ok(held),
            Err(error) => {
                let _ = self.unlock(machine, held, held.leave());
                Err(error)
            }
        }
    }

    fn drain<W: Machine>(
        self,
        machine: &W,
        operation: &'static str,
        until: Option<Duration>,
    ) -> Result<()> {
        let (seen, again) = (self.at + SEEN, self.at + AGAIN);
        if machine.load_32(seen)? == 0 {
            return Ok(());
        }
        let mut waiter = self.waiter(operation, DRAIN, until);
        if machine.announced(Kind::Reader.of(self.at))?.is_some() {
            return Err(waiter.error(ErrorKind::Deadlock));
        }
        // A thread that reads may announce another read where this has looked already; it counts
        // that before it leaves where it was.
        loop {
            let count = machine.load_32(again)?;
            let groups = machine.load_32(seen)?;
            for lane in (0..machine.lanes()).filter(|&lane| groups & group(lane) != 0) {
                for index in 0..W::SLOTS {
                    self.await_departure(
                        machine,
                        lane,
                        machine.slots(lane) + 8 * index,
                        &mut waiter,
                    )?;
                }
            }
            if machine.load_32(again)? == count {
                break;
            }
            // Readers that return, or a misbehaving peer, could change the count for ever.
            waiter.check_deadline(machine)?;
        }
        // Alone: whoever sets a bit now is not admitted, and sets it again.
        machine.swap_32(seen, 0)?;
        Ok(())
    }

    fn await_departure<W: Machine>(
        self,
        machine: &W,
        lane: u32,
        slot: u64,
        waiter: &mut Waiter,
    ) -> Result<()> {
        let reads = || machine.load_64(slot).map(|what| what == Kind::Reader.of(self.at));
        while reads()? {
            if waiter.spin(machine) {
                continue;
            }
            // Also for those who only try.
            waiter.probe_once(machine, lane)?;
            if !reads()? {
                break;
            }
            waiter.check_deadline(machine)?;
            waiter.register(machine)?;
            if !reads()? {
                break;
            }
            waiter.sleep(machine)?;
            if reads()? {
                machine.probe_liveness(lane)?;
            }
        }
        Ok(())
    }

    /// Acquires the lock for writing without waiting. Returns `None` if a thread, this one or
    /// another, holds it.
    pub(crate) fn try_write<W: Machine>(self, machine: &W) -> Result<Option<Acquisition>> {
        let announced = machine.announce(Kind::Writer.of(self.at))?;
        let Some(held) =
            self.try_own(machine, AcquireRequest::new(self.at, announced, POISONED), announced)?
        else {
            return Ok(None);
        };
        match self.exclude(machine, held, WRITE, Some(Duration::ZERO)) {
            Ok(held) => Ok(Some(held)),
            Err(error) => match error.kind() {
                ErrorKind::Timeout | ErrorKind::Cancelled | ErrorKind::Deadlock => Ok(None),
                _ => Err(error),
            },
        }
    }

    fn try_own<W: Machine>(
        self,
        machine: &W,
        ask: AcquireRequest,
        announced: Announced,
    ) -> Result<Option<Acquisition>> {
        let taken = word::try_take(machine, ask);
        if let Ok(Some(Acquired::Mine(word))) = taken {
            return Ok(Some(Acquisition::of(announced, word)));
        }
        let _ = machine.withdraw(announced);
        match taken? {
            None => Ok(None),
            Some(_) => Err(self.waiter(WRITE, GATE, None).error(ErrorKind::Poisoned)),
        }
    }

    /// Waits to read beside other readers, as the only one who may go on to write.
    pub(crate) fn upgradable<W: Machine>(
        self,
        machine: &W,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        let announced = machine.announce(Kind::Writer.of(self.at))?;
        let mut ask = AcquireRequest::new(self.at, announced, POISONED);
        ask.mine |= UPGRADABLE;
        self.own(machine, ask, announced, until)
    }

    /// The same without waiting; `None` if somebody writes, or may go on to.
    pub(crate) fn try_upgradable<W: Machine>(self, machine: &W) -> Result<Option<Acquisition>> {
        let announced = machine.announce(Kind::Writer.of(self.at))?;
        let mut ask = AcquireRequest::new(self.at, announced, POISONED);
        ask.mine |= UPGRADABLE;
        self.try_own(machine, ask, announced)
    }

    /// From upgradable to exclusive; upgradable as before if that fails.
    pub(crate) fn upgrade<W: Machine>(
        self,
        machine: &W,
        held: &Acquisition,
        until: Option<Duration>,
    ) -> Result<()> {
        let exclusive = named(held.lane()) | if held.died() { DIED } else { 0 };
        let upgradable = exclusive | UPGRADABLE;
        if machine.compare_exchange_32(self.at, upgradable, exclusive)? != upgradable {
            // The word was scribbled over: this thread does not have it.
            return Err(self.waiter(UPGRADE, GATE, None).error(ErrorKind::Invalid));
        }
        let drained = self.drain(machine, UPGRADE, until);
        if drained.is_err() {
            let _ = machine.fetch_or_32(self.at, UPGRADABLE);
            let _ = gate::open(machine, self.at + GATE, Wake::All);
        }
        drained
    }

    /// Releases what was had for writing or upgradably.
    #[inline(always)]
    pub(crate) fn unlock<W: Machine>(
        self,
        machine: &W,
        held: Acquisition,
        leave: ReleaseState,
    ) -> Result<()> {
        let (flags, gate) = (leave as u32, self.at + GATE);
        let unlock = Unlock { word: self.at, flags, gate, wake: Wake::All };
        unlock.run(machine, held.announced())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::peer::{self, ExpectedLayout, Liveness, OpenOptions, Session, delegate_world};
    use crate::shm::Location;
    use crate::sync::algorithms::rwlock::Reading;

    /// A world that reports new reads all the time, until `ends`.
    struct Restless<'a> {
        session: &'a Session,
        again: u64,
        times: Cell<u32>,
        ends: Duration,
    }

    impl Machine for Restless<'_> {
        delegate_world!(session: lanes waits others);
        delegate_world! { @ each session
            fn store_32(at: u64, value: u32) -> Result<()>;
            fn swap_32(at: u64, value: u32) -> Result<u32>;
            fn compare_exchange_32(at: u64, current: u32, new: u32) -> Result<u32>;
            fn load_64(at: u64) -> Result<u64>;
            fn store_64(at: u64, value: u64) -> Result<()>;
            fn swap_64(at: u64, value: u64) -> Result<u64>;
            fn compare_exchange_64(at: u64, current: u64, new: u64) -> Result<u64>;
            fn read(at: u64, into: &mut [u8]) -> Result<()>;
            fn write(at: u64, from: &[u8]) -> Result<()>;
            fn stores_release() -> bool;
        }

        fn load_32(&self, at: u64) -> Result<u32> {
            if at == self.again && self.now() < self.ends {
                self.times.set(self.times.get() + 1);
                return Ok(self.times.get());
            }
            self.session.load_32(at)
        }
    }

    /// A counter that another process keeps changing does not block a writer past its deadline.
    #[test]
    fn readers_that_read_again_and_again_are_waited_for_in_time() {
        if crate::guard::recovery() == crate::guard::Recovery::Syscall {
            eprintln!("skipped: no atomic accesses here");
            return;
        }
        let shape = ExpectedLayout {
            kind: 79,
            fingerprint: [0; 16],
            payload: 64,
            participants: 2,
            lanes: 2,
        };
        let fill = &mut |_: &peer::Memory, _: &peer::Header| Ok(());
        let terms = OpenOptions::default();
        let location = Location::anonymous();
        let opening =
            peer::create_new(&location, &shape, &terms, crate::sync::recover, fill).unwrap();
        let session = opening.session();
        let lock = RawRwLock::new(session.payload_at(), 4);
        let again = session.payload_at() + AGAIN;
        let ends = session.now() + Duration::from_secs(5);
        let restless = Restless { session, again, times: Cell::new(0), ends };
        let read_once = || {
            let reading = Reading::unpack(
                lock.read_slowly(&**session, lock.announce_read(&**session).unwrap(), None)
                    .unwrap(),
            );
            lock.unlock_read(&**session, reading).unwrap();
        };
        read_once();
        let until = session.now() + Duration::from_millis(5);
        let error = lock.write(&restless, Some(until)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        read_once();
        assert!(lock.try_write(&restless).unwrap().is_none());
        let held = lock.upgradable(&restless, None).unwrap();
        let error = lock.upgrade(&restless, &held, Some(until)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        lock.unlock(&**session, held, ReleaseState::Sound).unwrap();
        assert!(session.now() < ends, "it waited until the readers were done");
        let held = lock.try_write(&**session).unwrap().expect("no thread reads");
        lock.unlock(&**session, held, ReleaseState::Sound).unwrap();
    }
}
