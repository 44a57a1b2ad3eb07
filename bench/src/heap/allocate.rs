//! Allocating and freeing blocks, in one process and in two.

use std::time::{Duration, Instant};

use sharemap::{Location, Segment};

use super::{MAX, NEW};
use crate::figure::{Figure, Setup};
use crate::measure::Contest;
use crate::peers::served::Served;
use crate::peers::{boost, churn};
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};
use crate::samples::TemporaryPath;

const ALONE: &str = "allocate and free, 16 to 512 bytes";
const TOGETHER: &str = "allocate and free, 16 to 512 bytes, 2 processes";

pub const FIGURES: &[Figure] =
    &[Figure { name: ALONE, run: alone }, Figure { name: TOGETHER, run: together }];

const UNIT: Unit = Unit::NanosecondsEach(churn::PAIRS);

fn alone(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let segment = Segment::create_new(Location::anonymous(), NEW, MAX).map_err(why)?;
    let mut contest = Contest::new()
        .side("Segment", churn::in_segment(&segment)?)
        .side("mimalloc", churn::in_process(churn::MI)?)
        .side("glibc", churn::in_process(churn::GLIBC)?);
    let path = TemporaryPath::in_memory("boost-heap");
    let boost = boost::start_in_segment("allocate", &path, 0);
    let missing = boost.as_ref().err().cloned();
    if let Ok(mut boost) = boost {
        contest = contest.timed_side("Boost", move |repeats| boost.run(repeats));
    }
    let outcome = contest.run(setup.effort)?;
    let row = |peer, goal| outcome.row(&format!("{ALONE}: {peer}"), UNIT, "Segment", peer, goal);
    let mut rows = vec![row("mimalloc", Some(Goal::at_most(1.3))), row("glibc", None)];
    rows.push(match missing {
        None => row("Boost", None),
        Some(reason) => Row::skipped(&format!("{ALONE}: Boost"), reason),
    });
    Ok(rows)
}

/// Two processes with the same work, in one segment if they are in any.
struct Pair([Served; 2]);

impl Pair {
    /// Starts each process pinned to a processor of its own.
    fn start(setup: &Setup, start: impl Fn() -> Result<Served, Reason>) -> Result<Self, Reason> {
        let first = start()?;
        setup.cpus.pin_to_other().map_err(why)?;
        let second = start();
        setup.cpus.pin().map_err(why)?;
        Ok(Self([first, second?]))
    }

    fn run_one(&mut self, repeats: u64) -> Result<Duration, Reason> {
        self.0[0].run(repeats)
    }

    /// Runs both and returns the time from the first start to the last end.
    fn run(&mut self, repeats: u64) -> Result<Duration, Reason> {
        let start = Instant::now();
        self.0.iter_mut().try_for_each(|process| process.ask(repeats))?;
        self.0.iter_mut().try_for_each(|process| process.answer().map(drop))?;
        Ok(start.elapsed())
    }
}

fn together(setup: &Setup) -> Result<Vec<Row>, Reason> {
    const REPEATS: u64 = 20_000;
    let path = TemporaryPath::in_memory("heap");
    let _segment = Segment::create_new(Location::file(&*path), NEW, MAX).map_err(why)?;
    let ours = Pair::start(setup, || Served::start_in_file(churn::OURS, &path))?;
    let mimalloc = Pair::start(setup, || Served::start_in_file(churn::MIMALLOC, &path))?;
    let boost_path = TemporaryPath::in_memory("boost-heap");
    let boost = Pair::start(setup, || boost::start_in_segment("allocate", &boost_path, 0));
    let missing = boost.as_ref().err().cloned();
    let [ours, mimalloc] = [ours, mimalloc].map(std::cell::RefCell::new);
    let mut contest = Contest::new()
        .repeats(REPEATS)
        .timed_side("Segment", |repeats| ours.borrow_mut().run(repeats))
        .timed_side("one process", |repeats| ours.borrow_mut().run_one(repeats))
        .timed_side("mimalloc", |repeats| mimalloc.borrow_mut().run(repeats))
        .timed_side("mimalloc, one process", |repeats| mimalloc.borrow_mut().run_one(repeats));
    if let Ok(mut boost) = boost {
        contest = contest.timed_side("Boost", move |repeats| boost.run(repeats));
    }
    let outcome = contest.run(setup.effort)?;
    let row =
        |ours, peer, goal| outcome.row(&format!("{TOGETHER}: {peer}"), UNIT, ours, peer, goal);
    let mut rows = vec![
        row("Segment", "one process", Some(Goal::at_most(1.3))),
        // The machine's part: these processes share nothing.
        row("mimalloc", "mimalloc, one process", None),
        row("Segment", "mimalloc", None),
    ];
    rows.push(match missing {
        None => row("Segment", "Boost", None),
        Some(reason) => Row::skipped(&format!("{TOGETHER}: Boost"), reason),
    });
    Ok(rows)
}
