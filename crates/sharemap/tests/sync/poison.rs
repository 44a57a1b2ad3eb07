//! Poisoned locks, owners that panic, and repairs.

use sharemap::{RwLockSliceUpgradableGuard, RwLockUpgradableGuard};

use super::*;

/// Panics while holding the write lock.
fn panicked_with(lock: &RwLockHandle<u32>) {
    let panicked = thread::scope(|scope| {
        let write = || {
            let _guard = lock.write().unwrap();
            std::panic::resume_unwind(Box::new(()));
        };
        scope.spawn(write).join()
    });
    assert!(panicked.is_err());
}

/// A panic while holding the write lock is reported as an owner's death, even if the value was not
/// changed.
#[test]
fn a_panic_is_reported_even_without_a_change() {
    need_atomics!();
    let lock = Shared::create_new(Location::anonymous(), || RwLock::new(1_u32)).unwrap();
    panicked_with(&lock);
    let Err(LockError::OwnerDied(dead)) = lock.read() else { panic!("no `OwnerDied`") };
    assert_eq!(*dead, 1);
    drop(dead);
    let Err(LockError::OwnerDied(dead)) = lock.write() else { panic!("no `OwnerDied`") };
    drop(dead.mark_consistent());
    assert_eq!(*lock.read().unwrap(), 1);
}

/// A panic that began before an upgrade has interrupted no change: the change is kept, and no death reported.
#[test]
fn a_change_after_an_upgrade_during_a_panic_is_kept() {
    need_atomics!();
    type Locks = (RwLock<u32>, RwLock<[u32]>);

    /// Upgrades and changes both locks when it is dropped.
    struct Changes<'a>(
        Option<(RwLockUpgradableGuard<'a, u32>, RwLockSliceUpgradableGuard<'a, u32>)>,
    );

    impl Drop for Changes<'_> {
        fn drop(&mut self) {
            assert!(thread::panicking());
            let (value, elements) = self.0.take().unwrap();
            *value.upgrade().unwrap() = 2;
            elements.upgrade().unwrap().view().set(0, 3).unwrap();
        }
    }

    let locks = Shared::<Locks>::create_new(Location::anonymous(), || {
        (RwLock::new(1), RwLock::<[u32]>::zeroed(1))
    })
    .unwrap();
    let panicked = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let guards = (locks.0.upgradable().unwrap(), locks.1.upgradable().unwrap());
            let _changes = Changes(Some(guards));
            std::panic::resume_unwind(Box::new(()));
        });
        writer.join()
    });
    assert!(panicked.is_err());
    assert_eq!(*locks.0.read().unwrap(), 2);
    assert_eq!(locks.1.read().unwrap().view().get(0).unwrap(), 3);
}

/// A panic while holding an upgradable read lock is not reported, unless it was upgraded.
#[test]
fn a_panic_with_an_upgradable_guard_is_not_reported() {
    need_atomics!();
    let lock = Shared::create_new(Location::anonymous(), || RwLock::new(1_u32)).unwrap();
    for upgrade in [false, true] {
        let panicked = thread::scope(|scope| {
            let read = || {
                let guard = lock.upgradable().unwrap();
                let _guard = if upgrade { Ok(guard.upgrade().unwrap()) } else { Err(guard) };
                std::panic::resume_unwind(Box::new(()));
            };
            scope.spawn(read).join()
        });
        assert!(panicked.is_err());
        assert_eq!(matches!(lock.read(), Err(LockError::OwnerDied(_))), upgrade);
    }
}

/// A poisoned lock stays poisoned after a failed `write_poisoned`, also for readers.
#[test]
fn a_failed_repair_leaves_the_lock_poisoned() {
    need_atomics!();
    let lock = Shared::create_new(Location::anonymous(), || RwLock::new(1_u32)).unwrap();
    panicked_with(&lock);
    let Err(LockError::OwnerDied(reading)) = lock.read() else { panic!("no `OwnerDied`") };
    let Err(LockError::OwnerDied(dead)) = lock.upgradable() else { panic!("no `OwnerDied`") };
    dead.poison().unwrap();
    assert_eq!(lock.write_poisoned().unwrap_err().kind(), ErrorKind::Deadlock);
    assert_eq!(lock.write().unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(lock.read().unwrap_err().kind(), ErrorKind::Poisoned, "for readers, too");
    drop(reading);
    assert_eq!(lock.read().unwrap_err().kind(), ErrorKind::Poisoned);
    *lock.write_poisoned().unwrap().mark_consistent() = 2;
    assert_eq!(*lock.read().unwrap(), 2);
}

/// Dropping the guard of `lock_poisoned` or `write_poisoned` leaves the lock in its previous state,
/// be it consistent or after a death.
#[test]
fn an_abandoned_repair_changes_no_state() {
    need_atomics!();
    type All = (Mutex<u32>, RwLock<u32>, Mutex<[u32]>, RwLock<[u32]>);
    let make =
        || (Mutex::new(1_u32), RwLock::new(1_u32), Mutex::<[u32]>::zeroed(3), RwLock::zeroed(3));
    let shared: Shared<All> = Shared::create_new(Location::anonymous(), make).unwrap();
    let (mutex, lock, elements, rows) = &*shared;
    drop((mutex.lock_poisoned().unwrap(), lock.write_poisoned().unwrap()));
    drop((elements.lock_poisoned().unwrap(), rows.write_poisoned().unwrap()));
    drop((mutex.lock().unwrap(), lock.write().unwrap()));
    drop((elements.lock().unwrap(), rows.write().unwrap()));
    panicked_with(lock);
    drop(lock.write_poisoned().unwrap());
    assert!(matches!(lock.write(), Err(LockError::OwnerDied(_))));
}

/// A writer waits for a thread that reads recursively, whichever slot of its lane announces the
/// second read lock.
#[test]
fn a_writer_waits_for_a_recursive_reader() {
    need_atomics!();
    let lock = Shared::create_new(Location::anonymous(), || RwLock::new(1_u32)).unwrap();
    thread::scope(|scope| {
        let (first, second) = (lock.read().unwrap(), lock.read().unwrap());
        drop(first);
        let write = || lock.write_timeout(Duration::from_millis(100)).map(drop);
        let writer = scope.spawn(move || write().map_err(|error| error.kind()));
        // Other threads can read until the writer waits.
        while scope.spawn(|| lock.try_read().is_ok()).join().unwrap() {}
        let third = lock.read().unwrap();
        drop(second);
        assert_eq!(writer.join().unwrap(), Err(ErrorKind::Timeout));
        assert_eq!(*third, 1);
    });
    *lock.write().unwrap() = 2;
}
