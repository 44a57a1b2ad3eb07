//! `sharemap cat`: prints the bytes of a file, read through a mapping if the file can be mapped, or an object of a
//! segment.

use super::input::Input;
use super::segment::{Opened, printing};
use crate::cli::Part;
use crate::failure::{Details, Failure};
use crate::output::Output;
use crate::progress::Progress;
use crate::text::lossless;
use serde::Serialize;
use std::path::PathBuf;

/// Prints a file, read through a mapping if the file can be mapped.
///
/// A large file is mapped one part at a time. Files that cannot be mapped (procfs, pipes, devices,
/// standard input) are read.
///
/// If the file ends early or the disk fails, prints everything before that point, reports the offset
/// on standard error, and exits with status 1. If the reader of the output closes the pipe, exits
/// quietly with status 0.
///
/// With NAME, prints that object of a segment: a value, or the entries of a map, one per line as `key:
/// value`. Text is escaped; --json prints it exactly. Other processes may change a map meanwhile: each value
/// is whole, and each key that is present throughout is printed exactly once.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to print; `-` for standard input. With NAME, the name of a segment, or a path with a
    /// separator.
    file: PathBuf,
    /// The object of the segment to print.
    #[arg(value_name = "NAME", conflicts_with_all = ["offset", "length"])]
    name: Option<String>,
    #[command(flatten)]
    part: Part,
}

#[derive(Serialize)]
struct Head {
    path: String,
    offset: u64,
    encoding: &'static str,
}

#[derive(Serialize)]
struct Tail {
    length: u64,
    error: Option<Details>,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    if let Some(name) = &args.name {
        return printing::print(&Opened::to_read(&lossless(&args.file))?, name, output);
    }
    let mut input = Input::open(&args.file, args.part)?;
    let mut copied = 0;
    if !output.json() {
        return copy(&mut input, &mut copied, |bytes| output.bytes(bytes));
    }
    output.begin(&Head { path: input.name(), offset: input.start(), encoding: "base64" })?;
    output.bytes(b",\"data\":\"")?;
    let mut base64 = Base64::default();
    let result =
        copy(&mut input, &mut copied, |bytes| output.bytes(base64.encode(bytes).as_bytes()));
    if let Err(Failure::ClosedPipe) = result {
        return result;
    }
    output.bytes(base64.finish().as_bytes())?;
    output.bytes(b"\"")?;
    let error = result.as_ref().err().map(Failure::details);
    output.end(&Tail { length: copied, error })?;
    result.map_err(|failure| {
        crate::failure::complain(failure);
        Failure::Reported
    })
}

/// Passes the bytes of the input to `print` in pieces, and adds their number to `copied`.
fn copy(
    input: &mut Input,
    copied: &mut u64,
    mut print: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    const PIECE: usize = 64 << 10;
    let total = input.end().map_or(0, |end| end - input.start());
    let mut progress = Progress::beside_data("reading", total);
    let mut piece = vec![0; PIECE];
    loop {
        let at = input.start() + *copied;
        let left = input.end().map_or(u64::MAX, |end| end - at);
        let wanted = left.min(PIECE as u64) as usize;
        if wanted == 0 {
            return Ok(());
        }
        let count = input.read_at(at, &mut piece[..wanted])?;
        if count == 0 {
            return input.ended(at);
        }
        print(&piece[..count])?;
        *copied += count as u64;
        progress.advance(count as u64);
    }
}

/// An encoder of Base64 (RFC 4648) for bytes that arrive in pieces.
#[derive(Default)]
struct Base64 {
    /// The bytes after the last full group of three.
    waiting: Vec<u8>,
}

impl Base64 {
    /// Returns the text of the full groups so far, and keeps the rest.
    fn encode(&mut self, bytes: &[u8]) -> String {
        self.waiting.extend_from_slice(bytes);
        let whole = self.waiting.len() / 3 * 3;
        let text = self.waiting[..whole].chunks(3).flat_map(group).collect();
        self.waiting.drain(..whole);
        text
    }

    /// Returns the text of the last bytes, padded.
    fn finish(self) -> String {
        self.waiting.chunks(3).flat_map(group).collect()
    }
}

/// Returns the four characters of one to three bytes.
fn group(bytes: &[u8]) -> [char; 4] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = (0..3).fold(0, |bits, i| bits << 8 | u32::from(*bytes.get(i).unwrap_or(&0)));
    std::array::from_fn(|i| {
        if i > bytes.len() { '=' } else { char::from(DIGITS[(bits >> (18 - 6 * i) & 63) as usize]) }
    })
}

#[cfg(test)]
mod tests {
    use super::Base64;

    #[test]
    fn base64_does_not_depend_on_the_pieces() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            for piece in 1..=7 {
                let mut base64 = Base64::default();
                let mut all = String::new();
                for bytes in bytes.as_bytes().chunks(piece) {
                    all += &base64.encode(bytes);
                }
                assert_eq!(all + &base64.finish(), text);
            }
        }
    }
}
