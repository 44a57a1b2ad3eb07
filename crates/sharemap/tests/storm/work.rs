//! The work of a storm process: it repeatedly uses one lock of each kind, and acquires each in
//! time.

use std::time::Duration;

use sharemap::{
    Barrier, Condvar, CountingSemaphore, Error, ErrorKind, Event, LockError, Mutex, MutexGuard,
    Once, OnceState, RwLock, Semaphore, Shared,
};

use super::witness::{Alone, Name, Told, UNKILLED, Watch, in_time};

type Value = [u64; 6];
type Owned = (Mutex<Value>, Condvar, RwLock<Value>, Semaphore);
type Loose = (CountingSemaphore, Event, Event, Once, Barrier);
pub type Parts = (Owned, Loose);

pub const PERMITS: u32 = 2;
pub const MEMBERS: u32 = 2;
/// The timeout for events that peers need not cause.
const SHORT: Duration = Duration::from_millis(2);

pub fn parts() -> Parts {
    let owned = (Mutex::new([0; 6]), Condvar::new(), RwLock::new([0; 6]), Semaphore::new(PERMITS));
    let (all, one) = (Event::manual_reset(), Event::auto_reset());
    (owned, (CountingSemaphore::new(0), all, one, Once::new(), Barrier::new(MEMBERS)))
}

/// Pseudo-random numbers, reproducible from a seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % bound
    }
}

/// A process that uses the object.
pub struct User<'a> {
    pub shared: &'a Shared<Parts>,
    pub watch: &'a Watch<'a>,
    pub me: Name,
}

