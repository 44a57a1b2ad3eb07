//! Named objects: finding one among many, and constructing one.

use std::hint::black_box;

use sharemap::{Location, Segment};

use super::keys::{Entries, Queries};
use super::{Local, MAX, NEW};
use crate::figure::{Figure, Setup};
use crate::measure::Contest;
use crate::peers::boost;
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};
use crate::samples::TemporaryPath;

const FEW: &str = "find a named object among 10,000";
const MANY: &str = "find a named object among 100,000";
const CONSTRUCT: &str = "construct and remove a named object";

pub const FIGURES: &[Figure] = &[
    Figure { name: FEW, run: |setup| find(setup, FEW, 10_000, 2.3) },
    Figure { name: MANY, run: |setup| find(setup, MANY, 100_000, 2.0) },
    Figure { name: CONSTRUCT, run: construct },
];

/// The number of look-ups in a sample.
const LOOK_UPS: u64 = 10_000;

fn new_segment(entries: &[(String, u64)]) -> Result<Segment, Reason> {
    let segment = Segment::create_new(Location::anonymous(), NEW, MAX).map_err(why)?;
    for (name, value) in entries {
        segment.create_value(name, value).map_err(why)?;
    }
    Ok(segment)
}

fn find(setup: &Setup, figure: &str, count: u64, goal: f64) -> Result<Vec<Row>, Reason> {
    let entries = Entries { count };
    let segment = new_segment(&entries.texts())?;
    let local: Local<String> = entries.texts().into_iter().collect();
    let queries = Queries::new(entries);
    let mut contest = Contest::new()
        .repeats(LOOK_UPS)
        .timed_side("Segment::value", |repeats| {
            queries.names(repeats).time(|name| black_box(&segment).value::<u64>(name))
        })
        .timed_side("hashbrown", |repeats| {
            let get = |name: &String| Ok::<_, Reason>(black_box(&local).get(name).copied());
            queries.names(repeats).time(get)
        });
    const BOOST: &str = "Boost find";
    const BY_HASH: &str = "Boost find, hash index";
    let paths = ["boost-names", "boost-hashed-names"].map(TemporaryPath::in_memory);
    let sides = [(BOOST, "find", &paths[0]), (BY_HASH, "find by hash", &paths[1])];
    let mut missing = None;
    for (name, what, path) in sides {
        match boost::start_in_segment(what, path, count) {
            Ok(mut boost) => {
                contest = contest.timed_side(name, move |repeats| boost.run(repeats));
            }
            Err(reason) => missing = Some(reason),
        }
    }
    let outcome = contest.run(setup.effort)?;
    let row = |peer, goal| {
        let figure = format!("{figure}: {peer}");
        outcome.row(&figure, Unit::Nanoseconds, "Segment::value", peer, goal)
    };
    let mut rows = vec![row("hashbrown", Some(Goal::at_most(goal)))];
    match missing {
        None => rows.extend([row(BOOST, None), row(BY_HASH, None)]),
        Some(reason) => rows.push(Row::skipped(&format!("{figure}: {BOOST}"), reason)),
    }
    Ok(rows)
}

/// Beside 10,000 other objects.
fn construct(setup: &Setup) -> Result<Vec<Row>, Reason> {
    const COUNT: u64 = 10_000;
    const OURS: &str = "create_value, remove";
    const BOOST: &str = "Boost construct, destroy";
    let entries = Entries { count: COUNT };
    let segment = new_segment(&entries.texts())?;
    let names: Vec<String> = (COUNT..2 * COUNT).map(|index| entries.name(index)).collect();
    let mut next = names.iter().cycle();
    let path = TemporaryPath::in_memory("boost-construct");
    let mut boost = boost::start_in_segment("construct", &path, COUNT)?;
    let outcome = Contest::new()
        .side(OURS, || {
            let name = next.next().ok_or("no names")?;
            segment.create_value(name, &1_u64).map_err(why)?;
            segment.remove(name).map(drop).map_err(why)
        })
        .timed_side(BOOST, move |repeats| boost.run(repeats))
        .run(setup.effort)?;
    let goal = Some(Goal::at_most(0.3));
    Ok(vec![outcome.row(&format!("{CONSTRUCT}: {BOOST}"), Unit::Nanoseconds, OURS, BOOST, goal)])
}
