//! `sharemap gc`: removes what no process can want any more, and says how that is known.

mod companion;
mod interrupted;
mod judge;

use super::objects::Target;
use crate::failure::{Failure, complain};
use crate::output::Output;
use crate::system::holders::Holders;
use crate::units;
use companion::Companion;
use judge::{Found, Judged, Rules, Verdict, judge};
use serde::Serialize;
use sharemap::{ErrorKind, Location, NamedObject, SharedMemory};
use std::time::Duration;

/// Find shared memory that no process uses, and remove with --apply what none can want.
///
/// A named object lives until it is removed, so one that no process uses now may be meant for the next: a
/// cache, a counter, a message for a reader that has not begun. Without names, --apply removes only what
/// no process can want: unfinished objects whose maker is gone, files that carried the slots of an object
/// that is gone, and objects that were last used before this system started. Other objects are listed as
/// unused, and are removed by name or with --unused. Objects of other users, and such as were used in
/// another container, are removed by name only.
///
/// Each object comes with the proof that no live process uses it: that the kernel, asked for the object
/// alone, granted it (a lease on Linux, a handle that shares with no other on Windows); of objects with a
/// header of sharemap's, that it says of each participant's slot, of the readers' and of the creator's that
/// nobody holds it; and what could be seen in the processes. What the system does not tell is kept, and so
/// is whatever was not made by sharemap, unless --foreign is given.
///
/// What goes is the very file that was judged: its name is first moved into a private directory beside
/// it, and identified there. If that is interrupted, the next gc of the same object, or of all, moves the
/// file back.
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
    /// Without names: also objects that no process uses now.
    #[arg(long, conflicts_with = "names")]
    unused: bool,
    /// Of these only such as have not been used for so long, by the file's last access, write or change.
    /// Linux notes accesses once in 24 hours; looking at an object counts as one.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = units::parse_duration,
        requires = "unused"
    )]
    older_than: Option<Duration>,
    /// Search file systems for the objects of companions no longer than this.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = units::parse_duration,
        default_value = "5s"
    )]
    timeout: Duration,
}

#[derive(Default, Serialize)]
struct Report {
    applied: bool,
    items: Vec<Item>,
    removable: u64,
    removed: u64,
    unused: u64,
    kept: u64,
    /// Bytes of memory that removable or removed objects take up.
    bytes: u64,
}

#[derive(Serialize)]
struct Item {
    name: String,
    what: &'static str,
    size: Option<u64>,
    age_seconds: Option<u64>,
    verdict: &'static str,
    /// Why no process uses it.
    proof: Vec<String>,
    /// Why it is kept.
    reason: Option<String>,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let holders = Holders::look();
    let rules = Rules {
        holders: holders.as_ref(),
        foreign: args.foreign,
        idle_for: args.unused.then(|| args.older_than.unwrap_or_default()),
        is_named: !args.names.is_empty(),
    };
    let mut report = Report { applied: args.apply, ..Report::default() };
    // What goes back is judged like all else.
    let removals = interrupted::find(&args.names)?;
    for removal in &removals {
        let item = interrupted::settle(removal, args.apply);
        report.kept += u64::from(item.verdict == "kept");
        tell(item, &mut report, output)?;
    }
    let mut failure = None;
    let mut companions = Vec::new();
    for target in targets(&args.names)? {
        let name = target.name.clone();
        match judge(&target, rules) {
            Found::Companion(file, object) => companions.push(Companion { name, file, object }),
            // It was listed, and has been removed since; or it is where an interrupted removal left it.
            Found::Judged(Judged { verdict: Verdict::Gone, .. })
                if args.names.is_empty() || interrupted::has(&removals, &name) => {}
            Found::Judged(judged) => {
                settle(judged, args.apply, &mut report, &mut failure, output)?;
            }
        }
    }
    for judged in companion::judge(companions, rules, args.timeout) {
        settle(judged, args.apply, &mut report, &mut failure, output)?;
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

/// Removes what is to be removed, and tells of it. Every object is tried; the first failure is the exit
/// code.
fn settle(
    judged: Judged,
    apply: bool,
    report: &mut Report,
    failure: &mut Option<Failure>,
    output: &mut Output,
) -> Result<(), Failure> {
    match removed(judged, apply, report) {
        Ok(item) => return tell(item, report, output),
        Err(error) if failure.is_none() => *failure = Some(error),
        Err(error) => complain(error),
    }
    Ok(())
}

fn tell(item: Item, report: &mut Report, output: &mut Output) -> Result<(), Failure> {
    if !output.json() {
        print(&item, output)?;
    }
    report.items.push(item);
    Ok(())
}

fn targets(names: &[String]) -> Result<Vec<Target>, Failure> {
    // What has no list, as on macOS, is found by its name alone.
    let all = match SharedMemory::list() {
        Err(error) if error.kind() == ErrorKind::Unsupported && !names.is_empty() => Vec::new(),
        list => list?,
    };
    if names.is_empty() {
        return Ok(all.iter().map(Target::of).collect());
    }
    let target = |name: &String| {
        let listed = |object: &&NamedObject| object.name.to_str() == Some(name);
        match all.iter().find(listed) {
            Some(object) if !name.contains(std::path::is_separator) => Target::of(object),
            _ => {
                let location = match name.contains(std::path::is_separator) {
                    true => Location::file(name),
                    false => Location::name(name),
                };
                Target { name: name.clone(), location, path: None }
            }
        }
    };
    Ok(names.iter().map(target).collect())
}

/// Removes what is to be removed, while a process that opens it has to wait.
fn removed(judged: Judged, apply: bool, report: &mut Report) -> Result<Item, Failure> {
    let Judged { name, what, size, resident, age, proof, verdict } = judged;
    let age_seconds = age.map(|age| age.as_secs());
    let mut item = Item { name, what, size, age_seconds, verdict: "kept", proof, reason: None };
    match verdict {
        Verdict::Keep(reason) => {
            report.kept += 1;
            item.reason = Some(reason);
            return Ok(item);
        }
        Verdict::Idle => {
            report.unused += 1;
            item.verdict = "unused";
            item.reason = Some("a process may want it; name it, or use --unused".into());
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

fn conclude(report: &Report, output: &mut Output) -> Result<(), Failure> {
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
            format!("{}, {size}, can be removed: --apply does; {rest}", objects(number))
        }
    })
}
