//! `sharemap evict`: drops the pages of a file from memory.

use super::pages::{change, resident};
use crate::failure::Failure;
use crate::output::Output;
use crate::text::lossless;
use crate::units;
use serde::Serialize;
use sharemap::Mapping;
use std::path::PathBuf;

/// Drops the pages of a file from memory, so that the next reader waits for the disk.
///
/// Changed pages are written to the disk first, so no data is lost. Pages that other processes have
/// mapped, and files that exist in memory only (tmpfs), may stay. `sharemap touch` does the opposite.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to evict.
    file: PathBuf,
}

#[derive(Serialize)]
struct Evicted {
    path: String,
    page_size: u64,
    pages: u64,
    /// `None` if the system does not report it.
    resident_before: Option<u64>,
    resident_after: Option<u64>,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let map = Mapping::open(&args.file)?;
    let all = 0..map.len();
    let page_size = sharemap::page_size();
    let before = resident(&map, &all)?;
    if !all.is_empty() {
        // Only clean pages can be evicted. If this user may not flush the file, dirty pages stay.
        if let Ok(file) = std::fs::File::open(&args.file) {
            let _ = file.sync_data();
        }
        map.evict()?;
    }
    let evicted = Evicted {
        path: lossless(&args.file),
        page_size: page_size as u64,
        pages: map.len().div_ceil(page_size) as u64,
        resident_before: before,
        resident_after: resident(&map, &all)?,
    };
    if output.json() {
        return output.object(&evicted);
    }
    let stayed = match evicted.resident_after {
        Some(1..) => {
            "; the rest is in use by another process, not yet on the disk, or on a file system \
             without a disk"
        }
        _ => "",
    };
    output.line(format!(
        "{}: {}; {}{stayed}",
        evicted.path,
        units::count(evicted.pages, "page"),
        change(evicted.resident_before, evicted.resident_after),
    ))
}
