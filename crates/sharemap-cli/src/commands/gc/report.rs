//! The report of `gc`: what was found, and what became of it.

use crate::failure::Failure;
use crate::output::Output;
use crate::units;
use serde::Serialize;
use std::time::Duration;

/// The result of a run.
#[derive(Default, Serialize)]
pub(super) struct Report {
    pub(super) applied: bool,
    pub(super) items: Vec<Item>,
    pub(super) removable: u64,
    pub(super) removed: u64,
    pub(super) unused: u64,
    pub(super) kept: u64,
    /// The bytes of memory that removable or removed objects take up.
    pub(super) bytes: u64,
}

/// An object in the report.
#[derive(Serialize)]
pub(super) struct Item {
    pub(super) name: String,
    pub(super) what: &'static str,
    pub(super) size: Option<u64>,
    pub(super) age_seconds: Option<u64>,
    pub(super) verdict: &'static str,
    /// The reasons why no process uses the object.
    pub(super) proof: Vec<String>,
    /// The reason why the object is kept.
    pub(super) reason: Option<String>,
}

/// Adds an item to the report, and prints it unless the output is JSON.
pub(super) fn tell(item: Item, report: &mut Report, output: &mut Output) -> Result<(), Failure> {
    if !output.json() {
        print(&item, output)?;
    }
    report.items.push(item);
    Ok(())
}

/// Prints an item, and the proof under it.
fn print(item: &Item, output: &mut Output) -> Result<(), Failure> {
    let size = item.size.map_or(String::new(), |size| format!(", {}", units::size(size)));
    let age = match (item.verdict, item.age_seconds) {
        ("unused", Some(age)) => {
            format!(", not used for {}", units::duration(Duration::from_secs(age)))
        }
        ("unused", None) => ", unused since an unknown time".to_owned(),
        _ => String::new(),
    };
    let verdict = match item.verdict {
        "removable" => "would remove",
        "restorable" => "would restore",
        verdict => verdict,
    };
    let reason = item.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    output.paragraph(
        format!("{verdict:<13} "),
        format!("{} ({}{size}{age}){reason}", item.name, item.what),
    )?;
    for proof in &item.proof {
        output.paragraph("                ", proof)?;
    }
    Ok(())
}

/// Prints the totals.
pub(super) fn conclude(report: &Report, output: &mut Output) -> Result<(), Failure> {
    let objects = |number| units::count(number, "object");
    let size = units::size(report.bytes);
    let unused = match report.unused {
        0 => String::new(),
        number => format!("{number} unused, "),
    };
    let rest = format!("{unused}{} kept", report.kept);
    output.line(match (report.applied, report.removable) {
        (true, _) => format!("{} removed, {size}; {rest}", objects(report.removed)),
        (false, 0) if report.unused == 0 => {
            format!("nothing to remove; {} kept", objects(report.kept))
        }
        (false, 0) => format!("nothing to remove; {rest}"),
        (false, number) => {
            format!("{}, {size}, can be removed with --apply; {rest}", objects(number))
        }
    })
}
