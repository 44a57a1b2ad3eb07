//! Tests of creating and opening objects: what is accepted, and the error of each refusal.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{KIND, Scratch, create_with, need_atomics, open, open_or_create, release, shape};
use crate::error::{Error, ErrorKind, Result};
use crate::peer::header::{self, Header};
use crate::peer::header::{CREATION, FIRST};
use crate::peer::machine::Machine;
use crate::peer::memory::Memory;
use crate::peer::session::Session;
use crate::peer::{ExpectedLayout, OpenOptions, create};
use crate::shm::Location;
use crate::sys::{SlotMode, liveness};
use crate::testing::is_emulated;

pub(super) const PATIENCE: Duration = Duration::from_millis(5);

pub(super) fn patch(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

pub(super) fn bytes_of(path: &Path, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    std::fs::File::open(path).unwrap().read_exact(&mut bytes).unwrap();
    bytes
}

pub(super) fn try_open(location: &Location, shape: &ExpectedLayout) -> Result<Arc<Session>> {
    let terms = OpenOptions { open_timeout: PATIENCE, ..OpenOptions::separate() };
    create::open(location, shape, &terms, release).map(|opening| Arc::clone(opening.session()))
}

pub(super) fn refused(file: &Scratch, shape: &ExpectedLayout, kind: ErrorKind) -> Error {
    let error = try_open(&file.location(), shape).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.path(), Some(file.0.as_path()), "{error}");
    error
}

fn nothing(_: &Memory, _: &Header) -> Result<()> {
    Ok(())
}

/// An object that other processes keep creating and unlinking does not make an opening wait again and again.
#[test]
fn repeated_attempts_share_one_timeout() {
    let file = Scratch::new();
    let (pause, terms) = (Duration::from_millis(1), OpenOptions::separate());
    let mut left = Vec::new();
    let mut create = |terms: &OpenOptions| {
        left.push(terms.open_timeout);
        std::thread::sleep(pause);
        Err(Error::new(ErrorKind::AlreadyExists, "create"))
    };
    let error = create::open_or(&file.location(), &shape(), &terms, release, &mut create);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(left.len() > 1);
    assert!(left.windows(2).all(|pair| pair[0] >= pair[1] + pause), "{left:?}");
}

