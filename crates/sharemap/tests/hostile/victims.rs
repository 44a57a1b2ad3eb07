//! Threads that use every operation of every lock, and check that each returns.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex as Exclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sharemap::{Error, ErrorKind, Location, LockError, Shared, inspect};

use crate::all::All;
use crate::random::Random;

/// The timeout of every bounded wait.
const SHORT: Duration = Duration::from_millis(3);
/// The duration after which an operation counts as stuck, with a margin for a busy machine.
const STUCK: Duration = Duration::from_secs(15);

/// The current operation of a thread, and its start time.
struct Desk {
    since: AtomicU64,
    doing: AtomicU64,
    done: AtomicU64,
}

struct Office {
    start: Instant,
    desks: Vec<Desk>,
    closing: AtomicBool,
    outcomes: Exclusive<BTreeMap<String, u64>>,
}

impl Office {
    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn is_open(&self) -> bool {
        !self.closing.load(Ordering::Relaxed)
    }

    fn note(&self, outcome: Result<(), Error>) {
        let outcome = outcome.map_err(|error| error.kind());
        *self.outcomes.lock().unwrap().entry(format!("{outcome:?}")).or_default() += 1;
    }

    fn is_idle(&self) -> bool {
        self.desks.iter().all(|desk| desk.since.load(Ordering::Relaxed) == u64::MAX)
    }

    /// Ends the process if an operation does not return.
    fn watch(&self) {
        for (number, desk) in self.desks.iter().enumerate() {
            let since = desk.since.load(Ordering::Relaxed);
            if since != u64::MAX && self.now().saturating_sub(since) > STUCK.as_millis() as u64 {
                let doing = desk.doing.load(Ordering::Relaxed);
                eprintln!("thread {number} is stuck in operation {doing}");
                std::process::abort();
            }
        }
    }
}

/// Runs all threads for `how_long`.
pub fn live(path: &Path, seed: u64, how_long: Duration) {
    const SHARING: usize = 3;
    const COMING: usize = 2;
    let desk = || Desk {
        since: AtomicU64::new(u64::MAX),
        doing: AtomicU64::new(0),
        done: AtomicU64::new(0),
    };
    let office = Office {
        start: Instant::now(),
        desks: (0..SHARING + COMING + 2).map(|_| desk()).collect(),
        closing: AtomicBool::new(false),
        outcomes: Exclusive::default(),
    };
    // The scribbler restores the header at times, so opening succeeds eventually.
    let open = || loop {
        match Shared::<All>::open(Location::file(path)) {
            Ok(all) => return all,
            Err(error) => office.note(Err(error)),
        }
        assert!(office.start.elapsed() < STUCK, "it never opens");
    };
    let (shared, patient) = (open(), open());
    thread::scope(|scope| {
        let (office, shared, patient) = (&office, &shared, &patient);
        for (number, desk) in office.desks.iter().enumerate() {
            let mut random = Random::new(seed ^ (number as u64 + 1) << 32);
            scope.spawn(move || {
                while office.is_open() {
                    desk.since.store(office.now(), Ordering::Relaxed);
                    let outcome = match number {
                        0..SHARING => use_one(shared, desk, &mut random),
                        SHARING..4 => wait_for_one(patient, desk, &mut random),
                        4 => look(path, desk, &mut random),
                        _ => come_and_go(path, desk, &mut random),
                    };
                    office.note(outcome);
                    desk.done.fetch_add(1, Ordering::Relaxed);
                    desk.since.store(u64::MAX, Ordering::Relaxed);
                }
            });
        }
        while office.start.elapsed() < how_long || !office.is_idle() {
            office.watch();
            thread::sleep(Duration::from_millis(20));
            if office.start.elapsed() >= how_long {
                office.closing.store(true, Ordering::Relaxed);
                // Ends the waits without a timeout.
                patient.cancel();
            }
        }
    });
    let done: Vec<u64> =
        office.desks.iter().map(|desk| desk.done.load(Ordering::Relaxed)).collect();
    eprintln!("{done:?} operations: {:?}", office.outcomes.lock().unwrap());
    assert!(done.iter().sum::<u64>() > 100, "hardly anything was tried");
}