impl User<'_> {
    /// Performs one random operation.
    pub fn use_one(&self, random: &mut Random) {
        match random.below(12) {
            0 | 1 => self.change_alone(),
            2 => self.wait_for_a_change(),
            3 | 4 => self.read(),
            5 => self.write(),
            6 => self.upgrade(random),
            7 => self.take_a_permit(),
            8 => self.signal(),
            9 => self.pass_events(random),
            10 => self.do_once(),
            _ => self.meet(),
        }
        self.watch.witness.count_round(self.me);
    }

    /// Performs every operation once, in the process that is not killed and therefore may wait.
    pub fn use_all(&self) {
        self.change_alone();
        self.wait_for_a_change();
        self.read();
        self.write();
        self.upgrade(&mut Random::new(1));
        self.take_a_permit();
        self.signal();
        self.pass_events(&mut Random::new(1));
        self.do_once();
        self.meet();
        self.watch.witness.count_round(self.me);
    }

    fn lock(&self) -> (MutexGuard<'_, Value>, Told) {
        let (mutex, ..) = &self.shared.0;
        let (guard, told) = self.watch.wait("mutex", |time| in_time!(mutex.lock_timeout(time)));
        self.watch.witness.enter(Alone::Mutex, self.me, told);
        self.watch.witness.check_and_accept(Alone::Mutex, &guard, told);
        (guard, told)
    }

    fn change(&self, guard: &mut MutexGuard<'_, Value>) {
        let (_, changed, ..) = &self.shared.0;
        self.watch.witness.begin(Alone::Mutex, guard);
        guard.iter_mut().for_each(|n| *n += 1);
        changed.notify_one().unwrap();
        self.watch.witness.leave(Alone::Mutex, self.me);
    }

    fn change_alone(&self) {
        let (mut guard, _) = self.lock();
        self.change(&mut guard);
        guard.unlock().unwrap();
    }

    fn wait_for_a_change(&self) {
        let (_, changed, ..) = &self.shared.0;
        let mut held = Some(self.lock().0);
        let mut last = 0;
        if let Some(guard) = &mut held {
            self.change(guard);
            last = guard[0];
        }
        // At the end there is no peer left to notify.
        let alone = self.me == UNKILLED;
        self.watch.wait("change", |time| {
            let time = if alone { SHORT } else { time };
            let guard = match held.take() {
                Some(guard) => guard,
                None => self.lock_again(),
            };
            let waited = changed.wait_timeout_while(guard, time, |value| value[0] == last);
            let (guard, told) = in_time!(waited.map(|(guard, _)| guard))?;
            self.watch.witness.enter(Alone::Mutex, self.me, told);
            self.watch.witness.check_and_accept(Alone::Mutex, &guard, told);
            self.watch.witness.leave(Alone::Mutex, self.me);
            // After a death the wait may have returned early.
            (guard[0] != last || told == Told::OfDeath || alone).then_some(())
        });
        changed.notify_all().unwrap();
    }

    fn lock_again(&self) -> MutexGuard<'_, Value> {
        let (guard, _) = self.lock();
        self.watch.witness.leave(Alone::Mutex, self.me);
        guard
    }

    fn read(&self) {
        let (_, _, lock, _) = &self.shared.0;
        let witness = self.watch.witness;
        let (guard, told) = self.watch.wait("read", |time| in_time!(lock.read_timeout(time)));
        witness.start_reading(self.me, told);
        witness.check(Alone::Writer, &guard, told);
        witness.stop_reading(self.me);
        drop(guard);
    }

    fn write(&self) {
        let (_, _, lock, _) = &self.shared.0;
        let (mut guard, told) = self.watch.wait("write", |time| in_time!(lock.write_timeout(time)));
        self.write_inside(&mut guard, told);
        guard.unlock().unwrap();
    }

    /// Checks and changes the value while the write lock is held.
    fn write_inside(&self, value: &mut Value, told: Told) {
        let witness = self.watch.witness;
        witness.enter(Alone::Writer, self.me, told);
        witness.check_nobody_reads(self.me);
        witness.check_and_accept(Alone::Writer, value, told);
        witness.begin(Alone::Writer, value);
        value.iter_mut().for_each(|n| *n += 1);
        witness.check_nobody_reads(self.me);
        witness.leave(Alone::Writer, self.me);
    }

    fn upgrade(&self, random: &mut Random) {
        let (_, _, lock, _) = &self.shared.0;
        let witness = self.watch.witness;
        let (guard, told) = self.watch.wait("upgradable", |_| match lock.try_upgradable() {
            Err(LockError::Failed(error)) if error.kind() == ErrorKind::WouldBlock => {
                in_time!(lock.upgradable())
            }
            other => in_time!(other),
        });
        witness.enter(Alone::Upgrader, self.me, told);
        if told == Told::OfDeath {
            // The death is reported only once, whether this reader upgrades or not.
            witness.release_dead_owner(Alone::Writer);
        }
        witness.check_and_accept(Alone::Writer, &guard, told);
        if random.below(4) == 0 {
            witness.leave(Alone::Upgrader, self.me);
            return;
        }
        let mut kept = Some(guard);
        let mut guard =
            self.watch.wait("upgrade", |time| match kept.take()?.upgrade_timeout(time) {
                Ok(guard) => Some(guard),
                Err((guard, error)) => {
                    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
                    kept = Some(guard);
                    None
                }
            });
        self.write_inside(&mut guard, told);
        witness.leave(Alone::Upgrader, self.me);
        guard.unlock().unwrap();
    }

    fn take_a_permit(&self) {
        let (.., permits) = &self.shared.0;
        let permit = self.watch.wait("permit", |time| unless_late(permits.acquire_timeout(time)));
        self.watch.witness.take_permit(self.me, PERMITS);
        self.watch.witness.give_permit(self.me);
        drop(permit);
    }

    /// Posts before it waits, so that there is a count for every waiter.
    fn signal(&self) {
        let (signal, ..) = &self.shared.1;
        signal.post().unwrap();
        self.watch.wait("signal", |time| unless_late(signal.wait_timeout(time)));
    }

    fn pass_events(&self, random: &mut Random) {
        let (_, all, one, ..) = &self.shared.1;
        match random.below(3) {
            // If this process is killed before the events are set below, a peer sets them.
            0 => all.reset().unwrap(),
            1 => drop(one.wait_timeout(SHORT)),
            _ => drop(all.wait_timeout(SHORT)),
        }
        all.set().unwrap();
        one.set().unwrap();
    }

    fn do_once(&self) {
        let (_, _, _, once, _) = &self.shared.1;
        let witness = self.watch.witness;
        self.watch.wait("once", |time| {
            let mut begun = false;
            let result = once.call_timeout(time, |turn| {
                begun = true;
                let told = match turn {
                    OnceState::PreviousOwnerDied => Told::OfDeath,
                    _ => Told::Nothing,
                };
                witness.enter(Alone::Once, self.me, told);
                witness.leave(Alone::Once, self.me);
                // An error leaves the once incomplete for the next caller.
                Err(Error::from(std::io::Error::other("not done")))
            });
            (begun || unless_late(result).is_some()).then_some(())
        });
    }

    fn meet(&self) {
        let (.., barrier) = &self.shared.1;
        let member = match barrier.join() {
            Ok(member) => member,
            Err(error) => return assert_eq!(error.kind(), ErrorKind::Busy, "{error}"),
        };
        match member.wait_timeout(SHORT) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Timeout => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Broken, "{error}");
                barrier.restart().unwrap();
            }
        }
    }
}

pub fn unless_late<T>(result: sharemap::Result<T>) -> Option<T> {
    match result {
        Err(error) if error.kind() == ErrorKind::Timeout => None,
        other => Some(other.unwrap()),
    }
}
