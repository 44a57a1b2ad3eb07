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

use super::{AGAIN, DRAIN, GATE, RawRwLock, SEEN, SELECTOR, group};
use crate::error::{ErrorKind, Result};
use crate::peer::{Announced, Machine, Slot};
use crate::sync::algorithms::mutex::{Acquisition, Attempt, Poison, ReleaseState};
use crate::sync::core::announcement::Kind;
use crate::sync::core::double_buffer::{LastStore, is_word};
use crate::sync::core::gate::{self, Wake};
use crate::sync::core::unlock::{self, Unlock, Waiting};
use crate::sync::core::waiter::Waiter;
use crate::sync::core::word::{self, AcquireRequest, Acquired, POISONED, UPGRADABLE, named};

const WRITE: &str = "lock for writing";
const UPGRADABLE_READ: &str = "lock for upgradable reading";
const UPGRADE: &str = "upgrade the lock";

impl RawRwLock {
    /// Acquires the lock for writing, blocking until no other thread holds it or the moment `until`.
    #[cfg(test)]
    pub(crate) fn write<W: Machine>(
        self,
        machine: &W,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        self.write_on(machine, machine, until)
    }

    /// Acquires the lock for writing, blocking on `waits` until no other thread holds it or the moment `until`.
    ///
    /// `waits` is another machine for the same object, which knows when waits are cancelled. Fails with
    /// `Poisoned`, `Deadlock` (this thread holds the lock, even if only for reading), `Timeout` or `Cancelled`,
    /// or with the error of an access or of a claim of a lane. The lock is then not held, and not announced for
    /// this call.
    #[inline(always)]
    pub(crate) fn write_on<W: Machine, P: Machine>(
        self,
        machine: &W,
        waits: &P,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        // Before the exchange of the word, as for a mutex: recovery must find a word that names the lane.
        let announced = machine.announce(Kind::Writer.of(self.at))?;
        if let Ok(0) = machine.compare_exchange_32(self.at, 0, named(announced.lane)) {
            // After the exchange: a reader that the free word admitted had set its bit before it.
            if let Ok(0) = machine.load_32(self.at + SEEN) {
                return Ok(Acquisition::of(announced, 0));
            }
            return self.exclude(waits, Acquisition::of(announced, 0), WRITE, until);
        }
        self.write_slowly(waits, announced, until, Poison::Refuse)
    }

    /// Announces a write in an empty `slot`, as a mutex is announced: recovery must find a word that names the
    /// lane.
    #[inline(always)]
    pub(crate) fn announce_write_in<M: Machine, S: Slot<M>>(
        self,
        machine: &M,
        slot: S,
    ) -> Result<()> {
        slot.store(machine, Kind::Writer.of(self.at))
    }

    /// Acquires the lock that `slot` announces, if it is free and consistent. Returns 0 if it has the word, the
    /// groups that may read, and what [`DoubleBuffer::read_after`] needs.
    ///
    /// The lock is held for writing if the first two are 0. Otherwise, and after an error or a fault,
    /// [`write_again`](Self::write_again) continues.
    ///
    /// [`DoubleBuffer::read_after`]: crate::sync::core::double_buffer::DoubleBuffer::read_after
    #[inline(always)]
    pub(crate) fn write_and_load<M: Machine, S: Slot<M>>(
        self,
        machine: &M,
        slot: S,
    ) -> Result<(u64, u32, u64)> {
        // `seen` after the exchange: a reader that the free word admitted had set its bit before it.
        if is_word(self.len as usize) {
            machine.acquire_and_load_two::<{ Self::VALUE }>(self.at, slot.named())
        } else {
            machine.acquire_and_load_two::<SELECTOR>(self.at, slot.named())
        }
    }

