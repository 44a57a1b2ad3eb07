//! `sharemap gc`: removes what nobody has any more, and says how that is known.

mod companion;
mod judge;

use super::objects::Target;
use crate::failure::{Failure, complain};
use crate::output::Output;
use crate::system::holders::Holders;
use crate::units;
use judge::{Judged, Verdict, judge};
use serde::Serialize;
use sharemap::{NamedObject, SharedMemory};

/// Find shared memory that nobody has any more, and remove it with --apply.
///
/// Without --apply nothing is removed. Each object comes with the proof that no live process has it:
/// that the kernel, asked for the object alone, granted it (a lease on Linux, a handle that shares
/// with nobody on Windows); of objects with a header of sharemap's, that it says of each participant's
/// slot, of the readers' and of the creator's that nobody holds it; and what could be seen in the
/// processes. What the system does not tell is kept, and so is whatever was not made by sharemap,
/// unless --foreign is given.
///
/// An object may be meant for a program that is yet to come: a writer may end before its reader
/// begins. Name what is to go, if that can be.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these objects: names, or paths with a separator [default: all that `sharemap ls` shows].
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Remove what can be removed.
    #[arg(long)]
    apply: bool,
    /// Also what has no header of sharemap's: raw memory, and what other programs have made.
    #[arg(long)]
    foreign: bool,
}

#[derive(Serialize)]
struct Report {
    applied: bool,
    items: Vec<Item>,
    removable: u64,
    removed: u64,
    kept: u64,
    /// Bytes of memory that removable or removed objects take up.
    bytes: u64,
}

#[derive(Serialize)]
struct Item {
    name: String,
    what: &'static str,
    size: Option<u64>,
    verdict: &'static str,
    /// Why nobody has it.
    proof: Vec<String>,
    /// Why it is kept.
    reason: Option<String>,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let holders = Holders::look();
    let mut report =
        Report { applied: args.apply, items: vec![], removable: 0, removed: 0, kept: 0, bytes: 0 };
    let mut failure = None;
    for target in targets(&args.names)? {
        let settled = target.and_then(|target| {
            let judged = judge(&target, holders.as_ref(), args.foreign);
            settle(judged, args.apply, &mut report)
        });
        let item = match settled {
            Ok(item) => item,
            // Whoever had listed it has removed it since.
            Err(Failure::NotFound(_)) if args.names.is_empty() => continue,
            // Every object is tried; the first failure is the exit code.
            Err(error) if failure.is_none() => {
                failure = Some(error);
                continue;
            }
            Err(error) => {
                complain(error);
                continue;
            }
        };
        if !output.json() {
            print(&item, output)?;
        }
        report.items.push(item);
    }
    if !output.json() {
        conclude(&report, output)?;
    }
    match failure {
        Some(failure) => Err(failure.beside(&report, output)),
        None if output.json() => output.object(&report),
        None => Ok(()),
    }
}

fn targets(names: &[String]) -> Result<Vec<Result<Target, Failure>>, Failure> {
    if names.is_empty() {
        let all = SharedMemory::list()?;
        return Ok(all.iter().map(|object: &NamedObject| Ok(Target::of(object))).collect());
    }
    Ok(names.iter().map(|name| Target::find(name)).collect())
}

/// Removes what is to be removed, while whoever opens it has to wait.
fn settle(judged: Judged, apply: bool, report: &mut Report) -> Result<Item, Failure> {
    let Judged { name, what, size, resident, proof, verdict } = judged;
    let mut item = Item { name, what, size, verdict: "kept", proof, reason: None };
    match verdict {
        Verdict::Keep(reason) => {
            report.kept += 1;
            item.reason = Some(reason);
            return Ok(item);
        }
        Verdict::Gone => {
            return Err(Failure::NotFound(format!("there is no shared memory {}", item.name)));
        }
        Verdict::Unused(_) if !apply => {
            item.verdict = "removable";
        }
        Verdict::Unused(unused) => {
            match unused.remove().map_err(|error| Failure::object("remove", &item.name, error))? {
                true => {
                    item.verdict = "removed";
                    report.removed += 1;
                }
                false => {
                    report.kept += 1;
                    item.proof.clear();
                    item.reason = Some("somebody has come who opens it".into());
                    return Ok(item);
                }
            }
        }
    }
    report.removable += 1;
    report.bytes += resident.or(size).unwrap_or(0);
    Ok(item)
}

fn print(item: &Item, output: &mut Output) -> Result<(), Failure> {
    let size = item.size.map_or(String::new(), |size| format!(", {}", units::size(size)));
    let verdict = match item.verdict {
        "removable" => "would remove",
        "removed" => "removed",
        _ => "kept",
    };
    let reason = item.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    output.paragraph(
        format!("{verdict:<13} "),
        format!("{} ({}{size}){reason}", item.name, item.what),
    )?;
    for proof in &item.proof {
        output.paragraph("                ", proof)?;
    }
    Ok(())
}

fn conclude(report: &Report, output: &mut Output) -> Result<(), Failure> {
    let objects = |number| units::count(number, "object");
    let size = units::size(report.bytes);
    output.line(match (report.applied, report.removable) {
        (true, _) => format!("{} removed, {size}; {} kept", objects(report.removed), report.kept),
        (false, 0) => format!("nothing to remove; {} kept", objects(report.kept)),
        (false, number) => {
            format!(
                "{}, {size}, can be removed: --apply does; {} kept",
                objects(number),
                report.kept
            )
        }
    })
}
