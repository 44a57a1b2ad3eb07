//! Reads a whole file once. `FileContents` chooses between reading and mapping, and should choose
//! well.

use std::fs::{self, File};
use std::hint::black_box;

use sharemap::{FileContents, View};

use super::Figure;
use crate::figure::Setup;
use crate::measure::Contest;
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};
use crate::samples::OnDisk;

pub const FIGURES: &[Figure] = &[
    Figure {
        name: "whole file of 4 KiB",
        run: |setup| rows(setup, "whole file of 4 KiB", 4 << 10),
    },
    Figure {
        name: "whole file of 256 KiB",
        run: |setup| rows(setup, "whole file of 256 KiB", 256 << 10),
    },
    Figure {
        name: "whole file of 64 MiB",
        run: |setup| rows(setup, "whole file of 64 MiB", 64 << 20),
    },
];

fn rows(setup: &Setup, figure: &str, len: usize) -> Result<Vec<Row>, Reason> {
    let disk = OnDisk::new(&setup.dir, len)?;
    let path = disk.path();
    let right = slice(&fs::read(path).map_err(why)?);
    let check = |parity: u8| {
        if parity == right { Ok(()) } else { Err("wrong bytes".to_owned()) }
    };
    let outcome = Contest::new()
        .side("read()", || check(slice(&fs::read(black_box(path)).map_err(why)?)))
        .side("memmap2", || {
            let file = File::open(black_box(path)).map_err(why)?;
            // SAFETY: the file does not change while it is mapped.
            let map = unsafe { memmap2::Mmap::map(&file) }.map_err(why)?;
            check(slice(&map))
        })
        .side("FileContents", || {
            let contents = FileContents::open(black_box(path)).map_err(why)?;
            check(view(contents.bytes()).map_err(why)?)
        })
        .run(setup.effort)?;
    let goal = Some(Goal::at_most(1.05));
    Ok(vec![outcome.row_of_best(
        figure,
        Unit::Microseconds,
        "FileContents",
        &["read()", "memmap2"],
        goal,
    )])
}

/// Reads every byte at little cost.
#[inline(never)]
fn slice(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |parity, byte| parity ^ byte)
}

/// Reads every byte by words, as the compiler does for `slice`. The speed of scanning single bytes
/// is not measured here.
#[inline(never)]
fn view(bytes: View<'_, u8>) -> sharemap::Result<u8> {
    let words = bytes.cast::<u64>()?;
    let parity = words.iter().try_fold(0, |parity, word| word.map(|word| parity ^ word))?;
    Ok(parity.to_ne_bytes().iter().fold(0, |parity, byte| parity ^ byte))
}
