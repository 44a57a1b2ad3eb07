//! A process is one participant, however often it opens an object.

mod common;
#[cfg(unix)]
#[path = "one_session/forked.rs"]
mod forked;

use std::path::{Path, PathBuf};
use std::sync::Barrier as Meeting;
use std::thread;
use std::time::Duration;

use common::{TempDir, need_atomics};
use sharemap::inspect::Inspection;
use sharemap::{
    Condvar, CountingSemaphore, ErrorKind, Event, Location, Mutex, RwLock, Semaphore, Shared,
    SharedOptions,
};

type Locks = (Mutex<u64>, RwLock<u64>, Mutex<[u8]>, RwLock<[u8]>, (Condvar, CountingSemaphore));

fn locks() -> Locks {
    let (elements, table) = (Mutex::<[u8]>::zeroed(4), RwLock::<[u8]>::zeroed(4));
    (Mutex::new(1), RwLock::new(2), elements, table, (Condvar::new(), CountingSemaphore::new(0)))
}

fn open<T: sharemap::SharedType>(path: &Path) -> Shared<T> {
    Shared::open(Location::file(path)).unwrap()
}

/// Creates an object and opens it a second time.
fn twice(directory: &TempDir) -> (Shared<Locks>, Shared<Locks>, PathBuf) {
    let path = directory.join("object");
    let one = Shared::create_new(Location::file(&path), locks).unwrap();
    (one, open(&path), path)
}

/// Threads that open an object concurrently share one participant and leave room for another
/// process.
#[test]
fn many_opening_threads_are_one_participant() {
    need_atomics!();
    const THREADS: usize = 64;
    let directory = TempDir::new();
    let path = directory.join("crowded");
    let two = SharedOptions::new().participants(2);
    drop(two.create_new(Location::file(&path), || Mutex::new(0_u64)).unwrap());
    let (path, meeting) = (&path, &Meeting::new(THREADS + 1));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(move || {
                meeting.wait();
                let shared = open::<Mutex<u64>>(path);
                *shared.lock().unwrap() += 1;
                meeting.wait();
                meeting.wait();
                drop(shared);
            });
        }
        meeting.wait();
        meeting.wait();
        let look = Inspection::open(Location::file(path)).unwrap();
        let processes: Vec<u32> =
            look.participants().unwrap().iter().map(|it| it.process).collect();
        let comes_in = std::panic::catch_unwind(|| {
            common::passes(common::child("another_process_increments", path))
        });
        meeting.wait();
        assert_eq!(processes, [std::process::id()]);
        if comes_in.unwrap() {
            assert_eq!(*open::<Mutex<u64>>(path).lock().unwrap(), THREADS as u64 + 1);
        }
    });
}

/// Child role: increments the value once.
#[test]
fn another_process_increments() {
    let Some(path) = common::role("another_process_increments") else { return };
    *open::<Mutex<u64>>(&path).lock().unwrap() += 1;
}

/// A lock held through one opening is a `Deadlock` through another.
#[test]
fn a_deadlock_is_detected_across_openings() {
    need_atomics!();
    let directory = TempDir::new();
    let (one, two, _) = twice(&directory);
    fn deadlock<G>(what: &str, locked: sharemap::LockResult<G>) {
        assert_eq!(locked.map(drop).unwrap_err().kind(), ErrorKind::Deadlock, "{what}");
    }
    // Without deadlock detection the test fails after this timeout.
    let soon = Duration::from_secs(5);

    let held = one.0.lock().unwrap();
    deadlock("a mutex", two.0.lock_timeout(soon));
    drop(held);
    let held = one.1.write().unwrap();
    deadlock("two writes", two.1.write_timeout(soon));
    deadlock("a write, then a read", two.1.read_timeout(soon));
    drop(held);
    let reading = one.1.read().unwrap();
    let nested = two.1.read().unwrap();
    deadlock("a read, then a write", two.1.write_timeout(soon));
    drop((reading, nested));
    let reading = one.1.read().unwrap();
    let (planning, error) = two.1.upgradable().unwrap().upgrade_timeout(soon).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadlock, "an upgrade: {error}");
    drop((planning, reading));

    let held = one.2.lock().unwrap();
    deadlock("a mutex over elements", two.2.lock_timeout(soon));
    drop(held);
    let held = one.3.write().unwrap();
    deadlock("two writes over elements", two.3.write_timeout(soon));
    deadlock("a write, then a read over elements", two.3.read_timeout(soon));
    drop(held);
    let reading = one.3.read().unwrap();
    drop(two.3.read().unwrap());
    let (planning, error) = two.3.upgradable().unwrap().upgrade_timeout(soon).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadlock, "an upgrade over elements: {error}");
    drop((planning, reading));
    *two.0.lock().unwrap() += 1;
    drop(two);
    assert_eq!(*one.0.lock().unwrap(), 2);
}

