//! `sharemap hex`: prints the bytes of a file as numbers, with holes for the bytes that cannot be read.

pub(super) mod element;
mod listing;
mod source;

use super::input::Input;
use crate::cli::Part;
use crate::failure::{Failure, complain};
use crate::output::Output;
use crate::progress::Progress;
use crate::units;
use element::{Element, Endian, Type};
use listing::Listing;
use serde::Serialize;
use source::{Hole, Piece, Source};
use std::path::PathBuf;

/// Prints a file as numbers of one type.
///
/// Pages that cannot be read are printed as a hole with the reason, and the listing continues after
/// them. Exits with status 1 if there is a hole. Rows equal to the row before are replaced by `*`,
/// unless --all is given. Files that cannot be mapped (procfs, pipes, devices, standard input) are
/// read.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to print; `-` for standard input.
    file: PathBuf,
    /// The type of the numbers.
    #[arg(short = 't', long = "type", value_name = "TYPE", default_value = "u8")]
    kind: Type,
    /// The byte order of the numbers.
    #[arg(short, long, value_name = "ORDER", default_value = "le")]
    endian: Endian,
    #[command(flatten)]
    part: Part,
    /// The number of columns [default: as many as fill 16 bytes, or 32 bytes for 8-byte types].
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    columns: Option<u16>,
    /// Prints equal rows, too.
    #[arg(short, long)]
    all: bool,
}

#[derive(Serialize)]
struct Head {
    path: String,
    #[serde(rename = "type")]
    kind: Type,
    endian: Endian,
    offset: u64,
    /// `None` if the listing ends with the input.
    length: Option<u64>,
}

#[derive(Serialize)]
struct Tail {
    holes: Vec<Hole>,
}

/// The approximate number of bytes that are read at once.
const PIECE: usize = 64 << 10;

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let input = Input::open(&args.file, args.part)?;
    let (name, offset) = (input.name(), input.start());
    let length = input.end().map(|end| end - offset);
    let element = Element { kind: args.kind, endian: args.endian };
    let width = element.width();
    let columns = match (args.columns, width) {
        (Some(columns), _) => usize::from(columns),
        (None, 8) => 4,
        (None, _) => 16 / width,
    };
    let row = columns * width;
    if output.json() {
        output.begin(&Head {
            path: name.clone(),
            kind: args.kind,
            endian: args.endian,
            offset,
            length,
        })?;
    }
    let mut progress = Progress::beside_data("reading", length.unwrap_or(0));
    let mut listing = Listing::new(output, element, row, args.all)?;
    let mut holes = Vec::new();
    let mut source = Source::new(input, (PIECE / row).max(1) * row, width);
    while let Some(piece) = source.next() {
        match piece {
            Piece::Bytes { offset, bytes } => {
                listing.bytes(offset, bytes)?;
                progress.advance(bytes.len() as u64);
            }
            Piece::Hole(hole) => {
                progress.advance(hole.length);
                listing.hole(&hole)?;
                holes.push(hole);
            }
        }
    }
    listing.end()?;
    drop(progress);
    if output.json() {
        output.end(&Tail { holes: holes.clone() })?;
    }
    output.flush()?;
    if holes.is_empty() {
        return Ok(());
    }
    complain(format_args!(
        "{} of {} could not be read: {}",
        units::size(holes.iter().map(|hole| hole.length).sum()),
        name,
        units::count(holes.len() as u64, "hole"),
    ));
    Err(Failure::Reported)
}
