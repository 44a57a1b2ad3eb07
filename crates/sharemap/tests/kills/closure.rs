//! Kills during an operation, kills during the recovery from them, and so on until no new state
//! appears.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::beside::Beside;
use super::common::TempDir;
use super::image::{Mask, State};
use super::open::{Open, Order};
use super::plant::Plant;
use super::stores::{End, Found, Watch};
use super::tracee::mark;

/// Skips the test where children cannot be traced.
macro_rules! traced_or_skip {
    () => {
        if !$crate::tracee::Tracee::is_allowed() {
            $crate::common::skip!("this process may not trace its children");
        }
        // Installs the fault handler in this process, so that the children inherit it.
        let _ = sharemap::guard::recovery();
    };
}

pub(crate) use traced_or_skip;

/// The number of states after which a search is considered endless.
const MOST: usize = 1_000_000;

/// An operation on one object, and what a survivor must be able to do.
pub struct Scenario<'a> {
    /// Creates the object, unless the operation itself creates it.
    pub prepare: &'a dyn Fn(&Path),
    /// The work of a living process beside the killed one; see [`Beside`].
    pub beside: Option<&'a dyn Fn(&Path)>,
    /// The operation that is killed. It calls [`mark`] where the kills begin, and is the last work
    /// of its process.
    pub operate: &'a dyn Fn(&Path),
    /// Uses the object as a kill left it. Panics if anything is lost or the survivor cannot make
    /// progress. It is killed as well, up to the place where it calls [`mark`], if it does.
    pub survive: &'a dyn Fn(&Path),
    pub mask: Mask,
    pub plant: Option<Plant>,
    /// The number of states to continue from, and in which order; the oldest are those of the fewest
    /// kills.
    pub at_most: usize,
    pub order: Order,
}

/// The result of a search.
#[derive(Debug, Default)]
pub struct Closure {
    /// The number of states that a kill leaves in the object, including kills of recoveries, from
    /// which the search continued.
    pub images: usize,
    /// The number of states that were found, and of those that kills of the operation itself leave.
    pub found: usize,
    pub of_operation: usize,
    /// The largest number of kills that led to one of the states.
    pub kills: usize,
    /// The number of stops in all runs, which are stores to the object and system calls.
    pub stops: usize,
    /// Whether the search continued from every state.
    pub closed: bool,
    /// The reason for which a survivor made no progress.
    pub failure: Option<String>,
}

impl Closure {
    /// Prints what was found since a time. Panics if a survivor made no progress, or the search ended before it had
    /// continued from all states or from `at_most`.
    pub fn say(&self, name: &str, since: Instant, at_most: usize) {
        let Self { images, found, of_operation, kills, stops, closed, failure } = self;
        let all = if *closed { "closed" } else { "and there are more" };
        let seconds = since.elapsed().as_secs_f64();
        eprintln!(
            "{name}: {images} states, {all}; {found} found, {of_operation} by a kill of the operation; \
             up to {kills} kills each; {stops} stops; {seconds:.2} s"
        );
        if let Some(reason) = failure {
            panic!("{name}: after {images} states: {reason}");
        }
        assert!(*closed || *images == at_most, "{name}: {self:?}");
    }
}

/// The stops at which an operation is killed while other processes live.
#[derive(Clone, Copy, Debug)]
pub enum Kills {
    /// The stops after which the object has a new state.
    NewStates,
    /// At most so many of these stops.
    Sample(usize, Order),
    Every,
}

impl Scenario<'_> {
    /// Runs the operation once, then the survivor on a copy of every state found. Each run adds the
    /// states that a kill of the survivor leaves.
    pub fn close(&self) -> Closure {
        let (_dir, object) = place_for_it();
        let (mut met, mut open) = (HashSet::new(), Open::new(self.order));
        let mut closure = Closure::default();
        (self.prepare)(&object);
        let mut watch = self.watch(&object, &mut met);
        let end = self.operate(&object, &mut watch, |found| open.add(found.page, (found, 1)));
        closure.stops = watch.stops;
        closure.of_operation = met.len();
        if let Err(reason) = end {
            closure.failure = Some(format!("without a kill: {reason}"));
            return closure;
        }
        while closure.images < self.at_most {
            let Some((Found { state, stop, page }, kills)) = open.next() else {
                closure.closed = true;
                break;
            };
            closure.images += 1;
            closure.kills = closure.kills.max(kills);
            assert!(closure.images <= MOST, "no end to it: something grows, and is not masked");
            place(&object, &state);
            let mut watch = self.watch(&object, &mut met);
            let survivor = || {
                mark();
                (self.survive)(&object);
            };
            let alone = &mut Beside::new(None);
            let end = watch.run(survivor, alone, |found| open.add(found.page, (found, kills + 1)));
            closure.stops += watch.stops;
            if let End::Badly(reason) = end {
                let at = format!("stop {stop} of process {kills}, in the page at {page:#x}");
                closure.failure = Some(format!("after a kill at {at}: {reason}"));
                break;
            }
        }
        closure.found = met.len();
        closure
    }

    /// Really kills the operation, once at each stop. Then `after` and the process beside must make
    /// progress with the object that they already have open.
    ///
    /// # Errors
    ///
    /// The stop of the kill, and the reason for which a process made no progress.
    pub fn kill(&self, kills: Kills, after: impl Fn(&Path)) -> Result<usize, String> {
        let (_dir, object) = place_for_it();
        let order = match kills {
            Kills::Sample(_, order) => order,
            Kills::NewStates | Kills::Every => Order::Oldest,
        };
        let (mut met, mut open) = (HashSet::new(), Open::new(order));
        (self.prepare)(&object);
        let mut watch = self.watch(&object, &mut met);
        let end = self.operate(&object, &mut watch, |found| open.add(found.page, found.stop));
        end.map_err(|reason| format!("without a kill: {reason}"))?;
        let new_states = std::iter::from_fn(|| open.next());
        let stops: Vec<usize> = match kills {
            Kills::NewStates => new_states.collect(),
            Kills::Sample(at_most, _) => new_states.take(at_most).collect(),
            Kills::Every => (0..=watch.stops).collect(),
        };
        after(&object);
        for &stop in &stops {
            let _ = fs::remove_file(&object);
            (self.prepare)(&object);
            let mut met = HashSet::new();
            let mut watch = self.watch(&object, &mut met);
            watch.kill_at = Some(stop);
            self.operate(&object, &mut watch, |_| ())
                .map_err(|reason| format!("killed at stop {stop}: {reason}"))?;
            after(&object);
        }
        Ok(stops.len())
    }

    fn watch<'a>(&self, object: &Path, met: &'a mut HashSet<u64>) -> Watch<'a> {
        let mut watch = Watch::new(object, self.mask, met);
        watch.plant = self.plant;
        watch
    }

    /// Runs the operation, then the process beside it to its end.
    fn operate(
        &self,
        object: &Path,
        watch: &mut Watch<'_>,
        found: impl FnMut(Found),
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

/// Brings the object to a state.
fn place(object: &Path, state: &State) {
    match state {
        Some(image) => image.place(object),
        None => drop(fs::remove_file(object)),
    }
}
