//! Every wait has a bounded form that returns in time, regardless of what peers hold or store.

use std::sync::Barrier as ThreadBarrier;

use super::*;
use sharemap::Result;

const SHORT: Duration = Duration::from_millis(10);
/// Much longer than a bounded wait takes; an unbounded one never returns.
const AT_MOST: Duration = Duration::from_secs(60);

type All = ((Mutex<u32>, RwLock<u32>, Mutex<[u32]>, RwLock<[u32]>), Waits);
type Waits = (Semaphore, CountingSemaphore, Barrier, Event, Once);

fn first() -> All {
    let waits = (
        Semaphore::new(1),
        CountingSemaphore::new(0),
        Barrier::new(2),
        Event::auto_reset(),
        Once::new(),
    );
    ((Mutex::new(0), RwLock::new(0), Mutex::zeroed(4), RwLock::zeroed(4)), waits)
}

fn ends_in_time(what: &str, wait: impl FnOnce() -> Result<()>) {
    let start = Instant::now();
    let error = wait().expect_err(what);
    assert_eq!(error.kind(), ErrorKind::Timeout, "{what}: {error}");
    assert!(start.elapsed() >= SHORT && start.elapsed() < AT_MOST, "{what}: {:?}", start.elapsed());
}

/// Asserts that every bounded way to acquire the held locks times out.
fn locks_end_in_time(((mutex, lock, elements, table), _): &<All as sharemap::SharedType>::Handle) {
    ends_in_time("lock", || Ok(mutex.lock_timeout(SHORT).map(drop)?));
    ends_in_time("lock_or_recover", || mutex.lock_or_recover_timeout(SHORT, |_| ()).map(drop));
    ends_in_time("lock_poisoned", || mutex.lock_poisoned_timeout(SHORT).map(drop));
    ends_in_time("read", || Ok(lock.read_timeout(SHORT).map(drop)?));
    ends_in_time("read_or_recover", || lock.read_or_recover_timeout(SHORT, |_| ()).map(drop));
    ends_in_time("read_poisoned", || lock.read_poisoned_timeout(SHORT).map(drop));
    ends_in_time("write", || Ok(lock.write_timeout(SHORT).map(drop)?));
    ends_in_time("write_or_recover", || lock.write_or_recover_timeout(SHORT, |_| ()).map(drop));
    ends_in_time("write_poisoned", || lock.write_poisoned_timeout(SHORT).map(drop));
    ends_in_time("upgradable", || Ok(lock.upgradable_timeout(SHORT).map(drop)?));
    ends_in_time("lock elements", || Ok(elements.lock_timeout(SHORT).map(drop)?));
    ends_in_time("recover elements", || {
        elements.lock_or_recover_timeout(SHORT, |_| Ok(())).map(drop)
    });
    ends_in_time("poisoned elements", || elements.lock_poisoned_timeout(SHORT).map(drop));
    ends_in_time("read a table", || Ok(table.read_timeout(SHORT).map(drop)?));
    ends_in_time("read and recover a table", || {
        table.read_or_recover_timeout(SHORT, |_| Ok(())).map(drop)
    });
    ends_in_time("read a poisoned table", || table.read_poisoned_timeout(SHORT).map(drop));
    ends_in_time("write a table", || Ok(table.write_timeout(SHORT).map(drop)?));
    ends_in_time("recover a table", || table.write_or_recover_timeout(SHORT, |_| Ok(())).map(drop));
    ends_in_time("write a poisoned table", || table.write_poisoned_timeout(SHORT).map(drop));
    ends_in_time("upgradable table", || Ok(table.upgradable_timeout(SHORT).map(drop)?));
}

/// Bounded waits for locks that another thread holds time out.
#[test]
fn waits_for_held_locks_time_out() {
    need_atomics!();
    let shared = Shared::create_new(Location::anonymous(), first).unwrap();
    let ((mutex, lock, elements, table), (permits, signal, barrier, event, once)) = &*shared;
    let (held, done) = (ThreadBarrier::new(2), ThreadBarrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            let _locks = (mutex.lock().unwrap(), lock.write().unwrap());
            let _slices = (elements.lock().unwrap(), table.write().unwrap());
            let _permit = permits.acquire().unwrap();
            once.call(|_| {
                held.wait();
                done.wait();
                sharemap::Result::Ok(())
            })
            .unwrap();
        });
        held.wait();
        locks_end_in_time(&shared);
        ends_in_time("a permit", || permits.acquire_timeout(SHORT).map(drop));
        ends_in_time("a signal", || signal.wait_timeout(SHORT));
        ends_in_time("an event", || event.wait_timeout(SHORT));
        ends_in_time("once", || once.call_timeout(SHORT, |_| sharemap::Result::Ok(())));
        let member = barrier.join().unwrap();
        ends_in_time("the barrier", || member.wait_timeout(SHORT).map(drop));
        done.wait();
    });
    thread::scope(|scope| {
        let upgradable = lock.upgradable().unwrap();
        let rows = table.upgradable().unwrap();
        scope.spawn(|| {
            let _readers = (lock.read().unwrap(), table.read().unwrap());
            held.wait();
            done.wait();
        });
        held.wait();
        ends_in_time("upgrade", || {
            upgradable.upgrade_timeout(SHORT).map(drop).map_err(|(_, error)| error)
        });
        ends_in_time("upgrade a table", || {
            rows.upgrade_timeout(SHORT).map(drop).map_err(|(_, error)| error)
        });
        done.wait();
    });
}

