//! The life of an object, from creation to unlinking, in its creator, elsewhere in this process,
//! and in other processes.

use std::io::{Read, Write};
use std::sync::Arc;

use sharemap::{ErrorKind, Lifetime, Location, SharedMemory, page_size};

use super::Name;
use super::common::{child, passes, role};

/// Openings of one object share its contents.
#[test]
fn openings_share_contents() {
    let name = Name::new();
    let writer = SharedMemory::create_new(&*name, 10_000).unwrap();
    let other = SharedMemory::open(&*name).unwrap();
    let reader = SharedMemory::open_read_only(&*name).unwrap();
    assert_eq!(writer.len(), 10_000);
    assert!(other.len() >= 10_000 && reader.len() >= 10_000);
    writer.view_at::<u64>(8, 2).unwrap().set(1, 7).unwrap();
    assert_eq!(other.view_at::<u64>(16, 1).unwrap().get(0).unwrap(), 7);
    other.writer().write_all(b"greetings").unwrap();
    let mut text = [0; 9];
    reader.reader().read_exact(&mut text).unwrap();
    assert_eq!(&text, b"greetings");
    let counter = writer.view_at::<u32>(4096, 1).unwrap();
    if counter
        .atomic(0)
        .and_then(|counter| counter.fetch_add(1, std::sync::atomic::Ordering::AcqRel))
        .is_ok()
    {
        assert_eq!(other.view_at::<u32>(4096, 1).unwrap().get(0).unwrap(), 1);
    }
    assert_eq!(writer.location(), &Location::name(&*name));
    assert!(!format!("{writer:?}").contains("greet"));
}

/// A name can be created once and unlinked once.
#[test]
fn a_name_is_created_once() {
    let name = Name::new();
    let absent = SharedMemory::open(&*name).unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::NotFound);
    assert!(absent.to_string().contains(&*name), "{absent}");
    let _first = SharedMemory::create_new(&*name, 100).unwrap();
    let again = SharedMemory::create_new(&*name, 100).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    assert!(again.to_string().contains(&*name), "{again}");
    SharedMemory::unlink(&*name).unwrap();
    assert_eq!(SharedMemory::unlink(&*name).unwrap_err().kind(), ErrorKind::NotFound);
    SharedMemory::create_new(&*name, 100).unwrap();
}

/// Memory stays valid after its creator dropped it and its name was unlinked.
#[test]
fn memory_outlives_its_creator_and_its_name() {
    let name = Name::new();
    let memory = SharedMemory::create_new(&*name, 100).unwrap();
    memory.bytes().set(3, 9).unwrap();
    drop(memory);
    let memory = SharedMemory::open(&*name).unwrap();
    assert_eq!(memory.bytes().get(3).unwrap(), 9);
    SharedMemory::unlink(&*name).unwrap();
    assert_eq!(memory.bytes().get(3).unwrap(), 9);
    memory.bytes().set(4, 8).unwrap();
    assert_eq!(SharedMemory::open(&*name).unwrap_err().kind(), ErrorKind::NotFound);
}

/// `open_or_create` opens an existing object and rejects it if it is too short.
#[test]
fn open_or_create_opens_an_existing_object() {
    let name = Name::new();
    let first = SharedMemory::open_or_create(&*name, 3 * page_size() as u64).unwrap();
    first.bytes().set(0, 1).unwrap();
    let second = SharedMemory::open_or_create(&*name, 100).unwrap();
    assert_eq!(second.bytes().get(0).unwrap(), 1);
    let longer = SharedMemory::open_or_create(&*name, 1 << 20).unwrap_err();
    assert_eq!((longer.kind(), longer.length()), (ErrorKind::WrongSize, Some(1 << 20)));
}

/// Processes that have an object open keep it when its name is replaced.
#[test]
fn a_replaced_object_stays_open() {
    let name = Name::new();
    let fresh = SharedMemory::replace(&*name, 100).unwrap();
    fresh.bytes().set(0, 1).unwrap();
    let next = SharedMemory::replace(&*name, 200).unwrap();
    assert_eq!((fresh.bytes().get(0).unwrap(), next.bytes().get(0).unwrap()), (1, 0));
    next.bytes().set(0, 2).unwrap();
    assert_eq!(SharedMemory::open(&*name).unwrap().bytes().get(0).unwrap(), 2);
}

