//! The mutex and the readers-writer lock.

use super::*;

/// Threads that increment a value under a mutex lose no increment.
#[test]
fn threads_lose_no_increment() {
    need_atomics!();
    let count =
        Shared::create_new(Location::anonymous(), || [Mutex::new(0_u64), Mutex::new(5)]).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    *count[0].lock().unwrap() += 1;
                    *count[1].lock().unwrap() += 2;
                }
            });
        }
    });
    assert_eq!(*count[0].lock().unwrap(), 20_000);
    assert_eq!(*count[1].lock().unwrap(), 40_005);
}

/// Processes that increment a value under a mutex lose no increment.
#[test]
fn processes_lose_no_increment() {
    need_atomics!();
    let name = Name::new("count");
    let count = Shared::create_new(name.0.as_str(), || Mutex::new(0_u64)).unwrap();
    let children: Vec<Child> = (0..3).map(|_| another("count", &name)).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(*count.lock().unwrap(), 60_000);
}

/// The next owner is notified of an owner's death and finds the last value that was written back.
#[test]
fn an_owner_death_is_reported_and_its_changes_discarded() {
    need_atomics!();
    let name = Name::new("dead");
    let both =
        Shared::create_new(name.0.as_str(), || (Mutex::new(7_u64), CountingSemaphore::new(0)))
            .unwrap();
    let (value, ready) = &*both;
    let owner = another("die with the mutex", &name);
    ready.wait().unwrap();
    assert_eq!(value.try_lock().unwrap_err().kind(), ErrorKind::WouldBlock);
    let timeout = value.lock_timeout(Duration::from_millis(20)).unwrap_err();
    assert_eq!(timeout.kind(), ErrorKind::Timeout);
    kill(owner);
    // Dropping the guard without marking the value consistent notifies the next owner again.
    for _ in 0..2 {
        let Err(LockError::OwnerDied(dead)) = value.lock() else { panic!("no `OwnerDied`") };
        assert_eq!(*dead, 7);
    }
    assert_eq!(sharemap::Error::from(value.lock().unwrap_err()).kind(), ErrorKind::OwnerDied);
    let Err(LockError::OwnerDied(dead)) = value.lock() else { panic!("no `OwnerDied`") };
    *dead.mark_consistent() += 1;
    assert_eq!(*value.lock().unwrap(), 8);
}

/// A poisoned mutex rejects owners until `lock_poisoned` marks its value consistent.
#[test]
fn a_poisoned_mutex_is_repaired() {
    need_atomics!();
    let value = Shared::create_new(Location::anonymous(), || Mutex::new(1_u32)).unwrap();
    let panicked = thread::scope(|scope| {
        scope
            .spawn(|| {
                let mut guard = value.lock().unwrap();
                *guard = 2;
                std::panic::resume_unwind(Box::new(()));
            })
            .join()
    });
    assert!(panicked.is_err());
    let Err(LockError::OwnerDied(dead)) = value.lock() else { panic!("no `OwnerDied`") };
    assert_eq!(*dead, 1);
    dead.poison().unwrap();
    assert_eq!(value.lock().unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(value.try_lock().unwrap_err().kind(), ErrorKind::Poisoned);
    drop(value.lock_poisoned().unwrap());
    assert_eq!(value.lock().unwrap_err().kind(), ErrorKind::Poisoned);
    *value.lock_poisoned().unwrap().mark_consistent() = 3;
    assert_eq!(*value.lock().unwrap(), 3);
}

/// A thread that reads gets `Deadlock` from requests that would wait for a thread that waits for that read.
#[test]
fn a_reader_that_would_wait_for_its_own_reading_is_told() {
    need_atomics!();
    const LATER: Duration = Duration::from_secs(20);
    let shared = Shared::create_new(Location::anonymous(), || RwLock::new(0_u32)).unwrap();
    let lock = &*shared;
    let reading = lock.read().unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| lock.write_timeout(LATER).map(drop).unwrap());
        // Once the writer owns the word, readers are refused.
        while scope.spawn(|| lock.try_read().is_ok()).join().unwrap() {
            thread::yield_now();
        }
        assert_eq!(lock.write_timeout(LATER).unwrap_err().kind(), ErrorKind::Deadlock);
        let error = lock.upgradable_timeout(LATER).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Deadlock);
        assert!(error.to_string().contains("lock for upgradable reading"), "{error}");
        assert_eq!(lock.try_write().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(lock.try_upgradable().unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(lock.read_timeout(LATER).unwrap());
        drop(reading);
        writer.join().unwrap();
    });

    // An upgradable read is possible beside the thread's own read, and is a wait while another thread has
    // that right, because that thread need not write.
    let reading = lock.read().unwrap();
    drop(lock.upgradable().unwrap());
    let (begun, ended) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            let upgradable = lock.upgradable().unwrap();
            begun.wait();
            ended.wait();
            drop(upgradable);
        });
        begun.wait();
        let short = Duration::from_millis(1);
        assert_eq!(lock.upgradable_timeout(short).unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(lock.write_timeout(LATER).unwrap_err().kind(), ErrorKind::Deadlock);
        ended.wait();
        drop(lock.upgradable_timeout(LATER).unwrap());
    });
    drop(reading);
    drop(lock.write().unwrap());
}

