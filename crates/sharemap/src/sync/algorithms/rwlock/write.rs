//! Write access and upgradable reads: the word first, then the readers.
//!
//! | Step | A death after it leaves | Repaired by |
//! |---|---|---|
//! | announce `Writer` | an announcement, no word | recoverer: wakes all at the gate |
//! | acquire the word | a word that names the lane; readers may remain | recoverer: `DIED`, wakes all |
//! | acquire it upgradably | the same, with `UPGRADABLE` | recoverer: the flags as they were, wakes all |
//! | drain, set `seen` to 0 | as after acquiring | as above; readers set their bits again |
//! | clear `UPGRADABLE` | a word that names the lane | recoverer: `DIED`, although nothing was written yet |
//! | write the value, release | see `algorithms/mutex.rs` | |

use std::time::Duration;

use super::{AGAIN, RawRwLock, SEEN, group};
use crate::error::{ErrorKind, Result};
use crate::peer::{Announced, Exchange, Machine, Slot};
use crate::sync::algorithms::exclusive::{Acquisition, Exclusive, Poison};
use crate::sync::core::announcement::Kind;
use crate::sync::core::double_buffer::{LastStore, is_word};
use crate::sync::core::gate::{self, Wake};
use crate::sync::core::unlock::{self, Waiting};
use crate::sync::core::waiter::Waiter;
use crate::sync::core::word::{self, AcquireRequest, UPGRADABLE};

const UPGRADABLE_READ: &str = "lock for upgradable reading";
const UPGRADE: &str = "upgrade the lock";

impl Exclusive for RawRwLock {
    const OPERATION: &'static str = "lock for writing";
    const KIND: Kind = Kind::Writer;
    const GATE: u64 = 8;
    const WAKE: Wake = Wake::All;
    const SELECTOR: u64 = 16;
    const VALUE: u64 = 32;

    #[inline(always)]
    fn new(at: u64, len: u32) -> Self {
        Self { at, len }
    }

    #[inline(always)]
    fn place(self) -> (u64, u32) {
        (self.at, self.len)
    }

    #[inline(always)]
    fn lock_and_load<M: Machine, S: Slot<M>>(
        self,
        machine: &M,
        slot: S,
    ) -> Result<(Exchange, u64, u64)> {
        // `seen` after the exchange: a reader that the free word admitted had set its bit before it.
        if is_word(self.len as usize) {
            machine.acquire_and_load_two::<{ Self::VALUE }>(self.at, slot.named())
        } else {
            machine.acquire_and_load_two::<{ Self::SELECTOR }>(self.at, slot.named())
        }
    }

    #[inline(always)]
    fn store_and_unlock<M: Machine>(self, machine: &M, last: LastStore) -> Result<Waiting> {
        unlock::store_and_unlock::<M, { Self::VALUE }, { Self::SELECTOR }, { Self::GATE }>(
            machine, self.at, last,
        )
    }

    fn request(self, announced: Announced, poison: Poison) -> AcquireRequest {
        let reading = Kind::Reader.of(self.at);
        AcquireRequest { reading, ..AcquireRequest::new(self.at, announced, poison as u32) }
    }

    #[cold]
    #[inline(never)]
    fn exclude<W: Machine>(
        self,
        machine: &W,
        held: Acquisition,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        match self.drain(machine, Self::OPERATION, until) {
            Ok(()) => Ok(held),
            Err(error) => {
                let _ = self.unlock(machine, held, held.leave());
                Err(error)
            }
        }
    }
}

