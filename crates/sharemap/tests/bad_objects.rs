//! Errors from opening the wrong object and from acquiring unavailable locks. Each has its own
//! kind, and its message names the object, the offending number and the remedy.

mod common;

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use common::{TempDir, check, need_atomics};
use sharemap::{
    Barrier, Condvar, CountingSemaphore, Error, ErrorKind, Location, LockError, Mutex, MutexHandle,
    Once, RwLock, Semaphore, Shared, SharedOptions,
};

/// An object in a file with one mutex.
struct Object {
    _directory: TempDir,
    path: PathBuf,
}

impl Object {
    fn new() -> Self {
        let directory = TempDir::new();
        let path = directory.join("object");
        drop(Shared::create_new(Location::file(&path), || Mutex::new(7_u64)).unwrap());
        Self { _directory: directory, path }
    }

    fn location(&self) -> Location {
        Location::file(&self.path)
    }

    fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut file = std::fs::File::open(&self.path).unwrap();
        let mut bytes = vec![0; len];
        file.seek(SeekFrom::Start(at)).unwrap();
        file.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn patch(&self, at: u64, bytes: &[u8]) {
        let mut file = OpenOptions::new().write(true).open(&self.path).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(bytes).unwrap();
    }

    /// Writes `bytes` into the checksummed part of the header and updates the checksum.
    fn patch_header(&self, at: u64, bytes: &[u8]) {
        self.patch(at, bytes);
        let sum = self.bytes(0, 120).iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        self.patch(120, &sum.to_le_bytes());
    }

    /// Asserts that every way to open the object fails with `kind`, the offset `at` and a message with
    /// `words`.
    fn refused_at(&self, at: u64, kind: ErrorKind, words: &[&str]) {
        self.refused(kind, words);
        let error = Shared::<Mutex<u64>>::open(self.location()).unwrap_err();
        assert_eq!(error.offset(), Some(at), "{error}");
    }

    /// Asserts that every way to open the object fails with `kind` and a message with `words`.
    fn refused(&self, kind: ErrorKind, words: &[&str]) {
        self.refused_as::<Mutex<u64>>(kind, words);
    }

    fn refused_as<T: sharemap::SharedType>(&self, kind: ErrorKind, words: &[&str]) {
        let never = || -> T { panic!("there is one") };
        for error in [
            Shared::<T>::open(self.location()),
            Shared::<T>::open_read_only(self.location()),
            SharedOptions::new().open_copy_on_write::<T>(self.location()),
            Shared::<T>::open_or_create(self.location(), never),
        ] {
            check(error.unwrap_err(), kind, &self.path, words);
        }
    }
}

/// Names that are not portable are rejected by every function that takes a name.
#[test]
fn names_that_are_not_portable() {
    let long = "n".repeat(201);
    for (name, kind, at, words) in [
        ("", ErrorKind::NameEmpty, None, &["name is empty"][..]),
        (&long, ErrorKind::NameTooLong, None, &["length 201", "at most 200"]),
        ("/jobs", ErrorKind::NameCharacter, Some(0), &["leave the leading separator off"]),
        ("a/jobs", ErrorKind::NameCharacter, Some(1), &["Location::file"]),
        ("Local\\jobs", ErrorKind::NameCharacter, Some(5), &["Location::file"]),
        ("my jobs", ErrorKind::NameCharacter, Some(2), &["use only A-Z"]),
        ("jöbs", ErrorKind::NameCharacter, Some(1), &["use only A-Z"]),
        (".jobs", ErrorKind::NameCharacter, Some(0), &["leading dot"]),
    ] {
        let object = Path::new(name);
        let make = || Mutex::new(0_u8);
        let error = Shared::create_new(name, make).unwrap_err();
        assert_eq!(error.offset(), at, "{error}");
        check(error, kind, object, words);
        check(Shared::open_or_create(name, make).unwrap_err(), kind, object, words);
        check(Shared::<Mutex<u8>>::open(name).unwrap_err(), kind, object, words);
        check(Shared::<Mutex<u8>>::open_read_only(name).unwrap_err(), kind, object, words);
        check(Shared::<Mutex<u8>>::unlink(name).unwrap_err(), kind, object, words);
    }
    let error = Shared::<Mutex<u8>>::open(Location::anonymous()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("passed on as a descriptor"), "{error}");
}

