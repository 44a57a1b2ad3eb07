//! Files that are truncated while other threads read and write them.
//!
//! A race is one truncation, to a multiple of the page size, of a file that three threads are
//! using. There are eight threads and two files; each file has a thread that truncates it and three
//! that read and write. The file grows again, and gets its contents back, only after all three
//! noticed the truncation. No byte that they read can therefore be zero, and the valid length of
//! the file is known at each moment. Every count of bytes and every offset is checked against it.
//!
//! The test uses base pages only. Linux zeroes the truncated part of a large folio (several pages
//! in one, of ext4 since 6.16, of XFS, of tmpfs with huge pages) before it removes the last mapping
//! of it. About one race in ten thousand would then read a zero first and fault afterwards.
//!
//! 10,000 races each on the temporary directory and on tmpfs, and some against another process. The
//! long form makes it 1,000,000, in a few minutes:
//!
//! ```text
//! SHAREMAP_LONG=1 cargo test --release -p sharemap --test races -- --nocapture
//! ```

mod common;
#[path = "races/contents.rs"]
mod contents;

use std::fs::File;
use std::hint::spin_loop;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{TempDir, child, role, skip};
use contents::{PAGES, Random, Whole};
use sharemap::{Atomic, MappingMut, ViewMut, page_size};

/// The number of threads that read and write a file.
const BUSY: usize = 3;

fn races(short: usize) -> usize {
    if std::env::var_os("SHAREMAP_LONG").is_some() { short * 100 } else { short }
}

/// Exits the process if its thread panics, because the other threads would wait for it forever.
struct ExitOnPanic;

impl Drop for ExitOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::exit(101);
        }
    }
}

/// The state shared between the thread that truncates a file and the threads that use it.
struct Rounds {
    /// The number of truncations so far. After the next one the file has `left` bytes.
    cuts: AtomicU64,
    left: AtomicUsize,
    barrier: Barrier,
}

/// Uses the file until it has been truncated, and once more, which must fault past the new end.
fn use_until_cut(whole: &Whole, view: ViewMut<'_, u64>, rounds: &Rounds, random: &mut Random) {
    let before = rounds.cuts.load(Ordering::Acquire);
    rounds.barrier.wait();
    let left = rounds.left.load(Ordering::Acquire) as u64;
    loop {
        let cut = rounds.cuts.load(Ordering::Acquire) != before;
        let fault = whole.touch(view, random);
        // The threads share the processor, so this one yields to the thread that truncates.
        thread::yield_now();
        if let Some(offset) = fault {
            assert!(offset >= left, "a fault at {offset}, where the file has {left} bytes");
        }
        if cut {
            assert!(fault.is_some(), "the file has {left} bytes, and nothing failed");
            break;
        }
    }
    rounds.barrier.wait();
}

/// Restores the contents past the first `left` bytes, one page at a time, which keeps the system
/// from combining pages into a large folio.
fn restore(file: &mut File, whole: &Whole, left: usize) {
    file.seek(SeekFrom::Start(left as u64)).unwrap();
    for page in whole.bytes[left..].chunks(page_size()) {
        file.write_all(page).unwrap();
    }
}

