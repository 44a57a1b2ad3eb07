//! Attempts to acquire, recovery in one call, and values of zero size.

use std::error::Error;

use super::*;
use sharemap::MutexHandle;

/// An attempt to acquire a lock that this thread holds is `WouldBlock`, and a failed attempt has no
/// effect.
#[test]
fn locks_of_this_thread_would_block() {
    need_atomics!();
    type All = (Mutex<u32>, RwLock<u32>, Mutex<[u8]>, RwLock<[u8]>);
    let make = || (Mutex::new(0), RwLock::new(0), Mutex::zeroed(2), RwLock::zeroed(2));
    let shared: Shared<All> = Shared::create_new(Location::anonymous(), make).unwrap();
    let (mutex, lock, elements, table) = &*shared;
    let block = |kind: ErrorKind| assert_eq!(kind, ErrorKind::WouldBlock);
    let guards = (mutex.lock().unwrap(), elements.lock().unwrap());
    block(mutex.try_lock().unwrap_err().kind());
    block(elements.try_lock().unwrap_err().kind());
    drop(guards);
    let writing = (lock.write().unwrap(), table.write().unwrap());
    block(lock.try_read().unwrap_err().kind());
    block(lock.try_write().unwrap_err().kind());
    block(lock.try_upgradable().unwrap_err().kind());
    block(table.try_read().unwrap_err().kind());
    block(table.try_write().unwrap_err().kind());
    block(table.try_upgradable().unwrap_err().kind());
    drop(writing);
    let reading = (lock.read().unwrap(), table.read().unwrap());
    block(lock.try_write().unwrap_err().kind());
    block(table.try_write().unwrap_err().kind());
    drop((lock.try_read().unwrap(), lock.try_upgradable().unwrap()));
    drop(reading);
    let upgradable = lock.upgradable().unwrap();
    block(lock.try_write().unwrap_err().kind());
    block(lock.try_upgradable().unwrap_err().kind());
    drop(lock.try_read().unwrap());
    drop(upgradable);
    drop((lock.try_write().unwrap(), table.try_write().unwrap()));
    // A failed attempt leaves no state behind. Attempts never wait, so `cancel` does not affect
    // them.
    shared.cancel();
    let reading = lock.read().unwrap();
    thread::scope(|scope| {
        let other = scope.spawn(|| lock.try_write().map(drop).unwrap_err().kind());
        block(other.join().unwrap());
    });
    drop(reading);
    assert_eq!(*mutex.try_lock().unwrap(), 0);
}

fn dies_with(hold: impl Fn() + Sync) {
    let panicked = thread::scope(|scope| scope.spawn(&hold).join());
    assert!(panicked.is_err());
}

fn panic() -> ! {
    std::panic::resume_unwind(Box::new(()))
}

/// Increments the value after recovery. The error converts with `?` into one that borrows nothing.
fn count(mutex: &MutexHandle<u32>) -> Result<u32, Box<dyn Error + Send + Sync>> {
    let mut guard = mutex.lock_or_recover(|count| *count += 100)?;
    *guard += 1;
    Ok(*guard)
}

/// `lock_or_recover`, `read_or_recover` and `write_or_recover` repair a value after an owner's
/// death, once.
#[test]
fn a_value_is_recovered_in_one_call() {
    need_atomics!();
    let make = || (Mutex::new(0_u32), RwLock::new(0_u32));
    let both = Shared::create_new(Location::anonymous(), make).unwrap();
    let (mutex, lock) = &*both;
    assert_eq!(count(mutex).unwrap(), 1);
    dies_with(|| {
        let _guard = mutex.lock();
        panic();
    });
    // A repair that panics leaves the death to be reported to the next owner.
    dies_with(|| drop(mutex.lock_or_recover(|_| panic())));
    assert_eq!(count(mutex).unwrap(), 102);
    assert_eq!(count(mutex).unwrap(), 103);
    mutex.lock_poisoned().unwrap().poison().unwrap();
    let poisoned = count(mutex).unwrap_err();
    assert_eq!(poisoned.downcast::<sharemap::Error>().unwrap().kind(), ErrorKind::Poisoned);

    let write_and_die = || {
        dies_with(|| {
            let _guard = lock.write();
            panic();
        });
    };
    write_and_die();
    let other = lock.read();
    let deadlock = lock.read_or_recover(|value| *value += 1).unwrap_err();
    assert_eq!(deadlock.kind(), ErrorKind::Deadlock, "this thread reads");
    drop(other);
    assert_eq!(*lock.read_or_recover(|value| *value += 1).unwrap(), 1);
    assert_eq!(*lock.read().unwrap(), 1, "a writer has accepted it");
    write_and_die();
    *lock.write_or_recover(|value| *value += 10).unwrap() += 1;
    assert_eq!(*lock.read_or_recover(|_| panic()).unwrap(), 12);
}

