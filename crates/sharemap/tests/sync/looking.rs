//! Read-only and copy-on-write attachments: they neither block participants nor change the object,
//! and each rejected operation names the remedy.

use super::*;
use sharemap::{MutexHandle, SharedOptions, inspect};

type All = (
    (Mutex<u32>, RwLock<u32>, Mutex<[u16]>, RwLock<[u16]>),
    (Event, Event, Once, CountingSemaphore),
    (Semaphore, Barrier, Condvar),
);

fn first() -> All {
    (
        (Mutex::new(1), RwLock::new(2), Mutex::zeroed(3), RwLock::zeroed(4)),
        (Event::manual_reset(), Event::auto_reset(), Once::new(), CountingSemaphore::new(5)),
        (Semaphore::new(6), Barrier::new(7), Condvar::new()),
    )
}

/// Returns everything that an attachment can read of the object.
fn shows(all: &Shared<All>) -> (Vec<bool>, Vec<u32>, Vec<u16>) {
    let ((mutex, lock, samples, table), (event, auto, once, signal), (permits, ..)) = &**all;
    let flags = [
        mutex.is_locked(),
        mutex.is_poisoned(),
        lock.is_locked(),
        lock.is_poisoned(),
        samples.is_locked(),
        samples.is_poisoned(),
        table.is_locked(),
        table.is_poisoned(),
        event.is_set(),
        event.try_wait().map(|()| true).or_else(|error| match error.kind() {
            ErrorKind::WouldBlock => Ok(false),
            _ => Err(error),
        }),
        auto.is_set(),
        once.is_done(),
    ];
    let counts = [signal.count(), permits.available()];
    let mut elements = samples.view_unlocked().to_vec().unwrap();
    elements.extend(table.view_unlocked().iter().map(Result::unwrap));
    (
        flags.into_iter().map(Result::unwrap).collect(),
        counts.into_iter().map(Result::unwrap).collect(),
        elements,
    )
}

/// Asserts that `error` is `NotWritable` and names the object and the remedy.
fn refused(name: &Name, error: sharemap::Error) {
    assert_eq!(error.kind(), ErrorKind::NotWritable, "{error}");
    let text = error.to_string();
    assert!(
        text.contains(&name.0) && text.contains("open it for writing, as `open` does"),
        "{text}"
    );
}

