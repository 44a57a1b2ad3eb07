//! Maps shared memory anew and reads it once: the cost of page faults, and the gain from
//! populating. These figures use all CPUs, because pages are populated in parallel.

use std::fs::File;
use std::hint::black_box;

use sharemap::{Mapping, View};

use super::Figure;
use crate::figure::Setup;
use crate::measure::Contest;
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};
use crate::samples;

const SCAN: &str = "fresh map of 2 GiB of shared memory, read through";
const POPULATE: &str = "populating a map of 2 GiB of shared memory";
const LEN: usize = 2 << 30;

pub const FIGURES: &[Figure] =
    &[Figure { name: SCAN, run: scan }, Figure { name: POPULATE, run: populate }];

fn scan(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let file = samples::in_memory(LEN)?;
    setup.cpus.unpin().map_err(why)?;
    let outcome = Contest::new()
        .side("memmap2", || {
            black_box(slice(&memmap2(&file, memmap2::MmapOptions::new())?));
            Ok(())
        })
        .side("memmap2, populate", || {
            black_box(slice(&memmap2(&file, memmap2::MmapOptions::new().populate().clone())?));
            Ok(())
        })
        .side("default", || {
            let map = Mapping::map(&file).map_err(why)?;
            black_box(view(map.bytes()).map_err(why)?);
            map.close().map_err(why)
        })
        .side("populate", || {
            let map = Mapping::options().populate().map(&file).map_err(why)?;
            black_box(view(map.bytes()).map_err(why)?);
            map.close().map_err(why)
        })
        .run(setup.effort)?;
    let row = |side: &str, peer: &str, goal| {
        outcome.row(&format!("{SCAN}: {side}"), Unit::rate(LEN), side, peer, goal)
    };
    Ok(vec![
        row("populate", "memmap2", Some(Goal::at_least(1.15))),
        row("populate", "memmap2, populate", None),
        row("default", "memmap2", None),
    ])
}

fn populate(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let file = samples::in_memory(LEN)?;
    setup.cpus.unpin().map_err(why)?;
    let outcome = Contest::new()
        .side("MAP_POPULATE", || {
            black_box(memmap2(&file, memmap2::MmapOptions::new().populate().clone())?);
            Ok(())
        })
        .side("populate", || {
            let map = Mapping::options().populate().map(&file).map_err(why)?;
            map.close().map_err(why)
        })
        .run(setup.effort)?;
    Ok(vec![outcome.row(POPULATE, Unit::Milliseconds, "populate", "MAP_POPULATE", None)])
}

fn memmap2(file: &File, options: memmap2::MmapOptions) -> Result<memmap2::Mmap, Reason> {
    // SAFETY: the file does not change while it is mapped.
    unsafe { options.map(file) }.map_err(why)
}

#[inline(never)]
fn slice(bytes: &[u8]) -> u64 {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().fold(0, |sum, word| sum.wrapping_add(u64::from_ne_bytes(*word)))
}

#[inline(never)]
fn view(bytes: View<'_, u8>) -> sharemap::Result<u64> {
    let words = bytes.cast::<u64>()?;
    words.iter().try_fold(0u64, |sum, word| word.map(|word| sum.wrapping_add(word)))
}
