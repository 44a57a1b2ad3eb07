//! `sharemap write`: writes bytes into a file, through a mapping.

use crate::failure::{Failure, complain};
use crate::output::Output;
use crate::progress::Progress;
use crate::text::lossless;
use crate::{system, units};
use serde::Serialize;
use sharemap::{ErrorKind, MappingMut};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Writes standard input into a file at an offset, through a mapping.
///
/// The file keeps its size unless --grow is given. Input that does not fit is an error; if the input
/// is no longer than 1 MiB, nothing is written then. The written bytes are flushed to the disk before
/// the command ends, unless --no-flush is given.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to write to; it must exist.
    file: PathBuf,
    /// The offset at which to write.
    #[arg(long, value_name = "OFFSET", value_parser = units::parse_size)]
    at: u64,
    /// Lets the file grow to hold the input; the space is reserved before it is written to.
    #[arg(long)]
    grow: bool,
    /// Leaves it to the system when to write to the disk.
    #[arg(long)]
    no_flush: bool,
}

#[derive(Serialize)]
struct Written {
    path: String,
    offset: u64,
    length: u64,
    /// The size of the file after the write.
    size: u64,
    grown_by: u64,
    flushed: bool,
}

/// The size of the pieces in which input is read, checked and written.
const PIECE: usize = 1 << 20;

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let mut map = MappingMut::open(&args.file)?;
    let before = map.len();
    let start = match usize::try_from(args.at) {
        Ok(start) if start <= before || args.grow => start,
        _ => {
            complain("nothing was written");
            return Err(does_not_fit(args, before));
        }
    };
    let mut end = start;
    if let Err(failure) = copy(args, &mut map, &mut end) {
        complain(match end - start {
            0 => "nothing was written".into(),
            bytes => format!("{bytes} bytes were written before the error"),
        });
        return Err(failure);
    }
    let flushed = !args.no_flush && end > start;
    if flushed {
        map.flush_range(start..end)?;
    }
    let written = Written {
        path: lossless(&args.file),
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
        (false, _) => "; not flushed: the system writes it to the disk later",
    };
    output.line(format!(
        "{}: wrote {} at offset {}{grown}{durable}",
        written.path,
        units::count(written.length, "byte"),
        written.offset,
    ))
}

/// Writes standard input from `end` on, and advances `end` past the written bytes.
fn copy(args: &Args, map: &mut MappingMut, end: &mut usize) -> Result<(), Failure> {
    let mut progress = Progress::new("writing", 0);
    let mut piece = vec![0; PIECE];
    loop {
        let length = read_piece(&mut piece)?;
        if length == 0 {
            return Ok(());
        }
        let next = end.checked_add(length).ok_or_else(|| does_not_fit(args, map.len()))?;
        if next > map.len() {
            if !args.grow {
                return Err(does_not_fit(args, map.len()));
            }
            make_room(args, next - map.len())?;
            map.resize(next)?;
        }
        map.bytes().write_at(*end, &piece[..length]).map_err(|error| {
            *end += error.completed().unwrap_or(0);
            explained(map, error)
        })?;
        *end = next;
        progress.advance(length as u64);
    }
}

/// Returns an error if the disk has fewer than `more` bytes left.
///
/// Not every system can reserve space. Without this check, growth that writes zeros could fill the
/// disk before it fails.
fn make_room(args: &Args, more: usize) -> Result<(), Failure> {
    let dir = match args.file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    match system::free_space(dir) {
        Some(free) if free < more as u64 => {
            let message = format!(
                "cannot grow {} by {more} bytes: the disk has only {free} left",
                lossless(&args.file)
            );
            Err(Failure::File { message, error: io::ErrorKind::StorageFull.into() })
        }
        _ => Ok(()),
    }
}

/// Converts an error of a store. A store into a hole needs space on the disk, and a full disk is
/// reported as a fault.
fn explained(map: &MappingMut, error: sharemap::Error) -> Failure {
    if error.kind() == ErrorKind::Fault && map.is_current().unwrap_or(false) {
        complain("the file has not shrunk: if it has holes there, the disk may be full");
    }
    error.into()
}

/// Reads standard input until `piece` is full or the input ends. Returns the number of bytes read.
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

fn does_not_fit(args: &Args, size: usize) -> Failure {
    Failure::refused(format!(
        "cannot write to {} at offset {}: the input extends past the end of the file ({size} \
         bytes); use --grow to let the file grow",
        lossless(&args.file),
        args.at,
    ))
}