/// Attachments that are not writable read the current state, and every operation that changes the
/// object is rejected.
#[test]
fn read_only_attachments_change_nothing() {
    need_atomics!();
    let name = Name::new("look");
    let all = Shared::create_new(name.0.as_str(), first).unwrap();
    let readers = || inspect::Inspection::open(name.0.as_str()).unwrap().has_readers().unwrap();
    let read_only = Shared::<All>::open_read_only(name.0.as_str()).unwrap();
    let private = SharedOptions::new().open_copy_on_write::<All>(name.0.as_str()).unwrap();
    // Some systems cannot tell whether there are readers.
    assert_ne!(readers(), Some(false));
    for looking in [&read_only, &private] {
        let (
            (mutex, lock, samples, table),
            (event, auto, once, signal),
            (permits, barrier, condvar),
        ) = &**looking;
        refused(&name, mutex.lock().unwrap_err().into());
        refused(&name, mutex.try_lock().unwrap_err().into());
        refused(&name, mutex.lock_timeout(Duration::ZERO).unwrap_err().into());
        refused(&name, mutex.lock_poisoned().unwrap_err());
        refused(&name, lock.read_poisoned().unwrap_err());
        refused(&name, lock.write_poisoned().unwrap_err());
        refused(&name, lock.read_or_recover(|_| ()).unwrap_err());
        refused(&name, lock.read().unwrap_err().into());
        refused(&name, lock.try_read().unwrap_err().into());
        refused(&name, lock.write().unwrap_err().into());
        refused(&name, lock.try_write().unwrap_err().into());
        refused(&name, lock.upgradable().unwrap_err().into());
        refused(&name, samples.lock().unwrap_err().into());
        refused(&name, table.read().unwrap_err().into());
        refused(&name, table.write().unwrap_err().into());
        refused(&name, event.set().unwrap_err());
        refused(&name, event.reset().unwrap_err());
        refused(&name, event.wait_timeout(Duration::from_secs(60)).unwrap_err());
        refused(&name, auto.try_wait().unwrap_err());
        refused(&name, auto.wait().unwrap_err());
        refused(&name, once.call(|_| sharemap::Result::Ok(())).unwrap_err());
        refused(&name, signal.post().unwrap_err());
        refused(&name, signal.try_wait().unwrap_err());
        refused(&name, signal.wait().unwrap_err());
        refused(&name, permits.acquire().unwrap_err());
        refused(&name, permits.try_acquire().unwrap_err());
        refused(&name, barrier.join().unwrap_err());
        refused(&name, barrier.restart().unwrap_err());
        refused(&name, condvar.notify_one().unwrap_err());
        refused(&name, condvar.notify_all().unwrap_err());
        let seen = (vec![false; 12], vec![5, 6], vec![0; 7]);
        assert_eq!(shows(looking), seen);
        assert_eq!(shows(&all), seen);
    }

    let ((mutex, lock, samples, table), (event, auto, once, signal), (permits, ..)) = &*all;
    let _guards = (mutex.lock().unwrap(), lock.upgradable().unwrap(), permits.acquire().unwrap());
    samples.lock().unwrap().view().fill(8).unwrap();
    table.write().unwrap().view().fill(9).unwrap();
    event.set().unwrap();
    auto.set().unwrap();
    once.call(|_| sharemap::Result::Ok(())).unwrap();
    signal.post().unwrap();
    for looking in [&read_only, &private] {
        let (flags, counts, elements) = shows(looking);
        let [t, f] = [true, false];
        assert_eq!(flags, [t, f, t, f, f, f, f, f, t, t, t, t]);
        assert_eq!(counts, [6, 5]);
        assert_eq!(elements, [8, 8, 8, 9, 9, 9, 9]);
        looking.1.0.wait().unwrap();
        looking.1.2.call(|_| -> sharemap::Result<()> { panic!("it is done") }).unwrap();
    }
    drop((read_only, private));
    assert_ne!(readers(), Some(true));
}

/// A read-only attachment reports that a lock is poisoned.
#[test]
fn a_read_only_attachment_sees_poison() {
    need_atomics!();
    let name = Name::new("seen");
    let value = Shared::create_new(name.0.as_str(), || Mutex::new(1_u8)).unwrap();
    let owner = thread::scope(|scope| {
        let value: &MutexHandle<u8> = &value;
        scope
            .spawn(move || {
                *value.lock().unwrap() = 2;
                let _guard = value.lock().unwrap();
                std::panic::resume_unwind(Box::new(()))
            })
            .join()
            .map(|never: ()| never)
    });
    assert!(owner.is_err());
    let Err(LockError::OwnerDied(dead)) = value.lock() else { panic!("no `OwnerDied`") };
    dead.poison().unwrap();
    let looking = Shared::<Mutex<u8>>::open_read_only(name.0.as_str()).unwrap();
    assert!(looking.is_poisoned().unwrap() && !looking.is_locked().unwrap());
}

/// Changes through `private_view_mut` are visible only to their process.
#[test]
fn private_changes_are_not_shared() {
    need_atomics!();
    let name = Name::new("draft");
    let lock = Shared::create_new(name.0.as_str(), || RwLock::<[u32]>::zeroed(20_000)).unwrap();
    lock.write().unwrap().view().fill(1).unwrap();
    let private =
        SharedOptions::new().open_copy_on_write::<RwLock<[u32]>>(name.0.as_str()).unwrap();
    let draft = private.private_view_mut().unwrap();
    draft.set(19_999, 5).unwrap();
    assert_eq!(private.view_unlocked().get(19_999).unwrap(), 5);
    assert_eq!(lock.read().unwrap().view().get(19_999).unwrap(), 1);
    lock.write().unwrap().view().set(0, 2).unwrap();
    assert_eq!(private.view_unlocked().get(0).unwrap(), 2, "of a page that was not changed");
    let error = lock.private_view_mut().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotWritable);
    let read_only = Shared::<RwLock<[u32]>>::open_read_only(name.0.as_str()).unwrap();
    assert_eq!(read_only.private_view_mut().unwrap_err().kind(), ErrorKind::NotWritable);
    assert_eq!(read_only.view_unlocked().get(0).unwrap(), 2);
}