/// An object without locks, elements, members, participants or lanes is rejected, and no file is
/// left behind.
#[test]
fn empty_objects() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("nothing");
    let none: [Mutex<u8>; 0] = [];
    let error = Shared::create_new(Location::file(&path), || none).unwrap_err();
    check(error, ErrorKind::ZeroLength, &path, &["create", "contains no lock"]);
    let error = Shared::open_or_create(Location::file(&path), || RwLock::<[u8]>::zeroed(0));
    check(error.unwrap_err(), ErrorKind::ZeroLength, &path, &["at least one element"]);
    let error =
        Shared::create_new(Location::file(&path), || (CountingSemaphore::new(1), Barrier::new(0)));
    check(error.unwrap_err(), ErrorKind::Invalid, &path, &["create", "at least one member"]);
    for (options, words) in [
        (SharedOptions::new().participants(0), ["1 to 65535", "participants", "length 0"]),
        (SharedOptions::new().participants(65_536), ["1 to 65535", "participants", "65536"]),
        (SharedOptions::new().lanes(0), ["1 to 65535", "lanes", "length 0"]),
        (SharedOptions::new().lanes(65_536), ["1 to 65535", "lanes", "65536"]),
    ] {
        let error = options.create_new(Location::file(&path), || Mutex::new(0_u8)).unwrap_err();
        check(error, ErrorKind::OutOfBounds, &path, &words);
    }
    assert!(!path.exists());
}

/// An object of another type, size or kind is rejected, and so are a missing one and a second
/// creation.
#[test]
fn objects_of_another_type_size_or_kind() {
    need_atomics!();
    let object = Object::new();
    let again = Shared::create_new(object.location(), || Mutex::new(0_u64)).unwrap_err();
    check(again, ErrorKind::AlreadyExists, &object.path, &["create"]);
    let fields = &["open", "a type whose fields differ"][..];
    object.refused_as::<Mutex<i64>>(ErrorKind::WrongType, fields);
    object.refused_as::<Mutex<[u32; 2]>>(ErrorKind::WrongType, fields);
    object.refused_as::<(CountingSemaphore, CountingSemaphore)>(ErrorKind::WrongType, fields);
    // A slice has no fixed size to compare, so the fields are compared first.
    object.refused_as::<Mutex<[u64]>>(ErrorKind::WrongType, fields);
    let sizes = &["payload has 32 bytes, but 48 were requested"];
    object.refused_as::<(Mutex<u64>, CountingSemaphore)>(ErrorKind::WrongSize, sizes);
    let sizes = &["payload has 32 bytes, but 16 were requested"];
    object.refused_as::<CountingSemaphore>(ErrorKind::WrongSize, sizes);
    object.patch_header(12, &77_u32.to_le_bytes());
    object.refused(ErrorKind::WrongKind, &["its kind is 77, but 1 was requested"]);
    let missing = Location::file(object.path.with_file_name("missing"));
    let error = Shared::<Mutex<u64>>::open(missing).unwrap_err();
    check(error, ErrorKind::NotFound, &object.path.with_file_name("missing"), &["open"]);
}

/// Objects of other format versions and of the other byte order are rejected.
#[test]
fn objects_of_other_format_versions() {
    need_atomics!();
    let object = Object::new();
    let again = "re-create it";
    object.patch(8, &2_u16.to_le_bytes());
    object.refused_at(8, ErrorKind::WrongVersion, &["version 2, newer than 1", again]);
    object.patch(8, &0_u16.to_le_bytes());
    object.refused_at(8, ErrorKind::WrongVersion, &["version 0, older than 1", again]);
    object.patch(8, &1_u16.to_le_bytes());
    object.patch(10, &0x0201_u16.to_le_bytes());
    object.refused_at(10, ErrorKind::WrongVersion, &["not little-endian"]);
}