/// While a writer waits, a thread that holds a read lock through one opening can acquire another
/// through a second.
#[test]
fn reads_nest_across_openings_while_a_writer_waits() {
    need_atomics!();
    let directory = TempDir::new();
    let (one, two, path) = twice(&directory);
    let reading = one.1.read().unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| *one.1.write_timeout(Duration::from_secs(20)).unwrap() += 1);
        let look = Inspection::open(Location::file(&path)).unwrap();
        while !look.locks().unwrap().iter().any(|lock| lock.owner.is_some()) {
            thread::yield_now();
        }
        let nested = two.1.read_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!(*nested, 2);
        drop((nested, reading));
        writer.join().unwrap();
    });
}

/// A condition variable accepts the mutex of another opening of its object.
#[test]
fn a_condition_variable_accepts_the_mutex_of_another_opening() {
    need_atomics!();
    let directory = TempDir::new();
    let (one, two, _) = twice(&directory);
    thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let guard = one.0.lock().unwrap();
            *two.4.0.wait_while(guard, |value| *value == 1).unwrap()
        });
        *two.0.lock().unwrap() = 7;
        one.4.0.notify_all().unwrap();
        assert_eq!(waits.join().unwrap(), 7);
    });
}

/// Cancelling one opening cancels no waits through other openings.
#[test]
fn cancelling_one_opening_leaves_the_others_waiting() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("object");
    type All =
        (Mutex<u8>, RwLock<u8>, CountingSemaphore, Event, Semaphore, (Mutex<[u8]>, RwLock<[u8]>));
    let make = || {
        let slices = (Mutex::<[u8]>::zeroed(1), RwLock::<[u8]>::zeroed(1));
        (
            Mutex::new(0),
            RwLock::new(0),
            CountingSemaphore::new(0),
            Event::auto_reset(),
            Semaphore::new(0),
            slices,
        )
    };
    let one: Shared<All> = Shared::create_new(Location::file(&path), make).unwrap();
    let (cancelled, patient) = (open::<All>(&path), open::<All>(&path));
    let held = (one.0.lock().unwrap(), one.1.write().unwrap());
    let also = (one.5.0.lock().unwrap(), one.5.1.write().unwrap());
    cancelled.cancel();
    let waits = |all: &Shared<All>| -> [ErrorKind; 8] {
        let soon = Duration::from_millis(50);
        let kind = |error: sharemap::Error| error.kind();
        fn lock<G>(locked: sharemap::LockResult<G>) -> ErrorKind {
            locked.map(drop).unwrap_err().kind()
        }
        thread::scope(|scope| {
            let kinds = scope.spawn(|| {
                [
                    lock(all.0.lock_timeout(soon)),
                    lock(all.1.read_timeout(soon)),
                    lock(all.1.write_timeout(soon)),
                    kind(all.2.wait_timeout(soon).unwrap_err()),
                    kind(all.3.wait_timeout(soon).unwrap_err()),
                    kind(all.4.acquire_timeout(soon).map(drop).unwrap_err()),
                    lock(all.5.0.lock_timeout(soon)),
                    lock(all.5.1.read_timeout(soon)),
                ]
            });
            kinds.join().unwrap()
        })
    };
    assert_eq!(waits(&cancelled), [ErrorKind::Cancelled; 8]);
    assert_eq!(waits(&patient), [ErrorKind::Timeout; 8]);
    cancelled.resume();
    assert_eq!(waits(&cancelled), [ErrorKind::Timeout; 8]);
    drop((held, also));
}

