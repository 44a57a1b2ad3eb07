//! Locks embedded in an object of another kind, as the layers above embed them.

use std::sync::Arc;
use std::time::Duration;

use super::{LayoutReader, LayoutWriter, SharedType};
use crate::error::{ErrorKind, Result};
use crate::guard::{Recovery, recovery};
use crate::peer::{self, ExpectedLayout, Header, Machine, Memory, OpenOptions, Opening, Session};
use crate::shm::Location;
use crate::sync::{Barrier, CountingSemaphore, Event, LockError, Mutex, Once, RwLock, Semaphore};

/// The kind of another layer's object: numbers, with locks between them.
const KIND: u32 = 41;
const PAYLOAD: u64 = 8192;

type Locks = (Mutex<[u8; 5]>, RwLock<u16>, Semaphore, (CountingSemaphore, Event, Once));

/// The offsets of the groups of locks, from the start of the payload.
const PLACES: [u64; 4] = [16, 1040, 4080, 6000 / 16 * 16];

fn locks(seed: u8) -> Locks {
    (
        Mutex::new([seed; 5]),
        RwLock::new(seed.into()),
        Semaphore::new(2),
        (CountingSemaphore::new(seed.into()), Event::auto_reset(), Once::new()),
    )
}

/// Recovers an announcement in the other layer's object: all of them are of locks.
fn release(session: &Session, slot: u64, what: u64, lane: u32) -> Result<()> {
    crate::sync::recover(session, slot, what, lane)
}

fn object() -> Arc<Opening> {
    let fill = &mut |memory: &Memory, header: &Header| {
        let (payload, end) = (header.payload_at, header.payload_at + header.payload);
        for (place, seed) in PLACES.into_iter().zip(1..) {
            memory.store(payload + place - 8, u64::MAX)?;
            let mut writer = LayoutWriter::within(memory, payload + place, end);
            locks(seed).fill(&mut writer)?;
            memory.store(writer.at, u64::MAX)?;
        }
        // A lock over elements, which extend to the end of the payload.
        let mut writer = LayoutWriter::within(memory, end - 16 - 48, end);
        Mutex::<[u64]>::zeroed(6).fill(&mut writer)
    };
    let shape = ExpectedLayout::new(KIND, [7; 16], PAYLOAD);
    peer::create_new(&Location::anonymous(), &shape, &OpenOptions::separate(), release, fill)
        .unwrap()
}

#[test]
fn locks_lie_anywhere_in_an_object() {
    if recovery() != Recovery::InPlace {
        eprintln!("skipped: faults cannot be recovered in place here");
        return;
    }
    let one = object();
    let shape = ExpectedLayout::new(KIND, [7; 16], PAYLOAD);
    let other =
        peer::from_descriptor(one.file().unwrap(), &shape, &OpenOptions::separate(), release)
            .unwrap();
    let (start, end) = one.payload();
    for (place, seed) in PLACES.into_iter().zip(1_u8..) {
        let find = |opening: &Arc<Opening>| {
            let mut reader = LayoutReader::within(Arc::clone(opening), start + place, end);
            Locks::handle(&mut reader).unwrap()
        };
        let (mine, theirs) = (find(&one), find(&other));
        let mut guard = mine.0.lock().unwrap();
        guard[4] += 1;
        let busy = theirs.0.lock_timeout(Duration::from_millis(2)).unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::Timeout);
        drop(guard);
        assert_eq!(*theirs.0.lock().unwrap(), [seed, seed, seed, seed, seed + 1]);
        let (reading, again) = (mine.1.read().unwrap(), theirs.1.read().unwrap());
        assert_eq!((*reading, *again), (seed.into(), seed.into()));
        assert_eq!(mine.1.try_write().unwrap_err().kind(), ErrorKind::WouldBlock);
        drop((reading, again));
        let permits = (mine.2.acquire().unwrap(), theirs.2.acquire().unwrap());
        assert_eq!(mine.2.try_acquire().unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(permits);
        let (signal, event, once) = &mine.3;
        (0..seed).for_each(|_| signal.try_wait().unwrap());
        assert_eq!(theirs.3.0.try_wait().unwrap_err().kind(), ErrorKind::WouldBlock);
        event.set().unwrap();
        theirs.3.1.wait().unwrap();
        once.call(|_| Result::Ok(())).unwrap();
        assert!(theirs.3.2.is_done().unwrap());
        assert_eq!(one.load_64(start + place - 8).unwrap(), u64::MAX);
        let end_of_locks = match Locks::ROOM {
            super::LayoutSize::Exactly(bytes) => start + place + bytes,
            super::LayoutSize::AtLeast(_) => panic!("the locks have a fixed size"),
        };
        assert_eq!(one.load_64(end_of_locks).unwrap(), u64::MAX);
    }
    let find = |opening: &Arc<Opening>| {
        let mut reader = LayoutReader::within(Arc::clone(opening), end - 64, end);
        let handle = Mutex::<[u64]>::handle(&mut reader).unwrap();
        reader.finish().unwrap();
        handle
    };
    find(&one).lock().unwrap().view().set(5, 3).unwrap();
    assert_eq!(find(&other).lock().unwrap().view().get(5).unwrap(), 3);
}

/// A panic of one lock's owner is reported by that lock only, not by its neighbours.
#[test]
fn neighbours_of_a_lock_report_no_death() {
    if recovery() != Recovery::InPlace {
        eprintln!("skipped: faults cannot be recovered in place here");
        return;
    }
    let object = object();
    let (start, end) = object.payload();
    let handles = PLACES.map(|place| {
        let mut reader = LayoutReader::within(Arc::clone(&object), start + place, end);
        Locks::handle(&mut reader).unwrap()
    });
    let panicked = std::thread::scope(|scope| {
        let hold = || {
            let _guard = handles[1].0.lock();
            std::panic::resume_unwind(Box::new(()));
        };
        scope.spawn(hold).join().map(|never: ()| never)
    });
    assert!(panicked.is_err());
    for (index, handle) in handles.iter().enumerate() {
        match handle.0.lock() {
            Ok(_) => assert_ne!(index, 1),
            Err(LockError::OwnerDied(_)) => assert_eq!(index, 1),
            Err(LockError::Failed(error)) => panic!("{error}"),
        }
    }
}

#[test]
fn locks_past_the_end_are_refused() {
    if recovery() != Recovery::InPlace {
        eprintln!("skipped: faults cannot be recovered in place here");
        return;
    }
    let object = object();
    let (_, end) = object.payload();
    let mut reader = LayoutReader::within(Arc::clone(&object), end - 16, end);
    let error = Mutex::<u64>::handle(&mut reader).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongSize, "{error}");
    let mut writer = LayoutWriter::within(object.memory(), end - 16, end);
    Barrier::new(1).fill(&mut writer).unwrap();
    let error = Barrier::new(1).fill(&mut writer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overflow, "{error}");
}
