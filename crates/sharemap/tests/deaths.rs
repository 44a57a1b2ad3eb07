//! A sleeping waiter acquires the lock of an owner or reader that is killed. The benchmarks measure
//! how fast (`sync`, "death of"); these tests only check that it happens, a few times each.

mod common;

use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::need_atomics;
use sharemap::{
    Barrier, CountingSemaphore, ErrorKind, LockError, Mutex, RwLock, Semaphore, Shared,
    SharedMemory,
};

type Parts = (Mutex<u64>, RwLock<u64>, Semaphore, Barrier, CountingSemaphore);

const ROLE: &str = "dies_as_a_holder";
const TIMES: u64 = 8;
/// Much longer than a recovery takes, even under an emulator or with services between processes.
const AT_MOST: Duration = Duration::from_secs(10);

fn parts() -> Parts {
    (Mutex::new(0), RwLock::new(0), Semaphore::new(2), Barrier::new(2), CountingSemaphore::new(0))
}

/// A shared memory name that is unlinked when the value is dropped.
struct Object(String);

impl Object {
    fn new(test: &str) -> Self {
        let object = Self(format!("deaths-{test}-{}", std::process::id()));
        let _ = SharedMemory::unlink(object.0.as_str());
        object
    }

    fn create(&self) -> Shared<Parts> {
        Shared::create_new(self.0.as_str(), parts).unwrap()
    }

    /// Starts a process that acquires `what` and holds it until it is killed.
    fn start(&self, shared: &Shared<Parts>, what: &str) -> Child {
        let mut command = common::child(ROLE, format!("{what} {}", self.0));
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        let (.., ready) = &**shared;
        ready.wait().unwrap();
        child
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let _ = SharedMemory::unlink(self.0.as_str());
    }
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Child role: acquires the lock that the argument names and holds it until the process is killed.
#[test]
fn dies_as_a_holder() {
    let Some(argument) = common::role(ROLE) else { return };
    let (what, name) = argument.to_str().unwrap().split_once(' ').unwrap();
    let shared = Shared::<Parts>::open(name).unwrap();
    let (mutex, rwlock, permits, barrier, ready) = &*shared;
    let wait = || -> ! {
        ready.post().unwrap();
        loop {
            thread::park();
        }
    };
    match what {
        "mutex" => {
            let mut guard = mutex.lock().unwrap();
            *guard = 99;
            wait()
        }
        "reader" => {
            let _guard = rwlock.read().unwrap();
            wait()
        }
        "writer" => {
            let mut guard = rwlock.write().unwrap();
            *guard = 99;
            wait()
        }
        "permit" => {
            let _permit = permits.acquire().unwrap();
            wait()
        }
        "member" => {
            let _member = barrier.join().unwrap();
            wait()
        }
        other => unreachable!("{other}"),
    }
}

/// Kills `child` while this thread sleeps in `next`, or is about to.
fn acquires_after_a_death(child: Child, time: u64, next: impl FnOnce()) {
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_micros(1_700 * time));
            kill(child);
        });
        next();
    });
    assert!(start.elapsed() < AT_MOST, "it took {:?}", start.elapsed());
}

/// The next owner of a mutex or write lock is notified of the death and finds the last value
/// written.
#[test]
fn the_next_owner_is_notified() {
    need_atomics!();
    let object = Object::new("owner");
    let shared = object.create();
    let (mutex, rwlock, ..) = &*shared;
    for time in 0..TIMES {
        acquires_after_a_death(object.start(&shared, "mutex"), time, || match mutex.lock() {
            Err(LockError::OwnerDied(dead)) => {
                let mut guard = dead.mark_consistent();
                assert_eq!(*guard, time);
                *guard += 1;
            }
            other => panic!("{other:?}"),
        });
        acquires_after_a_death(object.start(&shared, "writer"), time, || match rwlock.write() {
            Err(LockError::OwnerDied(dead)) => {
                let mut guard = dead.mark_consistent();
                assert_eq!(*guard, time);
                *guard += 1;
            }
            other => panic!("{other:?}"),
        });
    }
}

/// A writer acquires the lock after a reader died.
#[test]
fn a_writer_follows_a_reader() {
    need_atomics!();
    let object = Object::new("reader");
    let shared = object.create();
    let (_, rwlock, ..) = &*shared;
    for time in 0..TIMES {
        acquires_after_a_death(object.start(&shared, "reader"), time, || {
            *rwlock.write().unwrap() += 1
        });
    }
    assert_eq!(*rwlock.read().unwrap(), TIMES);
}

