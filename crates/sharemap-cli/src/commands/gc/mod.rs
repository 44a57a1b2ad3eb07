//! `sharemap gc`: removes objects that no process can want any more, and lists the proof.

mod companion;
mod interrupted;
mod judge;
mod report;

use super::objects::Target;
use crate::failure::{Failure, complain};
use crate::output::Output;
use crate::system::holders::Holders;
use crate::units;
use companion::Companion;
use judge::{Found, Judged, Rules, Verdict, judge};
use report::{Item, Report, conclude, tell};
use sharemap::{ErrorKind, Location, NamedObject, SharedMemory};
use std::time::Duration;

/// Finds shared memory that no process uses, and removes with --apply what no process can want.
///
/// A named object lives until it is removed. An object that no process uses may therefore be meant
/// for the next process: a cache, a counter, a message for a reader that has not started. Without
/// names, --apply removes only what no process can want: unfinished objects of dead creators,
/// objects under generated names (PREFIX-RANDOM.tmp), companions (files with the liveness locks of
/// another object) that are not needed, and objects that were last used before this system started.
/// Other objects are listed as unused; remove them by name or with --unused. Objects of other users,
/// and objects that were used in another container, are removed by name only.
///
/// Each object is listed with the proof that no live process uses it. The kernel granted exclusive
/// use of the file (a lease on Linux, an exclusive handle on Windows). The kernel says that no
/// process holds a liveness lock of the object. No process that could be inspected has the file
/// open or mapped. Objects whose use cannot be determined are kept. Objects that sharemap did not
/// make are kept unless --foreign is given; raw memory under a generated name counts as made by
/// sharemap.
///
/// The file that was judged is the file that is removed: its name is first moved into a private
/// directory beside it, and the file is identified there. If the command is killed in between, the
/// next gc of the same object, or of all, moves the file back.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The names of the objects, or paths with a separator [default: all that `sharemap ls` shows].
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Removes the objects that can be removed.
    #[arg(long)]
    apply: bool,
    /// Includes objects without a header of sharemap: raw memory, and objects of other programs.
    #[arg(long)]
    foreign: bool,
    /// Includes objects that no process uses at the moment.
    #[arg(long, conflicts_with = "names")]
    unused: bool,
    /// With --unused, includes only objects without an access, write or change for at least this long.
    /// Linux records accesses once in 24 hours; inspecting an object counts as an access.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = units::parse_duration,
        requires = "unused"
    )]
    older_than: Option<Duration>,
    /// Searches file systems for the objects of companions for at most this long.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = units::parse_duration,
        default_value = "5s"
    )]
    timeout: Duration,
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
    // First, so that files that are moved back are judged with the others.
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
            // Another process has removed it since, or an interrupted removal still holds it.
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

/// Removes the object if the verdict allows it, and reports it. A failure does not stop the run;
/// the first one decides the exit code.
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

/// Returns the objects to judge.
fn targets(names: &[String]) -> Result<Vec<Target>, Failure> {
    // Where the system has no list (macOS), objects are found by name only.
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

/// Removes the object if the verdict and `apply` allow it. A process that opens the object
/// meanwhile waits, and the object then stays.
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
            item.reason =
                Some("a process may still want it; name it, or use --unused, to remove it".into());
            return Ok(item);
        }
        Verdict::Gone => {
            return Err(Failure::NotFound(format!("there is no shared memory {}", item.name)));
        }
        Verdict::ExclusiveClaim(_) if !apply => {
            item.verdict = "removable";
        }
        Verdict::ExclusiveClaim(unused) => {
            match unused.remove().map_err(|error| Failure::object("remove", &item.name, error))? {
                true => {
                    item.verdict = "removed";
                    report.removed += 1;
                }
                false => {
                    report.kept += 1;
                    item.proof.clear();
                    item.reason = Some("a process waits to open it".into());
                    return Ok(item);
                }
            }
        }
    }
    report.removable += 1;
    report.bytes += resident.or(size).unwrap_or(0);
    Ok(item)
}