/// Every opening checks the type, the size and the current header, though the process already has
/// the object open.
#[test]
fn type_size_and_header_are_checked_by_every_opening() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("object");
    let place = || Location::file(&path);
    let first = Shared::create_new(place(), || Mutex::new(5_u64)).unwrap();
    let kind = |error: sharemap::Error| error.kind();
    assert_eq!(kind(Shared::<Mutex<i64>>::open(place()).unwrap_err()), ErrorKind::WrongType);
    assert_eq!(kind(Shared::<Mutex<[u64; 4]>>::open(place()).unwrap_err()), ErrorKind::WrongSize);
    let again = Shared::create_new(place(), || Mutex::new(0_u64)).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    drop(open::<Mutex<u64>>(&path));
    // Another process may have overwritten the bytes meanwhile.
    let mut whole = std::fs::read(&path).unwrap();
    let write = |at: u64, bytes: &[u8]| {
        use std::io::{Seek, SeekFrom, Write};
        let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(bytes).unwrap();
    };
    const STATE: usize = 128;
    write(STATE as u64, &3_u32.to_le_bytes());
    assert_eq!(kind(Shared::<Mutex<u64>>::open(place()).unwrap_err()), ErrorKind::Unclean);
    write(STATE as u64, &whole[STATE..STATE + 4]);
    // A valid header of another object. On Windows the header identifies the object.
    if cfg!(not(windows)) {
        let other = directory.join("other");
        drop(Shared::create_new(Location::file(&other), || Mutex::new(5_u64)).unwrap());
        write(0, &std::fs::read(&other).unwrap()[..STATE]);
        assert_eq!(kind(Shared::<Mutex<u64>>::open(place()).unwrap_err()), ErrorKind::Malformed);
    }
    whole.truncate(STATE);
    write(0, &whole);
    assert_eq!(*open::<Mutex<u64>>(&path).lock().unwrap(), 5);
    drop(first);
}

/// Every opening checks the owner, which may have changed.
#[cfg(target_os = "linux")]
#[test]
fn the_owner_is_checked_by_every_opening() {
    need_atomics!();
    if !common::is_root() {
        common::skip!("only root gives objects to other users");
    }
    let name = format!("one-session-owner-{}", std::process::id());
    let first = Shared::create_new(name.as_str(), || Mutex::new(1_u8)).unwrap();
    std::os::unix::fs::chown(format!("/dev/shm/{name}"), Some(12_345), None).unwrap();
    let error = Shared::<Mutex<u8>>::open(name.as_str()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ForeignOwner);
    let any: Shared<Mutex<u8>> =
        SharedOptions::new().allow_any_owner().open(name.as_str()).unwrap();
    let _held = first.lock().unwrap();
    let error = any.lock_timeout(Duration::from_secs(5)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadlock);
    sharemap::SharedMemory::unlink(name.as_str()).unwrap();
}

/// A copy of the file, and a new file of the same name, are other objects.
#[test]
fn a_copy_of_the_file_is_another_object() {
    need_atomics!();
    let directory = TempDir::new();
    let (path, copy) = (directory.join("object"), directory.join("copy"));
    let one = Shared::create_new(Location::file(&path), || Mutex::new(1_u64)).unwrap();
    std::fs::copy(&path, &copy).unwrap();
    let other = open::<Mutex<u64>>(&copy);
    let held = one.lock().unwrap();
    *other.lock_timeout(Duration::from_secs(5)).unwrap() = 9;
    drop(held);
    assert_eq!((*one.lock().unwrap(), *other.lock().unwrap()), (1, 9));
    if cfg!(windows) {
        println!("skipped in part: a file keeps its name here until its last handle is closed");
        return;
    }
    // A new file that gets the unlinked name is another object, too.
    Shared::<Mutex<u64>>::unlink(Location::file(&path)).unwrap();
    let new = Shared::create_new(Location::file(&path), || Mutex::new(3_u64)).unwrap();
    let held = new.lock().unwrap();
    assert_eq!(*one.lock_timeout(Duration::from_secs(5)).unwrap(), 1);
    drop(held);
}

