//! Locks between threads and between processes: their guarantees, and their errors.

mod common;
#[cfg(unix)]
#[path = "sync/forked.rs"]
mod forked;
#[path = "sync/locks.rs"]
mod locks;
#[path = "sync/looking.rs"]
mod looking;
#[path = "sync/poison.rs"]
mod poison;
#[path = "sync/slices.rs"]
mod slices;
#[path = "sync/timed.rs"]
mod timed;
#[path = "sync/trying.rs"]
mod trying;
#[path = "sync/waiting.rs"]
mod waiting;

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::need_atomics;
use sharemap::{
    Barrier, Condvar, CountingSemaphore, ErrorKind, Event, Location, LockError, Mutex, Once,
    OnceState, RwLock, RwLockHandle, Semaphore, Shared, SharedMemory,
};

/// A shared memory name unique to the test, unlinked when the value is dropped.
struct Name(String);

impl Name {
    fn new(test: &str) -> Self {
        let name = format!("sync-{test}-{}", std::process::id());
        let _ = SharedMemory::unlink(name.as_str());
        Self(name)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = SharedMemory::unlink(self.0.as_str());
    }
}

/// Starts this test program as another process, which runs `role` on the object called `name`.
fn another(role: &str, name: &Name) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["role", "--exact", "--nocapture"])
        .env("SHAREMAP_SYNC_ROLE", role)
        .env("SHAREMAP_SYNC_NAME", &name.0)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Child role: what the other process does, by the name of the role.
#[test]
fn role() {
    let (Ok(role), Ok(name)) =
        (std::env::var("SHAREMAP_SYNC_ROLE"), std::env::var("SHAREMAP_SYNC_NAME"))
    else {
        return;
    };
    let name = name.as_str();
    match role.as_str() {
        "count" => {
            let count = Shared::<Mutex<u64>>::open(name).unwrap();
            for _ in 0..20_000 {
                *count.lock().unwrap() += 1;
            }
        }
        "die with the mutex" => {
            let both = Shared::<(Mutex<u64>, CountingSemaphore)>::open(name).unwrap();
            let (value, ready) = &*both;
            let mut guard = value.lock().unwrap();
            *guard = 99;
            ready.post().unwrap();
            loop {
                thread::park();
            }
        }
        "die with a permit" => {
            let both = Shared::<(Semaphore, CountingSemaphore)>::open(name).unwrap();
            let (permits, ready) = &*both;
            let _permit = permits.acquire().unwrap();
            ready.post().unwrap();
            loop {
                thread::park();
            }
        }
        "die reading" => {
            let both = Shared::<(RwLock<u32>, CountingSemaphore)>::open(name).unwrap();
            let (lock, ready) = &*both;
            let _reading = lock.read().unwrap();
            ready.post().unwrap();
            loop {
                thread::park();
            }
        }
        "die as a member" => {
            let both = Shared::<(Barrier, CountingSemaphore)>::open(name).unwrap();
            let (barrier, ready) = &*both;
            let _member = barrier.join().unwrap();
            ready.post().unwrap();
            loop {
                thread::park();
            }
        }
        "die half-way" => {
            let both = Shared::<(Mutex<[u32]>, CountingSemaphore)>::open(name).unwrap();
            let (elements, ready) = &*both;
            let guard = elements.lock().unwrap();
            guard.view().subview(..4).unwrap().fill(9).unwrap();
            ready.post().unwrap();
            loop {
                thread::park();
            }
        }
        "die at it" => {
            let both = Shared::<(Once, CountingSemaphore)>::open(name).unwrap();
            let (once, ready) = &*both;
            once.call::<sharemap::Error>(|_| {
                ready.post()?;
                loop {
                    thread::park();
                }
            })
            .unwrap();
        }
        other => panic!("no such role: {other}"),
    }
}

/// Kills `child` and reaps it.
fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Waits until `is_so` returns `true`, because the kernel may report a death a moment after the
/// process was reaped.
fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        thread::yield_now();
    }
}