/// A lock that this thread already holds is a `Deadlock`, except for a second read lock.
#[test]
fn relocking_is_a_deadlock() {
    need_atomics!();
    let both = Shared::create_new(Location::anonymous(), || (Mutex::new(0_u8), RwLock::new(0_u8)))
        .unwrap();
    let (mutex, lock) = &*both;
    let guard = mutex.lock().unwrap();
    assert_eq!(mutex.lock().unwrap_err().kind(), ErrorKind::Deadlock);
    guard.unlock().unwrap();
    let reading = lock.read().unwrap();
    assert_eq!(lock.write().unwrap_err().kind(), ErrorKind::Deadlock);
    drop(lock.read().unwrap());
    drop(reading);
    let writing = lock.write().unwrap();
    assert_eq!(lock.read().unwrap_err().kind(), ErrorKind::Deadlock);
    drop(writing);
    let upgradable = lock.upgradable().unwrap();
    let reading = lock.read().unwrap();
    let (upgradable, error) = upgradable.upgrade().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadlock);
    drop(reading);
    *upgradable.upgrade().unwrap() = 4;
    assert_eq!(*lock.read().unwrap(), 4);
}

/// A thread can hold more locks than one lane announces.
#[test]
fn more_locks_than_a_lane_announces() {
    need_atomics!();
    let many = Shared::create_new(Location::anonymous(), || [Mutex::new(0_u16); 40]).unwrap();
    let mut guards: Vec<_> = many.iter().map(|mutex| mutex.lock().unwrap()).collect();
    assert_eq!(many[0].lock().unwrap_err().kind(), ErrorKind::Deadlock);
    assert_eq!(many[39].lock().unwrap_err().kind(), ErrorKind::Deadlock);
    guards.iter_mut().for_each(|guard| **guard += 1);
    drop(guards);
    assert!(many.iter().all(|mutex| *mutex.lock().unwrap() == 1));
}

/// Readers and writers exclude each other.
#[test]
fn readers_and_writers_exclude_each_other() {
    need_atomics!();
    let lock = Shared::create_new(Location::anonymous(), || RwLock::new([0_u64; 8])).unwrap();
    let inside = AtomicU32::new(0);
    thread::scope(|scope| {
        for writer in 0..2 {
            let (lock, inside) = (&lock, &inside);
            scope.spawn(move || {
                for _ in 0..2_000 {
                    let mut guard = if writer == 0 {
                        lock.write().unwrap()
                    } else {
                        lock.upgradable().unwrap().upgrade().unwrap()
                    };
                    assert_eq!(inside.swap(1, Ordering::SeqCst), 0);
                    guard.iter_mut().for_each(|n| *n += 1);
                    inside.store(0, Ordering::SeqCst);
                }
            });
            scope.spawn(move || {
                for _ in 0..2_000 {
                    let value = lock.read().unwrap();
                    assert_eq!(inside.load(Ordering::SeqCst), 0);
                    assert!(value.iter().all(|n| *n == value[0]));
                }
            });
        }
    });
    assert_eq!(*lock.read().unwrap(), [4_000; 8]);
}

/// A reader that died does not block writers.
#[test]
fn a_dead_reader_does_not_block_writers() {
    need_atomics!();
    let name = Name::new("reader");
    let both =
        Shared::create_new(name.0.as_str(), || (RwLock::new(1_u32), CountingSemaphore::new(0)))
            .unwrap();
    let (lock, ready) = &*both;
    let reader = another("die reading", &name);
    ready.wait().unwrap();
    assert_eq!(lock.try_write().unwrap_err().kind(), ErrorKind::WouldBlock);
    let timeout = lock.write_timeout(Duration::from_millis(20)).unwrap_err();
    assert_eq!(timeout.kind(), ErrorKind::Timeout);
    drop(lock.try_read().unwrap());
    kill(reader);
    *lock.write().unwrap() = 2;
}
