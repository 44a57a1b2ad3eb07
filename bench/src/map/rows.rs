//! A search for the rows of a matrix that are nearest to a query: the loops over blocks are inlined into a
//! function that does much else, so that the compiler has many values to keep in registers.

use std::hint::black_box;

use sharemap::{Mapping, MappingMut, View};

use super::Figure;
use crate::figure::Setup;
use crate::measure::Contest;
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};
use crate::samples;

const NAME: &str = "search in rows of 384 f32, 240 KiB";
const WIDTH: usize = 384;
const ROWS: usize = 160;
const LEN: usize = ROWS * WIDTH * size_of::<f32>();

pub const FIGURES: &[Figure] = &[Figure { name: NAME, run: rows }];

fn rows(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let file = samples::in_memory(LEN)?;
    let matrix = MappingMut::map(&file).map_err(why)?;
    let numbers: Vec<f32> = (0..ROWS * WIDTH).map(|at| (at * 7919 % 251) as f32 / 8.0).collect();
    matrix.view::<f32>().map_err(why)?.write_at(0, &numbers).map_err(why)?;
    let map = Mapping::map(&file).map_err(why)?;
    let view = map.view::<f32>().map_err(why)?;
    // SAFETY: only this function uses the file, and does not change it from here on.
    let plain = unsafe { std::slice::from_raw_parts(view.as_ptr(), view.len()) };
    let query: [f32; WIDTH] = std::array::from_fn(|at| (at % 13) as f32);
    let right = slice(plain, &query);
    let check = |nearest: sharemap::Result<Nearest>| match nearest {
        Ok(nearest) if nearest == right => Ok(()),
        Ok(nearest) => Err(format!("found {nearest:?}, and should have found {right:?}")),
        Err(error) => Err(why(error)),
    };
    let outcome = Contest::new()
        .side("slice", || check(Ok(slice(black_box(plain), &query))))
        .side("blocks", || check(blocks(black_box(view), &query)))
        .side("try_fold", || check(try_fold(black_box(view), &query)))
        .side("blocks of 64", || check(small_blocks(black_box(view), &query)))
        .run(setup.effort)?;
    let row = |side: &str, goal: Option<f64>| {
        let goal = goal.map(Goal::at_least);
        outcome.row(&format!("{NAME}: {side}"), Unit::rate(LEN), side, "slice", goal)
    };
    Ok(vec![row("blocks", None), row("try_fold", Some(0.83)), row("blocks of 64", None)])
}

/// The products with the query of the rows nearest to it, and their indices, best first.
type Nearest = [(f32, usize); 4];

fn note(nearest: &mut Nearest, product: f32, row: usize) {
    if product > nearest[nearest.len() - 1].0 {
        nearest[nearest.len() - 1] = (product, row);
        nearest.sort_by(|a, b| b.0.total_cmp(&a.0));
    }
}

/// Adds the products of 32 pairs of numbers at a time to 32 sums.
#[inline(always)]
fn add(sums: &mut [f32; 32], row: &[f32], query: &[f32]) {
    for (row, query) in row.as_chunks::<32>().0.iter().zip(query.as_chunks::<32>().0) {
        for ((sum, a), b) in sums.iter_mut().zip(row).zip(query) {
            *sum += a * b;
        }
    }
}

#[inline(always)]
fn product(row: &[f32; WIDTH], query: &[f32; WIDTH]) -> f32 {
    let mut sums = [0.0; 32];
    add(&mut sums, row, query);
    sums.iter().sum()
}

#[inline(never)]
fn slice(numbers: &[f32], query: &[f32; WIDTH]) -> Nearest {
    let mut nearest = Nearest::default();
    for (index, row) in numbers.as_chunks::<WIDTH>().0.iter().enumerate() {
        note(&mut nearest, product(row, query), index);
    }
    nearest
}

#[inline(never)]
fn blocks(numbers: View<'_, f32>, query: &[f32; WIDTH]) -> sharemap::Result<Nearest> {
    let mut nearest = Nearest::default();
    for (index, row) in numbers.blocks::<WIDTH>().enumerate() {
        note(&mut nearest, product(&*row?, query), index);
    }
    Ok(nearest)
}

#[inline(never)]
fn try_fold(numbers: View<'_, f32>, query: &[f32; WIDTH]) -> sharemap::Result<Nearest> {
    let mut index = 0;
    numbers.blocks::<WIDTH>().try_fold(Nearest::default(), |mut nearest, row| {
        note(&mut nearest, product(&*row?, query), index);
        index += 1;
        Ok(nearest)
    })
}

#[inline(never)]
fn small_blocks(numbers: View<'_, f32>, query: &[f32; WIDTH]) -> sharemap::Result<Nearest> {
    let mut nearest = Nearest::default();
    for index in 0..numbers.len() / WIDTH {
        let row = numbers.subview(index * WIDTH..(index + 1) * WIDTH)?;
        let mut sums = [0.0; 32];
        for (block, query) in row.blocks::<64>().zip(query.as_chunks::<64>().0) {
            add(&mut sums, &*block?, query);
        }
        note(&mut nearest, sums.iter().sum(), index);
    }
    Ok(nearest)
}
