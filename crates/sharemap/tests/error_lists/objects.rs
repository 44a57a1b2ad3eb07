//! Provokes errors of shared objects and of the locks in them.

use std::fs::{self, File};
use std::time::Duration;

use sharemap::{
    Condvar, Error, ErrorKind, Event, Location, Mutex, RwLock, Shared, SharedOptions, SharedType,
};

use super::Given;
use crate::common::TempDir;

pub fn of_objects(dir: &TempDir) -> Vec<Given> {
    use sharemap::inspect::{ExclusiveClaim, Inspection, InterruptedRemoval, ObjectFile};
    use sharemap::{Barrier, SharedOptions};

    let path = Location::file(dir.join("object"));
    let object = Shared::create_new(&path, || Mutex::<[u8]>::zeroed(5)).unwrap();
    let text = Location::file(dir.file("text", [b'a'; 300]));
    let short = Location::file(dir.file("short-object", [0; 9]));
    let missing = Location::file(dir.join("none"));
    let no_directory = Location::file(dir.join("none/a"));
    let folder = Location::file(dir.path());
    let create = |options: SharedOptions| {
        options.create_new(Location::anonymous(), || Mutex::new(0_u8)).map(drop).unwrap_err()
    };
    let barrier = Shared::create_new(Location::anonymous(), || Barrier::new(0));
    let empty = Shared::create_new(Location::anonymous(), || Mutex::<[u8]>::zeroed(0));
    let unplaced = Shared::create_new(&no_directory, || Mutex::new(0_u8));
    let unnamed = Shared::create_new(Location::anonymous(), || Mutex::new(0_u8)).unwrap();
    let file_of = |location: &Location| ObjectFile::open(location).unwrap_err();
    vec![
        ("Shared::create_new", barrier.map(drop).unwrap_err()),
        ("Shared::create_new", empty.map(drop).unwrap_err()),
        ("Shared::create_new", unplaced.map(drop).unwrap_err()),
        ("SharedOptions::create_new", create(SharedOptions::new().lanes(0))),
        ("Shared::open", Shared::<Mutex<u8>>::open(&text).map(drop).unwrap_err()),
        ("Shared::open", Shared::<Mutex<u8>>::open(&folder).map(drop).unwrap_err()),
        ("Shared::open", Shared::<Mutex<u8>>::open("").map(drop).unwrap_err()),
        (
            "Shared::open_read_only",
            Shared::<Mutex<u8>>::open_read_only(&path).map(drop).unwrap_err(),
        ),
        (
            "Shared::open_or_create",
            Shared::open_or_create(&path, || Mutex::new(0_u8)).map(drop).unwrap_err(),
        ),
        ("Shared::from_descriptor", {
            let file = File::open("/dev/null").unwrap();
            Shared::<Mutex<u8>>::from_descriptor(file).map(drop).unwrap_err()
        }),
        ("Shared::is_linked", unnamed.is_linked().unwrap_err()),
        ("Shared::unlink", Shared::<Mutex<u8>>::unlink(&missing).unwrap_err()),
        ("Inspection::open", Inspection::open(&missing).unwrap_err()),
        ("Inspection::open", Inspection::open(Location::anonymous()).unwrap_err()),
        ("Inspection::open", Inspection::open(&text).unwrap_err()),
        ("Inspection::open", Inspection::open(&short).unwrap_err()),
        ("Inspection::open", Inspection::open(&folder).unwrap_err()),
        ("Inspection::open", Inspection::open("a/b").unwrap_err()),
        ("ObjectFile::open", file_of(&missing)),
        ("ObjectFile::open", file_of(&Location::anonymous())),
        ("ObjectFile::open", file_of(&folder)),
        ("ObjectFile::open", file_of(&Location::name(""))),
        ("ObjectFile::inspect", ObjectFile::open(&text).unwrap().inspect().unwrap_err()),
        ("ExclusiveClaim::of", ExclusiveClaim::of(&missing).unwrap_err()),
        ("InterruptedRemoval::find_in", InterruptedRemoval::find_in(dir.join("none")).unwrap_err()),
        ("ObjectFile::unlink", {
            let file = ObjectFile::open(&path).unwrap();
            drop(object);
            fs::remove_file(dir.join("object")).unwrap();
            file.unlink().unwrap_err()
        }),
    ]
}