/// Truncated objects and inconsistent headers are rejected, with the offset of the contradiction.
#[test]
fn truncated_objects_and_inconsistent_headers() {
    need_atomics!();
    let object = Object::new();
    let whole = object.bytes(0, 256);
    let len = std::fs::metadata(&object.path).unwrap().len();
    object.patch(64, &3_u32.to_le_bytes());
    object.refused_at(120, ErrorKind::Malformed, &["checksum"]);
    object.patch(0, &whole);
    // Lanes that overlap the participants, a payload past the end, zero buckets.
    for (at, value) in [(96, 512_u64), (112, len), (72, 0)] {
        object.patch_header(at, &value.to_le_bytes());
        object.refused_at(at, ErrorKind::Malformed, &["inconsistent", &format!("offset {at}")]);
        object.patch(0, &whole);
    }
    object.patch(128, &9_u32.to_le_bytes());
    object.refused_at(128, ErrorKind::Malformed, &["offset 128"]);
    object.patch(128, &3_u32.to_le_bytes());
    object.refused(ErrorKind::Unclean, &["found its contents wrong"]);
    object.patch(0, &whole);

    let cut =
        |len| OpenOptions::new().write(true).open(&object.path).unwrap().set_len(len).unwrap();
    cut(len - 1);
    object.refused(ErrorKind::Truncated, &["was truncated", &format!("created with {len} bytes")]);
    for len in [256, 255, 128, 1] {
        cut(len);
        object.refused(ErrorKind::Truncated, &["was truncated", &format!("length {len}")]);
    }
    cut(0);
    object.refused(ErrorKind::Truncated, &["was truncated"]);
}

/// Files, directories and devices that contain no object are rejected.
#[test]
fn files_that_contain_no_object() {
    need_atomics!();
    let object = Object::new();
    object.patch(0, b"#!/bin/sh\n");
    object.refused(ErrorKind::NotAnObject, &["open", "does not begin with the magic"]);
    let folder = object.path.parent().unwrap();
    let error = Shared::<Mutex<u64>>::open(Location::file(folder)).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::IsDirectory | ErrorKind::PermissionDenied),
        "{error}"
    );
    assert_eq!(error.path(), Some(folder));
    if cfg!(unix) {
        let error = Shared::<Mutex<u64>>::open_read_only(Location::file("/dev/null")).unwrap_err();
        check(error, ErrorKind::NotAnObject, Path::new("/dev/null"), &["special file"]);
    }
    let stranger = folder.join("stranger");
    std::fs::write(&stranger, [0x55; 8192]).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(&stranger).unwrap();
    let error = Shared::<Mutex<u64>>::from_descriptor(&file).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAnObject, "{error}");
}

/// A dangling symbolic link exists for creation but not for opening, like the name of an object
/// that is unlinked between the two. `open_or_create` retries, then reports `AlreadyExists`.
#[cfg(unix)]
#[test]
fn a_dangling_name_is_reported_as_existing() {
    need_atomics!();
    let folder = TempDir::new();
    let name = folder.join("dangling");
    std::os::unix::fs::symlink(folder.join("nowhere"), &name).unwrap();
    let made = Shared::open_or_create(Location::file(&name), || Mutex::new(8_u64));
    check(made.err().unwrap(), ErrorKind::AlreadyExists, &name, &["create"]);
}

/// An object whose creator died before it finished is `Incomplete` to `open`, and is created anew
/// by `open_or_create`.
#[test]
fn an_incomplete_object_is_created_anew() {
    need_atomics!();
    let object = Object::new();
    object.patch(128, &1_u32.to_le_bytes());
    let error = Shared::<Mutex<u64>>::open(object.location()).unwrap_err();
    check(error, ErrorKind::Incomplete, &object.path, &["did not finish", "also creates"]);
    let made = Shared::open_or_create(object.location(), || Mutex::new(8_u64)).unwrap();
    assert_eq!(*made.lock().unwrap(), 8);
}

