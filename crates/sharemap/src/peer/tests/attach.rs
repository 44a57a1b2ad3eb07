//! Tests of attaching to an object that another process creates, or adopts from an earlier boot.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::opening::{PATIENCE, bytes_of, patch, refused};
use super::registry::key;
use super::{Scratch, is_free, need_atomics, release, shape};
use crate::error::ErrorKind;
use crate::peer::header::{self, Header};
use crate::peer::header::{CREATION, FIRST};
use crate::peer::memory::{Attachment, Memory};
use crate::peer::record::IN_USE;
use crate::peer::registry;
use crate::peer::{ObjectObserver, OpenOptions, Unclean, create};
use crate::shm::Location;
use crate::sys::{self, CreateObject, Existing, Lifetime, Sharing, SlotHome, SlotMode};

/// Two services start together and open an object that an earlier boot left clean.
#[test]
fn an_opening_waits_for_a_process_that_adopts_the_object() {
    need_atomics!();
    let Some(now) = crate::sys::process::boot_id() else {
        eprintln!("skipped: this system does not tell one boot from another");
        return;
    };
    let file = Scratch::new();
    let first = file.create();
    let adopting = first.slots.take(CREATION, SlotMode::Alone).unwrap().expect("free");
    first.memory.write(header::BOOT, &[1; 16]).unwrap();
    // The flag is not clean, because the first is attached: without the wait, the second would refuse.
    let start = Instant::now();
    refused(&file, &shape(), ErrorKind::Busy);
    assert!(start.elapsed() >= PATIENCE, "it did not wait");
    std::thread::scope(|scope| {
        let second = scope.spawn(|| file.open().header().id);
        first.memory.write(header::BOOT, &now).unwrap();
        drop(adopting);
        assert_eq!(second.join().unwrap(), first.header().id);
    });
}

/// Where the name comes first, an opening waits at each stage of the creation: without contents, and
/// with a header that has no magic yet.
#[test]
fn an_opening_waits_for_an_object_that_is_named_before_it_is_complete() {
    need_atomics!();
    let name = format!("sharemap-peer-early-{}", std::process::id());
    let location = Location::name(&name);
    let header = Header::of(&shape(), *b"an object's id..").unwrap();
    let mut terms = OpenOptions { open_timeout: PATIENCE, ..OpenOptions::separate() };
    let mut tried = false;
    for lifetime in [Lifetime::Attached, Lifetime::UntilUnlink] {
        terms.lifetime = lifetime;
        let open = || create::open(&location, &shape(), &terms, release);
        let busy = || assert_eq!(open().unwrap_err().kind(), ErrorKind::Busy);
        let mut fill = |file: &std::fs::File| {
            if sys::shm::is_named_when_whole(file) {
                return Ok(());
            }
            tried = true;
            busy();
            let memory = Memory::map(file, None, Attachment::Participant, header::LEN, 0)?;
            memory.store(header::STATE, header::CREATING)?;
            memory.write(8, &header.encode()[8..64])?;
            busy();
            memory.write(64, &header.encode()[64..])?;
            busy();
            memory.write(0, &header.encode()[..8])?;
            memory.store(header::CLEAN, 1u32)?;
            memory.store(header::STATE, header::READY)?;
            assert_eq!(open()?.header().id, header.id);
            Ok(())
        };
        let request = CreateObject {
            name: &name,
            len: header.len,
            max: header.len,
            sparse: false,
            existing: Existing::Refused,
            lifetime,
            sharing: Sharing::PRIVATE,
        };
        let _making = sys::shm::making(&name).unwrap().expect("no other creator");
        match sys::shm::create(&request, &mut fill) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}"),
            Ok(_) if lifetime == Lifetime::UntilUnlink => sys::shm::unlink(&name).unwrap(),
            Ok(_) => {}
        }
    }
    if !tried {
        eprintln!("skipped: objects get their names last here");
    }
}

#[test]
fn an_opening_waits_for_a_live_creator() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let creating = session.slots.take(CREATION, SlotMode::Alone).unwrap().expect("free");
    session.memory.store(header::STATE, header::CREATING).unwrap();
    refused(&file, &shape(), ErrorKind::Busy);
    std::thread::scope(|scope| {
        let opener = scope.spawn(|| file.open().header().id);
        session.memory.store(header::STATE, header::READY).unwrap();
        drop(creating);
        assert_eq!(opener.join().unwrap(), session.header().id);
    });
}

/// The wait for a thread of this process and the wait for the creator share one timeout.
#[test]
fn an_opening_waits_once_for_its_timeout() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let _creating = session.slots.take(CREATION, SlotMode::Alone).unwrap().expect("free");
    session.memory.store(header::STATE, header::CREATING).unwrap();
    let registry::Entry::Turn(turn) = registry::enter(key(&file), Duration::ZERO).unwrap() else {
        panic!("no session is registered")
    };
    let (open_timeout, start) = (Duration::from_millis(800), Instant::now());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let terms = OpenOptions { open_timeout, ..OpenOptions::default() };
            let opened = create::open(&file.location(), &shape(), &terms, release);
            assert_eq!(opened.unwrap_err().kind(), ErrorKind::Busy);
            assert!(start.elapsed() < open_timeout * 3 / 2, "it waited twice");
        });
        std::thread::sleep(open_timeout * 3 / 4);
        drop(turn);
    });
}

