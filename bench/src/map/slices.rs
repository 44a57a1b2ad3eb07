//! Plain slices of a resident file: guarded slices beside memmap2's, and chunks that are copied. Both sides
//! run the same code on slices of the same file.

use std::fs::File;
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::ptr;

use sharemap::{GuardedSlice, Mapping, View};

use super::Figure;
use crate::figure::Setup;
use crate::measure::Contest;
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};
use crate::samples;
use crate::trace;

const FIRST: &str = "guarded slice of a resident file, 16 MiB, made, read once and dropped";
const REPEATED: &str = "guarded slice of a resident file, 256 KiB, read again";
const MADE: &str = "guarded slice of 4 KiB, made and dropped";
const CHUNKS: &str = "sum of chunks, 64 MiB";

pub const FIGURES: &[Figure] = &[
    Figure { name: FIRST, run: first },
    Figure { name: REPEATED, run: repeated },
    Figure { name: MADE, run: made },
    Figure { name: CHUNKS, run: chunks },
];

fn first(setup: &Setup) -> Result<Vec<Row>, Reason> {
    const LEN: usize = 16 << 20;
    let file = samples::in_memory(LEN)?;
    let map = Mapping::map(&file).map_err(why)?;
    let right = sum(&memmap2(&file)?);
    let outcome = Contest::new()
        .side("memmap2", || check(right, sum(black_box(&memmap2(&file)?))))
        .side("guarded slice", || {
            let slice = guarded(map.bytes())?;
            check(right, sum(black_box(&slice)))?;
            slice.finish().map_err(why)
        })
        .run(setup.effort)?;
    let goal = Some(Goal::at_least(0.99));
    Ok(vec![outcome.row(FIRST, Unit::rate(LEN), "guarded slice", "memmap2", goal)])
}

fn repeated(setup: &Setup) -> Result<Vec<Row>, Reason> {
    const LEN: usize = 256 << 10;
    let file = samples::in_memory(LEN)?;
    let (slice, plain) = (guarded(Mapping::map(&file).map_err(why)?.bytes())?, memmap2(&file)?);
    let right = sum(&plain);
    let outcome = Contest::new()
        .side("memmap2", || check(right, sum(black_box(&plain))))
        .side("guarded slice", || check(right, sum(black_box(&slice))))
        .run(setup.effort)?;
    slice.finish().map_err(why)?;
    let goal = Some(Goal::at_least(0.99));
    Ok(vec![outcome.row(REPEATED, Unit::rate(LEN), "guarded slice", "memmap2", goal)])
}

fn made(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let file = samples::in_memory(4096)?;
    let map = Mapping::map(&file).map_err(why)?;
    let mut ours = || {
        black_box(guarded(map.bytes())?);
        Ok(())
    };
    let mut calls = || same_calls(&file);
    let mut peer = || {
        black_box(memmap2(&file)?);
        Ok(())
    };
    ours()?;
    let costs = [trace::cost(&mut ours), trace::cost(&mut calls), trace::cost(&mut peer)];
    let outcome = Contest::new()
        .side("memmap2", peer)
        .side("the same calls", calls)
        .side("guarded slice", ours)
        .run(setup.effort)?;
    let row = |peer, goal| outcome.row(MADE, Unit::Microseconds, "guarded slice", peer, goal);
    let rows = [row("the same calls", Some(Goal::at_most(1.1))), row("memmap2", None)];
    let mut rows: Vec<_> = rows.into();
    match costs {
        [Ok(ours), Ok(calls), Ok(peer)] => {
            let with = rows.into_iter().zip([calls, peer]);
            return Ok(with.map(|(row, peer)| row.with_costs(&ours, &peer)).collect());
        }
        [Err(reason), ..] | [_, Err(reason), _] | [.., Err(reason)] => {
            rows.push(Row::skipped(&format!("{MADE}: instructions and system calls"), reason));
        }
    }
    Ok(rows)
}

fn chunks(setup: &Setup) -> Result<Vec<Row>, Reason> {
    const LEN: usize = 64 << 20;
    const SIZES: [(&str, usize); 4] =
        [("16 KiB", 16 << 10), ("32 KiB", 32 << 10), ("64 KiB", 64 << 10), ("256 KiB", 256 << 10)];
    let file = samples::in_memory(LEN)?;
    let map = Mapping::map(&file).map_err(why)?;
    let slice = memmap2(&file)?;
    let right = sum(&slice);
    let mut contest = Contest::new().side("slice", || check(right, sum(black_box(&slice))));
    for (name, size) in SIZES {
        let view = map.bytes();
        contest = contest.side(name, move || {
            let mut total = 0u64;
            let add = |_, bytes: &[u8]| total = total.wrapping_add(sum(bytes));
            black_box(view).for_each_chunk(size, add).map_err(why)?;
            check(right, total)
        });
    }
    let outcome = contest.run(setup.effort)?;
    let row =
        |(name, _)| outcome.row(&format!("{CHUNKS}: {name}"), Unit::rate(LEN), name, "slice", None);
    Ok(SIZES.map(row).into())
}

/// Makes the system calls of a guarded slice.
fn same_calls(file: &File) -> Result<(), Reason> {
    // SAFETY: the structures are large enough, and the mapping is new and unused.
    unsafe {
        let mut stat = std::mem::zeroed();
        let mut action = std::mem::zeroed();
        let mut mask = std::mem::zeroed();
        libc::fstat(file.as_raw_fd(), &mut stat);
        libc::sigaction(libc::SIGBUS, ptr::null(), &mut action);
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &mut mask);
        let (read, shared) = (libc::PROT_READ, libc::MAP_SHARED);
        let map = libc::mmap(ptr::null_mut(), 4096, read, shared, file.as_raw_fd(), 0);
        if map == libc::MAP_FAILED || libc::munmap(map, 4096) != 0 {
            return Err(why(std::io::Error::last_os_error()));
        }
    }
    Ok(())
}

fn memmap2(file: &File) -> Result<memmap2::Mmap, Reason> {
    // SAFETY: the file does not change while it is mapped.
    unsafe { memmap2::Mmap::map(file) }.map_err(why)
}

fn guarded(view: View<'_, u8>) -> Result<GuardedSlice<u8>, Reason> {
    // SAFETY: the file does not change while the slice lives; a sum is sound whatever it reads.
    unsafe { view.guarded_slice() }.map_err(why)
}

fn check(right: u64, sum: u64) -> Result<(), Reason> {
    if sum == right { Ok(()) } else { Err(format!("the sum is {sum}, and should be {right}")) }
}

#[inline(never)]
fn sum(bytes: &[u8]) -> u64 {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().fold(0, |sum, word| sum.wrapping_add(u64::from_ne_bytes(*word)))
}