    /// Acquires the lock for writing after [`write_and_load`](Self::write_and_load) did not, or not wholly.
    /// Blocks until no other thread holds it or the moment `until`. Errors leave the announcement as those of a
    /// mutex do.
    pub(crate) fn write_again<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
        attempt: Attempt,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        if attempt.is_held(machine, self.unlocking(ReleaseState::Sound), announced)? {
            return self.exclude(machine, Acquisition::of(announced, 0), WRITE, until);
        }
        self.write_slowly(machine, announced, until, Poison::Refuse)
    }

    /// Makes the last store of the value and releases the lock, which is held for writing, consistent
    /// ([`unlock::store_and_unlock`]).
    #[inline(always)]
    pub(crate) fn store_and_unlock<M: Machine>(
        self,
        machine: &M,
        last: LastStore,
    ) -> Result<Waiting> {
        unlock::store_and_unlock::<M, { Self::VALUE }, SELECTOR, GATE>(machine, self.at, last)
    }

    /// Acquires the lock for writing like [`write_on`](Self::write_on), but also if it is poisoned.
    pub(crate) fn write_poisoned<W: Machine>(
        self,
        machine: &W,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        let announced = machine.announce(Kind::Writer.of(self.at))?;
        self.write_slowly(machine, announced, until, Poison::Accept)
    }

    /// Acquires the word and then drains the lock.
    #[cold]
    #[inline(never)]
    fn write_slowly<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
        until: Option<Duration>,
        poison: Poison,
    ) -> Result<Acquisition> {
        let request = self.request(announced, poison as u32);
        let held = self.own(machine, request, announced, WRITE, until)?;
        self.exclude(machine, held, WRITE, until)
    }

    /// Acquires the word, blocking until the moment `until`. Readers may still hold the lock. After an error,
    /// the announcement is withdrawn.
    fn own<W: Machine>(
        self,
        machine: &W,
        request: AcquireRequest,
        announced: Announced,
        operation: &'static str,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        let mut waiter = self.waiter(operation, GATE, until);
        match word::acquire(machine, request, &mut waiter) {
            Ok(Acquired::Owned(word)) => Ok(Acquisition::of(announced, word)),
            other => {
                // No wake to pass on, here and after success: a release of the word wakes all waiters.
                let _ = machine.withdraw(announced);
                Err(other.err().unwrap_or_else(|| waiter.error(ErrorKind::Poisoned)))
            }
        }
    }

    /// Waits until the readers have left. If that fails, releases the word in the state in which it was found,
    /// as this thread has written nothing.
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
        let mut waiter = self.waiter(operation, DRAIN, until);
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

    /// Acquires the lock for writing without blocking. Returns `None` if a thread, this one or another, holds
    /// it.
    ///
    /// A dead holder is detected, though not necessarily by the first call. Fails with `Poisoned`, or with the
    /// error of an access or of a claim of a lane.
    pub(crate) fn try_write<W: Machine>(self, machine: &W) -> Result<Option<Acquisition>> {
        let announced = machine.announce(Kind::Writer.of(self.at))?;
        let request = self.request(announced, POISONED);
        let Some(held) = self.try_own(machine, request, announced, WRITE)? else { return Ok(None) };
        match self.exclude(machine, held, WRITE, Some(Duration::ZERO)) {
            Ok(held) => Ok(Some(held)),
            Err(error) => match error.kind() {
                ErrorKind::Timeout | ErrorKind::Cancelled | ErrorKind::Deadlock => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Acquires the word without blocking. Withdraws the announcement if that fails.
    fn try_own<W: Machine>(
        self,
        machine: &W,
        request: AcquireRequest,
        announced: Announced,
        operation: &'static str,
    ) -> Result<Option<Acquisition>> {
        let acquired = word::try_acquire(machine, request);
        if let Ok(Some(Acquired::Owned(word))) = acquired {
            return Ok(Some(Acquisition::of(announced, word)));
        }
        let _ = machine.withdraw(announced);
        match acquired? {
            None => Ok(None),
            Some(_) => Err(self.waiter(operation, GATE, None).error(ErrorKind::Poisoned)),
        }
    }

    /// Acquires the lock for reading with the right to upgrade, blocking until no other thread has that right
    /// or writes, or the moment `until`. Readers may hold the lock beside it.
    ///
    /// Fails with `Deadlock` if this thread has that right or writes, or if it reads and another thread writes,
    /// which waits for this read; otherwise like [`write_on`](Self::write_on).
    pub(crate) fn upgradable<W: Machine>(
        self,
        machine: &W,
        until: Option<Duration>,
    ) -> Result<Acquisition> {
        let announced = machine.announce(Kind::Writer.of(self.at))?;
        self.own(machine, self.upgradable_request(announced), announced, UPGRADABLE_READ, until)
    }

    /// Acquires the lock like [`upgradable`](Self::upgradable), but without blocking. Returns `None` if a
    /// thread writes or has the right to upgrade.
    pub(crate) fn try_upgradable<W: Machine>(self, machine: &W) -> Result<Option<Acquisition>> {
        let announced = machine.announce(Kind::Writer.of(self.at))?;
        self.try_own(machine, self.upgradable_request(announced), announced, UPGRADABLE_READ)
    }

    /// Returns the request for the word of an upgradable read.
    fn upgradable_request(self, announced: Announced) -> AcquireRequest {
        let mut request = self.request(announced, POISONED);
        request.mine |= UPGRADABLE;
        request
    }

    /// Returns the request for the word of a writer.
    fn request(self, announced: Announced, refuse: u32) -> AcquireRequest {
        let reading = Kind::Reader.of(self.at);
        AcquireRequest { reading, ..AcquireRequest::new(self.at, announced, refuse) }
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
            return Err(self.waiter(UPGRADE, GATE, None).error(ErrorKind::Invalid));
        }
        // From here on, readers are refused, and a death is reported as that of a writer.
        let drained = self.drain(machine, UPGRADE, until);
        if drained.is_err() {
            // The word before the gate: readers that were refused meanwhile sleep there, and are admitted.
            // Death in between: they are woken by recovery, or look again after their bounded sleeps.
            let _ = machine.fetch_or_32(self.at, UPGRADABLE);
            let _ = gate::open(machine, self.at + GATE, Wake::All);
        }
        drained
    }

    /// Releases a lock that is held for writing or upgradably, in the state `leave`. The caller has written the
    /// value. Errors are as for `RawMutex::unlock`.
    #[inline(always)]
    pub(crate) fn unlock<W: Machine>(
        self,
        machine: &W,
        held: Acquisition,
        leave: ReleaseState,
    ) -> Result<()> {
        self.unlocking(leave).run(machine, held.announced())
    }

    /// Returns the release in the state `leave`, for callers that take its steps one by one.
    #[inline(always)]
    pub(crate) fn unlocking(self, leave: ReleaseState) -> Unlock {
        let (flags, gate) = (leave as u32, self.at + GATE);
        Unlock { word: self.at, flags, gate, wake: Wake::All }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::peer::{Liveness, Session, delegate_world};
    use crate::sync::algorithms::rwlock::Reading;
    use crate::sync::tests::object;

    /// A machine that changes the count of nested reads with every load, until the moment `ends`.
    struct Restless<'a> {
        session: &'a Session,
        again: u64,
        times: Cell<u32>,
        ends: Duration,
    }

    impl Machine for Restless<'_> {
        delegate_world!(session: other_words lanes waits others);

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
            let reading = Reading::unpack(
                lock.read_slowly(&*session, lock.announce_read(&*session).unwrap(), None).unwrap(),
            );
            lock.unlock_read(&*session, reading).unwrap();
        };
        read_once();
        let until = session.now() + Duration::from_millis(5);
        let error = lock.write(&restless, Some(until)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        read_once();
        assert!(lock.try_write(&restless).unwrap().is_none());
        let held = lock.upgradable(&restless, None).unwrap();
        let error = lock.upgrade(&restless, held.lane(), Some(until)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        lock.unlock(&*session, held, ReleaseState::Sound).unwrap();
        assert!(session.now() < ends, "the writer waited until the count stopped changing");
        let held = lock.try_write(&*session).unwrap().expect("no thread reads");
        lock.unlock(&*session, held, ReleaseState::Sound).unwrap();
    }
}
