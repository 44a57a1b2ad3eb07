//! `sharemap new`: creates a segment.

use super::objects;
use crate::failure::Failure;
use crate::output::Output;
use crate::units;
use serde::Serialize;
use sharemap::SharedOptions;

/// Creates a segment: shared memory, or a file, in which processes keep named values and maps.
///
/// A segment grows while processes use it, up to the size of --max. Until then, the rest is address space
/// only. Exits with status 1 if the name exists. `sharemap set` creates objects in the segment, and
/// `sharemap rm` removes the segment.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The name of the segment, or a path with a separator.
    #[arg(value_name = "NAME")]
    name: String,
    /// The first size.
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size, default_value = "1MiB")]
    size: u64,
    /// The size up to which the segment may grow.
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size, default_value = "1GiB")]
    max: u64,
    /// The permissions, in octal: 600 for this user only, 660 for the group, too.
    #[arg(long, value_name = "MODE", value_parser = units::parse_mode, default_value = "600")]
    mode: u32,
}

#[derive(Serialize)]
struct Created<'a> {
    name: &'a str,
    size: u64,
    max: u64,
    mode: String,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let location = objects::location(&args.name);
    let options = SharedOptions::new().mode(args.mode);
    let segment = options.create_new_segment(location, args.size, args.max)?;
    let found = segment.stats()?;
    let name = &*args.name;
    let created =
        Created { name, size: found.len, max: found.max, mode: format!("{:o}", args.mode) };
    if output.json() {
        return output.object(&created);
    }
    let (size, max) = (units::size(created.size), units::size(created.max));
    output.line(format!("{name}: created a segment of {size}, which may grow to {max}"))
}