/// Memory grows in place, and other openings can follow within their reservations.
#[test]
fn growth_is_in_place_and_visible_to_others() {
    let name = Name::new();
    let page = page_size();
    let memory =
        SharedMemory::options().max(64 * page as u64).create_new(&*name, page as u64).unwrap();
    let other = SharedMemory::options().max(64 * page as u64).open(&*name).unwrap();
    let fixed = SharedMemory::open(&*name).unwrap();
    let before = memory.bytes();
    memory.grow(10 * page).unwrap();
    assert_eq!((before.len(), memory.len()), (page, 10 * page));
    assert_eq!(before.as_ptr(), memory.bytes().as_ptr());
    memory.bytes().set(10 * page - 1, 5).unwrap();
    assert!(other.refresh_len().unwrap() >= 10 * page);
    assert_eq!(other.bytes().get(10 * page - 1).unwrap(), 5);
    // An opening without a reservation keeps its length, unless the system mapped everything from
    // the beginning.
    assert!(fixed.refresh_len().unwrap() >= page);
    other.grow(64 * page).unwrap();
    other.bytes().set(64 * page - 1, 6).unwrap();
    assert_eq!(memory.refresh_len().unwrap(), 64 * page);
    assert_eq!(memory.bytes().get(64 * page - 1).unwrap(), 6);
    let beyond = memory.grow(65 * page).unwrap_err();
    assert_eq!(beyond.kind(), ErrorKind::ExceedsReservation);
}

/// Another process can open, write and grow memory, and create objects that outlive it.
#[test]
fn another_process_opens_writes_and_grows() {
    const TEST: &str = "life::another_process_opens_writes_and_grows";
    let page = page_size();
    if let Some(name) = role(TEST) {
        let name = Name::given(&name);
        let memory = SharedMemory::options().max(8 * page as u64).open(&*name).unwrap();
        assert_eq!(memory.bytes().get(0).unwrap(), 11);
        memory.grow(8 * page).unwrap();
        memory.bytes().set(8 * page - 1, 12).unwrap();
        SharedMemory::create_new(&*format!("{name}-b"), 100).unwrap().bytes().set(0, 13).unwrap();
        return;
    }
    let name = Name::new();
    let second = Name(format!("{}-b", &*name));
    let memory =
        SharedMemory::options().max(8 * page as u64).create_new(&*name, page as u64).unwrap();
    memory.bytes().set(0, 11).unwrap();
    if !passes(child(TEST, &*name)) {
        return;
    }
    assert_eq!(memory.refresh_len().unwrap(), 8 * page);
    assert_eq!(memory.bytes().get(8 * page - 1).unwrap(), 12);
    // The creator has ended.
    assert_eq!(SharedMemory::open(&*second).unwrap().bytes().get(0).unwrap(), 13);
}

/// Accesses past the end of memory that a peer truncated are faults.
#[test]
fn accesses_past_a_truncation_are_faults() {
    let name = Name::new();
    let page = page_size();
    let memory = SharedMemory::create_new(&*name, 4 * page as u64).unwrap();
    let cut = memory.file().unwrap().set_len(page as u64);
    if let Err(error) = cut {
        super::common::skip!("this system does not cut off what is mapped: {error}");
    }
    let error = memory.bytes().get(2 * page).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Fault, Some(2 * page as u64)));
    assert!(!memory.is_current().unwrap());
    assert_eq!(memory.bytes().get(0).unwrap(), 0);
}

/// Anonymous memory can be adopted by descriptor, also read-only, and used by other threads.
#[test]
fn anonymous_memory_is_shared_by_descriptor() {
    let memory = SharedMemory::anonymous(3 * page_size() as u64).unwrap();
    memory.bytes().set(5, 6).unwrap();
    let read = match memory.read_only() {
        Ok(read) => read,
        // macOS creates no second description of unnamed memory.
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            return;
        }
    };
    assert_eq!(read.bytes().get(5).unwrap(), 6);
    let adopted = SharedMemory::from_descriptor(memory.file().unwrap()).unwrap();
    adopted.bytes().set(5, 7).unwrap();
    assert_eq!(read.bytes().get(5).unwrap(), 7);
    let shared = Arc::new(adopted);
    let view = shared.owned_view::<u8>().unwrap();
    drop(shared);
    let thread = std::thread::spawn(move || view.as_view().get(5).unwrap());
    assert_eq!(thread.join().unwrap(), 7);
}

