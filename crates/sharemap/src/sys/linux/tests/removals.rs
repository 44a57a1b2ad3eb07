//! Tests of removals: exactly the opened file is removed, even if names change meanwhile.

#![allow(unsafe_code, reason = "enters a user namespace")]

use std::cell::Cell;
use std::ffi::OsString;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::ErrorKind;
use crate::sys::linux::{directory, unlinked};
use crate::sys::posix::entry::Entry;
use crate::sys::posix::removal::{interrupted, remove};
use crate::sys::testing::fork;

/// A directory with a file. Dropping the value removes both.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sharemap-removals-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("object"), b"it").unwrap();
        Self(path)
    }

    fn object(&self) -> PathBuf {
        self.0.join("object")
    }

    fn entry(&self) -> Entry {
        Entry::open(&self.object()).unwrap().expect("no lease")
    }

    fn names(&self) -> Vec<OsString> {
        std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Returns a query that calls `then` the second time, after the move of the name and before its removal.
fn second_time(then: impl Fn() -> bool) -> impl Fn() -> bool {
    let asked = Cell::new(0);
    move || {
        asked.set(asked.get() + 1);
        if asked.get() == 2 { then() } else { true }
    }
}

#[test]
fn a_removal_leaves_nothing() {
    let scratch = Scratch::new();
    assert!(remove(&scratch.entry(), &|| true).unwrap());
    assert_eq!(scratch.names(), [""; 0]);
}

/// If a process waits to open the file, the file gets its name back.
#[test]
fn a_file_that_a_process_opens_is_moved_back() {
    let scratch = Scratch::new();
    let entry = scratch.entry();
    let there = Cell::new(true);
    let came = second_time(|| {
        there.set(scratch.object().exists());
        assert_eq!(interrupted(&scratch.0).unwrap().len(), 0, "the removal is in progress");
        false
    });
    assert!(!remove(&entry, &came).unwrap());
    assert!(!there.get(), "the file was not moved");
    assert_eq!(scratch.object().metadata().unwrap().ino(), entry.identity().1);
    assert_eq!(scratch.names(), ["object"]);
}

/// If a new file has the name, the old one is removed, and a waiting process finds the new one.
#[test]
fn a_new_object_keeps_the_name() {
    let scratch = Scratch::new();
    let came = second_time(|| {
        std::fs::write(scratch.object(), b"new").unwrap();
        false
    });
    assert!(remove(&scratch.entry(), &came).unwrap());
    assert_eq!(std::fs::read(scratch.object()).unwrap(), b"new");
    assert_eq!(scratch.names(), ["object"]);
}

#[test]
fn a_file_that_was_not_opened_stays() {
    let scratch = Scratch::new();
    let other = scratch.0.join("other");
    std::fs::write(&other, b"precious").unwrap();
    let error = remove(&scratch.entry(), &|| {
        std::fs::rename(&other, scratch.object()).unwrap();
        true
    });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(std::fs::read(scratch.object()).unwrap(), b"precious");
    assert_eq!(scratch.names(), ["object"]);
}

/// The directory is replaced by a link before the removal, which uses the directory that was opened.
#[test]
fn a_directory_is_looked_up_once() {
    let (scratch, victim) = (Scratch::new(), Scratch::new());
    let moved = scratch.0.with_extension("moved");
    let done = remove(
        &scratch.entry(),
        &second_time(|| {
            std::fs::rename(&scratch.0, &moved).unwrap();
            symlink(&victim.0, &scratch.0).unwrap();
            true
        }),
    );
    assert!(done.unwrap());
    assert_eq!(victim.names(), ["object"]);
    assert_eq!(std::fs::read_dir(&moved).unwrap().count(), 0);
    std::fs::remove_file(&scratch.0).unwrap();
    std::fs::rename(&moved, &scratch.0).unwrap();
}

/// A directory that only has the name of a private one keeps its files: another user may have
/// renamed it.
#[test]
fn other_directories_are_no_interrupted_removals() {
    let scratch = Scratch::new();
    let place = scratch.0.join(format!(".sharemap-gone-{:032x}", 1));
    std::fs::DirBuilder::new().mode(0o700).create(&place).unwrap();
    std::fs::write(place.join("secret"), b"it").unwrap();
    assert_eq!(interrupted(&scratch.0).unwrap().len(), 0);
    // An empty directory looks like that of a process that was killed before the move.
    std::fs::remove_file(place.join("secret")).unwrap();
    let [removal] = &interrupted(&scratch.0).unwrap()[..] else { panic!("not found") };
    removal.restore().unwrap();
    assert!(!place.exists());
}

/// A file that a killed process has moved is found and moved back.
#[test]
fn an_interrupted_removal_is_found_and_undone() {
    let scratch = Scratch::new();
    let child = fork(|| {
        let _ = remove(&scratch.entry(), &second_time(|| std::process::abort()));
    });
    assert!(!child.unwrap().passed());
    assert!(!scratch.object().exists(), "the file was not moved");
    let found = interrupted(&scratch.0).unwrap();
    let [removal] = &found[..] else { panic!("{found:?}") };
    assert_eq!(removal.names(), ["object"]);
    assert_eq!(interrupted(&scratch.0).unwrap().len(), 0, "`found` keeps it locked");

    std::fs::write(scratch.object(), b"new").unwrap();
    let error = removal.restore().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let place = removal.path().join("object");
    assert!(error.to_string().contains(place.to_str().unwrap()), "{error}");
    assert_eq!(std::fs::read(place).unwrap(), b"it");
    std::fs::remove_file(scratch.object()).unwrap();
    removal.restore().unwrap();
    assert_eq!(std::fs::read(scratch.object()).unwrap(), b"it");
    assert_eq!(scratch.names(), ["object"]);
}

#[test]
fn links_to_the_directory_are_followed_if_this_user_owns_them() {
    let scratch = Scratch::new();
    let deep = scratch.0.join("a/b");
    std::fs::create_dir_all(&deep).unwrap();
    symlink("a", scratch.0.join("relative")).unwrap();
    symlink(scratch.0.join("a"), scratch.0.join("absolute")).unwrap();
    symlink("round", scratch.0.join("round")).unwrap();
    let is_deep = |path: &Path| {
        let found = directory::open(path).map(|found| rustix::fs::fstat(found).unwrap().st_ino);
        found.map(|found| found == deep.metadata().unwrap().ino())
    };
    for way in ["a/b", "relative/b", "absolute/b", "relative/../absolute/./b"] {
        assert_eq!(is_deep(&scratch.0.join(way)), Ok(true), "{way}");
    }
    assert_eq!(is_deep(&scratch.0.join("round/b")), Err(rustix::io::Errno::LOOP));
    assert_eq!(is_deep(&scratch.0.join("object/b")), Err(rustix::io::Errno::NOTDIR));
    symlink("b", scratch.0.join("a/last")).unwrap();
    assert_eq!(is_deep(&scratch.0.join("a/last")), Err(rustix::io::Errno::LOOP));
    // In a new user namespace without a map, the links and this process belong to unknown users.
    let child = fork(|| {
        // SAFETY: the call takes a number; the child has one thread.
        if unsafe { libc::unshare(libc::CLONE_NEWUSER) } != 0 {
            eprintln!("skipped: no user namespaces: {}", std::io::Error::last_os_error());
            return;
        }
        for way in ["relative/b", "absolute/b"] {
            assert_eq!(is_deep(&scratch.0.join(way)), Err(rustix::io::Errno::LOOP), "{way}");
        }
        assert_eq!(is_deep(&scratch.0.join("a/b")), Ok(true));
    });
    assert!(child.unwrap().passed());
    match lchown(scratch.0.join("relative"), Some(1000), None) {
        Ok(()) => {
            let way = scratch.0.join("relative/b");
            assert_eq!(is_deep(&way), Err(rustix::io::Errno::LOOP));
        }
        Err(error) => eprintln!("skipped: only root can create a link of another user: {error}"),
    }
}

#[test]
fn drafts_are_recognized_by_their_names() {
    assert!(unlinked::is_hidden_name(&unlinked::hidden_name()));
    for name in ["", "1", "1-2", "1-2-", "1-2-3-4", "1-2-x", "1-2-+3", "x/1-2-3"] {
        assert!(!unlinked::is_hidden_name(&format!(".sharemap-new-{name}")), "{name}");
    }
}
