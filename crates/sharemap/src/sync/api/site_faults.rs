//! Faults at each access of the sites that acquire and release a lock.
//!
//! Each lock lies across the border of two pages: its words in one, its value in the next. A protected page faults
//! as a page does that a file has lost.

#![allow(unsafe_code, reason = "protects a page of the object")]

use crate::error::ErrorKind;
use crate::peer::{Machine, Session};
use crate::shm::Location;
use crate::sync::algorithms::exclusive::Exclusive;
use crate::sync::api::shared_type::LockRef;
use crate::sync::tests::object::has_atomics;
use crate::sys::{self, Protection};
use crate::{CountingSemaphore, Mutex, MutexHandle, RwLock, RwLockHandle, Shared, page_size};

type Mutexes<T> = (CountingSemaphore, [Mutex<T>; 1200]);
type RwLocks<T> = ([CountingSemaphore; 2], [RwLock<T>; 1200]);

/// A value that is copied twice, so that its lock has a selector.
type Long = [u32; 3];

/// One of the two pages of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Words,
    Value,
}

/// Changes the protection of one page of a lock that lies across a border of pages.
fn protect(place: &LockRef, page: Page, protection: Protection) {
    let session: &Session = place.session();
    let border = place.at.next_multiple_of(page_size() as u64);
    let at = if page == Page::Words { border - page_size() as u64 } else { border };
    let base = session.memory().at(at, page_size() as u64).unwrap();
    // SAFETY: a page of the object's mapping, of which only guarded accesses are made.
    unsafe { sys::map::protect(base, page_size(), protection) }.unwrap();
}

/// Returns `true` if the lock's value begins a page.
fn lies_across(place: &LockRef, value: u64) -> bool {
    (place.at + value) % page_size() as u64 == 0
}

/// Runs `work` while `page` has this protection.
fn with<R>(place: &LockRef, page: Page, protection: Protection, work: impl FnOnce() -> R) -> R {
    protect(place, page, protection);
    let result = work();
    protect(place, page, Protection::ReadWrite);
    result
}

/// Runs `work` on a mutex with a value that begins a page.
fn across<T>(first: T, work: impl FnOnce(&MutexHandle<T>))
where
    T: crate::Element + crate::Shareable + Copy,
{
    if !has_atomics() {
        return;
    }
    let object = Shared::<Mutexes<T>>::create_new(Location::anonymous(), || {
        (CountingSemaphore::new(0), [Mutex::new(first); 1200])
    })
    .unwrap();
    // This thread claims its lane here, so that the mutex below is acquired by the shortest path.
    drop(object.1[0].lock().unwrap());
    let mutex = object.1.iter().find(|mutex| lies_across(mutex.place(), 16)).expect("one of many");
    work(mutex);
    assert_eq!(mutex.place().announced(mutex.0.raw().announcement()).unwrap(), None);
}

/// A mutex is released, with its old value, after a fault at its value.
fn release_without_value<T>(mutex: &MutexHandle<T>, first: T, second: T)
where
    T: crate::Element + crate::Shareable + Copy + PartialEq + std::fmt::Debug,
{
    let place = mutex.place();
    let mut guard = mutex.lock().unwrap();
    *guard = second;
    let unlocked = with(place, Page::Value, Protection::Read, || guard.unlock());
    assert_eq!(unlocked.unwrap_err().kind(), ErrorKind::Fault);
    assert_eq!(place.load_32(place.at).unwrap(), 0);
    let mut guard = mutex.lock().unwrap();
    assert_eq!(*guard, first);
    // The drop of a guard cannot return its error. The next call does, and acquires nothing.
    *guard = second;
    with(place, Page::Value, Protection::Read, || drop(guard));
    assert_eq!(mutex.lock().unwrap_err().kind(), ErrorKind::Fault);
    assert_eq!(*mutex.lock().unwrap(), first);
}

#[test]
fn a_mutex_is_released_after_a_fault_at_its_value() {
    across(1_u64, |mutex| release_without_value(mutex, 1, 2));
    across([1; 3], |mutex: &MutexHandle<Long>| release_without_value(mutex, [1; 3], [2; 3]));
}