/// Bounded waits time out on lock words that name the lane of a living thread which never acquired
/// the locks.
#[test]
fn waits_for_overwritten_words_time_out() {
    need_atomics!();
    let directory = common::TempDir::new();
    let path = directory.join("scribbled");
    let shared = Shared::create_new(path.as_path(), first).unwrap();
    let ((mutex, ..), (permits, ..)) = &*shared;
    let (held, done) = (ThreadBarrier::new(2), ThreadBarrier::new(2));
    thread::scope(|scope| {
        // This thread has the first lane. The second belongs to the thread that the words name.
        drop(mutex.lock().unwrap());
        scope.spawn(|| {
            drop(permits.acquire().unwrap());
            held.wait();
            done.wait();
        });
        held.wait();
        let map = sharemap::MappingMut::open(&path).unwrap();
        let payload = map.view_at::<u64>(104, 1).unwrap().get(0).unwrap() as usize;
        let word = |at: usize| map.view_at::<u32>(payload + at, 1).unwrap().set(0, 2).unwrap();
        // The mutex and its 4-byte value take 32 bytes, the readers-writer lock 48, the mutex over
        // 4 elements 32.
        [0, 32, 80, 112].into_iter().for_each(word);
        locks_end_in_time(&shared);
        done.wait();
    });
}

/// A bounded wait on a condition variable returns whether it timed out.
#[test]
fn a_wait_returns_whether_it_timed_out() {
    need_atomics!();
    let queue =
        Shared::create_new(Location::anonymous(), || (Mutex::new(0_u32), Condvar::new())).unwrap();
    let (jobs, changed) = &*queue;
    let start = Instant::now();
    let (guard, result) = changed.wait_timeout(jobs.lock().unwrap(), SHORT).unwrap();
    assert!(result.timed_out() && start.elapsed() >= SHORT);
    let (guard, result) = changed.wait_timeout_while(guard, AT_MOST, |jobs| *jobs > 0).unwrap();
    assert!(!result.timed_out(), "there was nothing to wait for");
    thread::scope(|scope| {
        scope.spawn(|| {
            *jobs.lock().unwrap() = 1;
            changed.notify_one().unwrap();
        });
        let (guard, result) = changed.wait_timeout_while(guard, AT_MOST, |n| *n == 0).unwrap();
        assert!(!result.timed_out() && *guard == 1);
    });
    let elements =
        Shared::create_new(Location::anonymous(), || (Mutex::<[u8]>::zeroed(1), Condvar::new()));
    let elements = elements.unwrap();
    let guard = elements.0.lock().unwrap();
    let (guard, result) = elements.1.wait_timeout(guard, Duration::ZERO).unwrap();
    assert!(result.timed_out());
    let waited = elements.1.wait_timeout_while(guard, SHORT, |guard| guard.view().len() == 1);
    assert!(waited.unwrap().1.timed_out());
}

/// After its timeout a wait must acquire the mutex again. It does not wait without bound for
/// another owner.
#[test]
fn a_timed_wait_is_bounded_while_it_relocks() {
    need_atomics!();
    let queue =
        Shared::create_new(Location::anonymous(), || (Mutex::new(0_u32), Condvar::new())).unwrap();
    let (jobs, changed) = &*queue;
    let (asked, over) = (ThreadBarrier::new(2), ThreadBarrier::new(2));
    thread::scope(|scope| {
        let guard = jobs.lock().unwrap();
        scope.spawn(|| {
            asked.wait();
            let _guard = jobs.lock().unwrap();
            over.wait();
        });
        asked.wait();
        let start = Instant::now();
        // Long enough for the other thread to acquire the mutex.
        let waited = changed.wait_timeout(guard, Duration::from_secs(1));
        let Err(LockError::Failed(error)) = waited else { panic!("{waited:?}") };
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().contains("the mutex is not held"), "{error}");
        assert!(start.elapsed() < AT_MOST);
        over.wait();
    });
    drop(jobs.lock().unwrap());
}

/// A mutex of another object is rejected even if the condition already holds, so that the mistake
/// shows at once.
#[test]
fn a_mutex_of_another_object_is_rejected() {
    need_atomics!();
    let name = Name::new("elsewhere");
    let make = || (Mutex::new(0_u32), Mutex::<[u8]>::zeroed(2));
    let other = Shared::create_new(&name.0, make).unwrap();
    let changed = Shared::create_new(Location::anonymous(), Condvar::new).unwrap();
    let refused = |result: std::result::Result<(), sharemap::Error>| {
        let error = result.expect_err("the mutex is another object's");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let text = error.to_string();
        assert!(text.contains(&name.0) && text.contains("own object"), "{text}");
        assert!(!other.0.is_locked().unwrap() && !other.1.is_locked().unwrap());
    };
    let lock = || other.0.lock().unwrap();
    let elements = || other.1.lock().unwrap();
    refused(changed.wait(lock()).map(drop).map_err(Into::into));
    refused(changed.wait_while(lock(), |_| false).map(drop).map_err(Into::into));
    refused(changed.wait_timeout(lock(), AT_MOST).map(drop).map_err(Into::into));
    let waited = changed.wait_timeout_while(elements(), AT_MOST, |_| false);
    refused(waited.map(drop).map_err(Into::into));
    refused(changed.wait_while(elements(), |_| false).map(drop).map_err(Into::into));
}
