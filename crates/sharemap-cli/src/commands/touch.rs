//! `sharemap touch`: brings a file into memory.

use super::pages::Pages;
use crate::cli::Part;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;
use crate::text::lossless;
use crate::units;
use serde::Serialize;
use sharemap::{Mapping, PageState};
use std::path::PathBuf;
use std::time::Instant;

/// Read a file's pages into memory, so that the next reader need not wait for the disk.
///
/// The file and its times stay as they are. `sharemap evict` is the opposite.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file.
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
    /// `None` where the system does not say.
    resident_before: Option<u64>,
    resident_after: Option<u64>,
    seconds: f64,
}

/// Bytes between two looks at the progress.
const PIECE: usize = 64 << 20;

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let map = Mapping::open(&args.file)?;
    let range = args.part.within(map.len() as u64).map_err(|reason| {
        Failure::refused(format!("cannot touch {}: {reason}", lossless(&args.file)))
    })?;
    let range = range.start as usize..range.end as usize;
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
        offset: range.start as u64,
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

/// Pages of `range` in memory, where the system says it of all of them.
pub(super) fn resident(
    map: &Mapping,
    range: &std::ops::Range<usize>,
) -> Result<Option<u64>, Failure> {
    let pages = Pages::of(map, range)?;
    Ok(pages
        .filter(|pages| pages.number(PageState::Unknown) == 0)
        .map(|pages| pages.number(PageState::Resident)))
}

/// What the two counts mean, in words.
pub(super) fn change(before: Option<u64>, after: Option<u64>) -> String {
    match (before, after) {
        (Some(before), Some(after)) => {
            format!("in memory: {before} before, {after} now")
        }
        _ => "the system does not say what is in memory".into(),
    }
}
