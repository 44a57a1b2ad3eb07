//! Kills in an operation, kills in the recovery from them, and so on until nothing new appears.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::path::Path;

use super::common::TempDir;
use super::stores::{End, Image, Mask, Watch};
use super::tracee::mark;

/// States after which a search has no end.
const MOST: usize = 100_000;

/// One operation on one object, and what a survivor has to be able to do.
pub struct Scenario<'a> {
    /// Makes the object, if the operation does not make it itself.
    pub prepare: &'a dyn Fn(&Path),
    /// Ends with the operation that is killed; calls [`mark`] where that begins.
    pub operate: &'a dyn Fn(&Path),
    /// Finds the object as a kill left it; panics if anything is lost, or cannot go on.
    pub survive: &'a dyn Fn(&Path),
    pub mask: Mask,
    /// States to go on from, those of the fewest kills first.
    pub at_most: usize,
}

/// What a search came to.
#[derive(Debug)]
pub struct Closure {
    /// States of the shared bytes that a kill leaves, the recoveries' included.
    pub images: usize,
    /// Stops of all runs: stores to the object, and system calls.
    pub stops: usize,
    /// Whether all states were gone on from.
    pub closed: bool,
    /// The first state from which a survivor did not go on, and why not.
    pub failure: Option<(Image, String)>,
}

impl Scenario<'_> {
    /// Runs the operation once, then the survivor on a copy of every state that comes up, each run
    /// adding those states that a kill of the survivor leaves.
    pub fn close(&self) -> Closure {
        let dir = TempDir::new();
        let object = dir.path().canonicalize().unwrap().join("object");
        (self.prepare)(&object);
        let mut met = HashSet::new();
        let mut open = VecDeque::new();
        let mut watch = Watch::new(&object, self.mask, &mut met);
        let end = watch.run(|| (self.operate)(&object), |image| open.push_back(image));
        let mut stops = watch.stops;
        assert_eq!(end, End::Well, "the operation without a kill");
        let mut images = 0;
        while let Some(image) = open.pop_front() {
            if images == self.at_most {
                return Closure { images, stops, closed: false, failure: None };
            }
            images += 1;
            assert!(images <= MOST, "there is no end to it: something grows, and is not masked");
            place(&object, &image);
            let mut watch = Watch::new(&object, self.mask, &mut met);
            let survivor = || {
                mark();
                (self.survive)(&object);
            };
            let end = watch.run(survivor, |image| open.push_back(image));
            stops += watch.stops;
            if let End::Badly(reason) = end {
                return Closure { images, stops, closed: false, failure: Some((image, reason)) };
            }
        }
        Closure { images, stops, closed: true, failure: None }
    }
}

/// A new file each time: nobody who is dead has it open.
fn place(object: &Path, image: &Image) {
    let _ = fs::remove_file(object);
    if let Some(bytes) = image {
        fs::write(object, bytes).unwrap();
    }
}