/// An object that was in use when the system went down is `Unclean`, unless the caller accepts it.
#[test]
fn an_object_in_use_during_a_crash_is_unclean() {
    need_atomics!();
    let object = Object::new();
    let this_boot = object.bytes(144, 16);
    if this_boot == [0; 16] {
        common::skip!("this system does not tell one boot from another");
    }
    object.patch(144, &[1; 16]);
    object.patch(132, &0_u32.to_le_bytes());
    let error = Shared::<Mutex<u64>>::open(object.location()).unwrap_err();
    let words = ["when the system went down", "accept it as unclean", "re-create it"];
    check(error, ErrorKind::Unclean, &object.path, &words);
    // A read-only attachment is allowed.
    drop(Shared::<Mutex<u64>>::open_read_only(object.location()).unwrap());
    let accepting = SharedOptions::new().accept_unclean();
    let accepted = accepting.open::<Mutex<u64>>(object.location()).unwrap();
    assert_eq!(*accepted.lock().unwrap(), 7);
    assert_eq!(object.bytes(144, 16), this_boot);
}

/// Recovery drops announcements of the header, the participant table and the lane table. A dead
/// participant that announced its own slot as a semaphore must not make recovery loop forever.
#[test]
fn announcements_outside_the_payload_are_dropped() {
    need_atomics!();
    const KINDS: std::ops::Range<u64> = 1..14;
    let object = Object::new();
    let lanes = u64::from_le_bytes(object.bytes(96, 8).try_into().unwrap());
    let header = object.bytes(0, 128);
    for (at, kind) in [0, 128, lanes + 16].iter().flat_map(|at| KINDS.map(move |kind| (*at, kind)))
    {
        // Participant 0 is in use, but no process holds its liveness lock.
        object.patch(512, &1_u32.to_le_bytes());
        object.patch(lanes, &1_u64.to_le_bytes());
        object.patch(lanes + 16, &(at | kind).to_le_bytes());
        let (sender, receiver) = std::sync::mpsc::channel();
        let location = object.location();
        thread::spawn(move || {
            let shared =
                SharedOptions::new().accept_unclean().open::<Mutex<u64>>(location).unwrap();
            let value = *shared.lock().unwrap();
            drop(shared);
            sender.send(value)
        });
        let value = receiver.recv_timeout(Duration::from_secs(20));
        assert_eq!(value.expect("it does not end"), 7, "kind {kind} at {at}");
        assert_eq!(object.bytes(0, 128), header, "kind {kind} at {at}");
        assert_eq!(object.bytes(128, 4), 2_u32.to_le_bytes(), "kind {kind} at {at}");
    }
}

/// Like `check`, for an error of a lock, which has the lock's offset but does not print it.
fn check_lock(error: impl Into<Error>, kind: ErrorKind, object: &Path, words: &[&str]) {
    let error = error.into();
    assert!(error.offset().is_some() && !error.to_string().contains(" at offset "), "{error}");
    check(error, kind, object, words);
}

/// A blocking call on a lock that this thread already holds fails with `Deadlock`; a try fails with
/// `WouldBlock`.
#[test]
fn locks_held_by_this_thread() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("held");
    let first = || (Mutex::new(0_u8), RwLock::new(0_u8), Mutex::<[u8]>::zeroed(4), Once::new());
    let all = Shared::create_new(Location::file(&path), first).unwrap();
    let (mutex, lock, elements, once) = &*all;
    let words = |what| [what, " in ", "this thread already holds the lock", "release it first"];
    let guard = mutex.lock().unwrap();
    let locking = words("lock the mutex");
    check_lock(mutex.lock().unwrap_err(), ErrorKind::Deadlock, &path, &locking);
    let error = mutex.lock_timeout(Duration::from_secs(60)).unwrap_err();
    check_lock(error, ErrorKind::Deadlock, &path, &locking);
    check_lock(mutex.lock_poisoned().unwrap_err(), ErrorKind::Deadlock, &path, &locking);
    let busy = ["lock the mutex in", "not available without blocking"];
    check_lock(mutex.try_lock().unwrap_err(), ErrorKind::WouldBlock, &path, &busy);
    drop(guard);
    let guard = elements.lock().unwrap();
    check_lock(elements.lock().unwrap_err(), ErrorKind::Deadlock, &path, &locking);
    drop(guard);
    let guard = lock.write().unwrap();
    check_lock(lock.read().unwrap_err(), ErrorKind::Deadlock, &path, &words("lock for reading"));
    check_lock(lock.write().unwrap_err(), ErrorKind::Deadlock, &path, &words("lock for writing"));
    drop(guard);
    let again = once.call(|_| once.call(|_| sharemap::Result::Ok(()))).unwrap_err();
    check_lock(again, ErrorKind::Deadlock, &path, &words("wait for the one-time action"));
}

