//! Building a map of words: by one call that takes all of them, where the peer has one.

use super::keys::Entries;
use sharemap::SharedOptions;

use super::{Local, new_map, time_made};
use crate::figure::{Figure, Setup};
use crate::measure::{Contest, Effort};
use crate::peers::{boost, lmdb, redb};
use crate::reason::Reason;
use crate::report::{Goal, Row, Unit};
use crate::samples::TemporaryPath;

const NAME: &str = "build a u64 map of 1M";
const COUNT: u64 = 1_000_000;

pub const FIGURES: &[Figure] = &[Figure { name: NAME, run: build }];

/// The number of rounds beside peers that take a second, unless the user requests another.
const FEW_ROUNDS: usize = 9;

fn build(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let entries = Entries { count: COUNT }.words();
    let options = SharedOptions::new();
    let ours = || new_map(&options, entries.iter().map(|(key, value)| (key, value)));
    let unit = Unit::NanosecondsEach(COUNT);
    let outcome = Contest::new()
        .repeats(1)
        .timed_side("HashMap", |repeats| time_made(repeats, ours))
        .timed_side("hashbrown", |repeats| {
            time_made(repeats, || {
                let mut map = Local::default();
                // One by one, as `collect` reserves room for all.
                for (key, value) in &entries {
                    map.insert(*key, *value);
                }
                Ok(map)
            })
        })
        .run(setup.effort)?;
    let goal = Some(Goal::at_most(1.6));
    let mut rows =
        vec![outcome.row(&format!("{NAME}: hashbrown"), unit, "HashMap", "hashbrown", goal)];
    let effort = Effort { rounds: setup.effort.rounds.or(Some(FEW_ROUNDS)) };
    let mut contest = Contest::new()
        .repeats(1)
        .timed_side("HashMap", |repeats| time_made(repeats, ours))
        .timed_side("LMDB", |repeats| {
            time_made(repeats, || {
                let dir = TemporaryPath::in_memory("lmdb");
                let store = lmdb::Store::<lmdb::Word>::create(&dir)?;
                store.insert(entries.iter().map(|(key, value)| (key, *value)))?;
                Ok((store, dir))
            })
        })
        .timed_side("redb", |repeats| {
            time_made(repeats, || {
                let path = TemporaryPath::in_memory("redb");
                redb::create(&path, &entries).map(|database| (database, path))
            })
        });
    let path = TemporaryPath::in_memory("boost-words");
    let boost = boost::start_in_segment("build words", &path, COUNT);
    let missing = boost.as_ref().err().cloned();
    if let Ok(mut boost) = boost {
        contest = contest.timed_side("Boost unordered_map", move |repeats| boost.run(repeats));
    }
    let outcome = contest.run(effort)?;
    let row = |peer| outcome.row(&format!("{NAME}: {peer}"), unit, "HashMap", peer, None);
    rows.extend([row("LMDB"), row("redb")]);
    rows.push(match missing {
        None => row("Boost unordered_map"),
        Some(reason) => Row::skipped(&format!("{NAME}: Boost unordered_map"), reason),
    });
    Ok(rows)
}
