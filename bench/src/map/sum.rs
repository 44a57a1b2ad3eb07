//! Sums of `u64`, which show whether a scan of guarded memory is as fast as a scan of a plain
//! slice. Both sides read the same mapping, so that only the code differs.

use std::hint::black_box;

use sharemap::{Mapping, View};

use super::Figure;
use crate::measure::{Contest, Effort};
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};
use crate::samples;

pub const FIGURES: &[Figure] = &[
    Figure {
        name: "sum of u64, 2 GiB",
        run: |setup| measure("sum of u64, 2 GiB", 2 << 30, 0.97, setup.effort),
    },
    Figure {
        name: "sum of u64, 32 MiB",
        run: |setup| measure("sum of u64, 32 MiB", 32 << 20, 0.97, setup.effort),
    },
    Figure {
        name: "sum of u64, 256 KiB",
        run: |setup| measure("sum of u64, 256 KiB", 256 << 10, 0.95, setup.effort),
    },
];

/// Measures each scan of a mapping of `len` bytes beside the slice.
pub fn measure(figure: &str, len: usize, goal: f64, effort: Effort) -> Result<Vec<Row>, Reason> {
    let file = samples::in_memory(len)?;
    let map = Mapping::map(&file).map_err(why)?;
    let view = map.view::<u64>().map_err(why)?;
    // SAFETY: only this function uses the file, and does not change it.
    let plain = unsafe { std::slice::from_raw_parts(view.as_ptr(), view.len()) };
    let right = slice(plain);
    let outcome = Contest::new()
        .side("slice", || check(right, Ok(slice(black_box(plain)))))
        .side("fold", || check(right, fold(black_box(view))))
        .side("try_fold", || check(right, try_fold(black_box(view))))
        .side("blocks", || check(right, blocks(black_box(view))))
        .side("for", || check(right, for_loop(black_box(view))))
        .run(effort)?;
    let row = |side: &str, goal| {
        outcome.row(&format!("{figure}: {side}"), Unit::rate(len), side, "slice", goal)
    };
    let goal = Some(Goal::at_least(goal));
    Ok(vec![row("fold", goal), row("try_fold", goal), row("blocks", goal), row("for", None)])
}

fn check(right: u64, sum: sharemap::Result<u64>) -> Result<(), Reason> {
    match sum {
        Ok(sum) if sum == right => Ok(()),
        Ok(sum) => Err(format!("the sum is {sum}, and should be {right}")),
        Err(error) => Err(why(error)),
    }
}

#[inline(never)]
fn slice(words: &[u64]) -> u64 {
    words.iter().fold(0, |sum, word| sum.wrapping_add(*word))
}

#[inline(never)]
fn fold(words: View<'_, u64>) -> sharemap::Result<u64> {
    let mut failed = None;
    let sum = words.iter().fold(0u64, |sum, word| match word {
        Ok(word) => sum.wrapping_add(word),
        Err(error) => {
            failed = Some(error);
            sum
        }
    });
    failed.map_or(Ok(sum), Err)
}

#[inline(never)]
fn try_fold(words: View<'_, u64>) -> sharemap::Result<u64> {
    words.iter().try_fold(0u64, |sum, word| word.map(|word| sum.wrapping_add(word)))
}

#[inline(never)]
fn blocks(words: View<'_, u64>) -> sharemap::Result<u64> {
    let blocks = words.blocks::<32>();
    let rest = blocks.remainder();
    let mut sum = 0u64;
    for block in blocks {
        sum = block?.iter().fold(sum, |sum, word| sum.wrapping_add(*word));
    }
    rest.iter().try_fold(sum, |sum, word| word.map(|word| sum.wrapping_add(word)))
}

#[inline(never)]
fn for_loop(words: View<'_, u64>) -> sharemap::Result<u64> {
    let mut sum = 0u64;
    for word in words.iter() {
        sum = sum.wrapping_add(word?);
    }
    Ok(sum)
}
