//! Objects with no room for another process, thread or lock.

mod common;

use std::io::BufRead;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use common::{TempDir, check, need_atomics};
use sharemap::{
    Barrier, CountingSemaphore, ErrorKind, Location, Mutex, Semaphore, Shared, SharedOptions,
};

/// An object with all participants in use rejects another process with `TooManyProcesses`, and
/// accepts it after one has ended.
#[test]
fn all_participants_in_use() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("small");
    let small = SharedOptions::new().participants(2).lanes(2);
    let one = small.create_new(Location::file(&path), || Mutex::new(0_u8)).unwrap();
    // Further openings by this process, and read-only attachments, take no participant.
    let same = Shared::<Mutex<u8>>::open(Location::file(&path)).unwrap();
    let second = Holder::start(&path);
    let mut processes = [std::process::id(), second.0.id()];
    processes.sort_unstable();
    let named = format!("(processes {}, {})", processes[0], processes[1]);
    let words = [
        "attach",
        "all 2 participants are in use",
        &named,
        "wait longer, end one of them",
        "with more participants",
    ];
    let third = common::child("finds_no_participant", &path).output().unwrap();
    let told = String::from_utf8_lossy(&third.stderr).into_owned();
    assert!(third.status.success(), "{told}");
    for word in words {
        assert!(told.contains(word), "{word}: {told}");
    }
    drop(second);
    assert!(common::passes(common::child("finds_a_participant", &path)));
    drop((one, same));
}

/// A child process that keeps the object open until the value is dropped.
struct Holder(std::process::Child);

impl Holder {
    fn start(path: &Path) -> Self {
        let mut command = common::child("holds_the_object", path);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("holding")));
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Child role: keeps the object open until the process is killed.
#[test]
fn holds_the_object() {
    let Some(path) = common::role("holds_the_object") else { return };
    let _held = Shared::<Mutex<u8>>::open(Location::file(path)).unwrap();
    println!("holding");
    loop {
        std::thread::park();
    }
}

/// Child role: finds all participants in use, at once and after waiting.
#[test]
fn finds_no_participant() {
    let Some(path) = common::role("finds_no_participant") else { return };
    let begun = Instant::now();
    let options = SharedOptions::new().open_timeout(Duration::ZERO);
    let error = options.open::<Mutex<u8>>(Location::file(&path)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooManyProcesses);
    eprintln!("{error}");
    // The wait lasts at least `open_timeout`.
    let open_timeout = Duration::from_millis(300);
    let error =
        options.open_timeout(open_timeout).open::<Mutex<u8>>(Location::file(&path)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooManyProcesses);
    assert!(begun.elapsed() >= open_timeout);
    let look = Shared::<Mutex<u8>>::open_read_only(Location::file(path)).unwrap();
    assert!(!look.is_locked().unwrap());
}

/// Child role: attaches after another process has ended.
#[test]
fn finds_a_participant() {
    let Some(path) = common::role("finds_a_participant") else { return };
    drop(Shared::<Mutex<u8>>::open(Location::file(path)).unwrap());
}

/// An object with all lanes in use rejects another thread, or another lock of a thread whose lane
/// is full, with `TooManyThreads`.
#[test]
fn all_lanes_in_use() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("narrow");
    let narrow = SharedOptions::new().lanes(1);
    let first =
        || ([Mutex::new(0_u8); 8], CountingSemaphore::new(0), Semaphore::new(9), Barrier::new(2));
    let all = narrow.create_new(Location::file(&path), first).unwrap();
    let (mutexes, signal, permits, barrier) = &*all;
    let words = ["claim a lane in", "all 1 lanes are in use", "end a thread", "more lanes"];
    let guards: Vec<_> = mutexes[..7].iter().map(|mutex| mutex.lock().unwrap()).collect();
    check(mutexes[7].lock().unwrap_err(), ErrorKind::TooManyThreads, &path, &words);
    check(permits.acquire().unwrap_err(), ErrorKind::TooManyThreads, &path, &words);
    check(barrier.join().unwrap_err(), ErrorKind::TooManyThreads, &path, &words);
    thread::scope(|scope| {
        scope.spawn(|| {
            check(mutexes[7].try_lock().unwrap_err(), ErrorKind::TooManyThreads, &path, &words);
            check(signal.wait().unwrap_err(), ErrorKind::TooManyThreads, &path, &words);
        });
    });
    drop(guards);
    drop(mutexes[7].lock().unwrap());
}