/// The release is made again after the fault, so nothing is lost if the memory is there again by then. While it
/// is not, the mutex stays held: recovery must find the word.
#[test]
fn a_mutex_stays_held_after_a_fault_at_its_word() {
    across(1_u64, |mutex| {
        let place = mutex.place();
        let mut guard = mutex.lock().unwrap();
        *guard = 2;
        let (slot, private) = (guard.0.slot, guard.0.private);
        let unlocked = with(place, Page::Words, Protection::Read, || guard.unlock());
        assert_eq!(unlocked.unwrap_err().kind(), ErrorKind::Fault);
        assert_ne!(place.load_32(place.at).unwrap(), 0);
        assert_eq!(mutex.lock().unwrap_err().kind(), ErrorKind::Deadlock);
        // The same release, once the memory is there again.
        mutex.0.release_slow(slot, private).unwrap();
        assert_eq!(*mutex.lock().unwrap(), 2);
    });
}

/// After a fault at the gate, the word has been released, perhaps to another owner: it is not released again.
#[test]
fn a_mutex_is_released_once_after_a_fault_at_its_gate() {
    across(1_u64, |mutex| {
        let place = mutex.place();
        let guard = mutex.lock().unwrap();
        if !guard.0.slot.releases_plainly() {
            eprintln!("skipped: locks are not released by plain stores here");
            return;
        }
        let guard = std::mem::ManuallyDrop::new(guard);
        let another = place.load_32(place.at).unwrap() + 1;
        // What `release_at_once` leaves if only its last access faults: another owner has the word already.
        place.store_32(place.at, another).unwrap();
        place.store_32(place.at + 4, crate::sync::core::gate::SLEEPER).unwrap();
        mutex.0.release_slow(guard.0.slot, guard.0.private).unwrap();
        assert_eq!(place.load_32(place.at).unwrap(), another);
        assert_eq!(place.load_32(place.at + 4).unwrap() & crate::sync::core::gate::SLEEPER, 0);
        place.store_32(place.at, 0).unwrap();
    });
}

