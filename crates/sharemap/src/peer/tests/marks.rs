//! The mark that tells whether an object was left clean, as participants attach and detach.

use std::sync::Arc;

use super::{Scratch, is_free, memory_of, need_atomics, release, shape};
use crate::error::ErrorKind;
use crate::peer::header::CLEAN;
use crate::peer::header::FIRST;
use crate::peer::session::Session;
use crate::peer::{OpenOptions, PowerCuts, create};

/// The mark while a participant is attached: the disk does not have "clean", or may still have it.
const KNOWN: u32 = 0;
const USED: u32 = 2;

fn attach(file: &Scratch, power_cuts: PowerCuts) -> Arc<Session> {
    let terms = OpenOptions { power_cuts, ..OpenOptions::separate() };
    let opening = create::open(&file.location(), &shape(), &terms, release);
    Arc::clone(opening.unwrap().session())
}

#[test]
fn an_object_is_clean_while_no_participant_is_attached() {
    need_atomics!();
    let file = Scratch::new();
    let one = file.create();
    let memory = memory_of(&file.0);
    let mark = || memory.load::<u32>(CLEAN).unwrap();
    assert_eq!(mark(), USED);
    let two = file.open();
    drop(one);
    assert_eq!(mark(), USED);
    drop(two);
    assert_eq!(mark(), 1);
    let three = attach(&file, PowerCuts::Told);
    assert_eq!(mark(), KNOWN);
    drop(three);
    assert_eq!(mark(), 1);
}

/// An attacher that must detect power cuts flushes the mark, unless another has done so and the object
/// was in use ever since. An attacher that need not detect them does not flush.
#[test]
fn attachers_flush_the_mark_until_the_disk_has_it() {
    need_atomics!();
    let file = Scratch::new();
    let one = file.create();
    let mark = || one.memory.load::<u32>(CLEAN).unwrap();
    assert_eq!(mark(), USED);
    let two = attach(&file, PowerCuts::Told);
    assert_eq!(mark(), KNOWN);
    let three = attach(&file, PowerCuts::Overlooked);
    assert_eq!(mark(), KNOWN);
    drop((two, three));
    assert_eq!(mark(), KNOWN, "one participant is still attached");
    // The mark of a leaver that found this participant attached.
    one.memory.store(CLEAN, 3 + 7u32).unwrap();
    drop(attach(&file, PowerCuts::Overlooked));
    assert_eq!(mark(), USED);
}

#[test]
fn attaching_fails_if_the_mark_cannot_be_flushed() {
    need_atomics!();
    let file = Scratch::new();
    drop(file.create());
    let session = attach(&file, PowerCuts::Told);
    session.detach();
    session.memory.fail_flushes();
    assert_eq!(session.participant().unwrap_err().kind(), ErrorKind::FlushFailed);
    assert_eq!(session.own.participant(), None);
    assert_eq!(session.participants().unwrap(), []);
    assert!(is_free(&session, FIRST));
    assert_eq!(session.memory.load::<u32>(CLEAN).unwrap(), USED, "the disk may have any mark");
    let another = file.open();
    assert_eq!(another.own.participant(), Some(0));
    drop(another);
    assert_eq!(session.memory.load::<u32>(CLEAN).unwrap(), 1);
}
