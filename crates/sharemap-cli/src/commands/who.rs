//! `sharemap who`: the processes that have something to do with an object or a file.

use super::ls;
use super::objects::{self, Attached, Target};
use crate::failure::Failure;
use crate::output::Output;
use crate::system::holders::{Holder, Holders};
use crate::units;
use serde::Serialize;
use std::time::Duration;

/// Show who takes part in a shared object, and who has it, or any file, mapped or open.
///
/// Who takes part is recorded in objects with a header; whether they live, the kernel says. Who maps
/// or opens a file is told for every file, executables and libraries included, where the system tells
/// (Linux): name the file with a separator, as in ./data or /usr/lib/libc.so.6.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The object's name, or a path with a separator.
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Serialize)]
struct Report {
    name: String,
    /// `None`: raw memory, or a file.
    kind: Option<String>,
    state: Option<&'static str>,
    /// `None`: nobody takes part in it.
    participants: Option<Vec<Attached>>,
    /// Whether somebody is attached who only reads; whether somebody is making it.
    readers: Option<bool>,
    creator: Option<bool>,
    holders: Option<Vec<Holder>>,
    hidden_processes: Option<u64>,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let target = Target::find(&args.name)?;
    let holders = Holders::look();
    let look = target.inspect_if_any()?;
    let mut report = Report {
        name: target.name.clone(),
        kind: None,
        state: None,
        participants: None,
        readers: None,
        creator: None,
        holders: target.holders(holders.as_ref()),
        hidden_processes: holders.as_ref().map(|holders| holders.hidden),
    };
    if let Some(look) = look {
        report.kind = Some(objects::kind(&look));
        report.state = Some(objects::state(&look)?);
        report.participants = Some(look.participants()?.iter().map(Attached::of).collect());
        report.readers = look.has_readers()?;
        report.creator = look.has_creator()?;
    }
    if output.json() { output.object(&report) } else { print(&report, output) }
}

fn print(report: &Report, output: &mut Output) -> Result<(), Failure> {
    match (&report.kind, report.state) {
        (Some(kind), Some(state)) => output.line(format!("{}: {kind}, {state}", report.name))?,
        _ => output.line(&report.name)?,
    }
    match report.participants.as_deref() {
        None => {}
        Some([]) => output.field("takes part", "nobody")?,
        Some(participants) => {
            for found in participants {
                output.field("takes part", line(found))?;
            }
        }
    }
    if report.readers == Some(true) {
        output.field("reads", "somebody, who takes no part")?;
    }
    if report.creator == Some(true) {
        output.field("makes it", "somebody, at this moment")?;
    }
    match report.holders.as_deref() {
        None => output.field("has it", "unknown: this system does not tell")?,
        Some([]) => output.field("has it", "nobody known")?,
        Some(holders) => {
            for holder in holders {
                let program = holder.program.as_deref().unwrap_or("?");
                let how = match (holder.mapped, holder.open) {
                    (true, true) => "mapped and open",
                    (true, false) => "mapped",
                    _ => "open",
                };
                output.field("has it", format!("process {} {program}, {how}", holder.pid))?;
            }
        }
    }
    ls::print_hidden(report.hidden_processes, output)
}

fn line(found: &Attached) -> String {
    let alive = match found.alive {
        Some(true) => "lives",
        Some(false) => "died, and has not been cleared away: the next to ask for what it held does",
        None => "whether it lives is known in its container only",
    };
    let since = found.since_seconds.map_or(String::new(), |seconds| {
        format!(", attached {} ago", units::duration(Duration::from_secs(seconds)))
    });
    format!("process {}{since}; {alive}", found.text())
}
