//! A counter that several processes increment at once.

use std::path::Path;
use std::time::{Duration, Instant};

use sharemap::{Location, Mutex, Shared};

use crate::figure::{Figure, Setup};
use crate::measure::Contest;
use crate::peers::boost;
use crate::peers::count::{OURS, PTHREAD, SEMAPHORE};
use crate::peers::pthread::{self, CountingSemaphore, Robust};
use crate::peers::served::Served;
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};
use crate::samples::TemporaryPath;

const TWO: &str = "a counter of 2 processes";
const TWO_BUSY: &str = "a counter of 2 processes, 0.1 us under the lock";
const MANY: &str = "a counter of 6 processes";

pub const FIGURES: &[Figure] = &[
    Figure { name: TWO, run: |setup| count(setup, TWO, 2, 0) },
    Figure { name: TWO_BUSY, run: |setup| count(setup, TWO_BUSY, 2, 100) },
    Figure { name: MANY, run: |setup| count(setup, MANY, 6, 0) },
];

/// The number of increments by each process in a sample.
const REPEATS: u64 = 100_000;

/// Several processes that increment one counter.
struct Counters(Vec<Served>);

impl Counters {
    fn start(peer: &str, path: &Path, processes: u64, pause: u64) -> Result<Self, Reason> {
        let start = |_| Served::start_counting(peer, path, pause);
        (0..processes).map(start).collect::<Result<_, _>>().map(Self)
    }

    /// Runs all processes and returns the time from the first start to the last end.
    fn run(&mut self, repeats: u64) -> Result<Duration, Reason> {
        let start = Instant::now();
        self.0.iter_mut().try_for_each(|counter| counter.ask(repeats))?;
        self.0.iter_mut().try_for_each(|counter| counter.answer().map(drop))?;
        Ok(start.elapsed())
    }
}

fn count(setup: &Setup, figure: &str, processes: u64, pause: u64) -> Result<Vec<Row>, Reason> {
    setup.cpus.unpin().map_err(why)?;
    let paths = ["ours", "shared", "robust", "semaphore", "boost"].map(TemporaryPath::in_memory);
    let ours = Shared::create_new(Location::file(&*paths[0]), || Mutex::new(0_u64)).map_err(why)?;
    let _shared = pthread::Mutex::create(&paths[1], Robust::No)?;
    let _robust = pthread::Mutex::create(&paths[2], Robust::Yes)?;
    let _semaphore = CountingSemaphore::create(&paths[3])?;
    let start = |peer, path| Counters::start(peer, path, processes, pause);
    let mut sides = [
        start(OURS, &paths[0])?,
        start(PTHREAD, &paths[1])?,
        start(PTHREAD, &paths[2])?,
        start(SEMAPHORE, &paths[3])?,
    ];
    let boost = boost::make(&paths[4]).and_then(|()| {
        let start = |_| boost::start_counting(&paths[4], pause);
        (0..processes).map(start).collect::<Result<_, _>>().map(Counters)
    });
    let missing = boost.as_ref().err().cloned();
    let [a, b, c, d] = &mut sides;
    let mut contest = Contest::new()
        .repeats(REPEATS)
        .timed_side("Mutex", |repeats| a.run(repeats))
        .timed_side("pthread, shared", |repeats| b.run(repeats))
        .timed_side("pthread, shared, robust", |repeats| c.run(repeats))
        .timed_side("sem_t, shared", |repeats| d.run(repeats));
    if let Ok(mut boost) = boost {
        contest = contest.timed_side("Boost interprocess_mutex", move |repeats| boost.run(repeats));
    }
    let outcome = contest.run(setup.effort)?;
    if *ours.lock().map_err(why)? == 0 {
        return Err("no process counted".into());
    }
    let unit = Unit::Millions(processes);
    let row = |peer, goal| outcome.row(&format!("{figure}: {peer}"), unit, "Mutex", peer, goal);
    let mut rows = vec![
        row("pthread, shared, robust", Some(Goal::at_least(1.0))),
        row("pthread, shared", None),
        row("sem_t, shared", None),
    ];
    rows.push(match missing {
        None => row("Boost interprocess_mutex", None),
        Some(reason) => Row::skipped(&format!("{figure}: Boost interprocess_mutex"), reason),
    });
    Ok(rows)
}
