//! One operation of a segment, as it is killed: the state before, the change, and what a survivor
//! must find.

use std::path::Path;

use sharemap::{Segment, SegmentStats};

use crate::closure::Scenario;
use crate::common::TempDir;
use crate::contents::Contents;
use crate::exercise::exercise;
use crate::image::Image;
use crate::open::Order;
use crate::plant::Plant;
use crate::small::{TABLES, open};
use crate::tracee::mark;

/// The beginning of the part of an operation that is killed.
#[derive(Clone, Copy)]
pub enum Begin {
    /// Before the segment is opened.
    Opening,
    /// After the segment is opened and this has run, which changes no object.
    After(fn(&Segment)),
}

/// The end of that part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// After the change.
    Changed,
    /// After the process has detached from the segment.
    Detaches,
    /// After the only thread has ended, while the segment is open.
    EndsThread,
}

/// An operation of a segment.
#[derive(Clone, Copy)]
pub struct Operation {
    pub name: &'static str,
    /// Creates the segment as it is before.
    prepare: fn(&Path),
    begin: Begin,
    change: fn(&Segment),
    end: End,
    /// Takes the change back, if it has been made.
    undo: Option<fn(&Segment)>,
    /// Whether the counts before and after the change show that the intended thing happened.
    shows: fn(&SegmentStats, &SegmentStats) -> bool,
    /// The least number of states that the operation without kills must go through.
    pub states: usize,
}

/// The segment before an operation, and what it contains before and after.
pub struct Prepared<'a> {
    operation: &'a Operation,
    image: Image,
    before: Contents,
    after: Contents,
}

impl Operation {
    /// An operation of a thread that has a lane and its area already.
    pub const fn new(name: &'static str, prepare: fn(&Path), change: fn(&Segment)) -> Self {
        Self {
            name,
            prepare,
            begin: Begin::After(claim_lane),
            change,
            undo: None,
            end: End::Changed,
            shows: |_, _| true,
            states: 5,
        }
    }

    pub const fn beginning(self, begin: Begin) -> Self {
        Self { begin, ..self }
    }

    pub const fn undone_by(self, undo: fn(&Segment)) -> Self {
        Self { undo: Some(undo), ..self }
    }

    pub const fn ending(self, end: End) -> Self {
        Self { end, ..self }
    }

    pub const fn showing(self, shows: fn(&SegmentStats, &SegmentStats) -> bool) -> Self {
        Self { shows, ..self }
    }

    pub const fn in_states(self, states: usize) -> Self {
        Self { states, ..self }
    }

    /// Prepares the operation, and runs it once without kills.
    pub fn prepared(&self) -> Prepared<'_> {
        let dir = TempDir::new();
        let path = dir.join("segment");
        (self.prepare)(&path);
        let image = Image::read(&path, |page| TABLES.mask(page)).unwrap();
        let segment = open(&path);
        let before = Contents::of(&segment);
        self.begin(&segment);
        let stats = segment.stats().unwrap();
        (self.change)(&segment);
        let after = segment.stats().unwrap();
        assert!((self.shows)(&stats, &after), "{}: {stats:#?} {after:#?}", self.name);
        Prepared { operation: self, image, before, after: Contents::of(&segment) }
    }

    fn begin(&self, segment: &Segment) {
        if let Begin::After(begin) = self.begin {
            begin(segment);
        }
    }

    fn operate(&self, path: &Path) {
        if let Begin::Opening = self.begin {
            mark();
        }
        let segment = open(path);
        if let Begin::After(_) = self.begin {
            self.begin(&segment);
            mark();
        }
        (self.change)(&segment);
        match self.end {
            End::Changed => mark(),
            End::Detaches => drop(segment),
            End::EndsThread => {
                std::mem::forget(segment);
                end_thread();
            }
        }
    }
}

impl Prepared<'_> {
    /// Calls `judge` with the operation as a scenario.
    pub fn alone<R>(
        &self,
        plant: Option<Plant>,
        (at_most, order): (usize, Order),
        judge: impl FnOnce(&Scenario<'_>) -> R,
    ) -> R {
        judge(&Scenario {
            prepare: &|path| self.image.place(path),
            beside: None,
            operate: &|path| self.operation.operate(path),
            survive: &|path| self.survive(path),
            mask: |page| TABLES.mask(page),
            plant,
            at_most,
            order,
        })
    }

    /// Calls `judge` with the operation as a scenario beside a process that lives.
    pub fn beside<R>(&self, plant: Option<Plant>, judge: impl FnOnce(&Scenario<'_>) -> R) -> R {
        let beside = |path: &Path| self.live_beside(path);
        self.alone(plant, (0, Order::Oldest), |alone| {
            judge(&Scenario { beside: Some(&beside), ..*alone })
        })
    }

    fn survive(&self, path: &Path) {
        let segment = open(path);
        segment.repair().unwrap();
        mark();
        self.verify(&segment);
    }

    /// Lives beside the operation. When that has been killed, goes on with the segment that it has
    /// open. No call recovers the dead process but those that need what it holds.
    fn live_beside(&self, path: &Path) {
        let segment = open(path);
        claim_lane(&segment);
        mark();
        if let Some(undo) = self.operation.undo {
            undo(&segment);
        }
        exercise(&segment);
        segment.repair().unwrap();
        self.verify(&segment);
    }

    /// Asserts that the segment is whole, with nothing lost and nothing leaked, and contains what it
    /// did before the operation or after it. Completes the operation, and does more.
    fn verify(&self, segment: &Segment) {
        let Self { before, after, .. } = self;
        let found = Contents::of(segment);
        if found == *before {
            (self.operation.change)(segment);
        } else if found != *after {
            let (old, new) = (found.difference(before), found.difference(after));
            panic!("neither as before: {old}; nor as after: {new}");
        }
        let found = Contents::of(segment);
        assert!(found == *after, "completed: {}", found.difference(after));
        exercise(segment);
        let found = Contents::of(segment);
        assert!(found == *after, "exercised: {}", found.difference(after));
    }
}

/// Claims a lane for this thread, with an area of its own.
fn claim_lane(segment: &Segment) {
    segment.repair().unwrap();
}

/// Runs what the end of this thread runs, which is the only one of the process, and ends the process.
#[allow(unsafe_code, reason = "ends the process in C")]
fn end_thread() {
    // SAFETY: no other thread exists. The destructors of this thread's variables come first.
    unsafe { libc::exit(0) };
}