/// Unwraps the guard. After the death of an owner, it randomly poisons the value, drops the guard
/// or marks the value consistent.
macro_rules! had {
    ($result:expr, $random:expr) => {
        match $result {
            Ok(guard) => guard,
            Err(LockError::OwnerDied(dead)) => match $random.below(8) {
                0 => return dead.poison(),
                1 => return Ok(()),
                _ => dead.mark_consistent(),
            },
            Err(LockError::Failed(error)) => return Err(error),
        }
    };
}

/// Increments a value that may be arbitrary.
fn bump(value: &mut u64) {
    *value = value.wrapping_add(1);
}

/// Performs one operation that returns by itself.
fn use_one(all: &Shared<All>, desk: &Desk, random: &mut Random) -> Result<(), Error> {
    let ((mutex, lock, elements, table), (permits, signal, barrier, condvar), (event, auto, once)) =
        &**all;
    let what = random.below(39);
    desk.doing.store(what, Ordering::Relaxed);
    match what {
        0..4 => bump(&mut had!(mutex.lock_timeout(SHORT), random)[1]),
        4 => bump(&mut had!(mutex.try_lock(), random)[0]),
        5 => {
            let held = had!(mutex.lock_timeout(SHORT), random);
            drop(all.0.1.try_read());
            had!(elements.try_lock(), random).view().set(7, 1)?;
            held.unlock()?;
        }
        6 => drop(had!(lock.read_timeout(SHORT), random)),
        7 => {
            let one = had!(lock.read_timeout(SHORT), random);
            let two = had!(lock.read_timeout(SHORT), random);
            drop((one, two));
        }
        8 => bump(&mut had!(lock.write_timeout(SHORT), random)[2]),
        9 => bump(&mut had!(lock.try_write(), random)[0]),
        10 => drop(had!(lock.try_read(), random)),
        11 | 12 => {
            let upgradable = had!(lock.try_upgradable(), random);
            match upgradable.upgrade_timeout(SHORT) {
                Ok(mut writing) => bump(&mut writing[1]),
                Err((_, error)) => return Err(error),
            }
        }
        13 | 14 => had!(elements.lock_timeout(SHORT), random).view().set(49, 1)?,
        15 => drop(had!(elements.try_lock(), random)),
        16 => {
            let guard = had!(table.read_timeout(SHORT), random);
            guard.view().get(49).map(drop)?;
        }
        17 => had!(table.write_timeout(SHORT), random).view().fill(3)?,
        18 => {
            let upgradable = had!(table.upgradable_timeout(SHORT), random);
            upgradable.upgrade_timeout(SHORT).map_err(|(_, error)| error)?.unlock()?;
        }
        19 | 20 => {
            let one = permits.acquire_timeout(SHORT)?;
            let two = permits.try_acquire();
            drop((one, two));
        }
        21 => permits.available().map(drop)?,
        22 => signal.post_many(random.next() as u32 >> random.below(32))?,
        23 => signal.wait_timeout(SHORT)?,
        24 => signal.try_wait().map(drop)?,
        25 | 26 => {
            let member = barrier.join()?;
            member.wait_timeout(SHORT).map(drop)?;
        }
        27 => barrier.restart()?,
        28 => {
            let guard = had!(elements.try_lock(), random);
            condvar.notify_one()?;
            drop(guard);
            condvar.notify_all()?;
        }
        29 => {
            event.set()?;
            event.wait_timeout(SHORT)?;
            event.reset()?;
        }
        30 => event.wait_timeout(SHORT)?,
        31 => {
            auto.set()?;
            auto.wait_timeout(SHORT)?;
        }
        32 => auto.wait_timeout(SHORT)?,
        33 => drop(mutex.lock_poisoned_timeout(SHORT)?.mark_consistent()),
        34 => drop(lock.write_poisoned_timeout(SHORT)?.mark_consistent()),
        35 => drop(table.read_poisoned_timeout(SHORT)?),
        36 => drop(had!(lock.upgradable_timeout(SHORT), random)),
        37 => {
            let guard = mutex.lock_or_recover_timeout(SHORT, |value| bump(&mut value[0]))?;
            drop(condvar.wait_timeout(guard, SHORT)?);
        }
        _ => once.call_timeout(SHORT, |_| {
            if random.one_in(2) { Ok(()) } else { Err(Error::from(std::io::Error::other("no"))) }
        })?,
    }
    Ok(())
}