#[test]
fn an_object_is_created_once_and_shared() {
    need_atomics!();
    let file = Scratch::new();
    let error = try_open(&file.location(), &shape()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    let fill = &mut |memory: &Memory, header: &Header| memory.store(header.payload_at, 7u32);
    let terms = OpenOptions::separate();
    let one = create::create_new(&file.location(), &shape(), &terms, release, fill).unwrap();
    let two = file.open();
    assert_eq!(one.header(), two.header());
    assert_eq!(two.load_32(two.payload().0).unwrap(), 7);
    one.store_32(one.payload().0, 8).unwrap();
    assert_eq!(two.load_32(two.payload().0).unwrap(), 8);

    let error =
        create::create_new(&file.location(), &shape(), &terms, release, &mut nothing).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let fill = &mut |_: &Memory, _: &Header| panic!("it exists");
    let three = open_or_create(&file.location(), &shape(), &terms, release, fill).unwrap();
    assert_eq!(three.load_32(three.payload().0).unwrap(), 8);
    let alive: Vec<bool> = one.participants().unwrap().iter().map(|one| one.is_alive).collect();
    assert_eq!(alive, [true; 3]);
}

#[test]
fn named_and_anonymous_objects_are_shared_too() {
    need_atomics!();
    let name = format!("sharemap-peer-test-{}", std::process::id());
    let location = Location::name(&name);
    let terms = OpenOptions::separate();
    let one = open_or_create(&location, &shape(), &terms, release, &mut nothing).unwrap();
    let two = create::open(&location, &shape(), &terms, release).unwrap();
    one.store_32(one.payload().0, 9).unwrap();
    assert_eq!(two.load_32(two.payload().0).unwrap(), 9);
    crate::sys::shm::unlink(&name).unwrap();
    let error = create::open(&location, &shape(), &terms, release).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    let nowhere = Location::anonymous();
    let one = create::create_new(&nowhere, &shape(), &terms, release, &mut nothing).unwrap();
    let two = create::from_descriptor(one.file().unwrap(), &shape(), &terms, release).unwrap();
    one.store_32(one.payload().0, 10).unwrap();
    assert_eq!(two.load_32(two.payload().0).unwrap(), 10);
    let error = create::open(&nowhere, &shape(), &terms, release).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_failed_initialization_leaves_no_object() {
    need_atomics!();
    let file = Scratch::new();
    let fill = &mut |_: &Memory, _: &Header| Err(Error::new(ErrorKind::Invalid, "fill"));
    let terms = OpenOptions::separate();
    let error = create::create_new(&file.location(), &shape(), &terms, release, fill).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(!file.0.exists());
}

#[test]
fn every_mismatch_has_an_error_of_its_own() {
    need_atomics!();
    let file = Scratch::new();
    drop(file.create());
    refused(&file, &ExpectedLayout { kind: KIND + 1, ..shape() }, ErrorKind::WrongKind);
    refused(&file, &ExpectedLayout { payload: 1032, ..shape() }, ErrorKind::WrongSize);
    refused(&file, &ExpectedLayout { fingerprint: [4; 16], ..shape() }, ErrorKind::WrongType);

    let whole = bytes_of(&file.0, 128);
    patch(&file.0, 8, &2u16.to_le_bytes());
    let error = refused(&file, &shape(), ErrorKind::WrongVersion);
    assert!(error.to_string().contains("newer"), "{error}");
    patch(&file.0, 8, &0u16.to_le_bytes());
    let error = refused(&file, &shape(), ErrorKind::WrongVersion);
    assert!(error.to_string().contains("older"), "{error}");
    patch(&file.0, 0, &whole);

    patch(&file.0, 10, &[1, 2]);
    refused(&file, &shape(), ErrorKind::WrongVersion);
    patch(&file.0, 0, b"\x89PNG");
    refused(&file, &shape(), ErrorKind::NotAnObject);
    patch(&file.0, 0, &whole);
    patch(&file.0, 64, &65u32.to_le_bytes());
    refused(&file, &shape(), ErrorKind::Malformed);
    patch(&file.0, 0, &whole);
    patch(&file.0, header::STATE, &9u32.to_le_bytes());
    refused(&file, &shape(), ErrorKind::Malformed);
    patch(&file.0, header::STATE, &header::FAULTED.to_le_bytes());
    refused(&file, &shape(), ErrorKind::Unclean);
    patch(&file.0, header::STATE, &header::READY.to_le_bytes());

    let len = file.0.metadata().unwrap().len();
    for len in [len - 1, 256, 255, 1, 0] {
        std::fs::OpenOptions::new().write(true).open(&file.0).unwrap().set_len(len).unwrap();
        refused(&file, &shape(), ErrorKind::Truncated);
    }
    let folder = Location::file(file.0.parent().unwrap());
    let error = try_open(&folder, &shape()).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::IsDirectory | ErrorKind::PermissionDenied),
        "{error}"
    );
}

#[test]
fn counts_out_of_range_are_refused() {
    need_atomics!();
    let file = Scratch::new();
    for (participants, lanes) in [(0, 1), (1, 0), (65_536, 1), (1, 65_536)] {
        let shape = ExpectedLayout { participants, lanes, ..shape() };
        let terms = OpenOptions::separate();
        let error = create::create_new(&file.location(), &shape, &terms, release, &mut nothing);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::OutOfBounds);
    }
    let shape = ExpectedLayout { payload: u64::MAX - 100, ..shape() };
    let error = create::create_new(
        &file.location(),
        &shape,
        &OpenOptions::separate(),
        release,
        &mut nothing,
    );
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Overflow);
}

