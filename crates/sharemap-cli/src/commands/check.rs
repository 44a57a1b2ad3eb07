//! `sharemap check`: checks the structure of a segment.

use super::objects;
use super::segment::Opened;
use crate::failure::{Failure, message};
use crate::output::Output;
use crate::units;
use serde::Serialize;
use sharemap::{CheckReport, Damage, ErrorKind, SharedOptions};

/// Checks the structure of a segment: every block, every list, every offset and every map.
///
/// The values themselves are not checked: nothing tells what they should be. Changes that dead participants
/// began are completed first, as by every process that opens the segment. The check runs beside other
/// processes. Only if it finds damage, they wait while it looks again. If this user may not write to the
/// segment, it is checked without that, and the result may be that processes changed it too often.
///
/// With --repair, the memory of removed objects is freed as well, and a segment that was in use when the
/// system went down can be opened again afterwards. Damage that no death explains is reported, and is not
/// repaired. Exits with status 4 if the segment is damaged, and with status 5 if it could not be checked
/// beside other processes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The name of the segment, or a path with a separator.
    #[arg(value_name = "SEGMENT")]
    segment: String,
    /// Frees what is left of removed objects, and accepts a segment that was in use when the system went down.
    #[arg(long)]
    repair: bool,
    /// Accepts a segment that belongs to another user. That user must be trusted to follow the protocol.
    #[arg(long)]
    allow_any_owner: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    segment: &'a str,
    healthy: bool,
    damage: Vec<Place>,
    /// Allocated blocks that no named object refers to.
    unattached_blocks: u64,
    unattached_bytes: u64,
    unstable: bool,
    /// The number of dead participants before the check.
    recovered: Option<u64>,
}

#[derive(PartialEq, Eq, Serialize)]
struct Place {
    /// `None` if the segment cannot be opened because of the damage.
    offset: Option<u64>,
    what: String,
}

impl Report<'_> {
    /// Adds the damage that an error tells of, or returns the failure if it tells of none.
    fn add(&mut self, failure: Failure) -> Result<(), Failure> {
        match failure {
            Failure::Library(error)
                if matches!(error.kind(), ErrorKind::Malformed | ErrorKind::Truncated) =>
            {
                let place = Place { offset: error.offset(), what: message(&error) };
                // Each opening of the segment finds the same.
                if !self.damage.contains(&place) {
                    self.damage.push(place);
                }
                Ok(())
            }
            failure => Err(failure),
        }
    }
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let mut report = Report {
        segment: &args.segment,
        healthy: false,
        damage: Vec::new(),
        unattached_blocks: 0,
        unattached_bytes: 0,
        unstable: false,
        recovered: None,
    };
    match dead(args) {
        Ok(dead) => report.recovered = dead,
        Err(failure) => report.add(failure)?,
    }
    match check(args) {
        Ok(found) => {
            report.healthy = found.is_healthy() && report.damage.is_empty();
            let places = found.damage.into_iter();
            let place = |place: Damage| Place { offset: Some(place.offset), what: place.what };
            report.damage.extend(places.map(place));
            report.unattached_blocks = found.unattached;
            report.unattached_bytes = found.unattached_bytes;
            report.unstable = found.is_unstable;
        }
        Err(failure) => report.add(failure)?,
    }
    if output.json() {
        output.object(&report)?;
    } else {
        print(&report, output)?;
    }
    match (report.damage.is_empty(), report.unstable) {
        (true, false) => Ok(()),
        (true, true) => Err(Failure::Partial(5)),
        (false, _) => Err(Failure::CheckFailed),
    }
}

/// Returns the number of dead participants; `None` if it is unknown.
fn dead(args: &Args) -> Result<Option<u64>, Failure> {
    let look = objects::inspect(&objects::location(&args.segment))
        .map_err(|error| objects::unopened(&args.segment, error))?;
    let participants = look.participants()?;
    let is_known = participants.iter().all(|found| found.is_alive.is_some());
    let dead = participants.iter().filter(|found| found.is_alive == Some(false)).count();
    Ok(is_known.then_some(dead as u64))
}

fn check(args: &Args) -> Result<CheckReport, Failure> {
    let options = SharedOptions::new();
    let options = if args.allow_any_owner { options.allow_any_owner() } else { options };
    if args.repair {
        let options = options.accept_unclean();
        let opened = Opened::open(&args.segment, |location| options.open_segment(location))?;
        opened.segment.repair()?;
        return Ok(opened.segment.check()?);
    }
    let opened = Opened::open(&args.segment, |location| {
        options.open_segment(&location).or_else(|error| match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::NotWritable => {
                options.open_segment_read_only(location)
            }
            _ => Err(error),
        })
    });
    match opened {
        Err(Failure::Library(error)) if error.kind() == ErrorKind::Unclean => {
            let name = &args.segment;
            let message = format!(
                "cannot check {name}: it was in use when the system went down; with --repair, it is checked \
                 and can be used again"
            );
            Err(Failure::Object { message, error })
        }
        opened => Ok(opened?.segment.check()?),
    }
}

fn print(report: &Report<'_>, output: &mut Output) -> Result<(), Failure> {
    let verdict = match (report.damage.len() as u64, report.unstable) {
        (0, false) => "no damage found".into(),
        (0, true) => "not checked: other processes changed it all the time".into(),
        (places, _) => format!("damaged in {}", units::count(places, "place")),
    };
    output.line(format!("{}: {verdict}", report.segment))?;
    for damage in &report.damage {
        let at = damage.offset.map_or(String::new(), |offset| format!("at offset {offset}: "));
        output.field("damage", format!("{at}{}", damage.what))?;
    }
    if report.unattached_blocks > 0 {
        output.field(
            "unattached",
            format!(
                "{} ({}) that no named object refers to",
                units::count(report.unattached_blocks, "block"),
                units::size(report.unattached_bytes)
            ),
        )?;
    }
    match report.recovered {
        None | Some(0) => Ok(()),
        Some(number) => {
            let participants = units::count(number, "dead participant");
            output.field("recovered", format!("completed what {participants} began"))
        }
    }
}
