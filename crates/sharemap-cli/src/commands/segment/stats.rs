//! `sharemap stat SEGMENT`: shows the use of a segment's memory, and the processes that are attached.

use crate::commands::objects::{self, Attached};
use crate::failure::Failure;
use crate::output::Output;
use crate::text::Text;
use crate::units;
use console::Style;
use serde::Serialize;
use sharemap::{BlockStats, SharedOptions};

use super::Opened;

/// A segment, as JSON describes it.
#[derive(Serialize)]
pub(in crate::commands) struct Stats {
    segment: String,
    state: &'static str,
    size: u64,
    max: u64,
    used: u64,
    free: u64,
    /// The number of named objects.
    named: u64,
    /// Small blocks, by class.
    blocks: Vec<Class>,
    /// The number of blocks that are larger than any class.
    runs: u64,
    /// The number of spans of 64 KiB that are free for any size.
    free_spans: u64,
    participants: Vec<Attached>,
    max_participants: u32,
    lanes: u32,
    open_changes: u32,
}

/// The blocks of one size.
#[derive(Serialize)]
struct Class {
    size: u64,
    allocated: u64,
    /// Free blocks that lanes keep for their next allocations.
    kept: u64,
    free: u64,
    /// The share of the class's memory that is not allocated, in per cent.
    fragmentation: f64,
}

/// Describes the segment of this name.
pub(in crate::commands) fn look(name: &str) -> Result<Stats, Failure> {
    let location = objects::location(name);
    let look = objects::inspect(&location).map_err(|error| objects::unopened(name, error))?;
    let facts = look.facts();
    let participants = look.participants()?.iter().map(Attached::of).collect();
    let state = objects::state(&look)?;
    let options = SharedOptions::new().allow_any_owner().accept_unclean();
    let found =
        Opened::open(name, |location| options.open_segment_read_only(location))?.segment.stats()?;
    let class = |class: &BlockStats| {
        let unused = class.kept + class.free;
        let fragmentation = units::percent(unused, class.allocated + unused);
        let BlockStats { size, allocated, kept, free, .. } = *class;
        Class { size, allocated, kept, free, fragmentation }
    };
    Ok(Stats {
        segment: name.into(),
        state,
        size: found.len,
        max: found.max,
        used: found.used,
        free: found.free,
        named: found.named,
        blocks: found.blocks.iter().map(class).collect(),
        runs: found.runs,
        free_spans: found.free_spans,
        participants,
        max_participants: facts.map_or(0, |facts| facts.participants),
        lanes: facts.map_or(0, |facts| facts.lanes),
        open_changes: found.open_changes,
    })
}

/// Prints the values, below those of the segment's file if they were printed.
pub(in crate::commands) fn print(
    stats: &Stats,
    has_file: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    if !has_file {
        output.line(Text::styled(&Style::new().bold(), &stats.segment))?;
    }
    output.field(
        "segment",
        format!(
            "{}, {} of at most {}",
            stats.state,
            units::size(stats.size),
            units::size(stats.max)
        ),
    )?;
    output.field("objects", units::count(stats.named, "named object"))?;
    let share = units::percent(stats.used, stats.used + stats.free);
    output.field("used", format!("{} ({share:.1} %)", units::size(stats.used)))?;
    output.field("free", format!("{}, without growing", units::size(stats.free)))?;
    for (label, cells) in rows(stats) {
        output.field(label, cells)?;
    }
    if stats.runs > 0 {
        output.field("large", units::count(stats.runs, "block"))?;
    }
    objects::print_participants(&stats.participants, stats.max_participants, output)?;
    let changes = match stats.open_changes {
        0 => "none is in a change".into(),
        1 => "1 lane is in a change".into(),
        lanes => format!("{lanes} lanes are in a change"),
    };
    output.field("lanes", format!("{}; {changes}", units::count(stats.lanes.into(), "lane")))
}

/// Returns the table of blocks by class, each line with its label. Classes without blocks are omitted.
fn rows(stats: &Stats) -> Vec<(&'static str, String)> {
    let used = stats.blocks.iter().filter(|class| class.allocated + class.kept + class.free > 0);
    let cells = used.map(|class| {
        [
            units::count(class.size, "byte"),
            class.allocated.to_string(),
            class.kept.to_string(),
            class.free.to_string(),
            format!("{:.1} %", class.fragmentation),
        ]
    });
    let headings = ["of size", "allocated", "kept", "free", "not allocated"].map(str::to_owned);
    let rows: Vec<[String; 5]> = [headings].into_iter().chain(cells).collect();
    if rows.len() == 1 {
        return Vec::new();
    }
    let widths: [usize; 5] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    let line = |row: &[String; 5]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:>width$}"));
        cells.collect::<Vec<_>>().join("  ")
    };
    let labels = ["blocks"].into_iter().chain(std::iter::repeat(""));
    labels.zip(rows.iter().map(line)).collect()
}
