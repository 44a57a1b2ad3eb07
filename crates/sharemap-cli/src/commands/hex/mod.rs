//! `sharemap hex`: a file's bytes as numbers; what cannot be read is a hole in the listing.

mod element;
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
use source::{Piece, Source};
use std::path::PathBuf;

/// Print a file as numbers of one type.
///
/// A page that cannot be read is printed as a hole with the reason, and the rest goes on; the exit
/// code is 1 then. Rows equal to the one before are left out and marked with `*`, unless --all is
/// given. What the system does not map is read: procfs, pipes, devices, and standard input (`-`).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file; `-` for standard input.
    file: PathBuf,
    /// The type of the numbers.
    #[arg(short = 't', long = "type", value_name = "TYPE", default_value = "u8")]
    kind: Type,
    /// Their byte order.
    #[arg(short, long, value_name = "ORDER", default_value = "le")]
    endian: Endian,
    #[command(flatten)]
    part: Part,
    /// Numbers in a row [default: 16 bytes of them, 32 for 8-byte types].
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    columns: Option<u16>,
    /// Print equal rows too.
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
    /// `None`: wherever it ends.
    length: Option<u64>,
}

/// A hole in the listing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Hole {
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) reason: String,
}

#[derive(Serialize)]
struct Tail {
    holes: Vec<Hole>,
}

/// About this many bytes are read at once.
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