/// A word that a misbehaving peer overwrote is an error, and not a release.
#[test]
fn an_overwritten_word_is_reported() {
    across(1_u64, |mutex| {
        let place = mutex.place();
        let guard = mutex.lock().unwrap();
        place.store_32(place.at, 0).unwrap();
        let poisoned = crate::sync::api::error::Reclaim::poison(guard);
        assert_eq!(poisoned.unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(*mutex.lock().unwrap(), 1);
    });
}

#[test]
fn an_acquisition_that_faults_leaves_a_mutex_free() {
    fn acquire<T>(mutex: &MutexHandle<T>, first: T)
    where
        T: crate::Element + crate::Shareable + Copy + PartialEq + std::fmt::Debug,
    {
        let place = mutex.place();
        let protected = [(Page::Value, Protection::None), (Page::Words, Protection::Read)];
        for (page, protection) in protected {
            let locked = with(place, page, protection, || mutex.lock().map(drop).unwrap_err());
            assert_eq!(locked.kind(), ErrorKind::Fault, "{page:?}");
            assert_eq!(place.load_32(place.at).unwrap(), 0, "{page:?}");
            assert_eq!(*mutex.lock().unwrap(), first);
        }
        // A thread that holds it is told so, and releases nothing, although the word names its lane.
        let guard = mutex.lock().unwrap();
        for (protection, kind) in
            [(Protection::Read, ErrorKind::Deadlock), (Protection::None, ErrorKind::Fault)]
        {
            let again = with(place, Page::Words, protection, || {
                // After this store, the exchange finds 0 in the scratch area, as in a free word.
                assert_eq!(place.store_32(place.at, 0).unwrap_err().kind(), ErrorKind::Fault);
                mutex.lock().map(drop)
            });
            assert_eq!(again.unwrap_err().kind(), kind);
            assert_ne!(place.load_32(place.at).unwrap(), 0);
        }
        assert_eq!(mutex.lock().unwrap_err().kind(), ErrorKind::Deadlock);
        drop(guard);
    }
    across(1_u64, |mutex| acquire(mutex, 1));
    across([1; 3], |mutex: &MutexHandle<Long>| acquire(mutex, [1; 3]));
}

/// Elements are not accessed by the sites of a lock, but its word and gate are.
#[test]
fn a_mutex_over_elements_stays_held_after_a_fault_at_its_word() {
    if !has_atomics() {
        return;
    }
    type Object = (CountingSemaphore, [Mutex<[u64]>; 1200]);
    let object = Shared::<Object>::create_new(Location::anonymous(), || {
        (CountingSemaphore::new(0), [Mutex::zeroed(2); 1200])
    })
    .unwrap();
    drop(object.1[0].lock().unwrap());
    let mutex = object.1.iter().find(|mutex| lies_across(mutex.place(), 16)).expect("one of many");
    let place = mutex.place();
    with(place, Page::Value, Protection::None, || {
        let guard = mutex.lock().unwrap();
        assert_eq!(guard.view().get(0).unwrap_err().kind(), ErrorKind::Fault);
    });
    let locked = with(place, Page::Words, Protection::None, || mutex.lock().map(drop));
    assert_eq!(locked.unwrap_err().kind(), ErrorKind::Fault);
    let guard = mutex.lock().unwrap();
    let (slot, private) = (guard.0.slot, guard.0.private);
    guard.view().set(1, 5).unwrap();
    with(place, Page::Words, Protection::Read, || drop(guard));
    // The next call returns the error of the drop, and acquires nothing.
    assert_eq!(mutex.lock().unwrap_err().kind(), ErrorKind::Fault);
    assert_eq!(mutex.lock().unwrap_err().kind(), ErrorKind::Deadlock);
    mutex.0.release_slow(slot, private).unwrap();
    assert_eq!(mutex.lock().unwrap().view().get(1).unwrap(), 5);
}

/// Runs `work` on a reader-writer lock with a value that begins a page.
fn rwlock_across<T>(first: T, work: impl FnOnce(&RwLockHandle<T>))
where
    T: crate::Element + crate::Shareable + Copy,
{
    if !has_atomics() {
        return;
    }
    let object = Shared::<RwLocks<T>>::create_new(Location::anonymous(), || {
        ([CountingSemaphore::new(0); 2], [RwLock::new(first); 1200])
    })
    .unwrap();
    drop(object.1[0].write().unwrap());
    let lock = object.1.iter().find(|lock| lies_across(lock.place(), 32)).expect("one of many");
    work(lock);
}

#[test]
fn a_reader_writer_lock_is_released_after_a_fault_at_its_value() {
    rwlock_across(1_u64, |lock| {
        let place = lock.place();
        let mut guard = lock.write().unwrap();
        *guard = 2;
        let unlocked = with(place, Page::Value, Protection::Read, || guard.unlock());
        assert_eq!(unlocked.unwrap_err().kind(), ErrorKind::Fault);
        assert_eq!(*lock.read().unwrap(), 1);
        assert_eq!(*lock.write().unwrap(), 1);
    });
}

#[test]
fn an_acquisition_that_faults_leaves_a_reader_writer_lock_free() {
    rwlock_across([1; 3], |lock: &RwLockHandle<Long>| {
        let place = lock.place();
        let kind = |page, protection, write: bool| {
            with(place, page, protection, || match write {
                true => lock.write().map(drop).unwrap_err().kind(),
                false => lock.read().map(drop).unwrap_err().kind(),
            })
        };
        for write in [true, false] {
            assert_eq!(kind(Page::Value, Protection::None, write), ErrorKind::Fault);
            assert_eq!(*lock.write().unwrap(), [1; 3]);
            assert_eq!(kind(Page::Words, Protection::None, write), ErrorKind::Fault);
            assert_eq!(*lock.write().unwrap(), [1; 3]);
        }
        // A reader whose release faults announces `Leaving`, and holds up no writer.
        let reading = lock.read().unwrap();
        with(place, Page::Words, Protection::None, || drop(reading));
        assert_eq!(lock.write().map(drop).unwrap_err().kind(), ErrorKind::Fault);
        *lock.write().unwrap() = [2; 3];
        assert_eq!(*lock.read().unwrap(), [2; 3]);
    });
}
