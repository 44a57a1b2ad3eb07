//! Children that were forked at any moment open what their parent has open.

#![allow(unsafe_code, reason = "forks")]

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Ends a child that has not ended by then.
const DEADLINE_SECONDS: u32 = 60;

/// Runs this in a forked child. Returns its id.
fn fork(action: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child is this thread alone, with a C library that keeps its own state whole in it; it
    // ends here, whatever happens, and soon.
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
    // SAFETY: the child is this process's own.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "how the child ended");
}

#[test]
fn a_child_takes_part_by_itself_in_what_its_parent_has_open() {
    need_atomics!();
    let directory = TempDir::new();
    let (one, two, path) = twice(&directory);
    let held = one.0.lock().unwrap();
    let child = fork(|| {
        let same = open::<Locks>(&path);
        // It is the parent's, and so no deadlock.
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

/// While other threads open and drop objects in a loop.
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
    /// Ends the threads, also when a child fails.
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
            // Some at once, and some one after the other.
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
