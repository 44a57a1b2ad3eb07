//! A forked child inherits copies of its parent's guards, but holds none of its parent's locks.

#![allow(unsafe_code, reason = "forks")]

use super::*;

/// Runs `action` in a forked child. Returns `true` if it succeeded.
fn in_a_child(action: impl FnOnce()) -> bool {
    // SAFETY: the child has only this thread. It exits here, at the latest when the alarm kills it.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: takes only numbers.
        unsafe { libc::alarm(30) };
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(action));
        // SAFETY: ends the child without running any code of the test program.
        unsafe { libc::_exit(ended.is_err().into()) };
    }
    ends_well(child)
}

fn ends_well(child: libc::pid_t) -> bool {
    let mut status = 0;
    // SAFETY: the child belongs to this process.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    status == 0
}

/// A child's copies of its parent's guards give no access and release nothing; the parent's guards
/// remain valid.
#[test]
fn a_child_holds_none_of_its_parents_locks() {
    need_atomics!();
    let all = Shared::create_new(Location::anonymous(), || {
        (
            (Mutex::<[u8]>::zeroed(4), RwLock::<[u8]>::zeroed(4), RwLock::<[u8]>::zeroed(4)),
            (RwLock::new(1_u8), Mutex::new(1_u8), Mutex::new(1_u8), Condvar::new()),
        )
    })
    .unwrap();
    let ((elements, table, plan), (value, mutex, free, changed)) = &*all;
    let guard = elements.lock().unwrap();
    guard.view().fill(7).unwrap();
    let reading = table.read().unwrap();
    let planning = plan.upgradable().unwrap();
    let looking = value.upgradable().unwrap();
    let waiting = mutex.lock().unwrap();
    let mut copies = Some((guard, reading, planning, looking, waiting));
    let passed = in_a_child(|| {
        let Some((guard, reading, planning, looking, waiting)) = copies.take() else { return };
        // The child can acquire a lock that its parent does not hold.
        *free.lock().unwrap() += 1;
        assert_eq!((guard.view().len(), reading.view().len(), planning.view().len()), (0, 0, 0));
        let (planning, error) = planning.upgrade().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        let (looking, error) = looking.upgrade().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        let error = changed.wait(waiting).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        drop((guard, reading, planning, looking));
        assert_eq!(elements.try_lock().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(mutex.try_lock().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(table.try_write().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(value.try_write().unwrap_err().kind(), ErrorKind::WouldBlock);
    });
    assert!(passed, "the child failed, or did not end");
    let Some((guard, reading, planning, looking, mut waiting)) = copies else { return };
    assert_eq!(*free.lock().unwrap(), 2);
    assert_eq!(guard.view().to_vec().unwrap(), [7; 4]);
    guard.unlock().unwrap();
    drop(reading);
    planning.upgrade().unwrap().view().fill(1).unwrap();
    *looking.upgrade().unwrap() = 2;
    *waiting = 3;
    drop(waiting);
    drop((elements.lock().unwrap(), table.write().unwrap()));
    assert_eq!((*value.read().unwrap(), *mutex.lock().unwrap()), (2, 3));
}

/// A child forked inside the closure of a `Once` does not complete the call for its parent.
#[test]
fn a_child_does_not_complete_its_parents_call() {
    need_atomics!();
    let once = Shared::create_new(Location::anonymous(), Once::new).unwrap();
    let mut child = -1;
    let done = once.call(|_| {
        // SAFETY: the child has only this thread. It returns from the closure and exits below.
        child = unsafe { libc::fork() };
        match child {
            // SAFETY: takes only numbers.
            0 => drop(unsafe { libc::alarm(30) }),
            _ => {
                assert!(child > 0 && ends_well(child), "the child was not refused");
                assert!(!once.is_done().unwrap(), "it is not done yet");
            }
        }
        sharemap::Result::Ok(())
    });
    if child == 0 {
        let refused = done.is_err_and(|error| error.kind() == ErrorKind::Invalid);
        // SAFETY: ends the child without running any code of the test program.
        unsafe { libc::_exit((!refused).into()) };
    }
    done.unwrap();
    assert!(once.is_done().unwrap());
}
