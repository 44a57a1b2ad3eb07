//! `sharemap stat`: what the system knows of a file and its pages.

mod advice;

use super::pages::{Pages, Run};
use crate::failure::Failure;
use crate::output::Output;
use crate::system::procfs::{self, HugePageUse};
use crate::text::{Text, lossless};
use crate::units;
use advice::{Hint, Situation};
use console::Style;
use serde::Serialize;
use sharemap::guard::Recovery;
use sharemap::{CacheStatus, ErrorKind, Mapping, PageState};
use std::path::{Path, PathBuf};

/// Show a file's size, which of its pages are in memory, and how best to map it.
///
/// Reads none of the file's data from the disk. What the system does not tell is left out.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Stat {
    path: String,
    size: u64,
    page_size: u64,
    pages: u64,
    /// The three add up to `pages`.
    resident: u64,
    absent: u64,
    unknown: u64,
    /// Bytes that are not holes, and in how many pieces.
    data: Option<Data>,
    cache: Option<Cache>,
    huge_pages: Option<HugePageUse>,
    file_system: Option<String>,
    recovery: &'static str,
    advice: Vec<Hint>,
}

#[derive(Serialize)]
struct Data {
    bytes: u64,
    extents: u64,
}

#[derive(Serialize)]
struct Cache {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

impl From<CacheStatus> for Cache {
    fn from(status: CacheStatus) -> Self {
        Self {
            cached: status.cached,
            dirty: status.dirty,
            writeback: status.writeback,
            evicted: status.evicted,
            recently_evicted: status.recently_evicted,
        }
    }
}

#[derive(Serialize)]
struct Files {
    files: Vec<Stat>,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let mut files = Vec::new();
    for path in &args.files {
        let stat = look(path)?;
        if output.json() {
            files.push(stat);
        } else {
            print(&stat, output)?;
        }
    }
    if output.json() {
        output.object(&Files { files })?;
    }
    Ok(())
}

fn look(path: &Path) -> Result<Stat, Failure> {
    let map = Mapping::open(path)?;
    let page_size = sharemap::page_size() as u64;
    let size = map.len() as u64;
    let pages = size.div_ceil(page_size);
    let told_pages = Pages::of(&map, &(0..map.len()))?.unwrap_or_else(|| Pages::unknown(pages));
    let resident = told_pages.number(PageState::Resident);
    let absent = told_pages.number(PageState::Absent);
    let file_system = told(map.file_system())?;
    let extents = told(map.data_extents())?;
    let huge_pages = huge_pages(&map, &told_pages);
    let situation = Situation {
        size,
        pages,
        resident,
        absent,
        file_system: file_system.as_deref(),
        huge_pages: huge_pages.as_ref(),
    };
    Ok(Stat {
        path: lossless(path),
        size,
        page_size,
        pages,
        resident,
        absent,
        unknown: pages - resident - absent,
        data: extents.map(|extents| Data {
            bytes: extents.iter().map(|extent| extent.end - extent.start).sum(),
            extents: extents.len() as u64,
        }),
        cache: told(map.cache_status())?.map(Cache::from),
        huge_pages,
        advice: situation.hints(),
        file_system,
        recovery: match map.recovery() {
            Recovery::InPlace => "in place",
            _ => "by system calls",
        },
    })
}

/// `None` where the system does not tell.
pub(super) fn told<T>(answer: sharemap::Result<T>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) => match error.kind() {
            ErrorKind::Unsupported | ErrorKind::PermissionDenied => Ok(None),
            _ => Err(error.into()),
        },
    }
}

/// Huge pages show only once they are used: touches one byte in each stretch of 2 MiB that is
/// wholly in memory, which reads nothing from the disk.
fn huge_pages(map: &Mapping, pages: &Pages) -> Option<HugePageUse> {
    const STRETCH: usize = 2 << 20;
    /// Enough to see whether there are any.
    const LOOKS: usize = 4096;
    if map.is_empty() {
        return None;
    }
    let bytes = map.bytes();
    let per_stretch = (STRETCH / sharemap::page_size()).max(1) as u64;
    let stretch = per_stretch * sharemap::page_size() as u64;
    let whole = |run: &Run| {
        run.first_page.div_ceil(per_stretch)..(run.first_page + run.pages) / per_stretch
    };
    let resident = pages.runs().iter().filter(|run| run.state == PageState::Resident);
    for number in resident.flat_map(whole).take(LOOKS) {
        // A file cut off meanwhile is none the worse for it.
        let _ = bytes.get((number * stretch) as usize);
    }
    procfs::huge_pages(bytes.as_ptr() as usize)
}

fn print(stat: &Stat, output: &mut Output) -> Result<(), Failure> {
    let pages = |number| units::count(number, "page");
    let share = |number| format!("{:.1} %", units::percent(number, stat.pages));
    output.line(Text::styled(&Style::new().bold(), &stat.path))?;
    output.field(
        "size",
        format!(
            "{} ({}), {} of {}",
            units::size(stat.size),
            units::count(stat.size, "byte"),
            pages(stat.pages),
            units::size(stat.page_size)
        ),
    )?;
    if let Some(data) = stat.data.as_ref().filter(|data| data.bytes < stat.size) {
        output.field(
            "data",
            format!(
                "{} in {}; the rest is holes",
                units::size(data.bytes),
                units::count(data.extents, "extent")
            ),
        )?;
    }
    if stat.pages > stat.unknown {
        output.field(
            "resident",
            format!(
                "{} ({}), {}",
                pages(stat.resident),
                share(stat.resident),
                units::size(stat.size.min(stat.resident * stat.page_size))
            ),
        )?;
    }
    if stat.unknown > 0 {
        output.field(
            "unknown",
            format!(
                "{} ({}): the system does not tell this user",
                pages(stat.unknown),
                share(stat.unknown)
            ),
        )?;
    }
    if let Some(cache) = &stat.cache {
        let writing = match cache.writeback {
            0 => String::new(),
            number => format!(", {} being written", pages(number)),
        };
        output.field("dirty", format!("{}{writing}", pages(cache.dirty)))?;
        let recently = match cache.recently_evicted {
            0 => String::new(),
            number => format!(", {number} of them not long ago"),
        };
        output.field("evicted", format!("{}{recently}", pages(cache.evicted)))?;
    }
    if let Some(huge) = &stat.huge_pages {
        let what = match (huge.page_size > stat.page_size, huge.mapped) {
            (true, _) => format!("all, of {}", units::size(huge.page_size)),
            (false, 0) if huge.eligible => "none yet, the system would use them".into(),
            (false, 0) => "none".into(),
            (false, bytes) => format!("{} mapped by them", units::size(bytes)),
        };
        output.field("huge pages", what)?;
    }
    if let Some(name) = &stat.file_system {
        output.field("file system", name)?;
    }
    let faults = match stat.recovery {
        "in place" => "become errors, at no cost to reads that succeed",
        _ => "become errors, by a system call for each read: slower, as safe",
    };
    output.field("faults", faults)?;
    for (i, hint) in stat.advice.iter().enumerate() {
        let label = if i == 0 { "advice" } else { "" };
        let when = Text::styled(&Style::new().bold(), format!("{}:", hint.when));
        output.field(label, when + " " + hint.what)?;
    }
    Ok(())
}