/// Anonymous memory grows within its reservation.
#[test]
fn anonymous_memory_grows() {
    let page = page_size();
    let options = SharedMemory::options().max(16 * page as u64);
    let memory = options.create_new(Location::anonymous(), 10).unwrap();
    memory.grow(16 * page).unwrap();
    memory.bytes().set(16 * page - 1, 1).unwrap();
    assert_eq!(memory.grow(16 * page + 1).unwrap_err().kind(), ErrorKind::ExceedsReservation);
}

/// Invalid lengths, names and locations have distinct errors.
#[test]
fn invalid_requests_have_distinct_errors() {
    let kind = |result: sharemap::Result<SharedMemory>| result.unwrap_err().kind();
    let name = Name::new();
    let create = |name: &str, len| SharedMemory::create_new(name, len);
    assert_eq!(kind(create(&name, 0)), ErrorKind::ZeroLength);
    assert_eq!(kind(create(&name, u64::MAX)), ErrorKind::Overflow);
    assert_eq!(kind(create("", 1)), ErrorKind::NameEmpty);
    assert_eq!(kind(create(&"n".repeat(201), 1)), ErrorKind::NameTooLong);
    assert_eq!(kind(create("a/b", 1)), ErrorKind::NameCharacter);
    assert_eq!(kind(SharedMemory::open("../x")), ErrorKind::NameCharacter);
    assert_eq!(kind(SharedMemory::replace(".x", 1)), ErrorKind::NameCharacter);
    assert_eq!(kind(SharedMemory::open_or_create("a b", 1)), ErrorKind::NameCharacter);
    assert_eq!(SharedMemory::unlink("a*").unwrap_err().kind(), ErrorKind::NameCharacter);
    assert_eq!(kind(SharedMemory::open(Location::anonymous())), ErrorKind::Unsupported);
    assert_eq!(kind(SharedMemory::open(Location::file("x"))), ErrorKind::Unsupported);
    assert_eq!(SharedMemory::open(&*name).unwrap_err().kind(), ErrorKind::NotFound);
}

/// The system's objects are listed with their lengths, where the system has a list.
#[test]
fn objects_are_listed() {
    let name = Name::new();
    let _memory = SharedMemory::create_new(&*name, 100).unwrap();
    let list = match SharedMemory::list() {
        Ok(list) => list,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            super::common::skip!("{error}");
        }
    };
    let found = list.iter().find(|object| object.name.to_str() == Some(&*name)).unwrap();
    assert_eq!(found.len, Some(100));
    assert!(found.modified.is_some());
}

/// An object with the lifetime of its attachments ends with the last of them.
#[test]
fn attached_objects_end_with_their_last_attachment() {
    let name = Name::new();
    let attached = SharedMemory::options().lifetime(Lifetime::Attached);
    let memory = match attached.create_new(&*name, 5000) {
        Ok(memory) => memory,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert_eq!(SharedMemory::open(&*name).unwrap_err().kind(), ErrorKind::NotFound);
            super::common::skip!("{error}");
        }
    };
    let again = SharedMemory::create_new(&*name, 5000).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    let again = attached.create_new(&*name, 5000).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    let other = SharedMemory::open(&*name).unwrap();
    assert!(other.len() >= 5000);
    let reader = SharedMemory::open_read_only(&*name).unwrap();
    memory.bytes().set(4999, 1).unwrap();
    drop(memory);
    assert_eq!(other.bytes().get(4999).unwrap(), 1);
    assert_eq!(reader.bytes().get(4999).unwrap(), 1);
    assert_eq!(SharedMemory::unlink(&*name).unwrap_err().kind(), ErrorKind::Unsupported);
    drop((other, reader));
    assert_eq!(SharedMemory::open(&*name).unwrap_err().kind(), ErrorKind::NotFound);
}
