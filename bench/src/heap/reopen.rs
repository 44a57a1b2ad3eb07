//! Opening a store of a million entries and reading one of them. Closing it is not timed.

use std::cell::Cell;
use std::path::Path;

use sharemap::{Location, Segment};

use super::keys::Entries;
use super::{MAX, NEW, time_made};
use crate::figure::{Figure, Setup};
use crate::measure::Contest;
use crate::peers::archive::{self, Archive};
use crate::peers::{boost, lmdb, raw, redb};
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};
use crate::samples::TemporaryPath;
use crate::trace;

const IN_MEMORY: &str = "reopen a store of 1M entries and read one, in memory";
const ON_DISK: &str = "reopen a store of 1M entries and read one, on disk";

const LONG: &str = "reopen a store of 20 GiB, with 1M entries, and read one, on disk";

pub const FIGURES: &[Figure] = &[
    Figure { name: IN_MEMORY, run: in_memory },
    Figure { name: ON_DISK, run: on_disk },
    Figure { name: LONG, run: long },
];

const ENTRIES: Entries = Entries { count: 1_000_000 };
const NAME: &str = "entries";
const FEWEST: &str = "the fewest system calls";

/// Creates a segment of a length with a map.
fn fill(path: &Path, len: u64) -> Result<(), Reason> {
    let segment = Segment::create_new(Location::file(path), len, MAX.max(len)).map_err(why)?;
    let map = segment.hash_map::<u64, u64>(NAME).map_err(why)?;
    for (key, value) in ENTRIES.words() {
        map.insert(&key, &value).map_err(why)?;
    }
    Ok(())
}

/// Creates a segment with a map at `path`, and a copy of its file for the peer.
fn create(path: &Path, copy: &Path) -> Result<(), Reason> {
    fill(path, NEW)?;
    std::fs::copy(path, copy).map(drop).map_err(why)
}

/// Returns the keys in turn, and checks the values.
struct Turn(Cell<u64>);

impl Turn {
    fn look_up(&self, get: impl FnOnce(u64) -> Result<Option<u64>, Reason>) -> Result<(), Reason> {
        let index = (self.0.get() + 7919) % ENTRIES.count;
        self.0.set(index);
        match get(ENTRIES.key(index))? == Some(ENTRIES.value(index)) {
            true => Ok(()),
            false => Err("a look-up found a wrong value".into()),
        }
    }
}

fn open(path: &Path, turn: &Turn) -> Result<Segment, Reason> {
    let segment = Segment::open(Location::file(path)).map_err(why)?;
    let map = segment.hash_map::<u64, u64>(NAME).map_err(why)?;
    turn.look_up(|key| map.get(&key).map_err(why))?;
    drop(map);
    Ok(segment)
}

/// Adds the row beside the fewest system calls to those of other peers.
fn row_of_fewest(
    setup: &Setup,
    figure: &str,
    contest: Contest<'_>,
    [path, copy]: [&Path; 2],
) -> Result<(Vec<Row>, crate::measure::Outcome), Reason> {
    let turn = Turn(Cell::new(0));
    let c_copy = raw::c_path(copy)?;
    let costs = [
        trace::cost(&mut || open(path, &turn).map(drop)),
        trace::cost(&mut || raw::attach(&c_copy).map(drop)),
    ];
    let outcome = contest
        .timed_side("Segment", |repeats| time_made(repeats, || open(path, &turn)))
        .timed_side(FEWEST, |repeats| time_made(repeats, || raw::attach(&c_copy)))
        .run(setup.effort)?;
    let goal = Some(Goal::at_most(1.25));
    let row =
        outcome.row(&format!("{figure}: {FEWEST}"), Unit::Microseconds, "Segment", FEWEST, goal);
    let rows = match costs {
        [Ok(ours), Ok(raw)] => vec![row.with_costs(&ours, &raw)],
        [Err(reason), _] | [_, Err(reason)] => {
            let missing = format!("{figure}: instructions and system calls");
            vec![row, Row::skipped(&missing, reason)]
        }
    };
    Ok((rows, outcome))
}

fn on_disk(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let [path, copy] = ["segment", "copy"].map(|name| TemporaryPath::in_dir(&setup.dir, name));
    create(&path, &copy)?;
    row_of_fewest(setup, ON_DISK, Contest::new(), [&path, &copy]).map(|(rows, _)| rows)
}

/// Compares a segment of 20 GiB with a segment that is as long as its entries need.
fn long(setup: &Setup) -> Result<Vec<Row>, Reason> {
    const FITTING: &str = "Segment no longer than that";
    let [path, short] = ["long", "short"].map(|name| TemporaryPath::in_dir(&setup.dir, name));
    fill(&path, 20 << 30)?;
    fill(&short, NEW)?;
    let turn = Turn(Cell::new(0));
    let outcome = Contest::new()
        .timed_side("Segment", |repeats| time_made(repeats, || open(&path, &turn)))
        .timed_side(FITTING, |repeats| time_made(repeats, || open(&short, &turn)))
        .run(setup.effort)?;
    let goal = Some(Goal::at_most(1.1));
    Ok(vec![outcome.row(LONG, Unit::Microseconds, "Segment", FITTING, goal)])
}

fn in_memory(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let names = ["segment", "copy", "rkyv", "redb", "lmdb", "boost-reopen"];
    let [path, copy, rkyv, redb, lmdb, boost] = names.map(TemporaryPath::in_memory);
    create(&path, &copy)?;
    let words = ENTRIES.words();
    archive::create(&rkyv, &words)?;
    redb::finish(&redb::create(&redb, &words)?)?;
    lmdb::Store::<lmdb::Word>::create(&lmdb)?
        .insert(words.iter().map(|(key, value)| (key, *value)))?;
    drop(words);
    let turn = Turn(Cell::new(0));
    let mut contest = Contest::new()
        .timed_side("rkyv, unchecked", |repeats| {
            time_made(repeats, || {
                let archive = Archive::open(&rkyv)?;
                turn.look_up(|key| Ok(archive.get(key)))?;
                Ok(archive)
            })
        })
        .timed_side("redb", |repeats| {
            time_made(repeats, || {
                let database = redb::open(&redb)?;
                let reader = redb::Reader::new(&database)?;
                turn.look_up(|key| reader.get(key).map_err(why))?;
                Ok((reader, database))
            })
        })
        .timed_side("LMDB", |repeats| {
            time_made(repeats, || {
                let store = lmdb::Store::<lmdb::Word>::open(&lmdb)?;
                turn.look_up(|key| store.reader()?.get(&key).map_err(why))?;
                Ok(store)
            })
        });
    let boost = boost::start_in_segment("reopen", &boost, ENTRIES.count);
    let missing = boost.as_ref().err().cloned();
    if let Ok(mut boost) = boost {
        contest = contest.timed_side("Boost", move |repeats| boost.run(repeats));
    }
    let (mut rows, outcome) = row_of_fewest(setup, IN_MEMORY, contest, [&path, &copy])?;
    let row = |peer| {
        outcome.row(&format!("{IN_MEMORY}: {peer}"), Unit::Microseconds, "Segment", peer, None)
    };
    rows.extend([row("rkyv, unchecked"), row("redb"), row("LMDB")]);
    rows.push(match missing {
        None => row("Boost"),
        Some(reason) => Row::skipped(&format!("{IN_MEMORY}: Boost"), reason),
    });
    Ok(rows)
}
