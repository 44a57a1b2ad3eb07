//! Locks over slices, with elements that are accessed in place.

use super::*;

/// Elements are shared in place, and the mutex over them behaves like one over a value.
#[test]
fn elements_are_shared_in_place() {
    need_atomics!();
    let name = Name::new("slice");
    let samples = Shared::create_new(name.0.as_str(), || Mutex::<[u64]>::zeroed(10_000)).unwrap();
    let same = Shared::<Mutex<[u64]>>::open(name.0.as_str()).unwrap();
    assert_eq!((samples.len(), same.len()), (10_000, 10_000));
    thread::scope(|scope| {
        for samples in [&samples, &same] {
            scope.spawn(move || {
                for _ in 0..500 {
                    let guard = samples.lock().unwrap();
                    let view = guard.view();
                    for at in [0, 5_000, 9_999] {
                        view.set(at, view.get(at).unwrap() + 1).unwrap();
                    }
                }
            });
        }
    });
    let guard = same.lock().unwrap();
    let view = guard.view();
    assert_eq!(view.iter().sum::<sharemap::Result<u64>>().unwrap(), 3_000);
    assert_eq!(view.get(9_999).unwrap(), 1_000);
    let beyond = view.get(10_000).unwrap_err();
    assert_eq!(beyond.kind(), ErrorKind::OutOfBounds);
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(samples.try_lock().unwrap_err().kind(), ErrorKind::WouldBlock);
            let timeout = samples.lock_timeout(Duration::from_millis(5)).unwrap_err();
            assert_eq!(timeout.kind(), ErrorKind::Timeout);
        });
    });
    for shared in [&samples, &same] {
        assert_eq!(shared.lock().unwrap_err().kind(), ErrorKind::Deadlock);
    }
    assert_eq!(samples.view_unlocked().get(5_000).unwrap(), 1_000);
    guard.unlock().unwrap();
    drop(samples.try_lock().unwrap());
}

/// Slices can lie anywhere among other locks of an object.
#[test]
fn slices_lie_anywhere_among_other_locks() {
    need_atomics!();
    type All = (Mutex<u8>, [Mutex<[u16]>; 2], Event, RwLock<[f32]>, RwLock<u64>);
    let name = Name::new("among");
    let first = || -> All {
        (
            Mutex::new(1),
            [Mutex::zeroed(3), Mutex::zeroed(70)],
            Event::manual_reset(),
            RwLock::zeroed(1),
            RwLock::new(2),
        )
    };
    let all = Shared::create_new(name.0.as_str(), first).unwrap();
    let (byte, halves, event, float, word) = &*all;
    *byte.lock().unwrap() += 1;
    halves[0].lock().unwrap().view().fill(7).unwrap();
    halves[1].lock().unwrap().view().fill(8).unwrap();
    event.set().unwrap();
    float.write().unwrap().view().set(0, 0.5).unwrap();
    *word.write().unwrap() += 1;

    let same = Shared::<All>::open_or_create(name.0.as_str(), || panic!("it exists")).unwrap();
    let (byte, halves, event, float, word) = &*same;
    assert_eq!((*byte.lock().unwrap(), *word.read().unwrap()), (2, 3));
    assert_eq!(halves[0].lock().unwrap().view().to_vec().unwrap(), [7; 3]);
    assert_eq!(halves[1].lock().unwrap().view().to_vec().unwrap(), [8; 70]);
    assert!(event.is_set().unwrap());
    assert_eq!(float.read().unwrap().view().get(0).unwrap(), 0.5);

    let wrong = |error: sharemap::Error| assert_eq!(error.kind(), ErrorKind::WrongType);
    wrong(Shared::<Mutex<[u16]>>::open(name.0.as_str()).unwrap_err());
}

/// The death of an owner that had written some elements is reported, and the written elements stay.
#[test]
fn a_partial_write_of_a_dead_owner_is_reported() {
    need_atomics!();
    let name = Name::new("half");
    let both = Shared::create_new(name.0.as_str(), || {
        (Mutex::<[u32]>::zeroed(8), CountingSemaphore::new(0))
    });
    let both = both.unwrap();
    let (elements, ready) = &*both;
    let owner = another("die half-way", &name);
    ready.wait().unwrap();
    kill(owner);
    let Err(LockError::OwnerDied(dead)) = elements.lock() else { panic!("no `OwnerDied`") };
    assert_eq!(dead.view().to_vec().unwrap(), [9, 9, 9, 9, 0, 0, 0, 0]);
    drop(dead);
    let Err(LockError::OwnerDied(dead)) = elements.lock() else { panic!("no `OwnerDied`") };
    dead.poison().unwrap();
    assert_eq!(elements.lock().unwrap_err().kind(), ErrorKind::Poisoned);
    let repair = elements.lock_poisoned().unwrap();
    repair.view().fill(1).unwrap();
    drop(repair.mark_consistent());
    assert_eq!(elements.lock().unwrap().view().to_vec().unwrap(), [1; 8]);
}