/// A read-only attachment rejects a missing object and an object of another type or size.
#[test]
fn a_read_only_attachment_rejects_another_type() {
    need_atomics!();
    let name = Name::new("look-type");
    let name = name.0.as_str();
    let none = Shared::<CountingSemaphore>::open_read_only(name).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::NotFound);
    let _signal = Shared::create_new(name, || CountingSemaphore::new(1)).unwrap();
    let wrong = Shared::<Event>::open_read_only(name).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::WrongType);
    let size = Shared::<Mutex<u64>>::open_read_only(name).unwrap_err();
    assert_eq!(size.kind(), ErrorKind::WrongSize);
}

/// `is_linked` returns whether the object's name still leads to it, after the name is unlinked or
/// reused.
#[test]
fn a_named_object_reports_whether_it_is_linked() {
    need_atomics!();
    let make = || Mutex::new(0_u8);
    let name = Name::new("linked");
    let location = Location::name(&*name.0);
    let object = Shared::create_new(&location, make).unwrap();
    let same = Shared::<Mutex<u8>>::open(&location).unwrap();
    let reader = Shared::<Mutex<u8>>::open_read_only(&location).unwrap();
    assert!([&object, &same, &reader].iter().all(|one| one.is_linked().unwrap()));
    SharedMemory::unlink(&*name.0).unwrap();
    assert!([&object, &same, &reader].iter().all(|one| !one.is_linked().unwrap()));
    let other = Shared::create_new(&location, make).unwrap();
    assert!(other.is_linked().unwrap());
    assert!([&object, &same, &reader].iter().all(|one| !one.is_linked().unwrap()));
    // Raw shared memory of this name is not the object.
    SharedMemory::unlink(&*name.0).unwrap();
    SharedMemory::create_new(&location, 4096).unwrap();
    assert!(!other.is_linked().unwrap() && !object.is_linked().unwrap());

    let anonymous = Shared::create_new(Location::anonymous(), make).unwrap();
    assert_eq!(anonymous.is_linked().unwrap_err().kind(), ErrorKind::Unsupported);
    if let Some(file) = anonymous.file() {
        let adopted = Shared::<Mutex<u8>>::from_descriptor(file).unwrap();
        assert_eq!(adopted.is_linked().unwrap_err().kind(), ErrorKind::Unsupported);
    }
}

/// `is_linked` follows renames, copies and links of an object's file.
#[test]
fn a_file_object_reports_whether_it_is_linked() {
    need_atomics!();
    let make = || Mutex::new(0_u8);
    let dir = common::TempDir::new();
    let (path, elsewhere) = (dir.join("object"), dir.join("elsewhere"));
    let object = Shared::create_new(Location::file(&path), make).unwrap();
    assert!(object.is_linked().unwrap());
    if let Err(error) = std::fs::rename(&path, &elsewhere) {
        common::skip!("this system renames no file that is mapped: {error}");
    }
    assert!(!object.is_linked().unwrap(), "nothing has the name");
    // A copy has the same id in its header, but is another object.
    std::fs::copy(&elsewhere, &path).unwrap();
    assert!(!object.is_linked().unwrap(), "a copy has the name");
    if cfg!(windows) {
        common::skip!("in part: a file keeps its name here until its last handle is closed");
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::rename(&elsewhere, &path).unwrap();
    assert!(object.is_linked().unwrap(), "it has its name again");
    #[cfg(unix)]
    {
        // Symbolic links are followed, as when an object is opened.
        std::os::unix::fs::symlink(&path, &elsewhere).unwrap();
        let same = Shared::<Mutex<u8>>::open(Location::file(&elsewhere)).unwrap();
        assert!(same.is_linked().unwrap());
        std::fs::remove_file(&elsewhere).unwrap();
        assert!(!same.is_linked().unwrap() && object.is_linked().unwrap());
    }
    std::fs::remove_dir_all(dir.path()).unwrap();
    assert!(!object.is_linked().unwrap(), "its directory is gone");
}
