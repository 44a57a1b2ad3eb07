//! Random reads of 4 KiB pages of a file that is not in memory.

use std::hint::black_box;
use std::time::{Duration, Instant};

use sharemap::{Advice, Mapping};

use super::Figure;
use crate::figure::Setup;
use crate::measure::Contest;
use crate::peers::raw;
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};
use crate::samples::{OnDisk, Random};

const NAME: &str = "cold random 4 KiB from disk";
const LEN: usize = 1 << 30;
const PAGE: usize = 4096;
/// The number of reads in a sample, each of another page.
const READS: u64 = 16;

pub const FIGURES: &[Figure] = &[Figure { name: NAME, run: rows }];

fn rows(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let disk = OnDisk::new(&setup.dir, LEN)?;
    disk.require_device()?;
    let state = std::cell::Cell::new(Random::new(7));
    let offset = || {
        let mut random = state.get();
        let page = random.below((LEN / PAGE) as u64);
        state.set(random);
        page * PAGE as u64
    };
    let from_map = |advice: Advice, repeats: u64| -> Result<Duration, Reason> {
        // The file is mapped anew for each sample, because mapped pages cannot be evicted.
        disk.evict()?;
        let map = Mapping::options().advice(advice).open(disk.path()).map_err(why)?;
        let mut page = [0; PAGE];
        let start = Instant::now();
        for _ in 0..repeats {
            map.bytes().read_at(offset() as usize, &mut page).map_err(why)?;
            black_box(&page);
        }
        let took = start.elapsed();
        map.close().map_err(why)?;
        Ok(took)
    };
    let outcome = Contest::new()
        .repeats(READS)
        .timed_side("pread", |repeats| {
            disk.evict()?;
            let mut page = [0; PAGE];
            let start = Instant::now();
            for _ in 0..repeats {
                raw::pread(disk.file(), &mut page, offset())?;
                black_box(&page);
            }
            Ok(start.elapsed())
        })
        .timed_side("Advice::Random", |repeats| from_map(Advice::Random, repeats))
        .timed_side("no advice", |repeats| from_map(Advice::Normal, repeats))
        .run(setup.effort)?;
    let row = |side: &str, goal| {
        outcome.row(&format!("{NAME}: {side}"), Unit::Microseconds, side, "pread", goal)
    };
    Ok(vec![row("Advice::Random", Some(Goal::at_most(1.2))), row("no advice", None)])
}
