//! Signals, forks and permissions, as Unix has them.

#![allow(unsafe_code, reason = "signals and forks")]

use super::*;
use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

static TIMED_OUT: AtomicBool = AtomicBool::new(false);
static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn signals_end_no_wait() {
    let dir = TempDir::new();
    let path = dir.file("a", "");
    let lock = FileLock::open(&path).unwrap();
    let Some(mut holder) = Holder::start(&path, "exclusive") else { return };
    // SAFETY: a handler that only counts, without SA_RESTART.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
    }
    let allowed = Duration::from_millis(50);
    let waiters = [
        std::thread::spawn({
            let lock = lock.clone();
            move || kind(lock.lock())
        }),
        std::thread::spawn(move || {
            let begun = Instant::now();
            assert_eq!(kind(lock.lock_timeout(allowed)), Some(ErrorKind::Timeout));
            assert!(begun.elapsed() >= allowed, "{:?}", begun.elapsed());
            TIMED_OUT.store(true, Ordering::SeqCst);
            kind(lock.lock_timeout(LONG))
        }),
    ];
    let begun = Instant::now();
    while !TIMED_OUT.load(Ordering::SeqCst) && begun.elapsed() < LONG {
        for waiter in &waiters {
            // SAFETY: the threads have not been joined.
            unsafe { libc::pthread_kill(waiter.as_pthread_t() as _, libc::SIGUSR1) };
        }
        std::thread::yield_now();
    }
    assert!(SIGNALS.load(Ordering::SeqCst) > 10);
    holder.let_go();
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), None);
    }
}

#[test]
fn a_forked_child_lets_nothing_go() {
    let dir = TempDir::new();
    let path = dir.file("a", "");
    let lock = FileLock::open(&path).unwrap();
    let mut guard = Some(lock.lock().unwrap());
    // SAFETY: the child drops a guard, which allocates nothing, and ends.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        drop(guard.take());
        // SAFETY: ends the child, and runs nothing of the test program.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: the child is this process's own.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    assert_eq!(kind(lock.try_lock()), BLOCKED, "still the parent's");
    drop(guard);
    assert_eq!(kind(lock.try_lock()), None);
}

#[test]
fn files_that_may_only_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new();
    let path = dir.file("a", "");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o444)).unwrap();
    if common::is_root() {
        skip!("root may write to read-only files");
    }
    let lock = FileLock::open(&path).unwrap();
    assert_eq!(kind(lock.try_lock()), Some(ErrorKind::NotWritable));
    assert_eq!(kind(lock.try_lock_shared()), None);
}

#[test]
fn what_is_no_regular_file() {
    let error = FileLock::open("/dev/null").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}
