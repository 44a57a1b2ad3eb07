//! Single loads at random indices of resident memory.

use std::hint::black_box;

use sharemap::{Mapping, View};

use super::Figure;
use crate::figure::Setup;
use crate::measure::Contest;
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};
use crate::samples::{self, Random};

/// The number of loads in an operation.
pub const LOADS: u64 = 1 << 14;

const CACHED: &str = "random guarded loads of 8 bytes, 512 KiB";
const LARGE: &str = "random guarded loads of 8 bytes, 64 MiB";

pub const FIGURES: &[Figure] = &[
    Figure { name: CACHED, run: |setup| rows(setup, CACHED, 512 << 10) },
    // Here the processor waits for memory. The figure depends on how many loads fit into its window
    // of instructions in flight.
    Figure { name: LARGE, run: |setup| rows(setup, LARGE, 64 << 20) },
];

fn rows(setup: &Setup, figure: &str, len: usize) -> Result<Vec<Row>, Reason> {
    let file = samples::in_memory(len)?;
    let map = Mapping::map(&file).map_err(why)?;
    map.populate().map_err(why)?;
    let view = map.view::<u64>().map_err(why)?;
    // SAFETY: only this function uses the file, and does not change it.
    let plain = unsafe { std::slice::from_raw_parts(view.as_ptr(), view.len()) };
    let seed = std::cell::Cell::new(1);
    let next = || {
        seed.set(seed.get() + 1);
        Random::new(seed.get() << 20)
    };
    let outcome = Contest::new()
        .side("slice", || {
            black_box(slice(black_box(plain), next()));
            Ok(())
        })
        .side("get", || {
            black_box(view_get(black_box(view), next()).map_err(why)?);
            Ok(())
        })
        .side("gather", || {
            black_box(view_gather(black_box(view), next()).map_err(why)?);
            Ok(())
        })
        .run(setup.effort)?;
    let row = |name, goal| {
        let figure = format!("{figure}: {name}");
        outcome.row(&figure, Unit::NanosecondsEach(LOADS), name, "slice", goal)
    };
    let at_most = |bound| Some(Goal::at_most(bound));
    Ok(if figure == CACHED {
        vec![row("get", at_most(1.05)), row("gather", None)]
    } else {
        // The test after each load of `get` takes a place in the processor's window, so that fewer loads are
        // in flight. `gather` prefetches, and is held to little more than the slice.
        vec![row("get", at_most(1.45)), row("gather", at_most(1.1))]
    })
}

/// Returns the mask that turns a random number into an index, for a length that is a power of two.
/// The mask is opaque to the compiler, so both sides check each index.
fn mask(len: usize) -> usize {
    black_box(len - 1)
}

/// Loads random words from a slice.
#[inline(never)]
pub fn slice(words: &[u64], mut random: Random) -> u64 {
    let mask = mask(words.len());
    (0..LOADS).fold(0, |sum, _| sum.wrapping_add(words[random.next() as usize & mask]))
}

/// Loads random words from a view, one at a time.
#[inline(never)]
pub fn view_get(words: View<'_, u64>, mut random: Random) -> sharemap::Result<u64> {
    let mask = mask(words.len());
    let mut sum = 0u64;
    for _ in 0..LOADS {
        sum = sum.wrapping_add(words.get(random.next() as usize & mask)?);
    }
    Ok(sum)
}

/// Loads random words from a view, many at a time.
#[inline(never)]
pub fn view_gather(words: View<'_, u64>, mut random: Random) -> sharemap::Result<u64> {
    const TOGETHER: usize = 512;
    let mask = mask(words.len());
    let (mut indices, mut found) = ([0; TOGETHER], [0; TOGETHER]);
    let mut sum = 0u64;
    for _ in 0..LOADS as usize / TOGETHER {
        indices.fill_with(|| random.next() as usize & mask);
        words.gather(&indices, &mut found)?;
        sum = found.iter().fold(sum, |sum, word| sum.wrapping_add(*word));
    }
    Ok(sum)
}
