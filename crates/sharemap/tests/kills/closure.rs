//! Kills in an operation, kills in the recovery from them, and so on until nothing new appears.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use super::beside::Beside;
use super::common::TempDir;
use super::plant::Plant;
use super::stores::{End, Image, Mask, Watch};
use super::tracee::mark;

/// States after which a search has no end.
const MOST: usize = 1_000_000;

/// One operation on one object, and what a survivor has to be able to do.
pub struct Scenario<'a> {
    /// Makes the object, if the operation does not make it itself.
    pub prepare: &'a dyn Fn(&Path),
    /// A process that lives beside the one that is killed; see [`Beside`].
    pub beside: Option<&'a dyn Fn(&Path)>,
    /// Ends with the operation that is killed; calls [`mark`] where that begins.
    pub operate: &'a dyn Fn(&Path),
    /// Finds the object as a kill left it; panics if anything is lost, or cannot go on.
    pub survive: &'a dyn Fn(&Path),
    pub mask: Mask,
    pub plant: Option<Plant>,
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

/// Stops at which an operation is killed while others live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kills {
    /// Those after which the object looks as it did not before.
    NewStates,
    Every,
}

impl Scenario<'_> {
    /// Runs the operation once, then the survivor on a copy of every state that comes up, each run
    /// adding those states that a kill of the survivor leaves.
    pub fn close(&self) -> Closure {
        let (_dir, object) = place_for_it();
        let (mut met, mut open) = (HashSet::new(), VecDeque::new());
        let mut closure = Closure { images: 0, stops: 0, closed: false, failure: None };
        (self.prepare)(&object);
        let mut watch = self.watch(&object, &mut met);
        let end = self.operate(&object, &mut watch, |image, _| open.push_back(image));
        closure.stops = watch.stops;
        if let Err(reason) = end {
            closure.failure = Some((None, format!("without a kill: {reason}")));
            return closure;
        }
        while let Some(image) = open.pop_front() {
            if closure.images == self.at_most {
                return closure;
            }
            closure.images += 1;
            assert!(closure.images <= MOST, "no end to it: something grows, and is not masked");
            place(&object, &image);
            let mut watch = self.watch(&object, &mut met);
            let survivor = || {
                mark();
                (self.survive)(&object);
            };
            let alone = &mut Beside::new(None);
            let end = watch.run(survivor, alone, |image, _| open.push_back(image));
            closure.stops += watch.stops;
            if let End::Badly(reason) = end {
                closure.failure = Some((image, reason));
                return closure;
            }
        }
        closure.closed = true;
        closure
    }

    /// Kills the operation for real, once at each stop; then `after`, and the process beside, go on
    /// with the object that they have.
    ///
    /// # Errors
    /// At which stop the kill was, and what did not go on.
    pub fn kill(&self, kills: Kills, after: impl Fn(&Path)) -> Result<usize, String> {
        let (_dir, object) = place_for_it();
        let (mut met, mut stops) = (HashSet::new(), Vec::new());
        (self.prepare)(&object);
        let mut watch = self.watch(&object, &mut met);
        let end = self.operate(&object, &mut watch, |_, stop| stops.push(stop));
        end.map_err(|reason| format!("without a kill: {reason}"))?;
        if kills == Kills::Every {
            stops = (0..=watch.stops).collect();
        }
        after(&object);
        for &stop in &stops {
            let _ = fs::remove_file(&object);
            (self.prepare)(&object);
            let mut met = HashSet::new();
            let mut watch = self.watch(&object, &mut met);
            watch.kill_at = Some(stop);
            self.operate(&object, &mut watch, |_, _| ())
                .map_err(|reason| format!("killed at stop {stop}: {reason}"))?;
            after(&object);
        }
        Ok(stops.len())
    }

    fn watch<'a>(&self, object: &Path, met: &'a mut HashSet<Image>) -> Watch<'a> {
        let mut watch = Watch::new(object, self.mask, met);
        watch.plant = self.plant;
        watch
    }

    /// Runs the operation, and whoever is beside it to its end.
    fn operate(
        &self,
        object: &Path,
        watch: &mut Watch<'_>,
        found: impl FnMut(Image, usize),
    ) -> Result<(), String> {
        let work = self.beside.map(|work| move || work(object));
        let mut beside = Beside::new(work.as_ref().map(|work| work as &dyn Fn()));
        if let End::Badly(reason) = watch.run(|| (self.operate)(object), &mut beside, found) {
            return Err(reason);
        }
        beside.finish()
    }
}

fn place_for_it() -> (TempDir, PathBuf) {
    let dir = TempDir::new();
    let object = dir.path().canonicalize().unwrap().join("object");
    (dir, object)
}

/// A new file each time: nobody who is dead has it open.
fn place(object: &Path, image: &Image) {
    let _ = fs::remove_file(object);
    if let Some(bytes) = image {
        fs::write(object, bytes).unwrap();
    }
}
