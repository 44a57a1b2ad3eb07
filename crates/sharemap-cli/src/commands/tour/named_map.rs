//! Step 16: a named map in a file is filled, read and grown by processes, of which one is killed.

use super::peer::Action;
use super::scene::{Outcome, Scene, Step, expect, locks_work};
use crate::output::tell;
use crate::units;
use sharemap::containers::HashMap;
use sharemap::{Location, Mapping, MappingMut, Segment};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(super) const STEP: Step = Step {
    name: "segment",
    title: "Processes fill, read and grow a named map in a file; a writer is killed in an insert",
    run,
};

const SIZE: u64 = 1 << 20;
const MAX: u64 = 256 << 20;
const ENTRIES: u64 = 30_000;
const PATIENCE: Duration = Duration::from_secs(30);
/// The number of inserts after which the writer is killed.
const ROUNDS: u64 = 1000;
const LAST: &str = "the last order";

fn run(scene: &mut Scene<'_>) -> Outcome {
    if !locks_work(scene) {
        return Ok(());
    }
    let path = scene.path("shop.seg");
    let segment = Segment::create_new(Location::file(&path), SIZE, MAX)?;
    let prices = HashMap::<str, u64>::create_new(&segment, "prices")?;
    let before = segment.stats()?.len;
    let mut reader = scene.peer(Action::ReadMap, &path)?;
    reader.ready()?;
    let begun = Instant::now();
    let writer = scene.peer(Action::FillMap, &path)?;
    scene.did(format!(
        "created the segment shop.seg of {} with the map prices; process {} inserted {ENTRIES} entries, \
         process {} read each as soon as it was there",
        units::size(before),
        writer.id(),
        reader.id()
    ));
    writer.end_well()?;
    let lines = reader.end_well()?;
    let took = begun.elapsed().as_secs_f64() * 1e3;
    let after = segment.stats()?.len;
    scene.saw(format!(
        "the reader saw {} in {took:.0} ms; the segment grew to {} under both",
        lines.join(" "),
        units::size(after)
    ));
    expect(lines == [right()], "the reader should have seen every entry")?;
    expect(prices.len()? == ENTRIES, "the map should have every entry")?;
    expect(after > before, "the segment should have grown")?;

    let acknowledged = acknowledged(&path);
    MappingMut::create_new(&acknowledged, 8)?.close()?;
    let orders = HashMap::<str, str>::create_new(&segment, "orders")?;
    let mut writer = scene.peer(Action::InsertUntilKilled, &path)?;
    writer.ready()?;
    let process = writer.id();
    drop(writer);
    scene.did(format!(
        "killed process {process}, which inserted {LAST} again and again into the map orders"
    ));
    let repaired = segment.repair()?;
    let report = segment.check()?;
    scene.saw(format!(
        "completed what {} began; the check found {} of damage",
        units::count(repaired.into(), "dead participant"),
        units::count(report.damage.len() as u64, "place")
    ));
    expect(report.is_healthy(), "the segment should be healthy")?;
    drop((prices, orders, segment));

    let last = Mapping::open(&acknowledged)?.view::<u64>()?.get(0)?;
    let segment = open(&path)?;
    let (prices, orders) = (
        HashMap::<str, u64>::open(&segment, "prices")?,
        HashMap::<str, str>::open(&segment, "orders")?,
    );
    let found = orders.get(LAST)?.ok_or("the last order should be there")?;
    let which = match found {
        _ if found == order(last) => "the last acknowledged one",
        _ if found == order(last + 1) => "the one after it, which the insert had made visible",
        _ => return Err(format!("order {last} was acknowledged, but the map has {found}").into()),
    };
    scene.did("closed the segment, and opened it again");
    scene.saw(format!(
        "order {last} was acknowledged; the map has {which}, whole; prices has {} entries",
        prices.len()?
    ));
    expect(prices.len()? == ENTRIES, "the other map should be unchanged")
}

fn right() -> String {
    format!("{ENTRIES} entries, all right")
}

fn item(number: u64) -> String {
    format!("item {number:05}")
}

/// Returns a text that no mixture of two orders equals.
fn order(number: u64) -> String {
    format!("{number} ").repeat(20)
}

/// Returns the path of the file with the number of the last acknowledged order.
fn acknowledged(segment: &Path) -> PathBuf {
    segment.with_extension("acknowledged")
}

fn open(path: &Path) -> sharemap::Result<Segment> {
    Segment::open(Location::file(path))
}

/// Runs as the process that fills the map.
pub(super) fn fill(path: &Path) -> Outcome {
    let prices = HashMap::<str, u64>::open(&open(path)?, "prices")?;
    for number in 0..ENTRIES {
        prices.insert(&item(number), &(number * number))?;
    }
    Ok(())
}

/// Runs as the process that reads each entry as soon as it is there. Prints whether all were right.
pub(super) fn read(path: &Path) -> Outcome {
    let prices = HashMap::<str, u64>::open(&open(path)?, "prices")?;
    tell("ready")?;
    let begun = Instant::now();
    let mut wrong = 0;
    for number in 0..ENTRIES {
        let price = loop {
            match prices.get(&item(number))? {
                Some(price) => break price,
                None => std::thread::yield_now(),
            }
            expect(begun.elapsed() < PATIENCE, format!("entry {number} did not appear"))?;
        };
        wrong += u64::from(price != number * number);
    }
    tell(if wrong == 0 { right() } else { format!("{wrong} wrong entries") })?;
    Ok(())
}

/// Runs as the process that is killed. It acknowledges each insert by one store into a file.
pub(super) fn insert_until_killed(path: &Path) -> Outcome {
    // Ends with the tour, too: its end of the pipe is closed then.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_line(&mut String::new());
        std::process::exit(1);
    });
    let orders = HashMap::<str, str>::open(&open(path)?, "orders")?;
    let map = MappingMut::open(acknowledged(path))?;
    let acknowledged = map.view::<u64>()?;
    for number in 1.. {
        orders.insert(LAST, &order(number))?;
        acknowledged.set(0, number)?;
        if number == ROUNDS {
            tell("ready")?;
        }
    }
    Ok(())
}
