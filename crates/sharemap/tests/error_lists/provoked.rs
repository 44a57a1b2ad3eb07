//! Provokes errors and checks that each is in the list of its function. Names the tests that
//! provoke the other kinds.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::time::Duration;

use sharemap::{
    Condvar, Error, ErrorKind, Event, FileContents, HugePages, Lifetime, Location, MapOptions,
    Mapping, MappingMut, Mutex, RwLock, Shared, SharedMemory, SharedOptions, SharedType, guard,
    page_size,
};

use crate::common::{TempDir, need_atomics};
use crate::parse::Library;

/// The kinds that need a process, a privilege or a device of their own, with the tests that provoke
/// them.
const IN_OTHER_TESTS: [(&str, &str); 15] = [
    ("Busy", "options.rs"),
    ("TooManyMappings", "limits.rs"),
    ("LockLimit", "limits.rs"),
    ("TooManyFiles", "limits.rs"),
    ("FlushFailed", "flush.rs"),
    ("Broken", "kills/locks/barrier.rs"),
    ("ForeignOwner", "shm/sharing.rs"),
    ("WrongVersion", "bad_objects.rs"),
    ("Malformed", "bad_objects.rs"),
    ("Incomplete", "bad_objects.rs"),
    ("Unclean", "bad_objects.rs"),
    ("TooManyProcesses", "full_objects.rs"),
    ("TooManyThreads", "full_objects.rs"),
    ("NotSealed", "shm/pass.rs"),
    ("WrongKind", "bad_objects.rs"),
];