/// `lock_or_recover`, `read_or_recover` and `write_or_recover` repair elements; a failed repair
/// leaves the death to the next owner.
#[test]
fn elements_are_recovered_in_one_call() {
    need_atomics!();
    let make = || (Mutex::<[u32]>::zeroed(3), RwLock::<[u32]>::zeroed(3));
    let both = Shared::create_new(Location::anonymous(), make).unwrap();
    let (elements, table) = &*both;
    dies_with(|| {
        elements.lock().unwrap().view().set(0, 9).unwrap();
        let _guards = (elements.lock(), table.write());
        panic();
    });
    let failed = elements.lock_or_recover(|view| view.set(3, 1)).unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::OutOfBounds);
    let failed = table.read_or_recover(|view| view.set(3, 1)).unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::OutOfBounds);
    let guard = elements.lock_or_recover(|view| view.set(0, view.get(0)? + 1)).unwrap();
    assert_eq!(guard.view().to_vec().unwrap(), [10, 0, 0]);
    let guard = table.read_or_recover(|view| view.fill(4)).unwrap();
    assert_eq!(guard.view().to_vec().unwrap(), [4; 3]);
    drop(guard);
    assert_eq!(table.write_or_recover(|_| panic()).unwrap().view().get(2).unwrap(), 4);
}

/// Several readers can read a poisoned lock together, and a repair waits for them.
#[test]
fn a_poisoned_lock_can_be_read() {
    need_atomics!();
    let make = || (RwLock::new(5_u32), RwLock::<[u32]>::zeroed(3));
    let both = Shared::create_new(Location::anonymous(), make).unwrap();
    let (lock, table) = &*both;
    lock.write_poisoned().unwrap().poison().unwrap();
    table.write_poisoned().unwrap().poison().unwrap();
    assert_eq!(lock.read().unwrap_err().kind(), ErrorKind::Poisoned);
    let reading = (lock.read_poisoned().unwrap(), lock.read_poisoned().unwrap());
    assert_eq!((*reading.0, *reading.1), (5, 5));
    let rows = table.read_poisoned().unwrap();
    assert_eq!(rows.view().to_vec().unwrap(), [0; 3]);
    assert_eq!(lock.write_poisoned().unwrap_err().kind(), ErrorKind::Deadlock, "it reads");
    thread::scope(|scope| {
        let repair = || lock.write_poisoned_timeout(Duration::from_millis(10)).map(drop);
        let repair = scope.spawn(repair).join().unwrap();
        assert_eq!(repair.unwrap_err().kind(), ErrorKind::Timeout, "readers are waited for");
    });
    drop((reading.0.mark_consistent(), reading.1, rows));
    assert!(lock.is_poisoned().unwrap(), "a reader accepts nothing");
    *lock.write_poisoned().unwrap().mark_consistent() = 6;
    assert_eq!(*lock.read().unwrap(), 6);
}

/// Locks can guard values of zero size, and exclude, report deaths and check types as usual.
#[test]
fn a_lock_can_guard_a_value_of_zero_size() {
    need_atomics!();
    let name = Name::new("nothing");
    let make =
        || (Mutex::new(()), RwLock::new(()), CountingSemaphore::new(3), Mutex::new([0_u8; 0]));
    let shared = Shared::create_new(&name.0, make).unwrap();
    let same = Shared::<(Mutex<()>, RwLock<()>, CountingSemaphore, Mutex<[u8; 0]>)>::open(&name.0)
        .unwrap();
    let (mutex, lock, signal, none) = &*shared;
    let guard = mutex.lock().unwrap();
    thread::scope(|scope| {
        let other = scope.spawn(|| same.0.try_lock().map(drop).unwrap_err().kind());
        assert_eq!(other.join().unwrap(), ErrorKind::WouldBlock);
    });
    guard.unlock().unwrap();
    *mutex.lock().unwrap() = ();
    *lock.write().unwrap() = ();
    *none.lock().unwrap() = [];
    drop((lock.read().unwrap(), same.1.read().unwrap()));
    dies_with(|| {
        let _guards = (mutex.lock().unwrap(), lock.write().unwrap());
        panic();
    });
    mutex.lock_or_recover(|()| ()).unwrap().unlock().unwrap();
    drop(lock.read_or_recover(|()| ()).unwrap());
    assert_eq!(signal.count().unwrap(), 3);
    // A zero-sized value can be the last in an object.
    let alone = Shared::create_new(Location::anonymous(), || RwLock::new(())).unwrap();
    *alone.write().unwrap() = ();
    drop(alone.read().unwrap());
    let wrong = Shared::<(Mutex<u8>, RwLock<()>, CountingSemaphore, Mutex<[u8; 0]>)>::open(&name.0);
    assert!(wrong.is_err());
}
