//! Reads the bytes of a file or of standard input in order.

use crate::cli::Part;
use crate::failure::Failure;
use crate::system;
use crate::text::lossless;
use sharemap::{ErrorKind, SlidingWindow};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The largest part of a file that is mapped at a time.
const WINDOW: u64 = 16 << 20;

/// A part of a file, mapped one window at a time. Files that cannot be mapped (procfs, sysfs,
/// pipes, devices without a size, standard input) are read.
pub(super) struct Input {
    path: PathBuf,
    way: Way,
    start: u64,
    /// `u64::MAX` if the part ends with the input.
    end: u64,
    /// Whether an end before `end` is an error.
    is_exact: bool,
}

enum Way {
    Window(SlidingWindow),
    Stream(Box<dyn Read>),
}

impl Input {
    /// Opens a file, or standard input if the path is `-`, at the beginning of the part.
    pub(super) fn open(path: &Path, part: Part) -> Result<Self, Failure> {
        let refused = |reason| Failure::refused(format!("cannot read {}: {reason}", name(path)));
        if !is_stream(path) {
            let window = part.length.unwrap_or(WINDOW).clamp(1, WINDOW);
            match SlidingWindow::open(path, usize::try_from(window).unwrap_or(usize::MAX)) {
                Ok(window) if window.is_empty() => {}
                Ok(window) => {
                    let range = part.within(window.len()).map_err(refused)?;
                    return Ok(Self {
                        path: path.to_owned(),
                        way: Way::Window(window),
                        start: range.start,
                        end: range.end,
                        is_exact: part.length.is_some(),
                    });
                }
                // The file states no length, but may have bytes.
                Err(error)
                    if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::NoSize) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let stream: Box<dyn Read> = match is_standard_input(path) {
            true => Box::new(io::stdin()),
            false => {
                Box::new(File::open(path).map_err(|error| Failure::file("open", path, error))?)
            }
        };
        let end = match part.length {
            Some(length) => part.offset.checked_add(length),
            None => Some(u64::MAX),
        };
        let end = end.ok_or_else(|| refused("offset + length overflows".into()))?;
        let mut input = Self {
            path: path.to_owned(),
            way: Way::Stream(stream),
            start: part.offset,
            end,
            is_exact: part.length.is_some(),
        };
        let size = input.skip(part.offset)?;
        part.with_length(0).within(size).map_err(refused)?;
        Ok(input)
    }

    /// Skips `bytes` of a stream, or fewer if the stream ends first. Returns the number skipped.
    fn skip(&mut self, bytes: u64) -> Result<u64, Failure> {
        let mut skipped = 0;
        let mut buffer = [0; 16 << 10];
        while skipped < bytes {
            let wanted = (buffer.len() as u64).min(bytes - skipped) as usize;
            match self.read_at(skipped, &mut buffer[..wanted])? {
                0 => break,
                count => skipped += count as u64,
            }
        }
        Ok(skipped)
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Returns the end of the part; `None` if the part ends with the input.
    pub(super) fn end(&self) -> Option<u64> {
        (self.end < u64::MAX).then_some(self.end)
    }

    /// Returns the name of the input in messages and JSON.
    pub(super) fn name(&self) -> String {
        name(&self.path)
    }

    /// Reads at `offset`, or the next bytes of a stream: at least one byte, unless the input ends
    /// there.
    pub(super) fn read_at(&mut self, offset: u64, out: &mut [u8]) -> Result<usize, Failure> {
        if let Way::Window(window) = &mut self.way {
            match window.view::<u8>(offset, out.len()) {
                Ok(view) => {
                    let read = view.reader().read(out);
                    return read.map_err(|error| Failure::file("read", &self.path, error));
                }
                Err(error) if error.kind() == ErrorKind::OutOfBounds => return Err(error.into()),
                Err(error) => {
                    // A file that cannot be mapped may still be readable.
                    let opened = File::open(&self.path)
                        .and_then(|mut file| file.seek(SeekFrom::Start(offset)).map(|_| file));
                    match opened {
                        Ok(file) => self.way = Way::Stream(Box::new(file)),
                        Err(_) => return Err(error.into()),
                    }
                }
            }
        }
        let Way::Stream(stream) = &mut self.way else { return Ok(0) };
        loop {
            match stream.read(out) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::file("read", &self.path, error)),
                Ok(count) => return Ok(count),
            }
        }
    }

    /// Returns an error if the input ends at `offset`, before the end of the part.
    pub(super) fn ended(&self, offset: u64) -> Result<(), Failure> {
        match self.is_exact && offset < self.end {
            true => Err(Failure::refused(format!(
                "cannot read {} at offset {offset}: the input ends there",
                self.name()
            ))),
            false => Ok(()),
        }
    }

    /// Returns the offset at which reading can continue after an error at `offset`: the next page,
    /// unless the file has ended. A stream does not continue.
    pub(super) fn after_error(&self, offset: u64) -> u64 {
        let Way::Window(window) = &self.way else { return self.end };
        let size = window.file().and_then(|file| file.metadata().ok());
        match size.filter(|found| found.is_file()).map(|found| found.len()) {
            Some(size) if size <= offset => self.end,
            _ => {
                let page = sharemap::page_size() as u64;
                (offset / page + 1).saturating_mul(page).min(self.end)
            }
        }
    }
}

fn name(path: &Path) -> String {
    match is_standard_input(path) {
        true => "standard input".into(),
        false => lossless(path),
    }
}

fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Returns `true` if the input cannot be mapped: standard input, a pipe, a device without a size.
fn is_stream(path: &Path) -> bool {
    let is_special = |found: fs::Metadata| {
        !found.is_file() && !found.is_dir() && !system::is_block_device(&found)
    };
    is_standard_input(path) || fs::metadata(path).is_ok_and(is_special)
}
