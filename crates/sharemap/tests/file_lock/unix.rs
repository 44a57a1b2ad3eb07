//! Signals, forks and permissions on Unix.

#![allow(unsafe_code, reason = "signals and forks")]

use super::*;
use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

static TIMED_OUT: AtomicBool = AtomicBool::new(false);
static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::SeqCst);
}

/// Signals neither end a wait nor shorten its timeout.
#[test]
fn signals_do_not_end_a_wait() {
    let dir = TempDir::new();
    let path = dir.file("a", "");
    let lock = FileLock::open(&path).unwrap();
    let Some(mut holder) = Holder::start(&path, "exclusive") else { return };
    // SAFETY: the handler only counts; without SA_RESTART it interrupts system calls.
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

/// A forked child that drops its copy of a guard does not release its parent's lock.
#[test]
fn a_forked_child_releases_nothing() {
    let dir = TempDir::new();
    let path = dir.file("a", "");
    let lock = FileLock::open(&path).unwrap();
    let mut guard = Some(lock.lock().unwrap());
    // SAFETY: the child drops a guard, which allocates nothing, and exits.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        drop(guard.take());
        // SAFETY: ends the child without running any code of the test program.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: the child belongs to this process.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    assert_eq!(kind(lock.try_lock()), BLOCKED, "still the parent's");
    drop(guard);
    assert_eq!(kind(lock.try_lock()), None);
}

/// A read-only file can be locked shared, but not exclusively.
#[test]
fn read_only_files_can_be_locked_shared() {
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

/// A device cannot be locked.
#[test]
fn a_device_is_unsupported() {
    let error = FileLock::open("/dev/null").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}