/// Copy-on-write openings share no changes with each other, and read-only openings see shared
/// changes.
#[test]
fn private_copies_are_not_shared() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("object");
    let one = Shared::create_new(Location::file(&path), || Mutex::<[u8]>::zeroed(4)).unwrap();
    let private = || -> Shared<Mutex<[u8]>> {
        SharedOptions::new().open_copy_on_write(Location::file(&path)).unwrap()
    };
    let (mine, yours) = (private(), private());
    mine.private_view_mut().unwrap().set(0, 7).unwrap();
    assert_eq!(yours.view_unlocked().get(0).unwrap(), 0);
    assert_eq!(one.view_unlocked().get(0).unwrap(), 0);
    let look = Shared::<Mutex<[u8]>>::open_read_only(Location::file(&path)).unwrap();
    assert_eq!(look.lock().unwrap_err().kind(), ErrorKind::NotWritable);
    one.lock().unwrap().view().set(1, 5).unwrap();
    assert_eq!(look.view_unlocked().get(1).unwrap(), 5);
}

/// Two processes that repeatedly open and drop an object in several threads fit into two
/// participants.
#[test]
fn two_processes_repeatedly_attach_and_detach() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("busy");
    let two = SharedOptions::new().participants(2).lanes(16);
    drop(two.create_new(Location::file(&path), || Mutex::new(0_u64)).unwrap());
    let mut other = common::child("repeatedly_attaches", &path).spawn().unwrap();
    let mine = attach_repeatedly(&path);
    let ended = other.wait().unwrap();
    assert!(ended.success(), "the other process: {ended}");
    let shared = open::<Mutex<u64>>(&path);
    assert!(*shared.lock().unwrap() >= 2 * mine);
    drop(shared);
    assert_eq!(std::fs::read(&path).unwrap()[132], 1, "left in order");
}

/// Child role: repeatedly opens and drops the object.
#[test]
fn repeatedly_attaches() {
    let Some(path) = common::role("repeatedly_attaches") else { return };
    attach_repeatedly(&path);
}

/// Repeatedly opens the object, increments the value and drops the object. Returns the number of
/// rounds.
fn attach_repeatedly(path: &Path) -> u64 {
    const ROUNDS: u64 = 300;
    let attach = || {
        for _ in 0..ROUNDS {
            *open::<Mutex<u64>>(path).lock().unwrap() += 1;
        }
    };
    thread::scope(|scope| {
        // Joined, as the end of the scope does not wait until a thread has released its lane.
        let threads = [(); 4].map(|()| scope.spawn(attach));
        for thread in threads {
            thread.join().unwrap();
        }
    });
    4 * ROUNDS
}

/// Openings are matched to the right one of many open objects.
#[test]
fn many_objects_are_distinguished() {
    need_atomics!();
    let directory = TempDir::new();
    let make = |number: u64| {
        let path = directory.join(&number.to_string());
        let small = SharedOptions::new().participants(1).lanes(2);
        (small.create_new(Location::file(&path), || Mutex::new(number)).unwrap(), path)
    };
    let objects: Vec<_> = (0..300).map(make).collect();
    for (number, (first, path)) in objects.iter().enumerate().rev() {
        let again = open::<Mutex<u64>>(path);
        let held = first.lock().unwrap();
        let error = again.lock_timeout(Duration::from_secs(5)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Deadlock, "object {number}");
        drop(held);
        assert_eq!(*again.lock().unwrap(), number as u64);
    }
}

/// The process remains a participant until its last opening is dropped.
#[test]
fn a_session_ends_with_its_last_opening() {
    need_atomics!();
    let directory = TempDir::new();
    let (one, two, path) = twice(&directory);
    let look = Inspection::open(Location::file(&path)).unwrap();
    drop(one);
    assert_eq!(look.participants().unwrap().len(), 1);
    drop(two);
    assert!(look.participants().unwrap().is_empty());
}
