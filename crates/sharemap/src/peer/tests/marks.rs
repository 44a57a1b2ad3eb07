//! The mark that tells whether an object was left in order, by those who come and go.

use std::sync::Arc;

use super::{Scratch, memory_of, need_atomics, release, shape};
use crate::error::ErrorKind;
use crate::peer::header::CLEAN;
use crate::peer::session::{FIRST, Session};
use crate::peer::{OpenOptions, PowerCuts, create};

/// What the mark is while somebody is attached, and the disk knows of it or may not.
const KNOWN: u32 = 0;
const USED: u32 = 2;

fn attach(file: &Scratch, power_cuts: PowerCuts) -> Arc<Session> {
    let terms = OpenOptions { power_cuts, ..OpenOptions::separate() };
    let opening = create::open(&file.location(), &shape(), &terms, release);
    Arc::clone(opening.unwrap().session())
}

#[test]
fn clean_is_what_nobody_uses() {
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

/// Whoever asks that power cuts be told waits for the disk unless it is known to have the mark: not
/// so if another waits for it at the moment, or never did.
#[test]
fn the_disk_is_waited_for_by_all_who_come_before_it_knows() {
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
    assert_eq!(mark(), KNOWN, "one is still there");
    // What one who left was too late with.
    one.memory.store(CLEAN, 3 + 7u32).unwrap();
    drop(attach(&file, PowerCuts::Overlooked));
    assert_eq!(mark(), USED);
}

#[test]
fn who_cannot_tell_the_disk_is_not_attached() {
    need_atomics!();
    let file = Scratch::new();
    drop(file.create());
    let session = attach(&file, PowerCuts::Told);
    session.detach();
    session.memory.fail_flushes();
    assert_eq!(session.participant().unwrap_err().kind(), ErrorKind::FlushFailed);
    assert_eq!(session.own.participant(), None);
    assert_eq!(session.participants().unwrap(), []);
    assert!(session.slots.is_free(FIRST).unwrap());
    assert_eq!(session.memory.load::<u32>(CLEAN).unwrap(), USED, "the disk may have anything");
    let another = file.open();
    assert_eq!(another.own.participant(), Some(0));
    drop(another);
    assert_eq!(session.memory.load::<u32>(CLEAN).unwrap(), 1);
}