/// Performs one wait without a timeout, which only `cancel` is certain to end.
fn wait_for_one(all: &Shared<All>, desk: &Desk, random: &mut Random) -> Result<(), Error> {
    let ((mutex, lock, elements, table), (permits, signal, barrier, condvar), (event, auto, once)) =
        &**all;
    let what = random.below(14);
    desk.doing.store(100 + what, Ordering::Relaxed);
    let wait = || -> Result<(), Error> {
        match what {
            0 => drop(mutex.lock_poisoned()?.mark_consistent()),
            1 => drop(lock.write_poisoned()?.mark_consistent()),
            2 => drop(elements.lock_poisoned()?.mark_consistent()),
            3 => drop(table.write_poisoned()?.mark_consistent()),
            4 => drop(lock.write()?),
            5 => drop(lock.read()?),
            6 => drop(table.upgradable()?.upgrade().map_err(|(_, error)| error)?),
            7 => drop(permits.acquire()?),
            8 => signal.wait()?,
            9 => barrier.join()?.wait().map(drop)?,
            10 => drop(condvar.wait(mutex.lock()?)?),
            11 => event.wait()?,
            12 => auto.wait()?,
            _ => once.call(|_| sharemap::Result::Ok(()))?,
        }
        Ok(())
    };
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now();
            while !ended.load(Ordering::Relaxed) {
                thread::park_timeout(Duration::from_millis(5));
                if start.elapsed() > Duration::from_millis(30) {
                    all.cancel();
                }
            }
            all.resume();
        });
        let result = wait();
        ended.store(true, Ordering::Relaxed);
        result
    })
}

/// Inspects the object, or attaches read-only, without becoming a participant.
fn look(path: &Path, desk: &Desk, random: &mut Random) -> Result<(), Error> {
    let what = random.below(3);
    desk.doing.store(200 + what, Ordering::Relaxed);
    let location = Location::file(path);
    if what == 0 {
        let all = Shared::<All>::open_read_only(location)?;
        let ((mutex, _, elements, _), (permits, signal, ..), (event, _, once)) = &*all;
        mutex.is_poisoned()?;
        permits.available()?;
        signal.count()?;
        event.is_set()?;
        once.is_done()?;
        assert_eq!(mutex.lock().map(drop).unwrap_err().kind(), ErrorKind::NotWritable);
        return elements.view_unlocked().to_vec().map(drop);
    }
    let inspection = inspect::Inspection::open(location)?;
    inspection.locks()?;
    inspection.participants()?;
    inspection.lanes()?;
    inspection.is_unattached()?;
    Ok(())
}

/// Attaches, performs one operation and detaches.
fn come_and_go(path: &Path, desk: &Desk, random: &mut Random) -> Result<(), Error> {
    desk.doing.store(300, Ordering::Relaxed);
    let all = Shared::<All>::open(Location::file(path))?;
    for _ in 0..random.below(6) {
        // The other threads record outcomes.
        let _ = use_one(&all, desk, random);
    }
    desk.doing.store(301, Ordering::Relaxed);
    Ok(())
}