/// A panic of a writer is reported as a death, because elements are changed in place, while a value
/// is written back at once or not at all.
#[test]
fn a_panic_of_a_writer_is_reported_as_a_death() {
    need_atomics!();
    let both = Shared::create_new(Location::anonymous(), || {
        (Mutex::<[u8]>::zeroed(4), RwLock::<[u8]>::zeroed(4))
    })
    .unwrap();
    let (mutex, lock) = &*both;
    let with = |hold: &(dyn Fn() + Sync)| {
        assert!(thread::scope(|scope| scope.spawn(hold).join()).is_err());
    };
    with(&|| {
        let _guard = mutex.lock().unwrap();
        std::panic::resume_unwind(Box::new(()));
    });
    let Err(LockError::OwnerDied(dead)) = mutex.lock() else { panic!("no `OwnerDied`") };
    drop(dead.mark_consistent());
    with(&|| {
        let _guard = lock.upgradable().unwrap();
        std::panic::resume_unwind(Box::new(()));
    });
    drop(lock.write().unwrap());
    with(&|| {
        let _guard = lock.upgradable().unwrap().upgrade().unwrap();
        std::panic::resume_unwind(Box::new(()));
    });
    let Err(LockError::OwnerDied(dead)) = lock.read() else { panic!("no `OwnerDied`") };
    assert_eq!(dead.poison().unwrap_err().kind(), ErrorKind::NotWritable);
    let Err(LockError::OwnerDied(dead)) = lock.write() else { panic!("no `OwnerDied`") };
    drop(dead.mark_consistent());
    drop(lock.read().unwrap());
}

/// Readers never see a slice that a writer is changing.
#[test]
fn readers_see_no_partial_write() {
    need_atomics!();
    let lock = Shared::create_new(Location::anonymous(), || RwLock::<[u32]>::zeroed(300)).unwrap();
    thread::scope(|scope| {
        for writer in 0..2 {
            let lock = &lock;
            scope.spawn(move || {
                for _ in 0..300 {
                    let guard = if writer == 0 {
                        lock.write().unwrap()
                    } else {
                        lock.upgradable().unwrap().upgrade().unwrap()
                    };
                    let view = guard.view();
                    view.fill(view.get(299).unwrap() + 1).unwrap();
                }
            });
            scope.spawn(move || {
                for _ in 0..300 {
                    let guard = lock.read().unwrap();
                    let view = guard.view();
                    let first = view.get(0).unwrap();
                    assert!(view.iter().all(|n| n.unwrap() == first));
                }
            });
        }
    });
    let reading = lock.read().unwrap();
    assert_eq!(reading.view().get(150).unwrap(), 600);
    assert_eq!(lock.try_write().unwrap_err().kind(), ErrorKind::WouldBlock);
    let upgradable = lock.try_upgradable().unwrap();
    assert_eq!(upgradable.view().get(1).unwrap(), 600);
    let (upgradable, error) = upgradable.upgrade_timeout(Duration::from_millis(5)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadlock);
    thread::scope(|scope| {
        let other = || lock.upgradable_timeout(Duration::from_millis(5)).unwrap_err().kind();
        assert_eq!(scope.spawn(other).join().unwrap(), ErrorKind::Timeout);
    });
    drop(reading);
    upgradable.upgrade().unwrap().unlock().unwrap();
}

/// A condition variable works with a mutex over elements.
#[test]
fn elements_work_with_a_condition_variable() {
    need_atomics!();
    let queue =
        Shared::create_new(Location::anonymous(), || (Mutex::<[u32]>::zeroed(2), Condvar::new()));
    let queue = queue.unwrap();
    let (jobs, changed) = &*queue;
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..200 {
                let guard = jobs.lock().unwrap();
                let guard =
                    changed.wait_while(guard, |jobs| jobs.view().get(0).unwrap() == 0).unwrap();
                let view = guard.view();
                view.set(0, view.get(0).unwrap() - 1).unwrap();
                view.set(1, view.get(1).unwrap() + 1).unwrap();
                changed.notify_all().unwrap();
            }
        });
        for _ in 0..200 {
            let guard = jobs.lock().unwrap();
            guard.view().set(0, guard.view().get(0).unwrap() + 1).unwrap();
            drop(guard);
            changed.notify_one().unwrap();
        }
        let guard = jobs.lock().unwrap();
        let guard = changed.wait_while(guard, |jobs| jobs.view().get(1).unwrap() < 200).unwrap();
        assert_eq!(guard.view().to_vec().unwrap(), [0, 200]);
    });
}

/// An impossible number of elements is rejected on creation, and a stored count that contradicts
/// the payload on opening.
#[test]
fn impossible_numbers_of_elements() {
    need_atomics!();
    let none = Shared::create_new(Location::anonymous(), || Mutex::<[u8]>::zeroed(0)).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::ZeroLength);
    let many = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(usize::MAX));
    let kind = many.unwrap_err().kind();
    let too_many = [ErrorKind::Overflow, ErrorKind::NoSpace, ErrorKind::OutOfAddressSpace];
    assert!(too_many.contains(&kind), "{kind:?} for eight bytes each");
    let directory = common::TempDir::new();
    let path = directory.join("scribbled");
    let location = || Location::file(&path);
    let lock =
        Shared::create_new(location(), || (Mutex::<[u64]>::zeroed(9), CountingSemaphore::new(3)));
    let lock = lock.unwrap();
    let map = sharemap::MappingMut::open(&path).unwrap();
    let words = map.view::<u64>().unwrap();
    let count_at = words.get(104 / 8).unwrap() as usize / 8 + 1;
    assert_eq!(words.get(count_at).unwrap(), 9);
    for count in [0, 8, 11, 1 << 40, 1 << 61, u64::MAX] {
        words.set(count_at, count).unwrap();
        let error = Shared::<(Mutex<[u64]>, CountingSemaphore)>::open(location()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongSize, "{error}");
        assert_eq!(error.path(), Some(path.as_path()), "{error}");
    }
    // The count is read when the object is opened; later changes of it have no effect.
    assert_eq!((lock.0.len(), lock.0.lock().unwrap().view().len()), (9, 9));
    assert_eq!(lock.1.count().unwrap(), 3);
}