#[test]
fn an_object_in_use_at_an_earlier_boot_is_unclean() {
    need_atomics!();
    let Some(now) = crate::sys::process::boot_id() else {
        eprintln!("skipped: this system does not tell one boot from another");
        return;
    };
    let file = Scratch::new();
    drop(file.create());
    // The object was left clean, so the next process adopts it.
    patch(&file.0, header::BOOT, &[1; 16]);
    drop(file.open());
    assert_eq!(bytes_of(&file.0, 160)[144..], now);

    patch(&file.0, header::BOOT, &[1; 16]);
    patch(&file.0, header::CLEAN, &0u32.to_le_bytes());
    let error = refused(&file, &shape(), ErrorKind::Unclean);
    assert!(error.to_string().contains("accept"), "{error}");
    let terms = OpenOptions { unclean: Unclean::Accepted, ..OpenOptions::separate() };
    drop(create::open(&file.location(), &shape(), &terms, release).unwrap());
    drop(file.open());
}

/// If one process attaches while another adopts the object for another container, at least one of them
/// notices and refuses.
#[test]
fn two_homes_at_once_are_noticed() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let (here, elsewhere) = (session.slots.home(), SlotHome::Companion { device: 1, file: 2 });
    session.detach();
    header::write_home(&session.memory, elsewhere).unwrap();
    let error = session.participant().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unclean, "{error}");
    assert!(is_free(&session, FIRST));

    // A participant under the other home has a record in use and has not yet changed the clean flag.
    assert_eq!(session.use_of(0).unwrap(), IN_USE);
    session.memory.store(header::CLEAN, 1u32).unwrap();
    refused(&file, &shape(), ErrorKind::Unclean);
    assert_eq!(header::read_home(&session.memory).unwrap(), Some(elsewhere));
    session.erase(0).unwrap();
    drop(file.open());
    assert_eq!(header::read_home(&session.memory).unwrap(), Some(here));
}

/// An adopter that dies after it has recorded its home leaves the adoption open: the next process under that
/// home examines the records, as a process that attached under the old home may have gone unnoticed.
#[test]
fn an_adoption_that_a_death_interrupted_is_repeated() {
    need_atomics!();
    if crate::sys::process::boot_id().is_none() {
        eprintln!("skipped: this system does not tell one boot from another");
        return;
    }
    let file = Scratch::new();
    drop(file.create());
    let now = bytes_of(&file.0, 160)[144..].to_vec();
    // Dead after the home, which is this one: a participant under the old home has its record in use, and has
    // not yet changed the clean flag.
    patch(&file.0, header::BOOT, &[0; 16]);
    let record = u64::from_le_bytes(bytes_of(&file.0, 96)[88..].try_into().unwrap());
    patch(&file.0, record, &IN_USE.to_le_bytes());
    let error = refused(&file, &shape(), ErrorKind::Unclean);
    assert!(error.to_string().contains("another mount or container"), "{error}");
    assert_eq!(bytes_of(&file.0, 160)[144..], [0; 16], "the adoption is still open");
    // It has changed the flag, too.
    patch(&file.0, header::CLEAN, &0u32.to_le_bytes());
    let error = refused(&file, &shape(), ErrorKind::Unclean);
    assert!(error.to_string().contains("another mount or container"), "{error}");
    // It has detached.
    patch(&file.0, record, &0u32.to_le_bytes());
    patch(&file.0, header::CLEAN, &1u32.to_le_bytes());
    drop(file.open());
    assert_eq!(bytes_of(&file.0, 160)[144..], now);
}

/// A thread that finds another one attaching waits for it, but not without end.
#[test]
fn attaching_waits_for_another_thread_for_a_time() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let attaching = &session.own.fields().attaching;
    attaching.store(sys::fork::process(), Ordering::Release);
    let error = session.attach(PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooManyProcesses, "{error}");
    assert!(error.to_string().contains("another thread"), "{error}");
    attaching.store(0, Ordering::Release);
    assert_eq!(session.attach(PATIENCE).unwrap(), 0);
}

/// An object that records no boot may be in use under the home that it records.
#[test]
fn without_a_recorded_boot_nothing_is_known_of_another_home() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    header::write_home(&session.memory, SlotHome::Companion { device: 1, file: 2 }).unwrap();
    session.detach();
    for boot in [[0; 16], [1; 16]] {
        patch(&file.0, header::BOOT, &boot);
        let observer = ObjectObserver::open(&file.location()).unwrap();
        let is_earlier = boot != header::NO_BOOT && sys::process::boot_id().is_some();
        assert_eq!(observer.is_unattached().unwrap(), is_earlier.then_some(true));
    }
}

/// The recorded companion is that of another container, which has a `/dev/shm` of its own.
#[test]
fn an_object_in_use_under_an_invisible_home_is_unclean() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let elsewhere = SlotHome::Companion { device: 1, file: 2 };
    header::write_home(&session.memory, elsewhere).unwrap();
    let error = refused(&file, &shape(), ErrorKind::Unclean);
    assert!(error.to_string().contains("another mount or container"), "{error}");
    drop(session);
    // The object was left clean, so no process is attached under the other home.
    let session = file.open();
    assert_eq!(header::read_home(&session.memory).unwrap(), Some(session.slots.home()));
}
