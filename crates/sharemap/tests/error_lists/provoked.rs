//! Provokes errors and checks that each is in the list of its function. Names the tests that
//! provoke the other kinds.

#[path = "channels.rs"]
mod channels;
#[path = "objects.rs"]
mod objects;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::time::Duration;

use sharemap::{
    Error, ErrorKind, FileContents, HugePages, Lifetime, Location, MapOptions, Mapping, MappingMut,
    SharedMemory, guard, page_size,
};

use crate::common::{TempDir, need_atomics};
use crate::parse::Library;

/// The kinds that need a process, a privilege or a device of their own, with the tests that provoke
/// them.
const IN_OTHER_TESTS: [(&str, &str); 16] = [
    ("Changed", "slices/regions.rs"),
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
        (
            "View::values",
            bytes.cast::<bool>().unwrap().values(|values| values.count()).unwrap_err(),
        ),
        ("View::values", shrunk.bytes().values(|values| values.count()).unwrap_err()),
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
    given.extend(objects::of_objects(&dir));
    given.extend(of_regions(&dir));
    given.extend(of_passing());
    given.extend(of_shared_memory());
    given.extend(objects::of_locks(&dir));
    given.extend(objects::of_mutexes(&dir));
    given.extend(channels::of_channels(&dir));
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
