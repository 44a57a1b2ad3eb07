//! Descriptors that the caller passes. A lock acquired through one lasts as long as the caller and
//! the mappings made from it keep it open, whatever else is mapped. A forked child must not reuse a
//! shared descriptor number that it did not inherit.
#![cfg(unix)]
#![allow(unsafe_code, reason = "locks files, and forks")]

mod common;

use std::any::Any;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use common::TempDir;
use sharemap::{FileContents, Mapping, SlidingWindow};

fn lock(file: &File) -> bool {
    // SAFETY: an open descriptor.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}

fn open(path: &Path) -> File {
    File::open(path).unwrap()
}

/// A lock lasts exactly as long as its file and the mappings of it. This is a single test, because
/// it depends on the number of descriptors that are open in the process.
#[test]
fn locks_of_given_files() {
    let dir = TempDir::new();
    let path = dir.file("a", vec![7; 1 << 20]);
    // A process with few open descriptors does not share them.
    let _many: Vec<_> = (0..10).map(|_| open(&path)).collect();
    a_lock_ends_with_the_file_and_its_mapping(&path);
    a_lock_lasts_as_long_as_the_mapping_of_its_file(&path);
    a_child_ignores_stale_descriptors(&dir, &path);
}

/// A child of `fork` ignores a shared descriptor that is closed there, or refers to another file.
/// The child's descriptors are copied before its memory, so one that another thread opens in
/// between exists there as a number only.
fn a_child_ignores_stale_descriptors(dir: &TempDir, path: &Path) {
    let other = dir.file("other", vec![9; 1 << 20]);
    let mapped = Mapping::open(path).unwrap();
    let number = mapped.file().unwrap().as_raw_fd();
    in_a_child(|| {
        // SAFETY: only the code under test uses the number from here on.
        assert_eq!(unsafe { libc::close(number) }, 0);
        assert_eq!(Mapping::open(path).unwrap().bytes().get(0).unwrap(), 7);
    });
    in_a_child(|| {
        let other = open(&other);
        // SAFETY: only the code under test uses the number from here on.
        assert_eq!(unsafe { libc::dup2(other.as_raw_fd(), number) }, number);
        assert_eq!(Mapping::open(path).unwrap().bytes().get(0).unwrap(), 7);
    });
}

#[track_caller]
fn in_a_child(body: impl FnOnce()) {
    // SAFETY: the child has only this thread, and exits here.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            libc::alarm(60);
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            libc::_exit(ended.is_err().into());
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        assert_eq!(status, 0, "how the child ended");
    }
}

/// The lock ends with its file and the mapping of it, even while the file stays mapped through
/// other descriptors.
fn a_lock_ends_with_the_file_and_its_mapping(path: &Path) {
    type Map = fn(&File) -> Box<dyn Any>;
    let maps: [Map; 3] = [
        |file| Box::new(Mapping::map(file).unwrap()),
        |file| Box::new(SlidingWindow::map(file, 4096).unwrap()),
        |file| Box::new(FileContents::from_file(file).unwrap()),
    ];
    for map in maps {
        let file = open(path);
        assert!(lock(&file));
        let mapped = map(&file);
        let others = (Mapping::open(path).unwrap(), maps.map(|map| map(&open(path))));
        drop((mapped, file));
        assert!(lock(&open(path)), "another mapping keeps the lock");
        drop(others);
    }
}

/// The lock lasts until its mapping ends, even if the file was already mapped through other
/// descriptors.
fn a_lock_lasts_as_long_as_the_mapping_of_its_file(path: &Path) {
    let _others = (Mapping::open(path).unwrap(), Mapping::map(open(path)).unwrap());
    let file = open(path);
    assert!(lock(&file));
    let mapped = Mapping::map(file).unwrap();
    assert!(!lock(&open(path)), "the lock is lost");
    drop(mapped);
    assert!(lock(&open(path)));
}
