//! Whoever sleeps while somebody dies has what the dead one had: the next owner after one who was
//! killed, the writer after a reader. How fast is the benchmarks' business (`sync`, "death of"); here
//! it has to happen at all, a few times each.

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

const ROLE: &str = "ends_with_something";
const TIMES: u64 = 8;
/// Much longer than it takes, also where emulators and services stand between processes.
const AT_MOST: Duration = Duration::from_secs(10);

fn parts() -> Parts {
    (Mutex::new(0), RwLock::new(0), Semaphore::new(2), Barrier::new(2), CountingSemaphore::new(0))
}

/// An object that goes with the value.
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

    /// A process that has something, until it is killed.
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

/// Not a test of its own: what the others do until they are killed.
#[test]
fn ends_with_something() {
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

/// Kills it while this thread is in `next`, asleep or about to be.
fn inherits(child: Child, time: u64, next: impl FnOnce()) {
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

#[test]
fn the_next_owner_is_told() {
    need_atomics!();
    let object = Object::new("owner");
    let shared = object.create();
    let (mutex, rwlock, ..) = &*shared;
    for time in 0..TIMES {
        inherits(object.start(&shared, "mutex"), time, || match mutex.lock() {
            Err(LockError::OwnerDied(dead)) => {
                let mut guard = dead.mark_consistent();
                assert_eq!(*guard, time);
                *guard += 1;
            }
            other => panic!("{other:?}"),
        });
        inherits(object.start(&shared, "writer"), time, || match rwlock.write() {
            Err(LockError::OwnerDied(dead)) => {
                let mut guard = dead.mark_consistent();
                assert_eq!(*guard, time);
                *guard += 1;
            }
            other => panic!("{other:?}"),
        });
    }
}

#[test]
fn a_writer_follows_a_reader() {
    need_atomics!();
    let object = Object::new("reader");
    let shared = object.create();
    let (_, rwlock, ..) = &*shared;
    for time in 0..TIMES {
        inherits(object.start(&shared, "reader"), time, || *rwlock.write().unwrap() += 1);
    }
    assert_eq!(*rwlock.read().unwrap(), TIMES);
}

/// What all who had it died with is found by those who only try, too.
#[test]
fn what_the_dead_had_is_to_be_had_without_waiting() {
    need_atomics!();
    let object = Object::new("try");
    let shared = object.create();
    let (mutex, rwlock, permits, barrier, _) = &*shared;
    let soon = |what: &str, mut try_it: Box<dyn FnMut() -> Option<ErrorKind> + '_>| {
        let start = Instant::now();
        // The kernel tells of a death a moment after the process can be waited for.
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

    // Both memberships: the barrier is broken by the deaths, and whole again when that is accepted.
    barrier.restart().unwrap();
    let members = [barrier.join().unwrap(), barrier.join().unwrap()];
    assert_eq!(barrier.join().unwrap_err().kind(), ErrorKind::Busy);
    drop(members);
    let both = [permits.try_acquire().unwrap(), permits.try_acquire().unwrap()];
    assert_eq!(permits.try_acquire().unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(both);
}
