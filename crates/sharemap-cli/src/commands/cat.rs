//! `sharemap cat`: a file's bytes, read through a mapping.

use crate::cli::Part;
use crate::failure::{Details, Failure};
use crate::output::Output;
use crate::progress::Progress;
use crate::text::lossless;
use serde::Serialize;
use sharemap::Mapping;
use std::io::{BufRead, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Print a file, read through a mapping.
///
/// Where the file ends early or the disk fails, everything before that point has been printed, the
/// offset is on standard error, and the exit code is 1. A closed pipe ends it quietly.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file.
    file: PathBuf,
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
    let map = open_for_contents(&args.file)?;
    let range = args.part.within(map.len()).map_err(|reason| {
        Failure::refused(format!("cannot read {}: {reason}", lossless(&args.file)))
    })?;
    let mut copied = 0;
    if !output.json() {
        return copy(args, &map, &range, &mut copied, |bytes| output.bytes(bytes));
    }
    output.begin(&Head {
        path: lossless(&args.file),
        offset: range.start as u64,
        encoding: "base64",
    })?;
    output.bytes(b",\"data\":\"")?;
    let mut base64 = Base64::default();
    let result = copy(args, &map, &range, &mut copied, |bytes| {
        output.bytes(base64.encode(bytes).as_bytes())
    });
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

/// A mapping of the whole file. One that is empty and has contents all the same (`/proc`, `/sys`)
/// would be taken for one without.
pub(super) fn open_for_contents(path: &Path) -> Result<Mapping, Failure> {
    let map = Mapping::open(path)?;
    let mut byte = [0];
    let contents = map.is_empty()
        && std::fs::File::open(path).and_then(|mut file| file.read(&mut byte)).is_ok_and(|n| n > 0);
    if contents && map.is_current()? {
        return Err(Failure::refused(format!(
            "cannot map {}: the system makes its contents up as they are read, and calls it empty",
            lossless(path)
        )));
    }
    Ok(map)
}

/// Hands the bytes of `range` to `print` in pieces and counts them.
fn copy(
    args: &Args,
    map: &Mapping,
    range: &std::ops::Range<usize>,
    copied: &mut u64,
    mut print: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failed = |error| Failure::file("read", &args.file, error);
    let mut progress = Progress::beside_data("reading", range.len() as u64);
    let mut reader = map.reader();
    reader.seek(SeekFrom::Start(range.start as u64)).map_err(failed)?;
    let mut left = range.len();
    while left > 0 {
        let piece = reader.fill_buf().map_err(failed)?;
        let taken = piece.len().min(left);
        if taken == 0 {
            return Err(Failure::refused(format!(
                "cannot read {} at offset {}: it ends there",
                lossless(&args.file),
                range.end - left
            )));
        }
        print(&piece[..taken])?;
        reader.consume(taken);
        left -= taken;
        *copied += taken as u64;
        progress.advance(taken as u64);
    }
    Ok(())
}

/// Base64 (RFC 4648) of bytes that come in pieces.
#[derive(Default)]
struct Base64 {
    /// Bytes that wait for a full group of three.
    waiting: Vec<u8>,
}

impl Base64 {
    fn encode(&mut self, bytes: &[u8]) -> String {
        self.waiting.extend_from_slice(bytes);
        let whole = self.waiting.len() / 3 * 3;
        let text = self.waiting[..whole].chunks(3).flat_map(group).collect();
        self.waiting.drain(..whole);
        text
    }

    fn finish(self) -> String {
        self.waiting.chunks(3).flat_map(group).collect()
    }
}

/// Four characters for one to three bytes.
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
    fn base64_in_any_pieces() {
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
