//! Look-ups in a map of words.

use std::convert::Infallible;
use std::hint::black_box;
use std::time::{Duration, Instant};

use sharemap::SharedOptions;
use sharemap::containers::HashMap;

use super::keys::{Drawn, Entries, Queries};
use super::{Local, new_map};
use crate::figure::{Figure, Setup};
use crate::measure::Contest;
use crate::peers::archive::{self, Archive};
use crate::peers::{boost, lmdb, redb};
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};
use crate::samples::TemporaryPath;

const MILLION: &str = "look up in a u64 map of 1M";
const MILLIONS: &str = "look up in a u64 map of 4M";
const CACHED: &str = "look up in a u64 map of 10,000, in cache";
const STORES: &str = "look up in a u64 store of 1M";

pub const FIGURES: &[Figure] = &[
    Figure { name: MILLION, run: |setup| all(setup, MILLION, 1_000_000) },
    Figure { name: MILLIONS, run: |setup| all(setup, MILLIONS, 4_000_000) },
    Figure { name: CACHED, run: cached },
    Figure { name: STORES, run: stores },
];

/// The number of look-ups in a sample, a multiple of [`TOGETHER`].
const LOOK_UPS: u64 = 16_000;
/// The number of keys that are looked up together.
const TOGETHER: usize = 16;

type Ours = HashMap<u64, u64>;

pub(super) fn maps(
    options: &SharedOptions,
    entries: Entries,
) -> Result<(Ours, Local<u64>), Reason> {
    let words = entries.words();
    let ours = new_map(options, words.iter().map(|(key, value)| (key, value)))?;
    Ok((ours, words.into_iter().collect()))
}

fn all(setup: &Setup, figure: &str, count: u64) -> Result<Vec<Row>, Reason> {
    let entries = Entries { count };
    let (ours, local) = maps(&SharedOptions::new(), entries)?;
    let mut rows = hits(setup, figure, entries, &ours, &local, [Some(1.2), Some(1.0)])?;
    let seed = std::cell::Cell::new(0);
    let next = || {
        seed.set(seed.get() + 1);
        entries.key(7919 * seed.get() % count)
    };
    let chain = Contest::new()
        .repeats(LOOK_UPS)
        .timed_side("get", |repeats| chain(repeats, next(), |key| ours.get(&key)))
        .timed_side("hashbrown", |repeats| {
            chain(repeats, next(), |key| Ok::<_, Infallible>(local.get(&key).copied()))
        })
        .run(setup.effort)?;
    let queries = Queries::new(entries);
    let misses = Contest::new()
        .repeats(LOOK_UPS)
        .timed_side("get", |repeats| get_each(&ours, queries.misses(repeats)))
        .timed_side("hashbrown", |repeats| local_get_each(&local, queries.misses(repeats)))
        .run(setup.effort)?;
    let row = |outcome: &crate::measure::Outcome, what, goal| {
        let goal = Some(Goal::at_most(goal));
        outcome.row(&format!("{figure}: {what}"), Unit::Nanoseconds, "get", "hashbrown", goal)
    };
    rows.extend([row(&chain, "a chain", 1.0), row(&misses, "misses", 2.4)]);
    Ok(rows)
}

fn cached(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let entries = Entries { count: 10_000 };
    let (ours, local) = maps(&SharedOptions::new(), entries)?;
    hits(setup, CACHED, entries, &ours, &local, [Some(2.0), None])
}

/// Returns the rows for keys that are present, one at a time and several together.
pub(super) fn hits(
    setup: &Setup,
    figure: &str,
    entries: Entries,
    ours: &Ours,
    local: &Local<u64>,
    [goal, goal_of_many]: [Option<f64>; 2],
) -> Result<Vec<Row>, Reason> {
    let queries = Queries::new(entries);
    let outcome = Contest::new()
        .repeats(LOOK_UPS)
        .timed_side("get", |repeats| get_each(ours, queries.hits(repeats)))
        .timed_side("get_many(16)", |repeats| {
            queries.hits(repeats).time_all(|keys| get_many(black_box(ours), keys))
        })
        .timed_side("hashbrown", |repeats| local_get_each(local, queries.hits(repeats)))
        .run(setup.effort)?;
    let row = |ours, goal: Option<f64>| {
        let figure = format!("{figure}: {ours}");
        outcome.row(&figure, Unit::Nanoseconds, ours, "hashbrown", goal.map(Goal::at_most))
    };
    Ok(vec![row("get", goal), row("get_many(16)", goal_of_many)])
}

