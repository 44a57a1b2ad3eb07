//! Opens, maps, unmaps and closes a small file, which consists mostly of system calls.

use std::fs::File;
use std::hint::black_box;
use std::path::Path;

use sharemap::Mapping;

use super::Figure;
use crate::figure::Setup;
use crate::measure::Contest;
use crate::peers::raw;
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};
use crate::samples::OnDisk;
use crate::trace;

pub const FIGURES: &[Figure] =
    &[Figure { name: TOUCHED, run: touched }, Figure { name: UNTOUCHED, run: untouched }];

const TOUCHED: &str = "open, map, touch, unmap, close, 4 KiB";
const UNTOUCHED: &str = "open, map, unmap, close, 4 KiB";
const LEN: usize = 4096;

fn touched(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let file = OnDisk::new(&setup.dir, LEN)?;
    let path = file.path();
    let c_path = raw::c_path(path)?;
    let mut ours = || {
        let map = Mapping::open(black_box(path)).map_err(why)?;
        black_box(map.bytes().get(0).map_err(why)?);
        map.close().map_err(why)
    };
    let mut libc = || {
        // SAFETY: the file has a byte and is not truncated.
        let byte = raw::with_mapped_file(black_box(&c_path), |map| unsafe { map.base().read() })?;
        black_box(byte);
        Ok(())
    };
    let mut memmap2 = || {
        let map = memmap2_open(black_box(path))?;
        black_box(map[0]);
        Ok(())
    };
    rows(setup, TOUCHED, 1.02, &mut ours, &mut libc, &mut memmap2)
}

fn untouched(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let file = OnDisk::new(&setup.dir, LEN)?;
    let path = file.path();
    let c_path = raw::c_path(path)?;
    let mut ours = || {
        let map = Mapping::open(black_box(path)).map_err(why)?;
        black_box(map.len());
        map.close().map_err(why)
    };
    let mut libc = || {
        let base = raw::with_mapped_file(black_box(&c_path), |map| map.base())?;
        black_box(base);
        Ok(())
    };
    let mut memmap2 = || {
        let map = memmap2_open(black_box(path))?;
        black_box(map.len());
        Ok(())
    };
    rows(setup, UNTOUCHED, 1.05, &mut ours, &mut libc, &mut memmap2)
}

type Operation<'a> = &'a mut dyn FnMut() -> Result<(), Reason>;

fn rows(
    setup: &Setup,
    figure: &str,
    goal: f64,
    ours: Operation<'_>,
    libc: Operation<'_>,
    memmap2: Operation<'_>,
) -> Result<Vec<Row>, Reason> {
    ours()?;
    let costs = [trace::cost(ours), trace::cost(libc), trace::cost(memmap2)];
    let outcome = Contest::new()
        .side("libc", libc)
        .side("sharemap", ours)
        .side("memmap2", memmap2)
        .run(setup.effort)?;
    let goal = Some(Goal::at_most(goal));
    let mut rows = vec![
        outcome.row(figure, Unit::Microseconds, "sharemap", "libc", goal),
        outcome.row(figure, Unit::Microseconds, "sharemap", "memmap2", None),
    ];
    match costs {
        [Ok(ours), Ok(libc), Ok(memmap2)] => {
            let mut with = rows.into_iter().zip([libc, memmap2]);
            return Ok(with.by_ref().map(|(row, peer)| row.with_costs(&ours, &peer)).collect());
        }
        [Err(reason), ..] | [_, Err(reason), _] | [.., Err(reason)] => {
            rows.push(Row::skipped(&format!("{figure}: instructions and system calls"), reason));
        }
    }
    Ok(rows)
}

fn memmap2_open(path: &Path) -> Result<memmap2::Mmap, Reason> {
    let file = File::open(path).map_err(why)?;
    // SAFETY: the file does not change while it is mapped.
    unsafe { memmap2::Mmap::map(&file) }.map_err(why)
}