/// The checksum is corrected each time, so that each field is validated by itself.
#[test]
fn no_header_leads_out_of_bounds() {
    need_atomics!();
    let file = Scratch::new();
    drop(file.create());
    let whole = bytes_of(&file.0, 128);
    let sum = |bytes: &[u8]| {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    };
    for at in (32..120).step_by(4) {
        for value in [0u32, 1, 63, 257, 0x8000_0000, u32::MAX] {
            // The upper half of the limit, up to which address space is reserved.
            if at == 60 && value > 1 && is_emulated() {
                eprintln!(
                    "skipped: an emulator keeps memory for each page of a reservation of 1 TiB"
                );
                continue;
            }
            let mut bytes = whole.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            let checked = sum(&bytes[..120]).to_le_bytes();
            bytes[120..].copy_from_slice(&checked);
            patch(&file.0, 0, &bytes);
            if let Ok(session) = try_open(&file.location(), &shape()) {
                let announced = session.announce(0x1000).unwrap();
                session.withdraw(announced).unwrap();
            }
        }
    }
    for at in 0..128 {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        patch(&file.0, 0, &bytes);
        assert!(try_open(&file.location(), &shape()).is_err(), "byte {at}");
    }
}

#[test]
fn an_object_whose_creator_died_is_replaced() {
    need_atomics!();
    let file = Scratch::new();
    drop(file.create());
    patch(&file.0, header::STATE, &header::CREATING.to_le_bytes());
    refused(&file, &shape(), ErrorKind::Incomplete);
    let terms = OpenOptions::separate();
    let fill = &mut |memory: &Memory, header: &Header| memory.store(header.payload_at, 5u32);
    let made = open_or_create(&file.location(), &shape(), &terms, release, fill).unwrap();
    assert_eq!(made.load_32(made.payload().0).unwrap(), 5);
}

/// Another process may have replaced the object meanwhile; the new file keeps its name.
#[test]
fn only_an_incomplete_object_loses_its_name() {
    need_atomics!();
    let file = Scratch::new();
    let terms = OpenOptions::separate();
    create::clear_away(&file.location(), &terms).unwrap();
    let session = file.create();
    create::clear_away(&file.location(), &terms).unwrap();
    let id = file.open().header().id;
    drop(session);

    patch(&file.0, header::STATE, &header::CREATING.to_le_bytes());
    let object = std::fs::OpenOptions::new().read(true).write(true).open(&file.0).unwrap();
    let slots = liveness::Slots::open(&object, Some(&file.0), id).unwrap();
    let replacing = slots.take(CREATION, SlotMode::Alone).unwrap().expect("free");
    create::clear_away(&file.location(), &terms).unwrap();
    assert!(file.0.exists(), "another process is replacing it");
    drop((replacing, slots, object));
    // A child that another test forked while the slot was being acquired has a copy of its descriptor, and holds the
    // slot until it executes its program. The name is not taken away before.
    let start = std::time::Instant::now();
    while file.0.exists() && start.elapsed() < std::time::Duration::from_secs(20) {
        create::clear_away(&file.location(), &terms).unwrap();
    }
    assert!(!file.0.exists());

    // Another program's files that got the name meanwhile.
    for contents in [vec![], vec![0; 8192]] {
        std::fs::write(&file.0, &contents).unwrap();
        create::clear_away(&file.location(), &terms).unwrap();
        assert_eq!(std::fs::read(&file.0).unwrap(), contents);
    }
}

/// A failed creation therefore leaves no companion.
#[test]
fn a_new_object_records_no_home_before_the_first_attachment() {
    need_atomics!();
    let file = Scratch::new();
    let mut unrecorded = false;
    let fill = &mut |memory: &Memory, _: &Header| {
        unrecorded = header::read_home(memory)?.is_none();
        Ok(())
    };
    let terms = OpenOptions::separate();
    let one = create::create_new(&file.location(), &shape(), &terms, release, fill).unwrap();
    assert!(unrecorded);
    assert_eq!(header::read_home(&one.memory).unwrap(), Some(one.slots.home()));
}

/// A file that begins with zeros, such as a disk image, was never an object and is not replaced.
#[test]
fn a_file_that_begins_with_zeros_is_left_alone() {
    need_atomics!();
    let file = Scratch::new();
    let contents = [vec![0; 8192], b"something of value".to_vec()].concat();
    std::fs::write(&file.0, &contents).unwrap();
    refused(&file, &shape(), ErrorKind::NotAnObject);
    let fill = &mut |_: &Memory, _: &Header| Ok(());
    let terms = OpenOptions::separate();
    let made = open_or_create(&file.location(), &shape(), &terms, release, fill);
    assert_eq!(made.unwrap_err().kind(), ErrorKind::NotAnObject);
    let made = create::create_new(&file.location(), &shape(), &terms, release, fill);
    assert_eq!(made.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read(&file.0).unwrap(), contents);
}

