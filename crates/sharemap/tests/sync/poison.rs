//! Locks whose value was declared unusable, those who panicked with them, and repairs.

use super::*;

/// One that a writer panicked with.
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

#[test]
fn a_panic_is_told_of_also_if_nothing_was_changed() {
    need_atomics!();
    let lock = Shared::create_new(Location::anonymous(), || RwLock::new(1_u32)).unwrap();
    panicked_with(&lock);
    let Err(LockError::OwnerDied(dead)) = lock.read() else { panic!("nobody told of it") };
    assert_eq!(*dead, 1);
    drop(dead);
    let Err(LockError::OwnerDied(dead)) = lock.write() else { panic!("nobody told of it") };
    drop(dead.mark_consistent());
    assert_eq!(*lock.read().unwrap(), 1);
}

#[test]
fn a_panic_beside_a_guard_that_writes_nothing_is_not() {
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

#[test]
fn a_repair_that_fails_leaves_it_poisoned() {
    need_atomics!();
    let lock = Shared::create_new(Location::anonymous(), || RwLock::new(1_u32)).unwrap();
    panicked_with(&lock);
    let Err(LockError::OwnerDied(reading)) = lock.read() else { panic!("nobody told of it") };
    let Err(LockError::OwnerDied(dead)) = lock.upgradable() else { panic!("nobody told of it") };
    dead.poison().unwrap();
    assert_eq!(lock.write_poisoned().unwrap_err().kind(), ErrorKind::Deadlock);
    assert_eq!(lock.write().unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(lock.read().unwrap_err().kind(), ErrorKind::Poisoned, "also for one who reads");
    drop(reading);
    assert_eq!(lock.read().unwrap_err().kind(), ErrorKind::Poisoned);
    *lock.write_poisoned().unwrap().mark_consistent() = 2;
    assert_eq!(*lock.read().unwrap(), 2);
}

#[test]
fn a_repair_that_changes_nothing_leaves_it_as_it_was() {
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

#[test]
fn who_reads_again_is_waited_for_wherever_that_is_announced() {
    need_atomics!();
    let lock = Shared::create_new(Location::anonymous(), || RwLock::new(1_u32)).unwrap();
    thread::scope(|scope| {
        let (first, second) = (lock.read().unwrap(), lock.read().unwrap());
        drop(first);
        let write = || lock.write_timeout(Duration::from_millis(100)).map(drop);
        let writer = scope.spawn(move || write().map_err(|error| error.kind()));
        // Until it is there, others may read.
        while scope.spawn(|| lock.try_read().is_ok()).join().unwrap() {}
        let third = lock.read().unwrap();
        drop(second);
        assert_eq!(writer.join().unwrap(), Err(ErrorKind::Timeout));
        assert_eq!(*third, 1);
    });
    *lock.write().unwrap() = 2;
}
