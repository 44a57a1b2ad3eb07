//! Searches, random walks, and their reports.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::state::Process;
use super::{Event, Setup};
use crate::testing::leaves_out_searches;

/// A hasher that returns the low half of a fingerprint, which is a hash already.
#[derive(Default)]
struct Low(u64);

impl Hasher for Low {
    fn write(&mut self, bytes: &[u8]) {
        let low = bytes.first_chunk().expect("fingerprints are longer");
        self.0 = u64::from_ne_bytes(*low);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Known = HashMap<u128, u32, BuildHasherDefault<Low>>;

impl Setup {
    /// Returns the operations of the events that led to a failure, one a line.
    fn story(&self, events: &[Event]) -> String {
        let mut trace = Some(Vec::new());
        let mut state = self.initial();
        for &event in events {
            let (next, _, violation) = self.apply(&state, event, &mut trace);
            state = next;
            if let Some(violation) = violation {
                trace.get_or_insert_default().push(format!("=> {violation}"));
            }
        }
        trace.unwrap_or_default().join("\n")
    }

    /// Visits every reachable state, until more than `most` are known. Fails with the first violation.
    fn search(&self, most: usize) -> Result<Searched, Failure> {
        const NONE: u32 = u32::MAX;
        let initial = self.initial();
        let mut known = Known::default();
        known.insert(initial.fingerprint(), 0);
        // The predecessor of each state, and the event that reached it first.
        let mut origins = vec![(NONE, Event::Timeouts)];
        let mut edges: Vec<(u32, u32)> = Vec::new();
        let mut ends = Vec::new();
        let mut stack = vec![(0_u32, initial)];
        let path = |origins: &[(u32, Event)], mut at: u32, last: Option<Event>| {
            let mut events: Vec<Event> = last.into_iter().collect();
            while at != 0 {
                let (before, event) = origins[at as usize];
                events.push(event);
                at = before;
            }
            events.reverse();
            events
        };
        while let Some((id, state)) = stack.pop() {
            let events = self.events(&state);
            if self.is_end(&state) {
                ends.push(id);
                if let Err(what) = (self.last)(&state) {
                    let story = self.story(&path(&origins, id, None));
                    return Err(Failure { what, story });
                }
            } else if events.is_empty() {
                let story = self.story(&path(&origins, id, None));
                return Err(Failure { what: "no event is possible".to_owned(), story });
            }
            for mut event in events {
                loop {
                    let (next, variants, violation) = self.apply(&state, event, &mut None);
                    if let Some(what) = violation {
                        let story = self.story(&path(&origins, id, Some(event)));
                        return Err(Failure { what, story });
                    }
                    let number = known.len() as u32;
                    let to = *known.entry(next.fingerprint()).or_insert(number);
                    edges.push((to, id));
                    if to == number {
                        origins.push((id, event));
                        stack.push((to, next));
                    }
                    match &mut event {
                        Event::Step { variant, .. } if usize::from(*variant) + 1 < variants => {
                            *variant += 1;
                        }
                        _ => break,
                    }
                }
            }
            if known.len() > most {
                return Ok(Searched { states: known.len(), complete: false });
            }
        }
        // Marks the states from which an end can be reached, from the ends backwards.
        edges.sort_unstable();
        let mut reaches = vec![false; known.len()];
        let mut front = ends;
        front.iter().for_each(|&end| reaches[end as usize] = true);
        while let Some(at) = front.pop() {
            let first = edges.partition_point(|&(to, _)| to < at);
            for &(_, from) in edges[first..].iter().take_while(|&&(to, _)| to == at) {
                if !reaches[from as usize] {
                    reaches[from as usize] = true;
                    front.push(from);
                }
            }
        }
        if let Some(stuck) = reaches.iter().position(|&reached| !reached) {
            let story = self.story(&path(&origins, stuck as u32, None));
            return Err(Failure { what: "no end can be reached from here".to_owned(), story });
        }
        Ok(Searched { states: known.len(), complete: true })
    }

    /// Runs the setup once, with random choices.
    fn walk(&self, seed: u64) -> Result<(), Failure> {
        let mut random = Random(seed);
        let mut state = self.initial();
        let mut path = Vec::new();
        while !self.is_end(&state) {
            let events = self.events(&state);
            // Deaths are rare, because a walk with many of them is short.
            let (deaths, lives): (Vec<_>, Vec<_>) =
                events.into_iter().partition(|event| matches!(event, Event::Kill { .. }));
            let choose = if lives.is_empty() || (!deaths.is_empty() && random.below(40) == 0) {
                &deaths
            } else {
                &lives
            };
            let fail = |what: String, path: &[Event]| {
                let what = format!("{what} (seed {seed})");
                Failure { what, story: self.story(path) }
            };
            if choose.is_empty() || path.len() > 20_000 {
                return Err(fail("no process finishes".to_owned(), &path));
            }
            let mut event = choose[random.below(choose.len())];
            let (mut next, variants, mut violation) = self.apply(&state, event, &mut None);
            if let (Event::Step { process, .. }, true) = (event, variants > 1) {
                event = Event::Step { process, variant: random.below(variants) as u8 };
                (next, _, violation) = self.apply(&state, event, &mut None);
            }
            path.push(event);
            if let Some(what) = violation {
                return Err(fail(what, &path));
            }
            state = next;
        }
        (self.last)(&state).map_err(|what| Failure {
            what: format!("{what} (seed {seed})"),
            story: self.story(&path),
        })
    }
}

/// The result of a search without a violation.
#[derive(Debug)]
struct Searched {
    states: usize,
    complete: bool,
}

/// A violation, and the operations that led to it.
struct Failure {
    what: String,
    story: String,
}

impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{}", self.what, self.story)
    }
}

