//! `sharemap stat`: shows the size of a file and the state of its pages.

mod advice;
mod channel;

use super::objects;
use super::pages::{Mappable, Pages, Run, in_parts};
use super::segment::stats::{self, Stats};
use crate::failure::Failure;
use crate::output::Output;
use crate::system::procfs::HugePageUse;
use crate::system::{self, procfs};
use crate::text::{Text, lossless};
use crate::units;
use advice::{Hint, Situation};
use channel::Channel;
use console::Style;
use serde::Serialize;
use sharemap::guard::{self, Recovery};
use sharemap::{CacheStatus, ErrorKind, Mapping, PageState, SlidingWindow};
use std::path::{Path, PathBuf};

/// Shows the size of a file, how much of it is in memory, and how best to map it.
///
/// None of the file's data is read from the disk for that. Values that the system does not report are left
/// out.
///
/// Afterwards, the first bytes of the file are read, which tell whether it is a segment or a channel. For a
/// segment, in a file or in shared memory, also shows how much of it is used and free, the blocks by class, the
/// processes that are attached, and the lanes in a change. For a channel, also shows how many messages it has and
/// had, how often its ends slept, and the ends and processes that are attached.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The files to show, or the names of segments and channels in shared memory.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Stat {
    path: String,
    size: u64,
    page_size: u64,
    pages: u64,
    /// `resident`, `absent` and `unknown` add up to `pages`.
    resident: u64,
    absent: u64,
    unknown: u64,
    /// The data that is not in holes.
    data: Option<Data>,
    cache: Option<Cache>,
    huge_pages: Option<HugePageUse>,
    /// `None` for a block device.
    file_system: Option<String>,
    block_device: bool,
    recovery: &'static str,
    advice: Vec<Hint>,
}

#[derive(Serialize)]
struct Data {
    bytes: u64,
    extents: u64,
}

#[derive(Default, Serialize)]
struct Cache {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

impl Cache {
    fn plus(self, more: CacheStatus) -> Self {
        Self {
            cached: self.cached + more.cached,
            dirty: self.dirty + more.dirty,
            writeback: self.writeback + more.writeback,
            evicted: self.evicted + more.evicted,
            recently_evicted: self.recently_evicted + more.recently_evicted,
        }
    }
}

#[derive(Serialize)]
struct Files {
    files: Vec<Stat>,
    segments: Vec<Stats>,
    channels: Vec<Channel>,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let (mut files, mut segments, mut channels) = (Vec::new(), Vec::new(), Vec::new());
    for path in &args.files {
        // A name without a separator is shared memory only if there is no such file.
        let is_file = path.exists();
        if is_file {
            let stat = look(path)?;
            match output.json() {
                true => files.push(stat),
                false => print(&stat, output)?,
            }
        }
        match object(path, is_file)? {
            Object::Segment(stats) if output.json() => segments.push(stats),
            Object::Segment(stats) => stats::print(&stats, is_file, output)?,
            Object::Channel(stats) if output.json() => channels.push(stats),
            Object::Channel(stats) => channel::print(&stats, is_file, output)?,
            Object::None if is_file => {}
            // Returns the error of a missing file.
            Object::None => drop(look(path)?),
        }
    }
    if output.json() {
        output.object(&Files { files, segments, channels })?;
    }
    Ok(())
}

/// What an argument stands for, beside a file.
enum Object {
    None,
    Segment(Stats),
    Channel(Channel),
}

/// Describes the segment or the channel that an argument stands for: in the file, or in shared memory if there is no such
/// file. Reads the beginning of the file.
fn object(path: &Path, is_file: bool) -> Result<Object, Failure> {
    let Some(name) = path.to_str() else { return Ok(Object::None) };
    let name = match is_file && !name.contains(std::path::is_separator) {
        true => format!("./{name}"),
        false => name.to_owned(),
    };
    let Ok(look) = objects::inspect(&objects::location(&name)) else { return Ok(Object::None) };
    if look.facts().is_some_and(|facts| facts.kind == objects::SEGMENT) {
        return stats::look(&name).map(Object::Segment);
    }
    Ok(channel::look(&name, &look)?.map_or(Object::None, Object::Channel))
}

fn look(path: &Path) -> Result<Stat, Failure> {
    // Opening a window maps nothing; the first view does.
    let window = SlidingWindow::open(path, sharemap::page_size())?;
    let file = window.file().ok_or_else(|| Failure::refused("a window has no file"))?;
    let is_device = file.metadata().is_ok_and(|found| system::is_block_device(&found));
    let page_size = sharemap::page_size() as u64;
    let size = window.len();
    let pages = size.div_ceil(page_size);
    let mut found = Found::default();
    let mappable = in_parts(file, size, |map| found.look(map))?;
    if mappable == Mappable::Refused {
        found = Found { pages: Pages::unknown(pages), data: None, cache: None, ..Found::default() };
    }
    let (resident, absent) =
        (found.pages.number(PageState::Resident), found.pages.number(PageState::Absent));
    // The file system of a device's node is unrelated to the device.
    let file_system = match is_device {
        true => None,
        false => told(window.file_system())?,
    };
    let situation = Situation {
        size,
        pages,
        resident,
        absent,
        file_system: file_system.as_deref(),
        huge_pages: found.huge_pages.as_ref(),
        mappable,
    };
    Ok(Stat {
        path: lossless(path),
        size,
        page_size,
        pages,
        resident,
        absent,
        unknown: pages - resident - absent,
        data: found.data,
        cache: found.cache,
        advice: situation.hints(),
        huge_pages: found.huge_pages,
        file_system,
        block_device: is_device,
        recovery: match guard::recovery() {
            Recovery::InPlace => "in place",
            _ => "by system calls",
        },
    })
}

/// The results of the parts of a file so far.
struct Found {
    pages: Pages,
    data: Option<Data>,
    /// The end of the last data extent.
    data_end: u64,
    cache: Option<Cache>,
    huge_pages: Option<HugePageUse>,
    /// The number of pages that may still be touched to detect huge pages.
    looks: usize,
}

impl Default for Found {
    fn default() -> Self {
        Self {
            pages: Pages::default(),
            data: Some(Data { bytes: 0, extents: 0 }),
            data_end: u64::MAX,
            cache: Some(Cache::default()),
            huge_pages: None,
            looks: LOOKS,
        }
    }
}

impl Found {
    fn look(&mut self, map: &Mapping) -> Result<(), Failure> {
        let count = map.len().div_ceil(sharemap::page_size()) as u64;
        let pages = Pages::of(map, &(0..map.len()))?.unwrap_or_else(|| Pages::unknown(count));
        if self.huge_pages.is_none() || self.looks > 0 {
            let more = huge_pages(map, &pages, &mut self.looks);
            self.huge_pages = match (self.huge_pages, more) {
                (Some(before), Some(more)) => Some(HugePageUse {
                    page_size: before.page_size.max(more.page_size),
                    mapped: before.mapped + more.mapped,
                    eligible: before.eligible || more.eligible,
                }),
                (before, more) => before.or(more),
            };
        }
        self.pages.append(&pages);
        self.data = match (self.data.take(), told(map.data_extents())?) {
            (Some(mut data), Some(extents)) => {
                for extent in extents {
                    data.bytes += extent.end - extent.start;
                    // An extent that continues across the end of a part is one extent.
                    data.extents += u64::from(extent.start != self.data_end);
                    self.data_end = extent.end;
                }
                Some(data)
            }
            _ => None,
        };
        self.cache = match (self.cache.take(), told(map.cache_status())?) {
            (Some(before), Some(more)) => Some(before.plus(more)),
            _ => None,
        };
        Ok(())
    }
}

/// Returns `None` if the system does not report the value.
pub(super) fn told<T>(answer: sharemap::Result<T>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) => match error.kind() {
            ErrorKind::Unsupported | ErrorKind::PermissionDenied => Ok(None),
            _ => Err(error.into()),
        },
    }
}