/// The function (`Type::name`) that returned an error, and the error.
type Given = (&'static str, Error);

fn of_files(dir: &TempDir) -> Vec<Given> {
    let path = dir.file("a", vec![2; 3 * page_size()]);
    let map = Mapping::open(&path).unwrap();
    let writer = MappingMut::open(&path).unwrap();
    let bytes = map.bytes();
    let write_only = File::options().write(true).open(&path).unwrap();
    let read_only = File::open(&path).unwrap();
    let endless = FileContents::options().read_limit(1 << 16);
    let short = dir.file("short", vec![1; 2 * page_size()]);
    let shrunk = Mapping::open(&short).unwrap();
    File::options().write(true).open(&short).unwrap().set_len(1).unwrap();
    let new = |options: MapOptions| options.open(&path).unwrap_err();
    vec![
        ("MapOptions::open", Mapping::open(dir.join("none")).unwrap_err()),
        ("MapOptions::open", Mapping::open(dir.path()).unwrap_err()),
        ("MapOptions::open", Mapping::open("x".repeat(5000)).unwrap_err()),
        ("MapOptions::open", Mapping::open("/dev/zero").unwrap_err()),
        ("MapOptions::open", new(MapOptions::new().len(0))),
        ("MapOptions::open", new(MapOptions::new().offset(1 << 40))),
        ("MapOptions::open", new(MapOptions::new().offset(u64::MAX))),
        ("MapOptions::open", Mapping::open("/proc/self/status").unwrap_err()),
        ("MapOptions::create_new", MappingMut::create_new(&path, 10).unwrap_err()),
        ("MapOptions::map", Mapping::map(&write_only).unwrap_err()),
        ("MapOptions::map_mut", MappingMut::map(&read_only).unwrap_err()),
        ("MapOptions::anonymous", MappingMut::anonymous(0).unwrap_err()),
        ("MapOptions::anonymous", MappingMut::anonymous(isize::MAX as usize / 2).unwrap_err()),
        ("MapOptions::anonymous", MapOptions::new().len(5).anonymous(5).unwrap_err()),
        ("FileContentsOptions::open", endless.open("/dev/zero").unwrap_err()),
        ("MappingMut::grow", writer.grow(1 << 30).unwrap_err()),
        ("View::get", bytes.get(bytes.len()).unwrap_err()),
        ("View::get", bytes.cast::<bool>().unwrap().get(0).unwrap_err()),
        ("View::get", shrunk.bytes().get(page_size()).unwrap_err()),
        ("View::cast", bytes.subview(1..9).unwrap().cast::<u64>().unwrap_err()),
        ("View::cast", bytes.subview(..9).unwrap().cast::<u64>().unwrap_err()),
        ("View::subview", bytes.subview(..=bytes.len()).unwrap_err()),
        ("ViewMut::set", writer.bytes().set(writer.len(), 0).unwrap_err()),
    ]
}

fn of_regions(dir: &TempDir) -> Vec<Given> {
    use sharemap::{MappingCow, Protection, SlidingWindow};

    let path = dir.file("region", vec![2; 3 * page_size()]);
    let map = Mapping::open(&path).unwrap();
    let writer = MappingMut::open(&path).unwrap();
    let anonymous = MappingMut::anonymous(page_size()).unwrap();
    let closed = MapOptions::new().close_file().open(&path).unwrap();
    let short = dir.file("short-region", vec![1; 2 * page_size()]);
    let shrunk = Mapping::open(&short).unwrap();
    File::options().write(true).open(&short).unwrap().set_len(1).unwrap();
    let mut window = SlidingWindow::open(&path, page_size()).unwrap();
    let view = writer.view::<u64>().unwrap();
    vec![
        ("Mapping::view_at", map.view_at::<u64>(1, 1).unwrap_err()),
        ("Mapping::view_at", map.view_at::<u64>(0, usize::MAX).unwrap_err()),
        ("Mapping::frozen", map.frozen().unwrap_err()),
        ("MappingMut::flush_ranges", writer.flush_ranges([..=writer.len()]).unwrap_err()),
        ("MappingMut::punch_hole", writer.punch_hole(..=writer.len()).unwrap_err()),
        ("MappingCow::discard", MappingCow::open(&path).unwrap().discard(9..=1 << 30).unwrap_err()),
        ("Region::lock_range", map.lock_range(..=map.len()).unwrap_err()),
        ("Region::populate", shrunk.populate().unwrap_err()),
        ("Region::protect", map.protect(.., Protection::ReadWrite).unwrap_err()),
        ("Region::is_current", closed.is_current().unwrap_err()),
        ("Region::residency", closed.residency().unwrap_err()),
        ("Region::evict", closed.evict().unwrap_err()),
        ("Region::file_system", anonymous.file_system().unwrap_err()),
        ("Region::cache_status", anonymous.cache_status().unwrap_err()),
        ("SlidingWindow::open", SlidingWindow::open(&path, 0).unwrap_err()),
        ("SlidingWindow::view", window.view::<u8>(1 << 30, 1).unwrap_err()),
        ("SlidingWindow::view", window.view::<u8>(u64::MAX, 1).unwrap_err()),
        ("View::gather", view.gather(&[0], &mut [0; 2]).unwrap_err()),
        ("View::atomic_load", view.atomic_load(view.len(), ORDER).unwrap_err()),
        ("ViewMut::atomic", view.atomic(view.len()).unwrap_err()),
        ("ViewMut::copy_from", view.copy_from(&view.subview(1..).unwrap()).unwrap_err()),
    ]
}

const ORDER: std::sync::atomic::Ordering = std::sync::atomic::Ordering::SeqCst;

fn of_passing() -> Vec<Given> {
    use std::os::unix::net::UnixStream;

    use sharemap::{Seals, SharedMemoryOptions};

    let name = format!("sharemap-lists-passing-{}", std::process::id());
    let block = SharedMemory::create_new(&*name, 100).unwrap();
    let unnamed = SharedMemory::anonymous(100).unwrap();
    let (here, there) = UnixStream::pair().unwrap();
    unnamed.send_read_only(&here).unwrap();
    let read_only = SharedMemory::receive(&there).unwrap_err();
    unnamed.send(&here).unwrap();
    let options = SharedMemoryOptions::new().require_seals(Seals::SHRINK);
    let unsealed = options.receive(&there).unwrap_err();
    there.set_nonblocking(true).unwrap();
    let given = vec![
        ("SharedMemoryOptions::receive", read_only),
        ("SharedMemoryOptions::receive", unsealed),
        ("SharedMemoryOptions::receive", SharedMemory::receive(&there).unwrap_err()),
        (
            "SharedMemoryOptions::open_or_create",
            SharedMemory::open_or_create(&*name, 101).unwrap_err(),
        ),
        ("SharedMemory::seal", block.seal(Seals::SHRINK).unwrap_err()),
        ("SharedMemory::seal", unnamed.seal(Seals::WRITE).unwrap_err()),
        ("SharedMemory::freeze", block.freeze().unwrap_err()),
        ("SharedMemory::grow", unnamed.grow(1 << 30).unwrap_err()),
        ("SharedMemory::from_inherited", SharedMemory::from_inherited("NO SUCH").unwrap_err()),
        ("SharedMemory::from_ticket", SharedMemory::from_ticket("").unwrap_err()),
        ("SharedMemory::duplicate_into", unnamed.duplicate_into(1).unwrap_err()),
        ("Location::unique", Location::unique("").unwrap_err()),
        ("Location::unique", Location::unique(&"x".repeat(180)).unwrap_err()),
        ("::unlink", sharemap::unlink(Location::anonymous()).unwrap_err()),
    ];
    sharemap::unlink(&name).unwrap();
    given
}

fn of_shared_memory() -> Vec<Given> {
    let name = format!("sharemap-lists-{}", std::process::id());
    let link = format!("{name}-link");
    std::os::unix::fs::symlink("/dev/null", format!("/dev/shm/{link}")).unwrap();
    let block = SharedMemory::create_new(&*name, 100).unwrap();
    let create = |name: &str| SharedMemory::create_new(name, 100).unwrap_err();
    let attached = SharedMemory::options().lifetime(Lifetime::Attached);
    let huge = SharedMemory::options().huge_pages(HugePages::Reserved);
    let given = vec![
        ("SharedMemoryOptions::create_new", create("")),
        ("SharedMemoryOptions::create_new", create(&"x".repeat(300))),
        ("SharedMemoryOptions::create_new", create("a/b")),
        ("SharedMemoryOptions::create_new", create(&name)),
        ("SharedMemoryOptions::create_new", SharedMemory::anonymous(0).unwrap_err()),
        ("SharedMemoryOptions::create_new", SharedMemory::anonymous(1 << 44).unwrap_err()),
        ("SharedMemoryOptions::create_new", SharedMemory::anonymous(u64::MAX).unwrap_err()),
        ("SharedMemoryOptions::create_new", attached.create_new("attached", 5).unwrap_err()),
        ("SharedMemoryOptions::create_new", huge.create_new("huge", 5).unwrap_err()),
        ("SharedMemoryOptions::open", SharedMemory::open("no-such-object").unwrap_err()),
        ("SharedMemoryOptions::open", SharedMemory::open(&*link).unwrap_err()),
    ];
    drop(block);
    SharedMemory::unlink(&*name).unwrap();
    fs::remove_file(format!("/dev/shm/{link}")).unwrap();
    given
}

fn of_file_locks(dir: &TempDir) -> Vec<Given> {
    use sharemap::FileLock;

    let path = dir.file("file-lock", [0; 8]);
    let lock = FileLock::open(&path).unwrap();
    let held = lock.lock().unwrap();
    let timeout = Duration::from_millis(1);
    let read_only = FileLock::new(File::open(&path).unwrap()).unwrap();
    let given = vec![
        ("FileLock::open", FileLock::open(dir.join("none")).unwrap_err()),
        ("FileLock::open", FileLock::open(dir.path()).unwrap_err()),
        ("FileLock::open", FileLock::open("/dev/null").unwrap_err()),
        ("FileLock::open_or_create", FileLock::open_or_create(dir.join("none/a")).unwrap_err()),
        ("FileLock::new", FileLock::new(File::open(dir.path()).unwrap()).unwrap_err()),
        ("FileLock::new", FileLock::new(File::open("/dev/null").unwrap()).unwrap_err()),
        ("FileLock::range", lock.range(3..3).unwrap_err()),
        ("FileLock::range", lock.range(..=1 << 62).unwrap_err()),
        ("FileLock::is_linked", read_only.is_linked().unwrap_err()),
        ("FileLock::try_lock", lock.try_lock().unwrap_err()),
        ("FileLock::lock_timeout", lock.lock_timeout(timeout).unwrap_err()),
        ("FileLock::try_lock_shared", lock.try_lock_shared().unwrap_err()),
        ("FileLock::lock_shared_timeout", lock.lock_shared_timeout(timeout).unwrap_err()),
    ];
    drop(held);
    given
}

fn of_objects(dir: &TempDir) -> Vec<Given> {
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

fn of_locks(dir: &TempDir) -> Vec<Given> {
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
fn of_mutexes(dir: &TempDir) -> Vec<Given> {
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
                ("MutexSliceHandle::try_lock", bytes.try_lock().map(drop).unwrap_err().into()),
                (
                    "MutexSliceHandle::lock_timeout",
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
        ("MutexSliceHandle::private_view_mut", bytes.private_view_mut().map(drop).unwrap_err()),
        ("OwnerDiedGuard::poison", limit.read_poisoned().unwrap().poison().unwrap_err()),
    ]);
    given
}

/// Returns what is wrong with the lists, given these errors.
fn judge(library: &Library, given: &[Given]) -> (Vec<String>, BTreeMap<String, usize>) {
    let (mut wrong, mut kinds) = (Vec::new(), BTreeMap::new());
    for (function, error) in given {
        let kind = format!("{:?}", error.kind());
        *kinds.entry(kind.clone()).or_insert(0) += 1;
        let (owner, name) = function.split_once("::").unwrap();
        let mut lists = library.find(owner, name).peekable();
        if lists.peek().is_none() {
            wrong.push(format!("{function} has no list, and gave {error}"));
        } else if !lists.any(|list| library.promised(list).contains(&kind)) {
            wrong.push(format!("{function} lists no {kind}, and gave: {error}"));
        }
    }
    (wrong, kinds)
}

#[test]
fn what_functions_give_is_in_their_lists() {
    need_atomics!();
    let library = Library::read();
    let dir = TempDir::new();
    let mut given = of_files(&dir);
    given.extend(of_file_locks(&dir));
    given.extend(of_objects(&dir));
    given.extend(of_regions(&dir));
    given.extend(of_passing());
    given.extend(of_shared_memory());
    given.extend(of_locks(&dir));
    given.extend(of_mutexes(&dir));
    let (mut wrong, kinds) = judge(&library, &given);
    for kind in &library.kinds {
        let elsewhere = IN_OTHER_TESTS.iter().find(|(other, _)| other == kind);
        match (kinds.contains_key(kind), elsewhere) {
            (false, None) => wrong.push(format!("no test provokes {kind}")),
            (false, Some((_, file))) => {
                let path =
                    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
                let text = fs::read_to_string(&path).unwrap();
                if !text.contains(&format!("ErrorKind::{kind}")) {
                    wrong.push(format!("{file} is to provoke {kind}"));
                }
            }
            (true, _) => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(guard::recovery(), guard::Recovery::InPlace);
}

/// A list that lacks an error of its function is reported.
#[test]
fn a_missing_kind_is_noticed() {
    let library = Library::read();
    let error = SharedMemory::open("no-such-object").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let (wrong, _) = judge(&library, &[("View::get", error)]);
    assert_eq!(wrong.len(), 1, "{wrong:?}");
}
