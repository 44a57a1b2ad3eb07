//! File locks: between threads, between processes, on ranges, and after the death of a holder.

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use common::{TempDir, child, passes, role, skip};
use sharemap::{ErrorKind, FileLock, FileLockGuard, MappingMut, Result};

/// A timeout far longer than any operation takes.
const LONG: Duration = Duration::from_secs(60);

fn ranges() -> bool {
    if cfg!(target_os = "macos") {
        eprintln!("skipped: this system has no sound locks of ranges");
    }
    cfg!(not(target_os = "macos"))
}

fn kind(result: Result<FileLockGuard>) -> Option<ErrorKind> {
    result.map(|guard| guard.unlock().unwrap()).err().map(|error| error.kind())
}

const BLOCKED: Option<ErrorKind> = Some(ErrorKind::WouldBlock);

/// A child process that holds a lock until it is told to release it, or is killed.
struct Holder {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Holder {
    /// Starts the child. `what` is "exclusive" or "shared", optionally with a range, as in "shared
    /// 10 20".
    fn start(path: &Path, what: &str) -> Option<Self> {
        let mut command = child("holder", path);
        command.env("SHAREMAP_TEST_WHAT", what).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = match command.spawn() {
            Err(error) if error.raw_os_error() == Some(8) => {
                eprintln!("skipped: this program cannot be started from itself: {error}");
                return None;
            }
            child => child.unwrap(),
        };
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut holder = Self { child, stdin, stdout };
        holder.says("held");
        Some(holder)
    }

    fn says(&mut self, word: &str) {
        let mut line = String::new();
        // The test harness prints lines as well.
        while !line.trim_end().ends_with(word) {
            line.clear();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the holder ended");
        }
    }

    fn let_go(&mut self) {
        self.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Child role: holds a lock until a line arrives on standard input.
#[test]
fn holder() {
    let Some(path) = role("holder") else { return };
    let what = std::env::var("SHAREMAP_TEST_WHAT").unwrap();
    let mut words = what.split(' ');
    let mode = words.next().unwrap();
    let mut lock = FileLock::open(&path).unwrap();
    if let (Some(start), Some(end)) = (words.next(), words.next()) {
        lock = lock.range(start.parse::<u64>().unwrap()..end.parse().unwrap()).unwrap();
    }
    let guard = if mode == "shared" { lock.lock_shared() } else { lock.lock() };
    println!("\nheld");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    drop(guard);
    println!("\nlet go");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

fn number(map: &MappingMut) -> u64 {
    map.view::<u64>().unwrap().get(0).unwrap()
}

/// Increments the number in a way that loses increments unless callers exclude each other.
fn add(map: &MappingMut) {
    let before = number(map);
    std::thread::yield_now();
    map.view::<u64>().unwrap().set(0, before + 1).unwrap();
}

/// Threads exclude each other, through the same lock, clones of it and other locks of the file.
#[test]
fn threads_take_turns() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 250;
    let dir = TempDir::new();
    let path = dir.file("a", [0; 8]);
    let map = MappingMut::open(&path).unwrap();
    let shared = FileLock::open(&path).unwrap();
    let start = Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (map, shared, start, path) = (&map, &shared, &start, &path);
            scope.spawn(move || {
                // The same lock, a clone of it, and other locks of the same file exclude each
                // other.
                let lock = match thread % 4 {
                    0 => FileLock::open(path).unwrap(),
                    1 => FileLock::new(map.file().unwrap()).unwrap(),
                    _ => shared.clone(),
                };
                start.wait();
                for round in 0..ROUNDS {
                    let guard = match (thread + round) % 2 {
                        0 => lock.lock(),
                        _ => lock.lock_timeout(LONG),
                    };
                    add(map);
                    guard.unwrap().unlock().unwrap();
                }
            });
        }
    });
    assert_eq!(number(&map), THREADS * ROUNDS);
}