/// Cancelling an object ends the waits for its locks, until `resume` allows them again.
#[test]
fn waits_are_cancelled() {
    need_atomics!();
    let both =
        Shared::create_new(Location::anonymous(), || (Mutex::new(0_u8), CountingSemaphore::new(0)))
            .unwrap();
    let (mutex, signal) = &*both;
    let guard = mutex.lock().unwrap();
    let kinds = thread::scope(|scope| {
        let locks = scope.spawn(|| mutex.lock().map(drop).unwrap_err().kind());
        let waits = scope.spawn(|| signal.wait().unwrap_err().kind());
        both.cancel();
        [locks.join().unwrap(), waits.join().unwrap()]
    });
    assert_eq!(kinds, [ErrorKind::Cancelled; 2]);
    both.resume();
    drop(guard);
    drop(mutex.lock().unwrap());
}

/// A wait for a notification that is cancelled while the thread sleeps fails, without the mutex.
#[test]
fn a_wait_for_a_notification_is_cancelled() {
    need_atomics!();
    let name = Name::new("cancelled");
    let first =
        Shared::create_new(name.0.as_str(), || (Mutex::new(0_u32), Condvar::new())).unwrap();
    let second = Shared::<(Mutex<u32>, Condvar)>::open(name.0.as_str()).unwrap();
    const TIME: Duration = Duration::from_secs(3600);
    thread::scope(|scope| {
        let plain = scope.spawn(|| {
            // Wakes spuriously every 100 ms at the latest, and then waits again.
            let mut guard = first.0.lock().unwrap();
            loop {
                *guard += 1;
                guard = match first.1.wait(guard) {
                    Ok(guard) => guard,
                    Err(error) => return error.kind(),
                };
            }
        });
        let timed = scope.spawn(|| {
            let mut guard = first.0.lock().unwrap();
            *guard += 1;
            loop {
                guard = match first.1.wait_timeout(guard, TIME) {
                    Ok((guard, _)) => guard,
                    Err(error) => return error.kind(),
                };
            }
        });
        // The waiters released the mutex after they counted, so they wait.
        while *second.0.lock().unwrap() < 2 {
            thread::yield_now();
        }
        first.cancel();
        assert_eq!(plain.join().unwrap(), ErrorKind::Cancelled);
        assert_eq!(timed.join().unwrap(), ErrorKind::Cancelled);
    });
    drop(second.0.lock_timeout(TIME).unwrap());
}

/// An object of another type or size is rejected, and so are a second creation and a missing
/// object.
#[test]
fn another_type_is_rejected() {
    need_atomics!();
    let name = Name::new("type");
    let name = name.0.as_str();
    let _first = Shared::create_new(name, || Mutex::new(0_u32)).unwrap();
    let again = Shared::create_new(name, || Mutex::new(0_u32)).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    let wrong = |error: sharemap::Error| assert_eq!(error.kind(), ErrorKind::WrongType);
    wrong(Shared::<Mutex<i32>>::open(name).unwrap_err());
    wrong(Shared::<Mutex<[u8; 4]>>::open(name).unwrap_err());
    let size = Shared::<Mutex<[u64; 4]>>::open(name).unwrap_err();
    assert_eq!(size.kind(), ErrorKind::WrongSize);
    let none = Shared::<CountingSemaphore>::open("sync-there-is-none").unwrap_err();
    assert_eq!(none.kind(), ErrorKind::NotFound);
}

/// An access to an object in a truncated file is a `Fault`.
#[test]
fn a_truncated_object_is_a_fault() {
    need_atomics!();
    let directory = common::TempDir::new();
    let path = directory.join("cut");
    let mutex = Shared::create_new(Location::file(&path), || Mutex::new(0_u32)).unwrap();
    drop(mutex.lock().unwrap());
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    match file.set_len(0) {
        Err(error) if cfg!(windows) => {
            common::skip!("this system does not cut a mapped file short: {error}");
        }
        cut => cut.unwrap(),
    }
    let error = mutex.lock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fault);
}