fn get_each(map: &Ours, drawn: Drawn<u64>) -> Result<Duration, Reason> {
    drawn.time(|key| map.get(key))
}

fn local_get_each(map: &Local<u64>, drawn: Drawn<u64>) -> Result<Duration, Reason> {
    drawn.time(|key| Ok::<_, Infallible>(map.get(key).copied()))
}

fn get_many(map: &Ours, keys: &[u64]) -> sharemap::Result<u64> {
    let mut sum = 0_u64;
    for keys in keys.as_chunks::<TOGETHER>().0 {
        for value in map.get_many(keys.each_ref())? {
            sum = sum.wrapping_add(value.unwrap_or(0));
        }
    }
    Ok(sum)
}

/// Times look-ups of which each needs the value of the one before.
#[inline(always)]
fn chain<E: std::fmt::Display>(
    repeats: u64,
    mut key: u64,
    mut get: impl FnMut(u64) -> Result<Option<u64>, E>,
) -> Result<Duration, Reason> {
    let start = Instant::now();
    for _ in 0..repeats {
        key = get(key).map_err(why)?.ok_or("a key is missing")?;
    }
    let took = start.elapsed();
    black_box(key);
    Ok(took)
}

/// Beside maps that outlive their process, in memory.
fn stores(setup: &Setup) -> Result<Vec<Row>, Reason> {
    const COUNT: u64 = 1_000_000;
    let entries = Entries { count: COUNT };
    let words = entries.words();
    let ours = new_map(&SharedOptions::new(), words.iter().map(|(key, value)| (key, value)))?;
    let names = ["rkyv", "redb", "lmdb", "boost-words"];
    let [rkyv, redb, lmdb, boost] = names.map(TemporaryPath::in_memory);
    archive::create(&rkyv, &words)?;
    let archive = Archive::open(&rkyv)?;
    let database = redb::create(&redb, &words)?;
    let redb = redb::Reader::new(&database)?;
    let lmdb = lmdb::Store::<lmdb::Word>::create(&lmdb)?;
    lmdb.insert(words.iter().map(|(key, value)| (key, *value)))?;
    let lmdb = lmdb.reader()?;
    drop(words);
    let queries = Queries::new(entries);
    let mut contest = Contest::new()
        .repeats(LOOK_UPS)
        .timed_side("get", |repeats| get_each(&ours, queries.hits(repeats)))
        .timed_side("rkyv", |repeats| {
            queries.hits(repeats).time(|key| Ok::<_, Infallible>(archive.get(*key)))
        })
        .timed_side("redb", |repeats| queries.hits(repeats).time(|key| redb.get(*key)))
        .timed_side("LMDB", |repeats| queries.hits(repeats).time(|key| lmdb.get(key)));
    let boost = boost::start_in_segment("look up words", &boost, COUNT);
    let missing = boost.as_ref().err().cloned();
    if let Ok(mut boost) = boost {
        contest = contest.timed_side("Boost unordered_map", move |repeats| boost.run(repeats));
    }
    let outcome = contest.run(setup.effort)?;
    let row =
        |peer| outcome.row(&format!("{STORES}: {peer}"), Unit::Nanoseconds, "get", peer, None);
    let mut rows = vec![row("rkyv"), row("redb"), row("LMDB")];
    rows.push(match missing {
        None => row("Boost unordered_map"),
        Some(reason) => Row::skipped(&format!("{STORES}: Boost unordered_map"), reason),
    });
    Ok(rows)
}
