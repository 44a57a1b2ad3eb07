//! Counts one byte value in cache: blocks of the library's views beside a slice. Both sides use the
//! same loop with one-byte counters.

use std::hint::black_box;

use sharemap::{Mapping, View};

use super::Figure;
use super::placed::{fastest, shift};
use crate::figure::Setup;
use crate::measure::Contest;
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};
use crate::samples;

const NAME: &str = "count newlines, 256 KiB";
const LEN: usize = 256 << 10;

pub const FIGURES: &[Figure] = &[Figure { name: NAME, run: rows }];

fn rows(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let file = samples::in_memory(LEN)?;
    let map = Mapping::map(&file).map_err(why)?;
    let view = map.bytes();
    // SAFETY: only this function uses the file, and does not change it.
    let plain = unsafe { std::slice::from_raw_parts(view.as_ptr(), view.len()) };
    let right = plain.iter().filter(|byte| **byte == b'\n').count();
    let check = |count: sharemap::Result<usize>| match count {
        Ok(count) if count == right => Ok(()),
        Ok(count) => Err(format!("counted {count} newlines of {right}")),
        Err(error) => Err(why(error)),
    };
    let slice = fastest([slice::<0>, slice::<1>, slice::<2>, slice::<3>], plain);
    let outcome = Contest::new()
        .side("slice", || check(Ok(slice(black_box(plain)))))
        .side("simple loop over a slice", || check(Ok(simple(black_box(plain)))))
        .side("16 KiB copies", || check(Ok(copies(black_box(plain)))))
        .side("count", || check(black_box(view).count(b'\n')))
        .side("blocks", || check(blocks(black_box(view))))
        .run(setup.effort)?;
    let row = |side: &str, peer: &str, goal: Option<f64>| {
        let goal = goal.map(Goal::at_least);
        outcome.row(&format!("{NAME}: {side}"), Unit::rate(LEN), side, peer, goal)
    };
    Ok(vec![
        row("count", "slice", Some(1.2)),
        row("blocks", "slice", Some(0.87)),
        row("count", "simple loop over a slice", None),
        row("count", "16 KiB copies", None),
    ])
}

const LANES: usize = 64;
/// The number of blocks before a one-byte counter could overflow.
const ROUND: usize = 255;

/// Adds the matches in a block to the counters.
#[inline(always)]
fn add(counters: &mut [u8; LANES], block: &[u8; LANES]) {
    for (counter, byte) in counters.iter_mut().zip(block) {
        *counter += u8::from(*byte == b'\n');
    }
}

#[inline(always)]
fn total(counters: &[u8; LANES]) -> usize {
    counters.iter().map(|count| usize::from(*count)).sum()
}

#[inline(never)]
fn slice<const PLACE: usize>(bytes: &[u8]) -> usize {
    shift::<PLACE>();
    let (blocks, rest) = bytes.as_chunks::<LANES>();
    let mut count = rest.iter().filter(|byte| **byte == b'\n').count();
    for round in blocks.chunks(ROUND) {
        let mut counters = [0; LANES];
        for block in round {
            add(&mut counters, block);
        }
        count += total(&counters);
    }
    count
}

#[inline(never)]
fn simple(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

#[inline(never)]
fn copies(bytes: &[u8]) -> usize {
    let mut buffer = [0; 16 << 10];
    let mut count = 0;
    for bytes in bytes.chunks(buffer.len()) {
        let buffer = &mut buffer[..bytes.len()];
        buffer.copy_from_slice(bytes);
        count += slice::<0>(black_box(buffer));
    }
    count
}

/// The number of times that a block of 128 bytes adds to each counter.
const ADDED: usize = 128 / LANES;

#[inline(never)]
fn blocks(bytes: View<'_, u8>) -> sharemap::Result<usize> {
    let mut blocks = bytes.blocks::<128>();
    let rest = blocks.remainder();
    let mut count = 0;
    for byte in rest.iter() {
        count += usize::from(byte? == b'\n');
    }
    loop {
        let mut counters = [0; LANES];
        let mut added = 0;
        while added + ADDED <= ROUND {
            let Some(block) = blocks.next() else { break };
            let block = block?;
            for part in block.as_chunks().0 {
                add(&mut counters, part);
            }
            added += ADDED;
        }
        count += total(&counters);
        if added + ADDED <= ROUND {
            return Ok(count);
        }
    }
}