/// A lock held by another thread times out or would block, and a full counting semaphore overflows.
#[test]
fn locks_held_by_another_thread() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("busy");
    let first = || {
        (Mutex::new(0_u8), RwLock::new(0_u8), Semaphore::new(1), CountingSemaphore::new(u32::MAX))
    };
    let all = Shared::create_new(Location::file(&path), first).unwrap();
    let (mutex, lock, permits, signal) = &*all;
    let _guards = (mutex.lock().unwrap(), lock.write().unwrap(), permits.acquire().unwrap());
    let short = Duration::from_millis(3);
    let [timeout, busy] = [ErrorKind::Timeout, ErrorKind::WouldBlock];
    thread::scope(|scope| {
        scope.spawn(|| {
            let out = |operation| [operation, "the timeout elapsed"];
            let had = |operation| [operation, "not available without blocking"];
            let error = mutex.lock_timeout(short).unwrap_err();
            check_lock(error, timeout, &path, &out("lock the mutex"));
            check_lock(mutex.try_lock().unwrap_err(), busy, &path, &had("lock the mutex"));
            let error = lock.read_timeout(short).unwrap_err();
            check_lock(error, timeout, &path, &out("lock for reading"));
            check_lock(lock.try_write().unwrap_err(), busy, &path, &had("lock for writing"));
            let error = permits.acquire_timeout(short).unwrap_err();
            check_lock(error, timeout, &path, &out("acquire a permit"));
            check_lock(permits.try_acquire().unwrap_err(), busy, &path, &had("acquire a permit"));
        });
    });
    check_lock(
        signal.post().unwrap_err(),
        ErrorKind::Overflow,
        &path,
        &["post to the semaphore in"],
    );
}

/// Reports a dead owner, a poisoned mutex, a full barrier, a cancelled wait and a foreign mutex.
#[test]
fn owner_deaths_poison_and_cancellation() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("left");
    let first = || (Mutex::new(0_u8), Barrier::new(1), Condvar::new());
    let all = Shared::create_new(Location::file(&path), first).unwrap();
    let (mutex, barrier, changed) = &*all;
    let panicked = thread::scope(|scope| {
        let mutex: &MutexHandle<u8> = mutex;
        let hold = move || {
            let _guard = mutex.lock().unwrap();
            std::panic::resume_unwind(Box::new(()));
        };
        scope.spawn(hold).join().map(|never: ()| never)
    });
    assert!(panicked.is_err());
    let died: Error = mutex.lock().unwrap_err().into();
    let words = ["lock", "call `mark_consistent` or `poison`"];
    check_lock(died, ErrorKind::OwnerDied, &path, &words);
    let Err(LockError::OwnerDied(dead)) = mutex.lock() else { panic!("no `OwnerDied`") };
    dead.poison().unwrap();
    let words = ["lock the mutex", "an owner poisoned the value", "`lock_poisoned`"];
    check_lock(mutex.lock().unwrap_err(), ErrorKind::Poisoned, &path, &words);
    check_lock(mutex.try_lock().unwrap_err(), ErrorKind::Poisoned, &path, &words);

    let member = barrier.join().unwrap();
    let words = ["join the barrier", "it has all its members"];
    check(barrier.join().unwrap_err(), ErrorKind::Busy, &path, &words);
    drop(member);

    drop(mutex.lock_poisoned().unwrap().mark_consistent());
    let guard = mutex.lock().unwrap();
    all.cancel();
    check(changed.wait(guard).unwrap_err(), ErrorKind::Cancelled, &path, &["notification"]);
    all.resume();
    let elsewhere = Shared::create_new(Location::anonymous(), || Mutex::new(0_u8)).unwrap();
    let guard = elsewhere.lock().unwrap();
    let words = ["wait for a notification", "belongs to another object", "has been released"];
    check(changed.wait(guard).unwrap_err(), ErrorKind::Invalid, &path, &words);
}
