//! Coming to an object that others are making, or taking over from an earlier boot.

use std::time::Instant;

use super::opening::{PATIENCE, bytes_of, patch, refused};
use super::{Scratch, need_atomics, release, shape};
use crate::error::ErrorKind;
use crate::peer::header::{self, Header};
use crate::peer::memory::{Attachment, Memory};
use crate::peer::participants::IN_USE;
use crate::peer::session::{CREATION, FIRST};
use crate::peer::{OpenOptions, Unclean, create};
use crate::shm::Location;
use crate::sys::{self, CreateObject, Existing, Lifetime, Sharing, SlotHome, SlotMode};

/// Two services that begin together on an object that a boot ago was left in order.
#[test]
fn whoever_takes_it_over_from_another_boot_is_waited_for() {
    need_atomics!();
    let Some(now) = crate::sys::process::boot_id() else {
        eprintln!("skipped: this system does not tell one boot from another");
        return;
    };
    let file = Scratch::new();
    let first = file.create();
    let taking_over = first.slots.take(CREATION, SlotMode::Alone).unwrap().expect("free");
    first.memory.write(header::BOOT, &[1; 16]).unwrap();
    // The first is attached by the time that it lets go, so that nobody may judge before.
    let start = Instant::now();
    refused(&file, &shape(), ErrorKind::Busy);
    assert!(start.elapsed() >= PATIENCE, "it was waited for");
    std::thread::scope(|scope| {
        let second = scope.spawn(|| file.open().header().id);
        first.memory.write(header::BOOT, &now).unwrap();
        drop(taking_over);
        assert_eq!(second.join().unwrap(), first.header().id);
    });
}

/// Where the name comes first, everything that there is at some moment is waited for: no contents at
/// all, a header without its beginning.
#[test]
fn what_has_its_name_too_early_is_waited_for() {
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
            let memory = Memory::map(file, None, Attachment::Participant, header::LEN)?;
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
        let _making = sys::shm::making(&name).unwrap().expect("nobody else makes it");
        match sys::shm::create(&request, &mut fill) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}"),
            Ok(_) if lifetime == Lifetime::UntilUnlink => sys::shm::unlink(&name).unwrap(),
            Ok(_) => {}
        }
    }
    if !tried {
        eprintln!("skipped: names come last here");
    }
}

#[test]
fn an_object_whose_creator_lives_is_waited_for() {
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

#[test]
fn an_object_in_use_at_another_boot_needs_a_check() {
    need_atomics!();
    let Some(now) = crate::sys::process::boot_id() else {
        eprintln!("skipped: this system does not tell one boot from another");
        return;
    };
    let file = Scratch::new();
    drop(file.create());
    // Left clean.
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

/// Who attaches while another container takes the object over, and who takes it over meanwhile: one of
/// them notices.
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
    assert!(session.slots.is_free(FIRST).unwrap());

    // Somebody there has written a record, and is about to say that it is in use.
    assert_eq!(session.use_of(0).unwrap(), IN_USE);
    session.memory.store(header::CLEAN, 1u32).unwrap();
    refused(&file, &shape(), ErrorKind::Unclean);
    assert_eq!(header::read_home(&session.memory).unwrap(), Some(elsewhere));
    session.erase(0).unwrap();
    drop(file.open());
    assert_eq!(header::read_home(&session.memory).unwrap(), Some(here));
}

/// As in another container, which has a `/dev/shm` of its own.
#[test]
fn slots_in_a_place_that_is_not_seen_need_a_check() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let elsewhere = SlotHome::Companion { device: 1, file: 2 };
    header::write_home(&session.memory, elsewhere).unwrap();
    let error = refused(&file, &shape(), ErrorKind::Unclean);
    assert!(error.to_string().contains("another mount or container"), "{error}");
    drop(session);
    // Nobody is left who could be there.
    let session = file.open();
    assert_eq!(header::read_home(&session.memory).unwrap(), Some(session.slots.home()));
}
