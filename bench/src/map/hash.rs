//! A serial hash of memory, in which every step depends on the previous one. Copying to a small
//! buffer is faster here than the plain slice, because the loads of the copy run ahead.

use std::hint::black_box;

use sharemap::{Mapping, View};

use super::Figure;
use crate::figure::Setup;
use crate::measure::Contest;
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};
use crate::samples;

const NAME: &str = "serial hash, 512 MiB";
const LEN: usize = 512 << 20;

pub const FIGURES: &[Figure] = &[Figure { name: NAME, run: rows }];

fn rows(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let file = samples::in_memory(LEN)?;
    let map = Mapping::map(&file).map_err(why)?;
    let view = map.view::<u64>().map_err(why)?;
    // SAFETY: only this function uses the file, and does not change it.
    let plain = unsafe { std::slice::from_raw_parts(view.as_ptr(), view.len()) };
    let right = slice(plain);
    let check = |hash: sharemap::Result<u64>| match hash {
        Ok(hash) if hash == right => Ok(()),
        Ok(hash) => Err(format!("the hash is {hash}, and should be {right}")),
        Err(error) => Err(why(error)),
    };
    let outcome = Contest::new()
        .side("slice", || check(Ok(slice(black_box(plain)))))
        .side("16 KiB copies", || check(Ok(copies(black_box(plain)))))
        .side("blocks", || check(blocks(black_box(view))))
        .side("try_fold", || check(try_fold(black_box(view))))
        .side("read_at", || check(read_at(black_box(view))))
        .run(setup.effort)?;
    let row = |side: &str, goal: Option<f64>| {
        let (figure, goal) = (format!("{NAME}: {side}"), goal.map(Goal::at_least));
        outcome.row_of_best(&figure, Unit::rate(LEN), side, &["slice", "16 KiB copies"], goal)
    };
    // Moving each block from vector registers to others interrupts the chain of the hash for some cycles.
    Ok(vec![row("try_fold", Some(0.94)), row("blocks", Some(0.92)), row("read_at", None)])
}

/// One step of FNV-1a, over a word.
#[inline(always)]
fn step(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3)
}

const START: u64 = 0xcbf2_9ce4_8422_2325;
const COPY: usize = (16 << 10) / 8;

#[inline(never)]
fn slice(words: &[u64]) -> u64 {
    words.iter().fold(START, |hash, word| step(hash, *word))
}

#[inline(never)]
fn copies(words: &[u64]) -> u64 {
    let mut buffer = [0u64; COPY];
    words.chunks(COPY).fold(START, |hash, words| {
        let buffer = &mut buffer[..words.len()];
        buffer.copy_from_slice(words);
        // Keeps the compiler from eliding the copy.
        black_box(&mut *buffer).iter().fold(hash, |hash, word| step(hash, *word))
    })
}

#[inline(never)]
fn blocks(words: View<'_, u64>) -> sharemap::Result<u64> {
    let blocks = words.blocks::<32>();
    let rest = blocks.remainder();
    let mut hash = START;
    for block in blocks {
        hash = block?.iter().fold(hash, |hash, word| step(hash, *word));
    }
    rest.iter().try_fold(hash, |hash, word| word.map(|word| step(hash, word)))
}

#[inline(never)]
fn try_fold(words: View<'_, u64>) -> sharemap::Result<u64> {
    words.iter().try_fold(START, |hash, word| word.map(|word| step(hash, word)))
}

#[inline(never)]
fn read_at(words: View<'_, u64>) -> sharemap::Result<u64> {
    let mut buffer = [0u64; COPY];
    let mut hash = START;
    let mut at = 0;
    while at < words.len() {
        let now = COPY.min(words.len() - at);
        words.read_at(at, &mut buffer[..now])?;
        hash = buffer[..now].iter().fold(hash, |hash, word| step(hash, *word));
        at += now;
    }
    Ok(hash)
}