impl RawRwLock {
    /// Waits until no other thread reads, and sets `seen` to 0. The word names this thread's lane, without
    /// [`UPGRADABLE`], so that new readers are refused.
    ///
    /// Fails with `Deadlock` if this thread reads, too, and with `Timeout` or `Cancelled`.
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
        let mut waiter = self.drain_waiter(operation, until);
        if machine.announced(Kind::Reader.of(self.at))?.is_some() {
            return Err(waiter.error(ErrorKind::Deadlock));
        }
        // A thread that reads may announce a nested read in a slot that this loop has passed. It advances
        // the count before it leaves the slot of its earlier read, which this loop waits for. A count that is
        // unchanged after the pass means that no such read was missed.
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
            // Nested reads, or a misbehaving peer, may change the count again and again.
            waiter.check_deadline(machine)?;
        }
        // No reader is left, and none is admitted before the release. A refused reader may set its bit now, or
        // just before this; it sets it again when it is admitted. Death before this leaves bits that cost the
        // next writer a look.
        machine.swap_32(seen, 0)?;
        Ok(())
    }

    /// Blocks while `slot` of `lane` announces a read of this lock.
    fn await_departure<W: Machine>(
        self,
        machine: &W,
        lane: u32,
        slot: u64,
        waiter: &mut Waiter,
    ) -> Result<()> {
        let reading = Kind::Reader.of(self.at);
        let reads = || machine.load_64(slot).map(|announcement| announcement == reading);
        while reads()? {
            if waiter.spin(machine) {
                continue;
            }
            // Before the deadline is checked, so that a `try_write` notices a dead reader, too.
            waiter.probe_once(machine, lane)?;
            if !reads()? {
                break;
            }
            waiter.check_deadline(machine)?;
            // After the bit and the fence, this load sees `Leaving`, or the reader sees the bit.
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

    /// Acquires the lock for reading with the right to upgrade, blocking until no other thread has that right
    /// or writes, or the moment `until`. Readers may hold the lock beside it.
    ///
    /// Fails with `Deadlock` if this thread has that right or writes, or if it reads and another thread writes,
    /// which waits for this read; otherwise like [`lock_on`](Exclusive::lock_on).
    pub(crate) fn upgradable<W: Machine>(
        self,
        machine: &W,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        let announced = machine.announce(self.announcement())?;
        self.own(machine, self.upgradable_request(announced), announced, UPGRADABLE_READ, until)
    }

    /// Acquires the lock like [`upgradable`](Self::upgradable), but without blocking. Returns `None` if a
    /// thread writes or has the right to upgrade.
    pub(crate) fn try_upgradable<W: Machine>(self, machine: &W) -> Result<Option<Acquisition>> {
        let announced = machine.announce(self.announcement())?;
        self.try_own(machine, self.upgradable_request(announced), announced, UPGRADABLE_READ)
    }

    /// Returns the request for the word of an upgradable read.
    fn upgradable_request(self, announced: Announced) -> AcquireRequest {
        let mut request = self.request(announced, Poison::Refuse);
        request.mine |= UPGRADABLE;
        request
    }

    /// Upgrades an upgradable read to write access, blocking until the other readers have left or the moment
    /// `until`. After an error, the lock is held upgradably as before.
    pub(crate) fn upgrade<W: Machine>(
        self,
        machine: &W,
        lane: u32,
        until: Option<Duration>,
    ) -> Result<()> {
        // Only this thread changes the word while it names the lane.
        let upgradable = machine.load_32(self.at)?;
        let exclusive = upgradable & !UPGRADABLE;
        if word::owner(upgradable) != Some(lane)
            || upgradable == exclusive
            || machine.compare_exchange_32(self.at, upgradable, exclusive)? != upgradable
        {
            // A misbehaving peer overwrote the word, and this thread does not hold it any more.
            return Err(self.owner_waiter(UPGRADE, None).error(ErrorKind::Invalid));
        }
        // From here on, readers are refused, and a death is reported as that of a writer.
        let drained = self.drain(machine, UPGRADE, until);
        if drained.is_err() {
            // The word before the gate: readers that were refused meanwhile sleep there, and are admitted.
            // Death in between: they are woken by recovery, or look again after their bounded sleeps.
            let _ = machine.fetch_or_32(self.at, UPGRADABLE);
            let _ = gate::open(machine, self.at + Self::GATE, Wake::All);
        }
        drained
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::peer::{Liveness, Session, delegate_world};
    use crate::sync::algorithms::exclusive::ReleaseState;
    use crate::sync::tests::object;

    /// A machine that changes the count of nested reads with every load, until the moment `ends`.
    struct Restless<'a> {
        session: &'a Session,
        again: u64,
        times: Cell<u32>,
        ends: Duration,
    }

    impl Machine for Restless<'_> {
        delegate_world!(session: other_words lanes waits others notes);

        fn load_32(&self, at: u64) -> Result<u32> {
            if at == self.again && self.now() < self.ends {
                self.times.set(self.times.get() + 1);
                return Ok(self.times.get());
            }
            self.session.load_32(at)
        }
    }

    /// A count that another process keeps changing does not block a writer past its deadline.
    #[test]
    fn nested_reads_do_not_block_a_writer_past_its_deadline() {
        let Some(session) = object::of_one_lock() else { return };
        let lock = RawRwLock::new(session.payload().0, 4);
        let again = session.payload().0 + AGAIN;
        let ends = session.now() + Duration::from_secs(5);
        let restless = Restless { session: &session, again, times: Cell::new(0), ends };
        let read_once = || {
            let announced = lock.announce_read(&*session).unwrap();
            let reading = lock.read_announced(&*session, announced, None).unwrap();
            lock.unlock_read(&*session, reading).unwrap();
        };
        read_once();
        let until = session.now() + Duration::from_millis(5);
        let error = lock.lock(&restless, Some(until)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        read_once();
        assert!(lock.try_lock(&restless).unwrap().is_none());
        let held = lock.upgradable(&restless, None).unwrap();
        let error = lock.upgrade(&restless, held.lane(), Some(until)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        lock.unlock(&*session, held, ReleaseState::Sound).unwrap();
        assert!(session.now() < ends, "the writer waited until the count stopped changing");
        let held = lock.try_lock(&*session).unwrap().expect("no thread reads");
        lock.unlock(&*session, held, ReleaseState::Sound).unwrap();
    }
}
