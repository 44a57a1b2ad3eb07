//! `sharemap touch`: reads the pages of a file into memory.

use super::pages::{change, resident};
use crate::cli::Part;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;
use crate::text::lossless;
use crate::units;
use serde::Serialize;
use sharemap::{MapOptions, SlidingWindow};
use std::path::PathBuf;
use std::time::Instant;

/// Reads the pages of a file into memory, so that the next reader does not wait for the disk.
///
/// The file and its times do not change. `sharemap evict` does the opposite.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to read into memory.
    file: PathBuf,
    #[command(flatten)]
    part: Part,
}

#[derive(Serialize)]
struct Touched {
    path: String,
    offset: u64,
    length: u64,
    page_size: u64,
    pages: u64,
    /// `None` if the system does not report it.
    resident_before: Option<u64>,
    resident_after: Option<u64>,
    seconds: f64,
}

/// The number of bytes between two updates of the progress bar.
const PIECE: usize = 64 << 20;

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    // Opening a window maps nothing, and the mapping is of the part only: a file may be larger than the
    // available address space.
    let size = SlidingWindow::open(&args.file, sharemap::page_size())?.len();
    let refused = |reason: String| {
        Failure::refused(format!("cannot touch {}: {reason}", lossless(&args.file)))
    };
    let part = args.part.within(size).map_err(refused)?;
    let first = part.start - part.start % sharemap::page_size() as u64;
    let end = usize::try_from(part.end - first).map_err(|_| {
        refused("the part is larger than the address space; give a smaller --length".into())
    })?;
    let range = (part.start - first) as usize..end;
    let options = match end {
        // No length may be zero, but from the end of the file to its end there is nothing to map.
        0 => MapOptions::new().offset(size),
        length => MapOptions::new().offset(first).len(length),
    };
    let map = options.open(&args.file)?;
    let before = resident(&map, &range)?;
    let begun = Instant::now();
    let mut progress = Progress::new("reading", range.len() as u64);
    let mut start = range.start;
    while start < range.end {
        let end = range.end.min(start + PIECE);
        map.populate_range(start..end)?;
        progress.advance((end - start) as u64);
        start = end;
    }
    drop(progress);
    let page_size = sharemap::page_size();
    let pages = range.end.div_ceil(page_size) - range.start / page_size;
    let touched = Touched {
        path: lossless(&args.file),
        offset: part.start,
        length: range.len() as u64,
        page_size: page_size as u64,
        pages: if range.is_empty() { 0 } else { pages as u64 },
        resident_before: before,
        resident_after: resident(&map, &range)?,
        seconds: begun.elapsed().as_secs_f64(),
    };
    if output.json() {
        return output.object(&touched);
    }
    let Touched { path, length, pages, seconds, .. } = &touched;
    output.line(format!(
        "{path}: {} ({}) in {seconds:.3} s; {}",
        units::count(*pages, "page"),
        units::size(*length),
        change(touched.resident_before, touched.resident_after),
    ))
}
