//! Files that are cut short while others read and write them.
//!
//! A race is one truncation, to a multiple of the page size, of a file that three threads are busy
//! with. Eight threads, two files: each has a thread that cuts it and three that read and write. The
//! file grows again, and gets its contents back, only when all three have noticed; so nothing that
//! they read can be a zero, and what is left of the file at each moment is known to the byte. Every
//! count of bytes and every offset is checked against it.
//!
//! Base pages only. Linux zeroes what a cut takes from a large folio (several pages in one, of ext4
//! since 6.16, of XFS, of tmpfs with huge pages) before the last mapping of it is gone: about one
//! race in ten thousand then reads a zero first and faults afterwards.
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

/// Readers and writers of a file.
const BUSY: usize = 3;

fn races(short: usize) -> usize {
    if std::env::var_os("SHAREMAP_LONG").is_some() { short * 100 } else { short }
}

/// A thread that fails ends the program: the others would wait for it for ever.
struct EndsAll;

impl Drop for EndsAll {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::exit(101);
        }
    }
}

/// Where the file ends now, for those who are busy with it.
struct Rounds {
    /// Cuts so far; behind the next one the file has `left` bytes.
    cuts: AtomicU64,
    left: AtomicUsize,
    barrier: Barrier,
}

/// Works on the file until it has been cut, and once more, which has to fail where it now ends.
fn keep_busy(whole: &Whole, view: ViewMut<'_, u64>, rounds: &Rounds, random: &mut Random) {
    let before = rounds.cuts.load(Ordering::Acquire);
    rounds.barrier.wait();
    let left = rounds.left.load(Ordering::Acquire) as u64;
    loop {
        let cut = rounds.cuts.load(Ordering::Acquire) != before;
        let fault = whole.touch(view, random);
        // Others share the processor: those who cut are to come in between.
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

/// The contents back, behind what is left of the file; a page at a time, which keeps the system from
/// putting several into one large folio.
fn restore(file: &mut File, whole: &Whole, left: usize) {
    file.seek(SeekFrom::Start(left as u64)).unwrap();
    for page in whole.bytes[left..].chunks(page_size()) {
        file.write_all(page).unwrap();
    }
}

/// Whether mapped files can be cut here.
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

/// So many races for one file, by a thread that cuts it and those that are busy with it.
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
                let _ends = EndsAll;
                let mut random = Random(seed * 1000 + number);
                for _ in 0..races {
                    keep_busy(whole, view, rounds, &mut random);
                }
            });
        }
        let _ends = EndsAll;
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

/// Two files, eight threads.
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

#[test]
fn cut_by_other_threads() {
    let dir = TempDir::new();
    race_on("the temporary directory", races(10_000), |name| create(&dir.join(name)));
}

/// Under transparent huge pages of tmpfs a cut can show zeros for a while: base pages only.
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
    // SAFETY: a new descriptor, or -1, which is looked at.
    unsafe {
        let descriptor = libc::memfd_create(c"races".as_ptr(), libc::MFD_CLOEXEC);
        assert!(descriptor >= 0, "{}", std::io::Error::last_os_error());
        File::from_raw_fd(descriptor)
    }
}

/// Waits until a shared word is at least so much; gives it. Ends where the other process seems to
/// be gone.
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

/// Another process cuts the file. They share three words: its steps (odd: it is about to cut; even:
/// it has), where it cuts, and how many cuts have been noticed.
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

/// The other process.
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
