//! `sharemap evict`: takes a file out of memory.

use super::touch::{change, resident};
use crate::failure::Failure;
use crate::output::Output;
use crate::text::lossless;
use crate::units;
use serde::Serialize;
use sharemap::Mapping;
use std::path::PathBuf;

/// Drop a file's pages from memory, so that the next reader has to wait for the disk.
///
/// Changed pages are written to the disk first; nothing is lost. What other processes have mapped,
/// and what lives in memory only (tmpfs), may stay. `sharemap touch` is the opposite.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file.
    file: PathBuf,
}

#[derive(Serialize)]
struct Evicted {
    path: String,
    page_size: u64,
    pages: u64,
    /// `None` where the system does not say.
    resident_before: Option<u64>,
    resident_after: Option<u64>,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let map = Mapping::open(&args.file)?;
    let all = 0..map.len();
    let page_size = sharemap::page_size();
    let before = resident(&map, &all)?;
    if !all.is_empty() {
        // Only clean pages can go. Where a reader may not ask for this, what is dirty stays.
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
            "; what stays is in use by another process, not yet on the disk, or on a file \
             system that has no disk"
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