/// The number of pages touched to detect huge pages.
const LOOKS: usize = 4096;

/// Returns the use of huge pages in a mapping.
///
/// The kernel reports a huge page only after an access. Reads one byte in each 2 MiB that are wholly in
/// memory, at most `looks` times, so nothing is read from the disk.
fn huge_pages(map: &Mapping, pages: &Pages, looks: &mut usize) -> Option<HugePageUse> {
    const STRETCH: usize = 2 << 20;
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
    for number in resident.flat_map(whole).take(*looks) {
        *looks -= 1;
        // The file may have been truncated meanwhile, which does not matter here.
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
                "{} ({}): the system does not report them to this user",
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
            number => format!(", {number} of them recently"),
        };
        output.field("evicted", format!("{}{recently}", pages(cache.evicted)))?;
    }
    if let Some(huge) = &stat.huge_pages {
        let what = match (huge.page_size > stat.page_size, huge.mapped) {
            (true, _) => format!("all, of {}", units::size(huge.page_size)),
            (false, 0) if huge.eligible => "none yet; the system would use them".into(),
            (false, 0) => "none".into(),
            (false, bytes) => format!("{} in huge pages", units::size(bytes)),
        };
        output.field("huge pages", what)?;
    }
    if let Some(name) = &stat.file_system {
        output.field("file system", name)?;
    }
    if stat.block_device {
        output.field(
            "device",
            "a block device; all values are those of the device, not of its node",
        )?;
    }
    let faults = match stat.recovery {
        "in place" => "become errors, at no cost to reads that succeed",
        _ => "become errors by a system call for each read: slower, but as safe",
    };
    output.field("faults", faults)?;
    for (i, hint) in stat.advice.iter().enumerate() {
        let label = if i == 0 { "advice" } else { "" };
        let when = Text::styled(&Style::new().bold(), format!("{}:", hint.when));
        output.field(label, when + " " + hint.what)?;
    }
    Ok(())
}
