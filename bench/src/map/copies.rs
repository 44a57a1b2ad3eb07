//! Copies from guarded memory that is in cache.

use std::hint::black_box;
use std::time::Instant;

use sharemap::Mapping;

use super::Figure;
use crate::figure::Setup;
use crate::measure::Contest;
use crate::peers::raw;
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};
use crate::samples;

pub const FIGURES: &[Figure] = &[
    Figure { name: "copy of 64 B", run: |setup| rows(setup, "copy of 64 B", 64, 1.15) },
    Figure { name: "copy of 512 B", run: |setup| rows(setup, "copy of 512 B", 512, 1.05) },
    Figure { name: "copy of 4 KiB", run: |setup| rows(setup, "copy of 4 KiB", 4 << 10, 1.05) },
    Figure { name: "copy of 64 KiB", run: |setup| rows(setup, "copy of 64 KiB", 64 << 10, 1.05) },
];

/// The size of the file that is copied piece by piece.
const FILE: usize = 64 << 10;

fn rows(setup: &Setup, figure: &str, len: usize, goal: f64) -> Result<Vec<Row>, Reason> {
    let file = samples::in_memory(FILE)?;
    let map = Mapping::map(&file).map_err(why)?;
    let view = map.bytes();
    // Each sample writes to another offset within a page, with the same offsets for both sides of a
    // round: the relative alignment of source and destination matters as much as the code.
    let places = |sample: &mut usize| {
        *sample += 1;
        *sample * 5 * 16 % 4096
    };
    // Both sides share one buffer, so that neither has the better address.
    let buffer = std::cell::RefCell::new(vec![0u8; len + 4096]);
    let (mut theirs, mut ours) = (0, 0);
    let outcome = Contest::new()
        .repeats((128 << 20) / len as u64)
        .timed_side("memcpy", |repeats| {
            let (len, from) = (black_box(len), black_box(view.as_ptr()));
            let out = &mut buffer.borrow_mut()[places(&mut theirs)..][..len];
            let start = Instant::now();
            for piece in 0..repeats as usize {
                let offset = piece * len % FILE;
                // SAFETY: both ranges have `len` bytes and do not overlap; the file does not
                // change.
                unsafe { std::ptr::copy_nonoverlapping(from.add(offset), out.as_mut_ptr(), len) };
                black_box(out.as_mut_ptr());
            }
            Ok(start.elapsed())
        })
        .timed_side("read_at", |repeats| {
            let (len, view) = (black_box(len), black_box(view));
            let out = &mut buffer.borrow_mut()[places(&mut ours)..][..len];
            let start = Instant::now();
            for piece in 0..repeats as usize {
                let offset = piece * len % FILE;
                view.read_at(offset, out).map_err(why)?;
                black_box(out.as_mut_ptr());
            }
            Ok(start.elapsed())
        })
        .run(setup.effort)?;
    let calls = Contest::new()
        .side("process_vm_readv", || {
            let out = &mut buffer.borrow_mut()[..len];
            raw::process_vm_read(out, black_box(view.as_ptr()))?;
            black_box(out);
            Ok(())
        })
        .side("pread", || {
            let out = &mut buffer.borrow_mut()[..len];
            raw::pread(&file, out, 0)?;
            black_box(out);
            Ok(())
        })
        .side("read_at", || {
            let out = &mut buffer.borrow_mut()[..len];
            black_box(&view).read_at(0, out).map_err(why)?;
            black_box(out);
            Ok(())
        })
        .run(setup.effort)?;
    let goal = Some(Goal::at_most(goal));
    Ok(vec![
        outcome.row(figure, Unit::Nanoseconds, "read_at", "memcpy", goal),
        calls.row(figure, Unit::Nanoseconds, "read_at", "process_vm_readv", None),
        calls.row(figure, Unit::Nanoseconds, "read_at", "pread", None),
    ])
}
