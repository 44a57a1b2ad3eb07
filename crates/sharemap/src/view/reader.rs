//! Reading a view as a stream.

use std::io::{self, BufRead, Read, Seek, SeekFrom};

use super::View;
use crate::error::Result;

/// Bytes buffered at a time.
const BUFFER: usize = 64 << 10;

/// A stream over the bytes of a view: [`Read`], [`BufRead`] and [`Seek`], so that `lines()` works.
///
/// Bytes are copied into a private buffer of 64 KiB, because others may change the mapped memory
/// while a line is looked at. With every refill the file's size is compared, so that a file that
/// shrank is an error at its new end, and never zeros. Errors convert into this crate's, with the
/// fault in them.
#[derive(Debug)]
pub struct Reader<'a> {
    view: View<'a, u8>,
    /// Where the buffer starts in the view.
    start: usize,
    buffer: Vec<u8>,
    /// What of the buffer has been consumed.
    consumed: usize,
}

impl<'a> View<'a, u8> {
    /// A stream over the bytes.
    #[must_use]
    pub fn reader(&self) -> Reader<'a> {
        Reader {
            view: *self,
            start: 0,
            buffer: Vec::new(),
            consumed: 0,
        }
    }
}

impl Reader<'_> {
    /// Bytes from the start of the view to the next byte that will be read.
    #[must_use]
    pub fn position(&self) -> usize {
        self.start + self.consumed
    }

    /// Bytes in the whole view.
    #[must_use]
    pub fn len(&self) -> usize {
        self.view.len()
    }

    /// Whether the view has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.view.is_empty()
    }

    /// How much of `wanted` can be read at `position`: not behind the end of the view, nor of the
    /// file as it is now.
    fn readable(&self, position: usize, wanted: usize) -> Result<usize> {
        let in_view = wanted.min(self.view.len() - position);
        let before = self.view.base as usize - self.view.backing.base();
        let Some(available) = self.view.backing.available() else {
            return Ok(in_view);
        };
        let behind = (available as usize)
            .saturating_sub(before)
            .saturating_sub(position);
        if in_view > 0 && behind == 0 {
            return Err(self.view.fault("read", self.view.base as usize + position));
        }
        Ok(in_view.min(behind))
    }

    /// Continues at `position`, with nothing buffered.
    fn restart(&mut self, position: usize) {
        self.start = position;
        self.buffer.clear();
        self.consumed = 0;
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.consumed == self.buffer.len() && out.len() >= BUFFER {
            let position = self.position();
            let count = self.readable(position, out.len())?;
            self.view.read_at(position, &mut out[..count])?;
            self.restart(position + count);
            return Ok(count);
        }
        let mut buffered = self.fill_buf()?;
        let count = buffered.read(out)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Reader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.consumed == self.buffer.len() {
            let position = self.position();
            let count = self.readable(position, BUFFER)?;
            self.restart(position);
            self.buffer.resize(count, 0);
            if let Err(error) = self.view.read_at(position, &mut self.buffer) {
                self.buffer.truncate(error.completed().unwrap_or(0));
                if self.buffer.is_empty() {
                    return Err(error.into());
                }
            }
        }
        Ok(&self.buffer[self.consumed..])
    }

    fn consume(&mut self, count: usize) {
        self.consumed = self.buffer.len().min(self.consumed + count);
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = super::writer::target(to, self.position(), self.view.len())?;
        match position.checked_sub(self.start) {
            Some(within) if within <= self.buffer.len() => self.consumed = within,
            _ => self.restart(position),
        }
        Ok(position as u64)
    }
}
