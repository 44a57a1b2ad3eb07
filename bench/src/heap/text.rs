//! A map of text to words.

use std::hint::black_box;

use sharemap::SharedOptions;
use sharemap::containers::HashMap;

use super::keys::{Entries, Queries};
use super::{new_map, time_made};
use crate::figure::{Figure, Setup};
use crate::measure::{Contest, Effort};
use crate::peers::{boost, lmdb};
use crate::reason::Reason;
use crate::report::{Goal, Row, Unit};
use crate::samples::TemporaryPath;

const BUILD: &str = "build a map of 1M strings";
const LOOK_UP: &str = "look up in a map of 1M strings";

pub const FIGURES: &[Figure] =
    &[Figure { name: BUILD, run: build }, Figure { name: LOOK_UP, run: look_up }];

const COUNT: u64 = 1_000_000;
const ENTRIES: Entries = Entries { count: COUNT };
/// The number of look-ups in a sample.
const LOOK_UPS: u64 = 10_000;
const BOOST: &str = "Boost unordered_map, string_view";

fn filled(texts: &[(String, u64)]) -> Result<HashMap<str, u64>, Reason> {
    new_map(&SharedOptions::new(), texts.iter().map(|(name, value)| (name.as_str(), value)))
}

fn stored(texts: &[(String, u64)], dir: &TemporaryPath) -> Result<lmdb::Store<lmdb::Text>, Reason> {
    let store = lmdb::Store::create(dir)?;
    store.insert(texts.iter().map(|(name, value)| (name.as_str(), *value)))?;
    Ok(store)
}

fn build(setup: &Setup) -> Result<Vec<Row>, Reason> {
    /// A round takes seconds.
    const ROUNDS: usize = 11;
    let texts = ENTRIES.texts();
    let mut contest = Contest::new()
        .repeats(1)
        .timed_side("HashMap", |repeats| time_made(repeats, || filled(&texts)))
        .timed_side("LMDB", |repeats| {
            time_made(repeats, || {
                let dir = TemporaryPath::in_memory("lmdb");
                stored(&texts, &dir).map(|store| (store, dir))
            })
        });
    let path = TemporaryPath::in_memory("boost-texts");
    let boost = boost::start_in_segment("build texts", &path, COUNT);
    let missing = boost.as_ref().err().cloned();
    if let Ok(mut boost) = boost {
        contest = contest.timed_side(BOOST, move |repeats| boost.run(repeats));
    }
    let outcome = contest.run(Effort { rounds: setup.effort.rounds.or(Some(ROUNDS)) })?;
    let row = |peer, goal| {
        let figure = format!("{BUILD}: {peer}");
        outcome.row(&figure, Unit::NanosecondsEach(COUNT), "HashMap", peer, goal)
    };
    let mut rows = vec![row("LMDB", Some(Goal::at_most(0.7)))];
    rows.push(match missing {
        None => row(BOOST, None),
        Some(reason) => Row::skipped(&format!("{BUILD}: {BOOST}"), reason),
    });
    Ok(rows)
}

fn look_up(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let texts = ENTRIES.texts();
    let ours = filled(&texts)?;
    let dir = TemporaryPath::in_memory("lmdb");
    let store = stored(&texts, &dir)?;
    let lmdb = store.reader()?;
    drop(texts);
    let queries = Queries::new(ENTRIES);
    let mut contest = Contest::new()
        .repeats(LOOK_UPS)
        .timed_side("get", |repeats| {
            queries.names(repeats).time(|name| black_box(&ours).get(name.as_str()))
        })
        .timed_side("LMDB", |repeats| {
            queries.names(repeats).time(|name| black_box(&lmdb).get(name.as_str()))
        });
    let path = TemporaryPath::in_memory("boost-texts");
    let boost = boost::start_in_segment("look up texts", &path, COUNT);
    let missing = boost.as_ref().err().cloned();
    if let Ok(mut boost) = boost {
        contest = contest.timed_side(BOOST, move |repeats| boost.run(repeats));
    }
    let outcome = contest.run(setup.effort)?;
    let row = |peer, goal| {
        outcome.row(&format!("{LOOK_UP}: {peer}"), Unit::Nanoseconds, "get", peer, goal)
    };
    let mut rows = vec![row("LMDB", None)];
    rows.push(match missing {
        None => row(BOOST, Some(Goal::at_most(0.65))),
        Some(reason) => Row::skipped(&format!("{LOOK_UP}: {BOOST}"), reason),
    });
    Ok(rows)
}
