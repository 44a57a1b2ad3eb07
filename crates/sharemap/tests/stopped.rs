//! A stopped process is alive: its locks are not recovered, and bounded waits for them time out on
//! time.
//!
//! The process is stopped for a second, or for ten with `SHAREMAP_LONG=1`.

// Windows has no signals that stop a process.
#![cfg(unix)]
#![allow(unsafe_code, reason = "sends signals")]

mod common;

use std::process::Child;
use std::time::{Duration, Instant};

use common::need_atomics;
use sharemap::{
    Barrier, CountingSemaphore, Error, ErrorKind, LockError, Mutex, Once, RwLock, Semaphore,
    Shared, SharedMemory,
};

type Locks = (Mutex<u32>, RwLock<u32>, RwLock<u32>, RwLock<u32>);
type Others = (Semaphore, Once, Barrier);
type Parts = (Locks, Others, (CountingSemaphore, CountingSemaphore));

const ROLE: &str = "holds_every_lock";
/// The timeout of each wait, and the permitted delay on a busy machine.
const SHORT: Duration = Duration::from_millis(20);
const LATE: Duration = Duration::from_secs(2);

fn parts() -> Parts {
    let rwlock = || RwLock::new(1);
    (
        (Mutex::new(1), rwlock(), rwlock(), rwlock()),
        (Semaphore::new(1), Once::new(), Barrier::new(2)),
        (CountingSemaphore::new(0), CountingSemaphore::new(0)),
    )
}

/// Child role: holds a lock of each kind until it is told to release them.
#[test]
fn holds_every_lock() {
    let Some(name) = common::role(ROLE) else { return };
    let shared = Shared::<Parts>::open(name.to_str().unwrap()).unwrap();
    let ((mutex, written, read, upgradable), (permits, once, barrier), (ready, go)) = &*shared;
    let mut owned = mutex.lock().unwrap();
    let mut writing = written.write().unwrap();
    let reading = read.read().unwrap();
    let upgrading = upgradable.upgradable().unwrap();
    let permit = permits.acquire().unwrap();
    let member = barrier.join().unwrap();
    once.call(|_| {
        ready.post()?;
        go.wait()
    })
    .unwrap();
    (*owned, *writing) = (2, 2);
    member.wait().unwrap();
    *upgrading.upgrade().unwrap() = 2;
    drop((owned, writing, reading, permit));
}

/// Asserts that a wait times out, neither early nor late.
fn late<T, E: Into<Error>>(what: &str, wait: impl FnOnce(Duration) -> Result<T, E>) {
    let start = Instant::now();
    let kind = wait(SHORT).err().map(|error| error.into().kind());
    let took = start.elapsed();
    assert_eq!(kind, Some(ErrorKind::Timeout), "{what}");
    assert!(took >= SHORT && took < SHORT + LATE, "{what} took {took:?} for {SHORT:?}");
}

fn signal(child: &Child, signal: i32) -> bool {
    let process = child.id() as i32;
    // SAFETY: a child of this process, which is waited for only until it stops.
    unsafe {
        libc::kill(process, signal);
        signal != libc::SIGSTOP
            || libc::waitpid(process, std::ptr::null_mut(), libc::WUNTRACED) == process
    }
}

/// Locks of a stopped process stay held, and no death is reported after it continues.
#[test]
fn locks_of_a_stopped_process_stay_held() {
    need_atomics!();
    let name = format!("stopped-{}", std::process::id());
    let _ = SharedMemory::unlink(name.as_str());
    let shared = Shared::create_new(name.as_str(), parts).unwrap();
    let ((mutex, written, read, upgradable), (permits, once, barrier), (ready, go)) = &*shared;
    let member = barrier.join().unwrap();
    let mut child = common::child(ROLE, &name).spawn().unwrap();
    ready.wait().unwrap();
    SharedMemory::unlink(name.as_str()).unwrap();
    assert!(signal(&child, libc::SIGSTOP));
    let long = std::env::var_os("SHAREMAP_LONG").is_some_and(|long| long == "1");
    let (start, stop) = (Instant::now(), Duration::from_secs(if long { 10 } else { 1 }));
    while start.elapsed() < stop {
        late("the mutex", |time| mutex.lock_timeout(time));
        late("reading what is written", |time| written.read_timeout(time));
        late("writing what is written", |time| written.write_timeout(time));
        late("writing what is read", |time| read.write_timeout(time));
        late("writing what may be upgraded", |time| upgradable.write_timeout(time));
        late("the permit", |time| permits.acquire_timeout(time));
        late("what is being done once", |time| once.call_timeout(time, |_| Ok::<_, Error>(())));
        late("the barrier", |time| member.wait_timeout(time));
        let would_block = |result: Option<ErrorKind>| {
            assert_eq!(result, Some(ErrorKind::WouldBlock));
        };
        would_block(mutex.try_lock().err().map(|error| error.kind()));
        would_block(written.try_read().err().map(|error| error.kind()));
        would_block(read.try_write().err().map(|error| error.kind()));
        would_block(upgradable.try_upgradable().err().map(|error| error.kind()));
        would_block(permits.try_acquire().err().map(|error| error.kind()));
        // Shared access beside the stopped holder is still possible.
        assert_eq!((*read.read().unwrap(), *upgradable.read().unwrap()), (1, 1));
        assert_eq!(barrier.join().unwrap_err().kind(), ErrorKind::Busy);
    }
    assert!(signal(&child, libc::SIGCONT));
    go.post().unwrap();
    member.wait().unwrap();
    // No participant died, so no death is reported.
    assert_eq!(*mutex.lock().unwrap(), 2);
    assert_eq!(*written.read().unwrap(), 2);
    drop(read.write().unwrap());
    drop(permits.acquire().unwrap());
    assert!(child.wait().unwrap().success());
    assert!(!matches!(upgradable.write(), Err(LockError::OwnerDied(_))));
    assert_eq!(*upgradable.read().unwrap(), 2);
    assert!(once.is_done().unwrap());
}
