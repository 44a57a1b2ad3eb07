//! `sharemap map`: shows which parts of a file are in memory.

mod bar;
mod cells;
mod picture;

use super::pages::{Pages, Run};
use crate::failure::Failure;
use crate::output::Output;
use crate::text::{escape, lossless};
use crate::units;
use serde::Serialize;
use sharemap::{Mapping, PageState};
use std::path::PathBuf;

/// Shows which parts of a file are in memory, as a bar or as a picture.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to show.
    file: PathBuf,
    /// Draws a picture into this file instead: .png or .svg.
    #[arg(short, long, value_name = "PICTURE", value_parser = picture::parse_target)]
    output: Option<picture::Target>,
}

#[derive(Serialize)]
struct Residency {
    path: String,
    size: u64,
    page_size: u64,
    pages: u64,
    resident: u64,
    absent: u64,
    unknown: u64,
    runs: Vec<Run>,
    picture: Option<String>,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let map = Mapping::open(&args.file)?;
    let page_size = sharemap::page_size();
    let pages = match Pages::of(&map, &(0..map.len()))? {
        Some(pages) => pages,
        None => Pages::unknown(map.len().div_ceil(page_size) as u64),
    };
    let found = Residency {
        path: lossless(&args.file),
        size: map.len() as u64,
        page_size: page_size as u64,
        pages: pages.len(),
        resident: pages.number(PageState::Resident),
        absent: pages.number(PageState::Absent),
        unknown: pages.number(PageState::Unknown),
        runs: pages.runs().to_vec(),
        picture: args.output.as_ref().map(|target| lossless(&target.path)),
    };
    if let Some(target) = &args.output {
        let name = args.file.file_name().map(lossless);
        let title = format!("{}: {}", name.unwrap_or_else(|| found.path.clone()), summary(&found));
        picture::draw(target, &escape(title), &pages, page_size as u64)?;
    }
    if output.json() {
        return output.object(&found);
    }
    output.line(format!("{}: {}", found.path, summary(&found)))?;
    match &found.picture {
        Some(picture) => output.line(format!("drawn into {picture}")),
        None => bar::print(output, &pages, page_size as u64),
    }
}

fn summary(found: &Residency) -> String {
    let pages = units::count(found.pages, "page");
    let known = found.pages - found.unknown;
    let unknown = match found.unknown {
        0 => String::new(),
        number => format!(", {number} unknown"),
    };
    if known == 0 && found.pages > 0 {
        return format!("{pages}; the system does not report which are in memory");
    }
    format!(
        "{} of {pages} in memory ({:.1} %){unknown}",
        found.resident,
        units::percent(found.resident, found.pages)
    )
}