#[test]
fn the_error_without_a_free_participant_has_a_remedy() {
    need_atomics!();
    let file = Scratch::new();
    let few = ExpectedLayout { participants: 2, ..shape() };
    let one = create_with(file.name(), &few);
    let two = open(file.name());
    let error = refused(&file, &shape(), ErrorKind::TooManyProcesses);
    let text = error.to_string();
    assert!(text.contains(&std::process::id().to_string()) && text.contains("end one"), "{text}");
    drop(one);
    let three = file.open();
    assert_eq!(three.own.participant(), Some(0), "lowest first");
    drop((two, three));
}

#[test]
fn an_opening_waits_for_the_slot_of_a_detaching_participant() {
    need_atomics!();
    let file = Scratch::new();
    let few = ExpectedLayout { participants: 2, ..shape() };
    let one = create_with(file.name(), &few);
    // A detaching participant holds its slot after it has freed its record.
    let leaving = one.slots.take(FIRST + 1, SlotMode::Alone).unwrap().expect("free");
    refused(&file, &shape(), ErrorKind::TooManyProcesses);
    std::thread::scope(|scope| {
        let two = scope.spawn(|| open(file.name()));
        drop(leaving);
        assert_eq!(two.join().unwrap().own.participant(), Some(1));
    });
}

/// An opening claims a participant that becomes free while it waits, however long its timeout is.
#[test]
fn an_opening_waits_for_a_free_participant() {
    need_atomics!();
    for open_timeout in [Duration::MAX, Duration::from_secs(3600)] {
        let file = Scratch::new();
        let one = create_with(file.name(), &ExpectedLayout { participants: 1, ..shape() });
        let (location, terms) =
            (file.location(), OpenOptions { open_timeout, ..OpenOptions::separate() });
        std::thread::scope(|scope| {
            let two = scope.spawn(|| create::open(&location, &shape(), &terms, release).unwrap());
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(300) {
                refused(&file, &shape(), ErrorKind::TooManyProcesses);
                assert!(!two.is_finished());
            }
            // Creating reports that the object exists without waiting for a free participant.
            let fill = &mut |_: &Memory, _: &Header| Ok(());
            let made = create::create_new(&location, &shape(), &terms, release, fill);
            assert_eq!(made.unwrap_err().kind(), ErrorKind::AlreadyExists);
            drop(one);
            assert_eq!(two.join().unwrap().session().own.participant(), Some(0));
        });
    }
}

/// An operation that attaches implicitly, as in a forked child, waits for about 100 ms only.
#[test]
fn an_operation_waits_briefly_for_a_free_participant() {
    need_atomics!();
    let file = Scratch::new();
    let one = create_with(file.name(), &ExpectedLayout { participants: 1, ..shape() });
    one.detach();
    let two = file.open();
    let begun = Instant::now();
    assert_eq!(one.participant().unwrap_err().kind(), ErrorKind::TooManyProcesses);
    assert!(begun.elapsed() < OpenOptions::default().open_timeout, "it waited like an opening");
    drop(two);
    assert_eq!(one.participant().unwrap(), 0);
}

/// FORMAT.md shows the bytes of this header.
#[test]
fn the_header_matches_format_md() {
    let shape = ExpectedLayout {
        kind: 1,
        fingerprint: *b"fingerprint, 16.",
        payload: 8,
        growable_to: 0,
        participants: 2,
        lanes: 3,
    };
    let header = Header::of(&shape, *b"an object's id..").unwrap();
    let listing: Vec<String> = header
        .encode()
        .chunks(16)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "))
        .collect();
    let text = include_str!("../../../../../FORMAT.md");
    for (number, line) in listing.iter().enumerate() {
        let line = format!("{:04x}  {line}", number * 16);
        assert!(text.contains(&line), "FORMAT.md lacks the line\n{}", listing.join("\n"));
    }
    assert_eq!(header.participants_at, 512);
    assert_eq!(header.lanes_at, 640);
    assert_eq!(header.payload_at, 832);
    assert_eq!(header.len, 840);
}