pub fn of_locks(dir: &TempDir) -> Vec<Given> {
    let path = Location::file(dir.join("locks"));
    let short = dir.file("too-short", [0; 9]);
    let locks = Shared::create_new(&path, || (Mutex::new(1_u64), Event::manual_reset())).unwrap();
    let (mutex, event) = &*locks;
    let held = mutex.lock().unwrap();
    let elsewhere = std::thread::scope(|scope| {
        let given = scope.spawn(|| {
            let timeout = Duration::from_millis(1);
            [
                ("MutexHandle::try_lock", mutex.try_lock().map(drop).unwrap_err().into()),
                (
                    "MutexHandle::lock_timeout",
                    mutex.lock_timeout(timeout).map(drop).unwrap_err().into(),
                ),
                ("EventHandle::wait_timeout", event.wait_timeout(timeout).unwrap_err()),
            ]
        });
        given.join().unwrap()
    });
    let deadlock: Error = mutex.lock().map(drop).unwrap_err().into();
    drop(held);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _guard = mutex.lock().unwrap();
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(panicked.is_err());
    let died: Error = mutex.lock().map(drop).unwrap_err().into();
    mutex.lock_poisoned().unwrap().poison().unwrap();
    let poisoned: Error = mutex.lock().map(drop).unwrap_err().into();
    locks.cancel();
    let cancelled = event.wait().unwrap_err();
    locks.resume();
    let mut given = vec![
        ("MutexHandle::lock", deadlock),
        ("MutexHandle::lock", died),
        ("MutexHandle::lock", poisoned),
        ("EventHandle::wait", cancelled),
        (
            "Shared::create_new",
            Shared::create_new(&path, || Mutex::new(0_u8)).map(drop).unwrap_err(),
        ),
        ("Shared::create_new", Shared::create_new("", || Mutex::new(0_u8)).map(drop).unwrap_err()),
        (
            "Shared::open",
            Shared::<Mutex<u64>>::open(Location::file(dir.join("none"))).map(drop).unwrap_err(),
        ),
        ("Shared::open", Shared::<Mutex<u64>>::open(&path).map(drop).unwrap_err()),
        ("Shared::open", Shared::<Mutex<u64>>::open(Location::file(short)).map(drop).unwrap_err()),
    ];
    let other = Location::file(dir.join("other"));
    drop(Shared::create_new(&other, || Mutex::new(1_u64)).unwrap());
    given.push(("Shared::open", Shared::<RwLock<u64>>::open(&other).map(drop).unwrap_err()));
    given.push(("Shared::open", Shared::<Mutex<i64>>::open(&other).map(drop).unwrap_err()));
    given.extend(elsewhere);
    given
}

/// Opens the object at `path` read-only, with the type of `shared`.
fn open_like<T: SharedType>(_: &Shared<T>, path: &Location) -> Shared<T> {
    Shared::open_read_only(path).unwrap()
}

/// Provokes errors of mutexes and condition variables that need a read-only opening, another
/// object, or a second thread.
pub fn of_mutexes(dir: &TempDir) -> Vec<Given> {
    let path = Location::file(dir.join("queue"));
    let make = || (Mutex::new(0_u32), Condvar::new(), Mutex::<[u8]>::zeroed(5), RwLock::new(0_u32));
    let shared = Shared::create_new(&path, make).unwrap();
    let (jobs, changed, bytes, limit) = &*shared;
    let read_only = open_like(&shared, &path);
    let (jobs_read, changed_read, ..) = &*read_only;
    let one_lane = SharedOptions::new().lanes(1);
    let narrow = one_lane.create_new(Location::anonymous(), || Mutex::new(0_u32)).unwrap();
    let timeout = Duration::from_millis(1);
    let held = (jobs.lock().unwrap(), bytes.lock().unwrap());
    let elsewhere = narrow.lock().unwrap();
    let mut given: Vec<Given> = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            vec![
                (
                    "MutexHandle::lock_or_recover_timeout",
                    jobs.lock_or_recover_timeout(timeout, |_| ()).map(drop).unwrap_err(),
                ),
                (
                    "MutexHandle::lock_poisoned_timeout",
                    jobs.lock_poisoned_timeout(timeout).map(drop).unwrap_err(),
                ),
                ("MutexHandle::try_lock", bytes.try_lock().map(drop).unwrap_err().into()),
                (
                    "MutexHandle::lock_timeout",
                    bytes.lock_timeout(timeout).map(drop).unwrap_err().into(),
                ),
                ("MutexHandle::try_lock", narrow.try_lock().map(drop).unwrap_err().into()),
            ]
        });
        thread.join().unwrap()
    });
    let last = &given.last().unwrap().1;
    assert_eq!(last.kind(), ErrorKind::TooManyThreads, "{last}");
    given.push(("MutexHandle::lock_poisoned", jobs.lock_poisoned().map(drop).unwrap_err()));
    let deadlock = jobs.lock_or_recover(|_| ()).map(drop).unwrap_err();
    given.push(("MutexHandle::lock_or_recover", deadlock));
    drop(held);
    given.push(("CondvarHandle::wait", changed.wait(elsewhere).map(drop).unwrap_err().into()));
    shared.cancel();
    let guard = jobs.lock().unwrap();
    given.push(("CondvarHandle::wait", changed.wait(guard).map(drop).unwrap_err().into()));
    given.extend([
        ("MutexHandle::lock", jobs_read.lock().map(drop).unwrap_err().into()),
        ("MutexHandle::try_lock", jobs_read.try_lock().map(drop).unwrap_err().into()),
        ("CondvarHandle::notify_one", changed_read.notify_one().unwrap_err()),
        ("CondvarHandle::notify_all", changed_read.notify_all().unwrap_err()),
        ("MutexHandle::private_view_mut", bytes.private_view_mut().map(drop).unwrap_err()),
        ("OwnerDiedGuard::poison", limit.read_poisoned().unwrap().poison().unwrap_err()),
    ]);
    given
}
