//! `sharemap who`: lists the processes that use an object or a file.

use super::objects::{self, Attached, Target};
use crate::failure::Failure;
use crate::output::Output;
use crate::system::holders::{Holder, Holders};
use serde::Serialize;

/// Lists the participants of a shared object, and the processes that have it mapped or open.
///
/// The participants are recorded in the header of an object; the kernel reports whether they are
/// alive. The processes that have a file mapped or open are listed for any file, including programs
/// and libraries, if the system reports them (Linux). Name a file with a separator, as in ./data or
/// /usr/lib/libc.so.6.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The name of the object, or a path with a separator.
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Serialize)]
struct Report {
    name: String,
    /// `None` for raw memory and plain files.
    kind: Option<String>,
    state: Option<&'static str>,
    /// `None` for raw memory and plain files.
    participants: Option<Vec<Attached>>,
    /// Whether a process is attached read-only.
    readers: Option<bool>,
    /// Whether a process is creating the object.
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
        Some([]) => output.field("participant", "none")?,
        Some(participants) => {
            for found in participants {
                output.field("participant", objects::participant(found))?;
            }
        }
    }
    if report.readers == Some(true) {
        output.field("reader", "a process that is attached read-only")?;
    }
    if report.creator == Some(true) {
        output.field("creator", "a process that is creating the object")?;
    }
    match report.holders.as_deref() {
        None => output.field("holder", "unknown: this system does not report holders")?,
        Some([]) => output.field("holder", "no known process")?,
        Some(holders) => {
            for holder in holders {
                let program = holder.program.as_deref().unwrap_or("?");
                let how = match (holder.mapped, holder.open) {
                    (true, true) => "mapped and open",
                    (true, false) => "mapped",
                    _ => "open",
                };
                output.field("holder", format!("process {} {program}, {how}", holder.pid))?;
            }
        }
    }
    objects::print_hidden(report.hidden_processes, output)
}