/// Returns `true` if the system truncates mapped files.
fn can_cut(file: &mut File, whole: &Whole) -> bool {
    match file.set_len(0) {
        Ok(()) => {
            restore(file, whole, 0);
            true
        }
        Err(error) if cfg!(windows) => {
            eprintln!("skipped: this system does not cut a mapped file short: {error}");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// Runs `races` races on one file, with a thread that truncates it and threads that use it.
fn race_for(file: &mut File, whole: &Whole, map: &MappingMut, races: usize, seed: u64) {
    let view = map.view::<u64>().unwrap();
    let rounds = Rounds {
        cuts: AtomicU64::new(0),
        left: AtomicUsize::new(0),
        barrier: Barrier::new(BUSY + 1),
    };
    thread::scope(|scope| {
        for number in 1..=BUSY as u64 {
            let rounds = &rounds;
            scope.spawn(move || {
                let _ends = ExitOnPanic;
                let mut random = Random(seed * 1000 + number);
                for _ in 0..races {
                    use_until_cut(whole, view, rounds, &mut random);
                }
            });
        }
        let _ends = ExitOnPanic;
        let mut random = Random(seed * 1000 + 999);
        for _ in 0..races {
            let left = random.below(PAGES) * page_size();
            rounds.left.store(left, Ordering::Release);
            rounds.barrier.wait();
            for _ in 0..random.below(500) {
                spin_loop();
            }
            file.set_len(left as u64).unwrap();
            rounds.cuts.fetch_add(1, Ordering::AcqRel);
            rounds.barrier.wait();
            restore(file, whole, left);
        }
    });
}

/// Runs races on two files, with eight threads.
fn race_on(what: &str, races: usize, file: impl Fn(&str) -> File) {
    let whole = Whole::new();
    let mut files = ["a", "b"].map(|name| {
        let mut file = file(name);
        restore(&mut file, &whole, 0);
        let map = MappingMut::map(&file).unwrap();
        (file, map)
    });
    if !can_cut(&mut files[0].0, &whole) {
        return;
    }
    thread::scope(|scope| {
        for (number, (file, map)) in files.iter_mut().enumerate() {
            let whole = &whole;
            scope.spawn(move || race_for(file, whole, map, races / 2, number as u64 + 1));
        }
    });
    eprintln!("{races} races on {what}");
}

fn create(path: &Path) -> File {
    File::options().read(true).write(true).create_new(true).open(path).unwrap()
}

/// Threads that use a file notice each truncation by another thread, in the temporary directory.
#[test]
fn cut_by_other_threads() {
    let dir = TempDir::new();
    race_on("the temporary directory", races(10_000), |name| create(&dir.join(name)));
}

/// Threads that use a file notice each truncation by another thread, in shared memory. With huge
/// pages a truncated file may read as zeros for a moment, so they are excluded.
#[cfg(target_os = "linux")]
#[test]
fn cut_by_other_threads_on_tmpfs() {
    let huge = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    if huge.is_ok_and(|huge| !huge.contains("[never]") && !huge.contains("[advise]")) {
        skip!("this system gives huge pages to shared memory");
    }
    race_on("memory files", races(10_000), |_| memory_file());
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "the standard library has no memory files")]
fn memory_file() -> File {
    use std::os::fd::FromRawFd;
    // SAFETY: the descriptor is new, and -1 is checked for.
    unsafe {
        let descriptor = libc::memfd_create(c"races".as_ptr(), libc::MFD_CLOEXEC);
        assert!(descriptor >= 0, "{}", std::io::Error::last_os_error());
        File::from_raw_fd(descriptor)
    }
}

/// Waits until a shared word is at least `least` and returns it. Panics after a minute, when the
/// other process seems to have ended.
fn wait_for(word: Atomic<'_, u64>, least: u64) -> u64 {
    let open_timeout = Instant::now() + Duration::from_secs(60);
    while Instant::now() < open_timeout {
        let now = word.load(Ordering::Acquire).unwrap();
        if now >= least {
            return now;
        }
        thread::yield_now();
    }
    panic!("waited a minute for step {least}");
}

const OVER: u64 = u64::MAX;

/// A process that uses a file notices each truncation by another process. They share three words:
/// the number of steps (odd before a truncation, even after it), the new length, and the number of
/// truncations noticed.
#[test]
fn cut_by_another_process() {
    const NAME: &str = "cut_by_another_process";
    let whole = Whole::new();
    if let Some(dir) = role(NAME) {
        let turn = MappingMut::open(dir.join("turn")).unwrap();
        let mut file = File::options().write(true).open(dir.join("a")).unwrap();
        return cut_by_turns(&mut file, &whole, turn.view().unwrap());
    }
    let dir = TempDir::new();
    let path = dir.file("a", &whole.bytes);
    let map = MappingMut::open(&path).unwrap();
    if map.recovery() == sharemap::guard::Recovery::Syscall {
        skip!("no atomics where accesses are system calls");
    }
    if !can_cut(&mut File::options().write(true).open(&path).unwrap(), &whole) {
        return;
    }
    let turn = MappingMut::create_new(dir.join("turn"), 4096).unwrap();
    let mut other = match child(NAME, dir.path()).spawn() {
        Ok(other) => other,
        Err(error) => skip!("this program cannot be started from itself: {error}"),
    };
    let races = races(500);
    let (words, turn) = (map.view::<u64>().unwrap(), turn.view::<u64>().unwrap());
    let mut random = Random(77);
    for race in 0..races as u64 {
        wait_for(turn.atomic(0).unwrap(), 2 * race + 1);
        let left = turn.get(1).unwrap();
        loop {
            let cut = turn.atomic_load(0, Ordering::Acquire).unwrap() == 2 * race + 2;
            let fault = whole.touch(words, &mut random);
            assert!(fault.is_none_or(|offset| offset >= left), "{fault:?} of {left} bytes");
            if cut {
                assert!(fault.is_some(), "the file has {left} bytes, and nothing failed");
                break;
            }
            assert!(other.try_wait().unwrap().is_none(), "the other process has ended");
        }
        turn.atomic(2).unwrap().fetch_add(1, Ordering::AcqRel).unwrap();
    }
    turn.atomic(2).unwrap().store(OVER, Ordering::SeqCst).unwrap();
    assert!(other.wait().unwrap().success());
    eprintln!("{races} races against another process");
}

/// Truncates and restores the file in turn with the process that uses it.
fn cut_by_turns(file: &mut File, whole: &Whole, turn: ViewMut<'_, u64>) {
    let (steps, noticed) = (turn.atomic(0).unwrap(), turn.atomic(2).unwrap());
    let mut random = Random(78);
    let mut left = whole.bytes.len();
    for cuts in 0.. {
        if wait_for(noticed, cuts) == OVER {
            return;
        }
        restore(file, whole, left);
        left = random.below(PAGES) * page_size();
        turn.set(1, left as u64).unwrap();
        steps.fetch_add(1, Ordering::AcqRel).unwrap();
        for _ in 0..random.below(500) {
            spin_loop();
        }
        file.set_len(left as u64).unwrap();
        steps.fetch_add(1, Ordering::AcqRel).unwrap();
    }
}
