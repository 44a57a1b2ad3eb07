//! Sums of `u64`, which show whether a scan of guarded memory is as fast as a scan of a plain
//! slice. Both sides read the same mapping, so that only the code differs.

use std::hint::black_box;

use sharemap::{Mapping, View};

use super::Figure;
use super::placed::{fastest, shift};
use crate::measure::{Contest, Effort};
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};
use crate::samples;

pub const FIGURES: &[Figure] = &[
    Figure {
        name: "sum of u64, 2 GiB",
        run: |setup| measure("sum of u64, 2 GiB", 2 << 30, FROM_MEMORY, setup.effort),
    },
    Figure {
        name: "sum of u64, 32 MiB",
        run: |setup| measure("sum of u64, 32 MiB", 32 << 20, FROM_MEMORY, setup.effort),
    },
    Figure {
        name: "sum of u64, 256 KiB",
        run: |setup| measure("sum of u64, 256 KiB", 256 << 10, IN_CACHE, setup.effort),
    },
    Figure {
        name: "sum of u64, 16 KiB",
        run: |setup| measure("sum of u64, 16 KiB", 16 << 10, IN_FIRST_CACHE, setup.effort),
    },
];

/// The ratios to reach. `None` if the row only reports.
pub struct Goals {
    /// `fold` and `try_fold`.
    folds: f64,
    blocks: Option<f64>,
    /// A `for` loop over `iter()`.
    iter: Option<f64>,
    /// The sum of `values`, and a `for` loop over them.
    values: [Option<f64>; 2],
}

const FROM_MEMORY: Goals =
    Goals { folds: 0.97, blocks: Some(0.97), iter: None, values: [Some(0.9), None] };
const IN_CACHE: Goals =
    Goals { folds: 0.95, blocks: Some(0.83), iter: Some(0.19), values: [Some(0.9), None] };
const IN_FIRST_CACHE: Goals = Goals { folds: 1.2, blocks: None, iter: None, values: [None; 2] };
/// Both sides are compiled for the processor.
pub const NATIVE: Goals =
    Goals { folds: 0.95, blocks: Some(0.95), iter: None, values: [Some(0.9), None] };

/// Measures each scan of a mapping of `len` bytes beside the slice.
pub fn measure(figure: &str, len: usize, goals: Goals, effort: Effort) -> Result<Vec<Row>, Reason> {
    let file = samples::in_memory(len)?;
    let map = Mapping::map(&file).map_err(why)?;
    let view = map.view::<u64>().map_err(why)?;
    // SAFETY: only this function uses the file, and does not change it.
    let plain = unsafe { std::slice::from_raw_parts(view.as_ptr(), view.len()) };
    // A small part decides between the copies of the peer's loop.
    let slice = fastest(
        [slice::<0>, slice::<1>, slice::<2>, slice::<3>],
        &plain[..plain.len().min((16 << 10) / 8)],
    );
    let right = slice(plain);
    let outcome = Contest::new()
        .side("slice", || check(right, Ok(slice(black_box(plain)))))
        .side("fold", || check(right, fold(black_box(view))))
        .side("try_fold", || check(right, try_fold(black_box(view))))
        .side("blocks", || check(right, blocks(black_box(view))))
        .side("for", || check(right, for_loop(black_box(view))))
        .side("sum of values", || check(right, sum_of_values(black_box(view))))
        .side("for over values", || check(right, for_over_values(black_box(view))))
        .run(effort)?;
    let row = |side: &str, goal: Option<f64>| {
        let goal = goal.map(Goal::at_least);
        outcome.row(&format!("{figure}: {side}"), Unit::rate(len), side, "slice", goal)
    };
    Ok(vec![
        row("fold", Some(goals.folds)),
        row("try_fold", Some(goals.folds)),
        row("blocks", goals.blocks),
        row("for", goals.iter),
        row("sum of values", goals.values[0]),
        row("for over values", goals.values[1]),
    ])
}

fn check(right: u64, sum: sharemap::Result<u64>) -> Result<(), Reason> {
    match sum {
        Ok(sum) if sum == right => Ok(()),
        Ok(sum) => Err(format!("the sum is {sum}, and should be {right}")),
        Err(error) => Err(why(error)),
    }
}

#[inline(never)]
fn slice<const PLACE: usize>(words: &[u64]) -> u64 {
    shift::<PLACE>();
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

#[inline(never)]
fn sum_of_values(words: View<'_, u64>) -> sharemap::Result<u64> {
    words.values(|values| values.fold(0u64, u64::wrapping_add))
}

#[inline(never)]
fn for_over_values(words: View<'_, u64>) -> sharemap::Result<u64> {
    words.values(|values| {
        let mut sum = 0u64;
        for word in values {
            sum = sum.wrapping_add(word);
        }
        sum
    })
}
