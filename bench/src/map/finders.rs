//! Searches for bytes and runs of bytes in text, beside those of the crate memchr over a slice of the same
//! mapping.

use std::hint::black_box;

use memchr::{memchr, memchr_iter, memmem, memrchr};
use sharemap::{Mapping, View};

use super::Figure;
use crate::figure::Setup;
use crate::measure::Contest;
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};
use crate::samples;

pub const FIGURES: &[Figure] = &[
    Figure { name: "search of text, 256 KiB", run: |setup| rows(setup, "256 KiB", 256 << 10) },
    Figure { name: "search of text, 256 MiB", run: |setup| rows(setup, "256 MiB", 256 << 20) },
];

/// A run of bytes that the text does not have, though it has all of its bytes, and most of its pairs.
const NEEDLE: &[u8] = b"the harbour lights";
/// A run that is in many lines.
const FREQUENT: &[u8] = b"that ";
/// A byte that the text does not have.
const BYTE: u8 = b'#';
/// The size of the copies that the crate memchr searches.
const COPY: usize = 16 << 10;

fn rows(setup: &Setup, size: &str, len: usize) -> Result<Vec<Row>, Reason> {
    let file = samples::text_in_memory(len)?;
    let map = Mapping::map(&file).map_err(why)?;
    let view = map.bytes();
    // SAFETY: only this function uses the file, and does not change it.
    let plain = unsafe { std::slice::from_raw_parts(view.as_ptr(), view.len()) };
    let lines = memchr_iter(b'\n', plain).count();
    let frequent_runs = memmem::find_iter(plain, FREQUENT).count();
    let none = |found: sharemap::Result<Option<usize>>| match found {
        Ok(None) => Ok(()),
        Ok(Some(index)) => Err(format!("found at {index}, where it is not")),
        Err(error) => Err(why(error)),
    };
    let all = |found: sharemap::Result<(usize, usize)>| match found {
        Ok((count, last)) if count == lines && plain[last] == b'\n' => Ok(()),
        Ok((count, _)) => Err(format!("found {count} line ends of {lines}")),
        Err(error) => Err(why(error)),
    };
    let runs = Contest::new()
        .side("memmem::find", || none(Ok(memmem::find(black_box(plain), NEEDLE))))
        .side("memmem over 16 KiB copies", || none(Ok(memmem_in_copies(black_box(plain)))))
        .side("find_bytes", || none(black_box(view).find_bytes(NEEDLE)))
        .side("memmem::rfind", || none(Ok(memmem::rfind(black_box(plain), NEEDLE))))
        .side("rfind_bytes", || none(black_box(view).rfind_bytes(NEEDLE)))
        .run(setup.effort)?;
    let count =
        |found: usize| if found == frequent_runs { Ok(()) } else { Err(format!("found {found}")) };
    let many = Contest::new()
        .side("memmem::find_iter", || count(memmem::find_iter(black_box(plain), FREQUENT).count()))
        .side("find_bytes_iter", || {
            let found = black_box(view).find_bytes_iter(FREQUENT);
            let found = found.map(|place| place.map(|_| 1)).sum::<sharemap::Result<usize>>();
            count(found.map_err(why)?)
        })
        .run(setup.effort)?;
    let line_ends = Contest::new()
        .side("memchr_iter", || all(Ok(line_ends_of_slice(black_box(plain)))))
        .side("memchr_iter over 16 KiB copies", || all(Ok(line_ends_in_copies(black_box(plain)))))
        .side("find_iter", || all(line_ends(black_box(view))))
        .run(setup.effort)?;
    let bytes = Contest::new()
        .side("memchr", || none(Ok(memchr(BYTE, black_box(plain)))))
        .side("find", || none(black_box(view).find(BYTE)))
        .side("memrchr", || none(Ok(memrchr(BYTE, black_box(plain)))))
        .side("rfind", || none(black_box(view).rfind(BYTE)))
        .run(setup.effort)?;
    let unit = Unit::Microseconds;
    let name = |what: &str| format!("{what} in {size} of text");
    let goal = |bound| Some(Goal::at_most(bound));
    let run = name("absent run");
    let frequent = name("frequent run");
    let ends = name("line ends");
    let byte = name("absent byte");
    Ok(vec![
        runs.row(&run, unit, "find_bytes", "memmem::find", goal(1.2)),
        runs.row(&run, unit, "find_bytes", "memmem over 16 KiB copies", None),
        runs.row(&run, unit, "rfind_bytes", "memmem::rfind", None),
        many.row(&frequent, unit, "find_bytes_iter", "memmem::find_iter", goal(1.2)),
        line_ends.row(&ends, unit, "find_iter", "memchr_iter", goal(1.3)),
        line_ends.row(&ends, unit, "find_iter", "memchr_iter over 16 KiB copies", None),
        bytes.row(&byte, unit, "find", "memchr", goal(1.2)),
        bytes.row(&byte, unit, "rfind", "memrchr", None),
    ])
}

/// Returns the number of line ends, and the last one.
#[inline(never)]
fn line_ends(bytes: View<'_, u8>) -> sharemap::Result<(usize, usize)> {
    let mut found = (0, 0);
    for end in bytes.find_iter(b'\n') {
        found = (found.0 + 1, end?);
    }
    Ok(found)
}

#[inline(never)]
fn line_ends_of_slice(bytes: &[u8]) -> (usize, usize) {
    let mut found = (0, 0);
    for end in memchr_iter(b'\n', bytes) {
        found = (found.0 + 1, end);
    }
    found
}

#[inline(never)]
fn line_ends_in_copies(bytes: &[u8]) -> (usize, usize) {
    let mut buffer = [0; COPY];
    let mut found = (0, 0);
    for (part, start) in bytes.chunks(COPY).zip((0..).step_by(COPY)) {
        let buffer = &mut buffer[..part.len()];
        buffer.copy_from_slice(part);
        for end in memchr_iter(b'\n', black_box(&*buffer)) {
            found = (found.0 + 1, start + end);
        }
    }
    found
}

#[inline(never)]
fn memmem_in_copies(bytes: &[u8]) -> Option<usize> {
    let finder = memmem::Finder::new(NEEDLE);
    let mut buffer = [0; COPY];
    let step = COPY - (NEEDLE.len() - 1);
    for start in (0..bytes.len()).step_by(step) {
        let part = &bytes[start..bytes.len().min(start + COPY)];
        let buffer = &mut buffer[..part.len()];
        buffer.copy_from_slice(part);
        if let Some(found) = finder.find(black_box(&*buffer)) {
            return Some(start + found);
        }
    }
    None
}