/// Locks of dead processes are recovered even if no thread waits and other threads only try to
/// acquire them.
#[test]
fn attempts_recover_locks_of_the_dead() {
    need_atomics!();
    let object = Object::new("try");
    let shared = object.create();
    let (mutex, rwlock, permits, barrier, _) = &*shared;
    let soon = |what: &str, mut try_it: Box<dyn FnMut() -> Option<ErrorKind> + '_>| {
        let start = Instant::now();
        // The kernel may report a death a moment after the process was reaped.
        while let Some(kind) = try_it() {
            assert!(matches!(kind, ErrorKind::WouldBlock | ErrorKind::Busy), "{what}: {kind:?}");
            assert!(start.elapsed() < AT_MOST, "{what} is not to be had");
            thread::yield_now();
        }
    };
    let all = ["permit", "permit", "member", "member", "mutex", "reader"];
    all.map(|what| object.start(&shared, what)).into_iter().for_each(kill);
    soon("a permit", Box::new(|| permits.try_acquire().err().map(|error| error.kind())));
    soon("a membership", Box::new(|| barrier.join().err().map(|error| error.kind())));
    let told =
        |error: LockError<_>| Some(error.kind()).filter(|&kind| kind != ErrorKind::OwnerDied);
    soon("the mutex", Box::new(|| mutex.try_lock().err().and_then(told)));
    soon("writing", Box::new(|| rwlock.try_write().err().map(|error| error.kind())));

    // Both memberships are free. The deaths broke the barrier, and `restart` makes it usable again.
    barrier.restart().unwrap();
    let members = [barrier.join().unwrap(), barrier.join().unwrap()];
    assert_eq!(barrier.join().unwrap_err().kind(), ErrorKind::Busy);
    drop(members);
    let both = [permits.try_acquire().unwrap(), permits.try_acquire().unwrap()];
    assert_eq!(permits.try_acquire().unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(both);
}

/// Waits that end before their first sleep notice a death, too, if they are repeated.
#[test]
fn impatient_waits_recover_locks_of_the_dead() {
    need_atomics!();
    let object = Object::new("impatient");
    let shared = object.create();
    let (mutex, rwlock, permits, barrier, _) = &*shared;
    let soon = |what: &str, awaited: ErrorKind, mut attempt: Box<dyn FnMut() -> ErrorKind + '_>| {
        let start = Instant::now();
        loop {
            let kind = attempt();
            if kind == awaited {
                break;
            }
            assert_eq!(kind, ErrorKind::Timeout, "{what}");
            assert!(start.elapsed() < AT_MOST, "{what}: no death was noticed");
            thread::yield_now();
        }
    };
    /// What the attempts return on success, which is no error.
    const ACQUIRED: ErrorKind = ErrorKind::AlreadyExists;
    for time in [Duration::ZERO, Duration::from_nanos(300), Duration::from_millis(2)] {
        kill(object.start(&shared, "mutex"));
        soon(
            "lock",
            ErrorKind::OwnerDied,
            Box::new(|| mutex.lock_timeout(time).map_or_else(|error| error.kind(), |_| ACQUIRED)),
        );
        drop(mutex.lock_or_recover(|_| ()).unwrap());
        let writer = || {
            drop(rwlock.write_or_recover(|_| ()).unwrap());
            kill(object.start(&shared, "writer"));
        };
        writer();
        soon(
            "read",
            ErrorKind::OwnerDied,
            Box::new(|| rwlock.read_timeout(time).map_or_else(|error| error.kind(), |_| ACQUIRED)),
        );
        writer();
        soon(
            "write",
            ErrorKind::OwnerDied,
            Box::new(|| rwlock.write_timeout(time).map_or_else(|error| error.kind(), |_| ACQUIRED)),
        );
        writer();
        soon(
            "upgradable",
            ErrorKind::OwnerDied,
            Box::new(|| {
                rwlock.upgradable_timeout(time).map_or_else(|error| error.kind(), |_| ACQUIRED)
            }),
        );
        drop(rwlock.write_or_recover(|_| ()).unwrap());
        kill(object.start(&shared, "reader"));
        soon(
            "write after a reader",
            ACQUIRED,
            Box::new(|| rwlock.write_timeout(time).map_or_else(|error| error.kind(), |_| ACQUIRED)),
        );
        ["permit", "permit"].map(|what| object.start(&shared, what)).into_iter().for_each(kill);
        soon(
            "a permit",
            ACQUIRED,
            Box::new(|| {
                permits.acquire_timeout(time).map_or_else(|error| error.kind(), |_| ACQUIRED)
            }),
        );
        let member = barrier.join().unwrap();
        kill(object.start(&shared, "member"));
        soon(
            "the barrier",
            ErrorKind::Broken,
            Box::new(|| member.wait_timeout(time).map_or_else(|error| error.kind(), |_| ACQUIRED)),
        );
        drop(member);
        barrier.restart().unwrap();
    }
}