/// A generator of numbers from a seed (the high bits of a linear congruential generator).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }
}

/// Returns `true` if the environment asks for the long form: `SHAREMAP_LONG=1`.
pub(crate) fn long() -> bool {
    std::env::var_os("SHAREMAP_LONG").is_some_and(|value| value == "1")
}

/// The largest number of states that a search of the short form visits.
const MOST: usize = 8_000;

/// The number of states that are searched for a planted fault before random walks begin.
const FOUND_WITHIN: usize = 40_000;

/// Searches a setup, which must have no violation: the first states in the short form, all in the long.
#[track_caller]
pub(crate) fn sound(name: &str, setup: &Setup) {
    if leaves_out_searches() {
        return;
    }
    let started = std::time::Instant::now();
    let (setup, most) = match long() {
        true => (setup.long(), usize::MAX),
        false => (setup.clone(), MOST),
    };
    let bound = setup.preemptions.map_or(String::new(), |most| format!(", {most} preemptions"));
    match setup.search(most) {
        Ok(searched) => println!(
            "{name}: {} states{}{bound}, {:.2} s",
            searched.states,
            if searched.complete { "" } else { " (and more)" },
            started.elapsed().as_secs_f64(),
        ),
        Err(failure) => panic!("{name}: {failure:?}"),
    }
}

/// Walks a setup at random, without a violation; twenty times as often in the long form.
#[track_caller]
pub(crate) fn walked(name: &str, setup: &Setup, walks: u64) {
    if leaves_out_searches() {
        return;
    }
    let started = std::time::Instant::now();
    let walks = if long() { walks * 20 } else { walks };
    for seed in 0..walks {
        if let Err(failure) = setup.walk(seed) {
            panic!("{name}: {failure:?}");
        }
    }
    println!("{name}: {walks} walks, {:.2} s", started.elapsed().as_secs_f64());
}

/// Visits every state of a setup, within its own bounds, which must have no violation; in the short form only the first
/// states.
#[track_caller]
pub(crate) fn complete(name: &str, setup: &Setup) {
    if leaves_out_searches() {
        return;
    }
    let started = std::time::Instant::now();
    let bound = setup.preemptions.map_or(String::new(), |most| format!(", {most} preemptions"));
    match setup.search(if long() { usize::MAX } else { MOST }) {
        Ok(Searched { states, complete }) => println!(
            "{name}: {} {states} states, with {} deaths, {} stores in a buffer{bound}, {:.2} s",
            if complete { "complete at" } else { "the first" },
            setup.kills,
            setup.buffer,
            started.elapsed().as_secs_f64(),
        ),
        Err(failure) => panic!("{name}: {failure:?}"),
    }
}

/// Searches a setup for its planted fault, and then walks at random, unless all states are known. Returns what was
/// found.
pub(crate) fn found(setup: &Setup) -> Option<String> {
    // A panic in the check of a final state is a finding as well.
    let search = catch_unwind(AssertUnwindSafe(|| setup.search(FOUND_WITHIN)));
    match search {
        Ok(Ok(Searched { complete: true, .. })) if setup.preemptions.is_none() => return None,
        Ok(Ok(_)) => {}
        Ok(Err(failure)) => return Some(failure.what),
        Err(_) => return Some("the check panics".to_owned()),
    }
    let free = setup.free();
    (0..5_000).find_map(|seed| free.walk(seed).err()).map(|failure| failure.what)
}

/// Searches a setup for its planted fault, and then walks at random. The fault must be found.
#[track_caller]
pub(crate) fn caught(name: &str, setup: &Setup) {
    if leaves_out_searches() {
        return;
    }
    let started = std::time::Instant::now();
    match found(setup) {
        Some(what) => println!("{name}: {what}, {:.2} s", started.elapsed().as_secs_f64()),
        None => panic!("{name}: not found"),
    }
}

/// A store that changes memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    /// The offset of the word of 8 bytes.
    pub(crate) at: u64,
    /// The word before and after.
    pub(crate) words: [u64; 2],
}

/// Runs one process of a setup without buffers, alone and to its end. Returns its stores that change memory.
pub(crate) fn stores_of(setup: &Setup, process: usize) -> Vec<Stored> {
    let (mut state, mut stores) = (setup.initial(), Vec::new());
    while !state.processes[process].done {
        let event = Event::Step { process: process as u8, variant: 0 };
        let (next, _, violation) = setup.apply(&state, event, &mut None);
        assert_eq!(violation, None);
        let Process { stores: number, stored, .. } = next.processes[process];
        if number != state.processes[process].stores {
            let at = stored & !7;
            let words = [&state, &next].map(|state| state.memory.load(at, 8));
            stores.push(Stored { at, words });
        }
        state = next;
    }
    stores
}
