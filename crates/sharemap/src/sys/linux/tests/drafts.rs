//! Drafts under hidden names, as on file systems that have no unnamed files.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::sys::linux::unlinked::{Draft, hidden_name};

struct Directory(PathBuf, OwnedFd);

impl Directory {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sharemap-{test}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        let opened = File::open(&path).unwrap();
        Self(path, opened.into())
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_draft_gets_its_name_in_one_step() {
    let directory = Directory::new("named-draft");
    let draft = Draft::hidden(&directory.1).unwrap();
    let [hidden] = directory.names().try_into().unwrap();
    assert!(hidden.starts_with('.'), "{hidden}");
    draft.appear("a").unwrap();
    assert_eq!(directory.names(), ["a"], "the file has one name");

    fs::write(directory.0.join("a"), "kept").unwrap();
    let refused = Draft::hidden(&directory.1).unwrap().appear("a");
    assert_eq!(refused.unwrap_err(), Errno::EXIST);
    assert_eq!(directory.names(), ["a"], "the refused draft is removed");
    assert_eq!(fs::read(directory.0.join("a")).unwrap(), b"kept");

    drop(Draft::hidden(&directory.1).unwrap());
    assert_eq!(directory.names(), ["a"]);
}

/// A killed creator leaves its draft, and the kernel releases the lock on it.
#[test]
fn drafts_of_dead_creators_are_removed_by_the_next() {
    let directory = Directory::new("dead-draft");
    let dead = directory.0.join(hidden_name());
    fs::write(&dead, "half").unwrap();
    let living = Draft::hidden(&directory.1).unwrap();
    assert!(!dead.exists());
    let next = Draft::hidden(&directory.1).unwrap();
    assert_eq!(directory.names().len(), 2, "the draft of a living creator is kept");
    next.appear("next").unwrap();
    living.appear("living").unwrap();
    let mut names = directory.names();
    names.sort();
    assert_eq!(names, ["living", "next"]);
}