/// Processes exclude each other.
#[test]
fn processes_take_turns() {
    const ROUNDS: u64 = 200;
    if let Some(path) = role("processes_take_turns") {
        let (lock, map) = (FileLock::open(&path).unwrap(), MappingMut::open(&path).unwrap());
        for _ in 0..ROUNDS {
            let _guard = lock.lock().unwrap();
            add(&map);
        }
        return;
    }
    let dir = TempDir::new();
    let path = dir.file("a", [0; 8]);
    let ran = std::thread::scope(|scope| {
        let run = || passes(child("processes_take_turns", &path));
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let ran = ran.into_iter().filter(|&ran| ran).count() as u64;
    assert_eq!(number(&MappingMut::open(&path).unwrap()), ran * ROUNDS);
}

/// Exclusive and shared locks exclude each other, between processes and within one.
#[test]
fn exclusive_and_shared_locks_exclude() {
    let dir = TempDir::new();
    let path = dir.file("a", "");
    let lock = FileLock::open(&path).unwrap();
    for (held, exclusive, shared) in [("exclusive", BLOCKED, BLOCKED), ("shared", BLOCKED, None)] {
        let Some(_holder) = Holder::start(&path, held) else { return };
        assert_eq!(kind(lock.try_lock()), exclusive, "{held}");
        assert_eq!(kind(lock.try_lock_shared()), shared, "{held}");
        assert_eq!(kind(lock.lock_timeout(Duration::ZERO)), Some(ErrorKind::Timeout), "{held}");
        let shared = lock.lock_shared_timeout(Duration::from_millis(1));
        assert_eq!(kind(shared).is_none(), held == "shared");
        let error = lock.try_lock().unwrap_err();
        assert_eq!(error.path(), Some(path.as_path()));
    }
    // The same holds within one process.
    let one = lock.try_lock_shared().unwrap();
    let two = lock.try_lock_shared().unwrap();
    assert_eq!(kind(lock.try_lock()), BLOCKED);
    one.unlock().unwrap();
    assert_eq!(kind(lock.try_lock()), BLOCKED, "the other one is still held");
    drop(two);
    let _guard = lock.try_lock().unwrap();
    assert_eq!(kind(lock.try_lock_shared()), BLOCKED);
}

/// Locks on disjoint ranges are independent.
#[test]
fn disjoint_ranges_are_independent() {
    if !ranges() {
        return;
    }
    let dir = TempDir::new();
    let path = dir.file("a", [0; 10]);
    let lock = FileLock::open(&path).unwrap();
    let Some(_holder) = Holder::start(&path, "exclusive 100 200") else { return };
    let attempt = |range| kind(lock.range(range).unwrap().try_lock());
    for range in [0..100, 200..201, 200..u64::MAX >> 2] {
        assert_eq!(attempt(range.clone()), None, "{range:?}");
    }
    for range in [0..101, 199..200, 150..151, 100..200, 0..u64::MAX >> 2] {
        assert_eq!(attempt(range.clone()), BLOCKED, "{range:?}");
    }
    assert_eq!(kind(lock.try_lock()), BLOCKED, "the whole file has all parts");
    assert_eq!(kind(lock.range(200..).unwrap().try_lock()), None);
    assert_eq!(kind(lock.range(..=99).unwrap().try_lock()), None);
    assert_eq!(kind(lock.range(..=100).unwrap().try_lock()), BLOCKED);
    let error = lock.range(150..160).unwrap().try_lock().unwrap_err();
    assert_eq!((error.offset(), error.length()), (Some(150), Some(10)), "{error}");

    // Guards of adjacent or overlapping ranges do not release each other's ranges.
    let one = lock.range(10..30).unwrap().lock_shared().unwrap();
    let two = lock.range(20..40).unwrap().lock_shared().unwrap();
    let three = lock.range(40..50).unwrap().lock().unwrap();
    drop(one);
    assert_eq!(attempt(10..20), None);
    assert_eq!(attempt(20..21), BLOCKED);
    drop(three);
    assert_eq!(attempt(40..50), None);
    assert_eq!(attempt(39..50), BLOCKED);
    drop(two);
    assert_eq!(attempt(10..50), None);
}

/// The lock of a killed process is released, and waiters acquire it.
#[test]
fn a_killed_holder_releases_its_lock() {
    let dir = TempDir::new();
    let path = dir.file("a", "");
    let lock = FileLock::open(&path).unwrap();
    for waits in [false, true] {
        let Some(mut holder) = Holder::start(&path, "exclusive") else { return };
        assert_eq!(kind(lock.try_lock()), BLOCKED);
        let begun = Instant::now();
        let allowed = Duration::from_millis(30);
        assert_eq!(kind(lock.lock_timeout(allowed)), Some(ErrorKind::Timeout));
        assert!(begun.elapsed() >= allowed, "{:?}", begun.elapsed());
        if waits {
            std::thread::scope(|scope| {
                let waiters: [fn(&FileLock) -> Result<FileLockGuard>; 2] =
                    [FileLock::lock, |lock| lock.lock_timeout(LONG)];
                let lock = &lock;
                let waiters = waiters.map(|wait| scope.spawn(move || kind(wait(lock))));
                holder.child.kill().unwrap();
                for waiter in waiters {
                    assert_eq!(waiter.join().unwrap(), None);
                }
            });
        } else {
            holder.child.kill().unwrap();
            holder.child.wait().unwrap();
            lock.lock_timeout(LONG).unwrap().unlock().unwrap();
        }
    }
}

/// Waiters acquire the lock when its holder releases it.
#[test]
fn waiters_acquire_a_released_lock() {
    let dir = TempDir::new();
    let path = dir.file("a", "");
    let lock = FileLock::open(&path).unwrap();
    let Some(mut holder) = Holder::start(&path, "exclusive") else { return };
    std::thread::scope(|scope| {
        let waiters: [fn(&FileLock) -> Result<FileLockGuard>; 4] = [
            FileLock::lock,
            FileLock::lock_shared,
            |lock| lock.lock_timeout(LONG),
            |lock| lock.lock_shared_timeout(Duration::MAX),
        ];
        let waiters = waiters.map(|wait| {
            let lock = &lock;
            scope.spawn(move || wait(lock).unwrap().unlock().unwrap())
        });
        holder.let_go();
        holder.says("let go");
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
    // The holder is alive and holds no lock.
    assert_eq!(kind(lock.try_lock()), None);
}

/// Opening, mapping and closing the file elsewhere in the process does not release the lock.
#[test]
fn other_code_may_open_and_close_the_file() {
    if let Some(path) = role("other_code_may_open_and_close_the_file") {
        assert_eq!(kind(FileLock::open(path).unwrap().try_lock_shared()), BLOCKED);
        return;
    }
    let dir = TempDir::new();
    let path = dir.file("a", [1; 8]);
    let lock = FileLock::open(&path).unwrap();
    let guard = lock.lock().unwrap();
    drop(lock);
    drop(File::options().read(true).write(true).open(&path).unwrap());
    drop(MappingMut::open(&path).unwrap());
    drop(FileLock::open(&path).unwrap().try_lock());
    passes(child("other_code_may_open_and_close_the_file", &path));
    // The guard can also be released on another thread.
    std::thread::spawn(move || guard.unlock().unwrap()).join().unwrap();
    assert_eq!(kind(FileLock::open(&path).unwrap().try_lock()), None);
}

/// A lock follows its file when the file is renamed.
#[test]
fn a_lock_follows_a_renamed_file() {
    let dir = TempDir::new();
    let path = dir.file("a", [0; 8]);
    let lock = FileLock::open(&path).unwrap();
    if std::fs::rename(&path, dir.join("b")).is_err() || cfg!(windows) {
        skip!("open files keep their names here");
    }
    // Another file now has the name; the lock still belongs to the first file.
    let other = FileLock::open_or_create(&path).unwrap();
    let _guard = lock.lock().unwrap();
    assert_eq!(kind(other.try_lock()), None);
    assert_eq!(kind(FileLock::open(dir.join("b")).unwrap().try_lock()), BLOCKED);
}

/// Missing files, directories and invalid ranges are rejected.
#[test]
fn bad_input() {
    let dir = TempDir::new();
    let missing = dir.join("missing");
    let error = FileLock::open(&missing).unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::NotFound, Some(missing.as_path())));
    assert_eq!(FileLock::open(dir.path()).unwrap_err().kind(), ErrorKind::IsDirectory);
    let lock = FileLock::open_or_create(&missing).unwrap();
    assert_eq!(std::fs::metadata(&missing).unwrap().len(), 0);
    assert_eq!(lock.range(5..5).unwrap_err().kind(), ErrorKind::ZeroLength);
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = lock.range(5..4);
    assert_eq!(reversed.unwrap_err().kind(), ErrorKind::ZeroLength);
    assert_eq!(lock.range(5..=u64::MAX).unwrap_err().kind(), ErrorKind::Overflow);
    assert_eq!(lock.range(5..u64::MAX).unwrap_err().kind(), ErrorKind::Overflow);
    assert_eq!(lock.range(u64::MAX..).unwrap_err().kind(), ErrorKind::ZeroLength);
    if cfg!(target_os = "macos") {
        let error = lock.range(..7).unwrap().try_lock().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
}

/// Locks and their guards can be moved to and shared between threads.
#[test]
fn locks_and_guards_are_send_and_sync() {
    fn send_and_sync<T: Send + Sync + 'static>() {}
    send_and_sync::<FileLock>();
    send_and_sync::<FileLockGuard>();
}

#[cfg(unix)]
#[path = "file_lock/unix.rs"]
mod unix;

/// An open file can be locked, also after the caller closes its descriptor.
#[test]
fn an_open_file_can_be_locked() {
    let dir = TempDir::new();
    let path: PathBuf = dir.file("a", [0; 8]);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let lock = FileLock::new(&file).unwrap();
    drop(file);
    let _guard = lock.lock().unwrap();
    assert_eq!(kind(FileLock::open(&path).unwrap().try_lock()), BLOCKED);
}

/// `is_linked` returns whether the path still leads to the locked file.
#[test]
fn a_lock_reports_whether_it_is_linked() {
    let dir = TempDir::new();
    let (path, elsewhere) = (dir.join("lock"), dir.join("elsewhere"));
    let lock = FileLock::open_or_create(&path).unwrap();
    let part = lock.range(..10).unwrap();
    assert!(lock.is_linked().unwrap() && part.is_linked().unwrap());
    std::fs::rename(&path, &elsewhere).unwrap();
    assert!(!lock.is_linked().unwrap(), "nothing has the name");
    let other = FileLock::open_or_create(&path).unwrap();
    assert!(other.is_linked().unwrap());
    assert!(!lock.is_linked().unwrap() && !part.is_linked().unwrap(), "another file has it");
    if cfg!(windows) {
        println!("skipped in part: a file keeps its name here until its last handle is closed");
    } else {
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(&elsewhere, &path).unwrap();
        assert!(lock.is_linked().unwrap() && !other.is_linked().unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(!lock.is_linked().unwrap());
    }
    let unnamed = FileLock::new(File::create(dir.join("open")).unwrap()).unwrap();
    assert_eq!(unnamed.is_linked().unwrap_err().kind(), ErrorKind::Unsupported);
}

/// A process that waits for the lock of a file which is replaced meanwhile can detect that, and
/// lock the replacement.
#[test]
fn a_waiter_detects_a_replaced_file() {
    if cfg!(windows) {
        println!("skipped: a file keeps its name here until its last handle is closed");
        return;
    }
    let dir = TempDir::new();
    let path = dir.join("lock");
    std::fs::write(&path, "").unwrap();
    let Some(mut old_holder) = Holder::start(&path, "exclusive") else { return };
    let waiter = FileLock::open(&path).unwrap();
    assert_eq!(kind(waiter.try_lock()), BLOCKED);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "").unwrap();
    let Some(mut new_holder) = Holder::start(&path, "exclusive") else { return };
    old_holder.let_go();
    // macOS reopens the file by its name.
    match waiter.lock_timeout(LONG) {
        Ok(guard) => {
            assert!(!waiter.is_linked().unwrap(), "it excludes no process that opens the name");
            guard.unlock().unwrap();
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
    }
    let anew = FileLock::open(&path).unwrap();
    assert_eq!(kind(anew.try_lock()), BLOCKED, "another process holds what the name leads to");
    new_holder.let_go();
    let guard = anew.lock_timeout(LONG).unwrap();
    assert!(anew.is_linked().unwrap());
    guard.unlock().unwrap();
}
