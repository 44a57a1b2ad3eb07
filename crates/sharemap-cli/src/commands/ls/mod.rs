//! `sharemap ls`: lists the named shared memory of this system, or the named objects of a segment.

mod maker;

pub(super) use maker::begins_with_header;

use super::objects::{self, Summary, Target};
use super::segment::{Opened, listing};
use crate::failure::Failure;
use crate::output::Output;
use crate::system::holders::{Holder, Holders};
use crate::text::{Text, lossless};
use crate::{system, units};
use console::Style;
use serde::Serialize;
use sharemap::inspect::ObjectFile;
use sharemap::{NamedObject, SharedMemory};
use std::time::{Duration, SystemTime};

/// Lists the named shared memory of this system, and the processes that hold it; or the objects of a segment.
///
/// If the argument is the whole name of a segment, or a path with a separator, lists the named objects of
/// that segment: their kinds, types and sizes.
///
/// Shared memory of other programs is included; some programs are recognized by their names. For
/// objects with a header of sharemap, the list shows the kind, the state, and the number of living
/// participants, as the kernel reports them. Values that the system does not report are shown as
/// unknown. Holders that belong to other users may be missing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Lists only objects with this in their names, or the objects in this segment.
    #[arg(value_name = "PART|SEGMENT")]
    part: Option<String>,
}

#[derive(Serialize)]
struct List {
    objects: Vec<Listed>,
    /// The number of processes that could not be inspected; `None` if the system has no list of holders.
    hidden_processes: Option<u64>,
}

/// An object in the list; `None` means unknown.
#[derive(Serialize)]
pub(super) struct Listed {
    pub(super) name: String,
    /// The program or library that gives its objects such names.
    pub(super) maker: Option<&'static str>,
    #[serde(flatten)]
    pub(super) summary: Summary,
    pub(super) size: Option<u64>,
    resident: Option<u64>,
    user: Option<u32>,
    owner: Option<String>,
    /// The permissions, in octal.
    mode: Option<String>,
    age_seconds: Option<u64>,
    /// The known holders.
    pub(super) holders: Option<Vec<Holder>>,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    if let Some(name) = &args.part {
        if name.contains(std::path::is_separator) {
            return listing::list(&Opened::to_read(name)?, output);
        }
        if let Some(opened) = Opened::find(name)? {
            return listing::list(&opened, output);
        }
    }
    let holders = Holders::look();
    let wanted = |object: &NamedObject| match &args.part {
        Some(part) => lossless(&object.name).contains(part),
        None => true,
    };
    let found = SharedMemory::list()?;
    let objects: Vec<Listed> =
        found.iter().filter(|object| wanted(object)).map(|o| look(o, holders.as_ref())).collect();
    let hidden = holders.map(|holders| holders.hidden);
    if output.json() {
        return output.object(&List { objects, hidden_processes: hidden });
    }
    print(&objects, hidden, output)
}

/// Describes an object in the system's list.
pub(super) fn look(object: &NamedObject, holders: Option<&Holders>) -> Listed {
    let name = lossless(&object.name);
    let path = object.path.as_deref();
    let maker = maker::by_name(&name).or_else(|| match path.and_then(maker::has_header) {
        Some(true) => Some("sharemap"),
        _ => None,
    });
    let file = path.and_then(system::identity);
    Listed {
        maker,
        summary: Summary::look(&Target::of(object).location),
        size: object.len,
        resident: object.allocated.or_else(|| path.and_then(system::allocated)),
        user: object.user,
        owner: object.user.and_then(system::user_name),
        mode: object.mode.map(|mode| format!("{mode:o}")),
        age_seconds: age_in_seconds(object.created.or(object.modified)),
        holders: holders.zip(file).map(|(holders, file)| holders.of(file)),
        name,
    }
}

/// Describes an open file; `object` is its entry in the system's list.
pub(super) fn look_at_file(
    name: &str,
    file: &ObjectFile,
    object: Option<&NamedObject>,
    holders: Option<&Holders>,
) -> Listed {
    let metadata = file.file().metadata().ok();
    let created = || metadata.as_ref().and_then(|found| found.created().or(found.modified()).ok());
    let user = object.and_then(|object| object.user);
    Listed {
        name: name.to_owned(),
        maker: maker::by_name(name).or_else(|| match maker::begins_with_header(file.file()) {
            Some(true) => Some("sharemap"),
            _ => None,
        }),
        summary: Summary::of(file.inspect()),
        size: metadata.as_ref().map(std::fs::Metadata::len),
        resident: system::allocated_by(file.file()),
        user,
        owner: user.and_then(system::user_name),
        mode: object.and_then(|object| object.mode).map(|mode| format!("{mode:o}")),
        age_seconds: age_in_seconds(object.and_then(|object| object.created).or_else(created)),
        holders: holders.zip(system::identity_of(file.file())).map(|(all, file)| all.of(file)),
    }
}

fn age_in_seconds(since: Option<SystemTime>) -> Option<u64> {
    SystemTime::now().duration_since(since?).ok().map(|age| age.as_secs())
}

/// Returns the value as text, or `unknown`.
fn told<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "unknown".into(), |value| value.to_string())
}

const HEADINGS: [&str; 10] =
    ["NAME", "KIND", "SIZE", "RESIDENT", "OWNER", "MODE", "AGE", "STATE", "ATTACHED", "MADE BY"];

fn print(objects: &[Listed], hidden: Option<u64>, output: &mut Output) -> Result<(), Failure> {
    if objects.is_empty() {
        return output.line("no shared memory found");
    }
    let rows: Vec<[Text; 10]> = objects
        .iter()
        .map(|object| {
            [
                object.name.clone(),
                object.summary.kind.clone(),
                told(object.size.map(units::size)),
                told(object.resident.map(units::size)),
                told(object.owner.clone().or(object.user.map(|user| user.to_string()))),
                told(object.mode.clone()),
                told(object.age_seconds.map(|age| units::duration(Duration::from_secs(age)))),
                object.summary.state.unwrap_or("-").to_owned(),
                object.summary.attached(),
                object.maker.unwrap_or("-").to_owned(),
            ]
            .map(Text::from)
        })
        .collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].width());
        widths.chain([HEADINGS[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; 10] = std::array::from_fn(width);
    let line = |cells: [Text; 10], last: &str| {
        let padded = cells.into_iter().zip(widths).map(|(cell, width)| cell.padded(width + 2));
        padded.collect::<Text>() + last
    };
    let dim = |heading| Text::styled(&Style::new().dim(), heading);
    output.line(line(HEADINGS.map(dim), "") + dim("HELD BY"))?;
    for (object, row) in objects.iter().zip(rows) {
        output.line(line(row, &objects::held_by(object.holders.as_deref())))?;
    }
    let total: u64 = objects.iter().filter_map(|object| object.resident).sum();
    let number = units::count(objects.len() as u64, "object");
    output.line(format!("{number}, {} resident", units::size(total)))?;
    objects::print_hidden(hidden, output)
}
