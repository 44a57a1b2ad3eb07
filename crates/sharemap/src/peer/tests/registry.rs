//! Tests of the registry: all openings of an object by this process share one session.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Scratch, has_readers, need_atomics, release, shape};
use crate::error::{ErrorKind, Result};
use crate::peer::header::{CLEAN, Header};
use crate::peer::memory::{Attachment, Memory};
use crate::peer::registry::{self, Key};
use crate::peer::{OpenOptions, Opening, PowerCuts, create};
use crate::sys::testing::fork;

/// The values of the clean flag while a process is attached: known to be on the disk, or not.
const KNOWN: u32 = 0;
const USED: u32 = 2;

fn make(file: &Scratch) -> Arc<Opening> {
    let (fill, terms) = (&mut |_: &Memory, _: &Header| Ok(()), OpenOptions::default());
    create::create_new(&file.location(), &shape(), &terms, release, fill).unwrap()
}

fn open_with(file: &Scratch, terms: &OpenOptions) -> Result<Arc<Opening>> {
    create::open(&file.location(), &shape(), terms, release)
}

fn open(file: &Scratch) -> Arc<Opening> {
    open_with(file, &OpenOptions::default()).unwrap()
}

#[test]
fn openings_share_a_session_while_one_is_left() {
    need_atomics!();
    let file = Scratch::new();
    let one = make(&file);
    let two = open(&file);
    assert!(Arc::ptr_eq(one.session(), two.session()));
    let adopted =
        create::from_descriptor(one.file().unwrap(), &shape(), &OpenOptions::default(), release)
            .unwrap();
    assert!(Arc::ptr_eq(one.session(), adopted.session()));
    let apart = open_with(&file, &OpenOptions::separate()).unwrap();
    assert!(!Arc::ptr_eq(one.session(), apart.session()));
    assert_eq!(one.participants().unwrap().len(), 2);
    drop((one, adopted, apart));
    let three = open(&file);
    assert!(Arc::ptr_eq(two.session(), three.session()));
    assert_eq!(two.participants().unwrap().len(), 1);
    let before = two.session().key;
    drop((two, three));
    let four = open(&file);
    assert_ne!(four.session().key, before);
    assert_eq!(four.participants().unwrap().len(), 1);
}

#[test]
fn each_kind_of_attachment_has_its_own_session() {
    need_atomics!();
    let file = Scratch::new();
    let one = make(&file);
    let look = |attachment| {
        let terms = OpenOptions::default();
        create::open_as(&file.location(), &shape(), &terms, attachment, release).unwrap()
    };
    let (first, second) = (look(Attachment::ReadOnly), look(Attachment::ReadOnly));
    assert!(Arc::ptr_eq(first.session(), second.session()));
    assert!(!Arc::ptr_eq(first.session(), one.session()));
    let (mine, yours) = (look(Attachment::CopyOnWrite), look(Attachment::CopyOnWrite));
    assert!(!Arc::ptr_eq(mine.session(), yours.session()));
}

#[test]
fn a_later_opening_can_request_that_unclean_ends_be_detected() {
    need_atomics!();
    let file = Scratch::new();
    let one = make(&file);
    let mark = || one.memory().load::<u32>(CLEAN).unwrap();
    assert_eq!(mark(), USED);
    let told = OpenOptions { power_cuts: PowerCuts::Told, ..OpenOptions::default() };
    let two = open_with(&file, &told).unwrap();
    assert!(Arc::ptr_eq(one.session(), two.session()));
    assert_eq!(mark(), KNOWN, "the flag is on the disk");
    drop(open(&file));
    assert_eq!(one.session().power_cuts(), PowerCuts::Told, "the request lasts");

    // If the flag cannot be flushed, each attempt fails.
    one.memory().store(CLEAN, USED).unwrap();
    one.memory().fail_flushes();
    for _ in 0..2 {
        assert_eq!(open_with(&file, &told).unwrap_err().kind(), ErrorKind::FlushFailed);
    }
    assert_eq!(mark(), USED);
    drop((one, two));
    let memory = super::memory_of(&file.0);
    assert_ne!(memory.load::<u32>(CLEAN).unwrap(), 1, "the object is not marked clean");
}

/// An opening waits for another thread that attaches or detaches, for at most its `open_timeout`.
#[test]
fn an_opening_waits_for_another_thread_until_its_timeout() {
    need_atomics!();
    let file = Scratch::new();
    drop(make(&file));
    let key = key(&file);
    let registry::Entry::Turn(turn) = registry::enter(key, Duration::ZERO).unwrap() else {
        panic!("no session is open")
    };
    let open_timeout = Duration::from_millis(20);
    let (start, terms) = (Instant::now(), OpenOptions { open_timeout, ..OpenOptions::default() });
    assert_eq!(open_with(&file, &terms).unwrap_err().kind(), ErrorKind::Busy);
    assert!(start.elapsed() >= open_timeout);
    drop(turn);
    drop(open_with(&file, &terms).unwrap());
}

/// Returns the key of the object in the registry.
pub(super) fn key(file: &Scratch) -> Key {
    let identity = crate::sys::pass::identity(&File::open(&file.0).unwrap()).unwrap();
    let as_participant = Attachment::Participant;
    Key::of_file(identity, as_participant).unwrap_or_else(|| {
        let look = crate::peer::ObjectObserver::open(&file.location()).unwrap();
        Key::of_object(identity, look.facts().unwrap().id, as_participant)
    })
}

/// The child is forked while threads of its parent attach and detach.
#[test]
fn a_child_does_not_wait_for_threads_of_its_parent() {
    need_atomics!();
    let file = Scratch::new();
    drop(make(&file));
    let child = registry::in_the_middle(key(&file), || {
        fork(|| {
            let one = open(&file);
            let two = open(&file);
            assert!(Arc::ptr_eq(one.session(), two.session()));
            assert_eq!(one.participants().unwrap().len(), 1);
        })
    });
    match child {
        Some(child) => assert!(child.passed()),
        None => eprintln!("skipped: this system has no fork"),
    }
}

/// A child inherits its parent's session, and attaches as a participant of its own.
#[test]
fn a_child_finds_the_session_of_its_parent() {
    need_atomics!();
    let file = Scratch::new();
    let one = make(&file);
    let child = fork(|| {
        let two = open(&file);
        assert!(Arc::ptr_eq(one.session(), two.session()));
        assert_eq!(two.participants().unwrap().len(), 2);
        let look = || {
            let (terms, read) = (OpenOptions::default(), Attachment::ReadOnly);
            create::open_as(&file.location(), &shape(), &terms, read, release).unwrap()
        };
        let look = look();
        assert!(has_readers(&look));
    });
    match child {
        Some(child) => assert!(child.passed()),
        None => eprintln!("skipped: this system has no fork"),
    }
    // A read-only attachment keeps the object in use, but its copy in a child does not.
    let (terms, read) = (OpenOptions::default(), Attachment::ReadOnly);
    let look = create::open_as(&file.location(), &shape(), &terms, read, release).unwrap();
    let child = fork(|| {
        let again = create::open_as(&file.location(), &shape(), &terms, read, release);
        assert!(!Arc::ptr_eq(look.session(), again.unwrap().session()));
    });
    assert!(child.is_none_or(|child| child.passed()));
}
