//! Children forked at any moment can open the objects that their parent has open.

#![allow(unsafe_code, reason = "forks")]

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// The time after which a child is killed.
const DEADLINE_SECONDS: u32 = 60;

/// Runs `action` in a forked child and returns its process id.
fn fork(action: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child has only this thread, and its C library supports forks of threaded
    // programs. It exits here, at the latest when the alarm kills it.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            libc::alarm(DEADLINE_SECONDS);
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(action));
            libc::_exit(ended.is_err().into());
        }
        child
    }
}

#[track_caller]
fn assert_ends_well(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: the child belongs to this process.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "how the child ended");
}

/// A child that opens an object of its parent becomes a participant of its own.
#[test]
fn a_child_is_a_participant_of_its_own() {
    need_atomics!();
    let directory = TempDir::new();
    let (one, two, path) = twice(&directory);
    let held = one.0.lock().unwrap();
    let child = fork(|| {
        let same = open::<Locks>(&path);
        // The parent holds the lock, so this is no deadlock.
        let refused = same.0.lock_timeout(Duration::from_millis(20)).map(drop);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Timeout);
        let held = same.1.write().unwrap();
        let refused = two.1.write_timeout(Duration::from_secs(20)).map(drop);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Deadlock);
        drop(held);
        let look = Inspection::open(Location::file(&path)).unwrap();
        assert_eq!(look.participants().unwrap().len(), 2);
        drop(same);
        assert_eq!(*two.1.read().unwrap(), 2);
    });
    assert_ends_well(child);
    drop(held);
    drop(one);
    *two.0.lock().unwrap() += 1;
}

/// Children forked while other threads open and drop objects do not hang.
#[test]
fn children_that_are_forked_at_any_moment_do_not_hang() {
    need_atomics!();
    const CHILDREN: usize = 100;
    let directory = TempDir::new();
    let paths: Vec<PathBuf> = (0..3).map(|number| directory.join(&number.to_string())).collect();
    for path in &paths {
        let few = SharedOptions::new().participants(16).lanes(64);
        drop(few.create_new(Location::file(path), || Mutex::new(0_u64)).unwrap());
    }
    /// Stops the threads when dropped, also if a child fails.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _done = Done(&done);
        for path in &paths {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    drop(open::<Mutex<u64>>(path).lock_timeout(Duration::from_secs(20)).unwrap());
                }
            });
        }
        let children = (0..CHILDREN).map(|round| {
            thread::yield_now();
            let child = fork(|| {
                for path in &paths {
                    let shared = open::<Mutex<u64>>(path);
                    *shared.lock_timeout(Duration::from_secs(20)).unwrap() += 1;
                    drop((open::<Mutex<u64>>(path), shared));
                }
            });
            // Some children run concurrently, and some one after another.
            if round % 3 == 0 {
                assert_ends_well(child);
                return None;
            }
            Some(child)
        });
        let mut running = Vec::new();
        for child in children {
            running.extend(child);
            if running.len() == 4 {
                running.drain(..).for_each(assert_ends_well);
            }
        }
        running.into_iter().for_each(assert_ends_well);
    });
    for path in &paths {
        assert_eq!(*open::<Mutex<u64>>(path).lock().unwrap(), CHILDREN as u64);
    }
}
