//! `sharemap write`: puts bytes into a file, through a mapping.

use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;
use crate::units;
use serde::Serialize;
use sharemap::MappingMut;
use std::io::Read;
use std::path::PathBuf;

/// Write standard input into a file at an offset, through a mapping.
///
/// The file keeps its size unless --grow is given: input that does not fit is an error, and of an
/// input up to 1 MiB nothing is written then. What is written is flushed to the disk before the
/// command ends, unless --no-flush is given.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file; it must exist.
    file: PathBuf,
    /// Where to write.
    #[arg(long, value_name = "OFFSET", value_parser = units::parse_size)]
    at: u64,
    /// Let the file grow to hold the input; a full disk is an error before anything is written.
    #[arg(long)]
    grow: bool,
    /// Leave it to the system when to write to the disk.
    #[arg(long)]
    no_flush: bool,
}

#[derive(Serialize)]
struct Written {
    path: String,
    offset: u64,
    length: u64,
    /// Of the file, now.
    size: u64,
    grown_by: u64,
    flushed: bool,
}

/// Input is taken, checked and written in pieces of this size.
const PIECE: usize = 1 << 20;

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let mut map = MappingMut::open(&args.file)?;
    let before = map.len();
    let start = match usize::try_from(args.at) {
        Ok(start) if start <= before || args.grow => start,
        _ => return Err(does_not_fit(args, before, 0)),
    };
    let mut progress = Progress::new("writing", 0);
    let mut piece = vec![0; PIECE];
    let mut end = start;
    loop {
        let length = read_piece(&mut piece)?;
        if length == 0 {
            break;
        }
        let next =
            end.checked_add(length).ok_or_else(|| does_not_fit(args, map.len(), end - start))?;
        if next > map.len() {
            if !args.grow {
                return Err(does_not_fit(args, before, end - start));
            }
            map.resize(next)?;
        }
        map.bytes().write_at(end, &piece[..length])?;
        end = next;
        progress.advance(length as u64);
    }
    let flushed = !args.no_flush && end > start;
    if flushed {
        map.flush_range(start..end)?;
    }
    drop(progress);
    let written = Written {
        path: args.file.display().to_string(),
        offset: args.at,
        length: (end - start) as u64,
        size: map.len() as u64,
        grown_by: (map.len() - before) as u64,
        flushed,
    };
    map.close()?;
    if output.json() {
        return output.object(&written);
    }
    let grown = match written.grown_by {
        0 => String::new(),
        more => format!("; the file grew by {}", units::count(more, "byte")),
    };
    let durable = match (flushed, written.length) {
        (true, _) => "; flushed to the disk",
        (false, 0) => "",
        (false, _) => "; not flushed: the system writes it to the disk when it sees fit",
    };
    output.line(format!(
        "{}: wrote {} at offset {}{grown}{durable}",
        written.path,
        units::count(written.length, "byte"),
        written.offset,
    ))
}

/// As much as there is, up to a whole piece.
fn read_piece(piece: &mut [u8]) -> Result<usize, Failure> {
    let mut input = std::io::stdin().lock();
    let mut length = 0;
    while length < piece.len() {
        match input.read(&mut piece[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(Failure::File {
                    message: format!("cannot read standard input: {error}"),
                    error,
                });
            }
        }
    }
    Ok(length)
}

fn does_not_fit(args: &Args, size: usize, written: usize) -> Failure {
    let written = match written {
        0 => "nothing was written".into(),
        bytes => format!("{bytes} bytes were written before it"),
    };
    Failure::refused(format!(
        "cannot write to {} at offset {}: the input goes beyond the end of the file ({size} \
         bytes); {written}; --grow lets the file grow",
        args.file.display(),
        args.at,
    ))
}
