//! Reads the bytes of a range in order, with holes for the bytes that cannot be read.

use crate::commands::input::Input;
use serde::Serialize;

/// A hole in the listing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Hole {
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) reason: String,
}

/// A piece of the range: bytes, or a hole.
pub(super) enum Piece<'a> {
    Bytes { offset: u64, bytes: &'a [u8] },
    Hole(Hole),
}

pub(super) struct Source {
    input: Input,
    next: u64,
    /// `u64::MAX` while the end of the input is unknown.
    end: u64,
    /// Reading continues after a hole at a multiple of this from the start.
    step: u64,
    buffer: Vec<u8>,
    /// The error to report after the bytes that were returned last.
    pending: Option<Hole>,
}

impl Source {
    /// Creates a source of pieces of `piece` bytes, a multiple of `step`.
    pub(super) fn new(input: Input, piece: usize, step: usize) -> Self {
        Self {
            next: input.start(),
            end: input.end().unwrap_or(u64::MAX),
            step: step as u64,
            buffer: vec![0; piece],
            pending: None,
            input,
        }
    }

    /// Returns the next piece. Adjacent bytes that cannot be read form one hole.
    pub(super) fn next(&mut self) -> Option<Piece<'_>> {
        if let Some(hole) = self.pending.take() {
            return Some(Piece::Hole(self.extend(hole)));
        }
        let from = self.next;
        if from == self.end {
            return None;
        }
        let good = self.read();
        if good == 0 {
            let hole = self.pending.take()?;
            return Some(Piece::Hole(self.extend(hole)));
        }
        Some(Piece::Bytes { offset: from, bytes: &self.buffer[..good] })
    }

    /// Fills the buffer from `next` on and advances `next`. Returns the number of bytes read. An error
    /// that ended the read is stored in `pending`.
    fn read(&mut self) -> usize {
        let wanted = (self.buffer.len() as u64).min(self.end - self.next) as usize;
        let mut good = 0;
        while good < wanted {
            let at = self.next + good as u64;
            let failure = match self.input.read_at(at, &mut self.buffer[good..wanted]) {
                Ok(0) => match self.input.ended(at) {
                    Ok(()) => {
                        self.end = at;
                        break;
                    }
                    Err(failure) => (self.end, failure),
                },
                Ok(count) => {
                    good += count;
                    continue;
                }
                Err(failure) => (self.input.after_error(at), failure),
            };
            let (until, reason) = (failure.0, failure.1.to_string());
            self.next = self.aligned(until);
            if self.next == u64::MAX {
                // The length of the rest is unknown.
                (self.next, self.end) = (at, at);
            }
            self.pending = Some(Hole { offset: at, length: self.next - at, reason });
            return good;
        }
        self.next += good as u64;
        good
    }

    fn aligned(&self, until: u64) -> u64 {
        let start = self.input.start();
        let steps = (until - start).checked_next_multiple_of(self.step);
        steps.and_then(|steps| start.checked_add(steps)).map_or(self.end, |at| at.min(self.end))
    }

    /// Extends the hole over the pages after it that cannot be read either.
    fn extend(&mut self, mut hole: Hole) -> Hole {
        while self.next < self.end {
            // Reading one byte shows whether the page can be read.
            let here = self.next;
            if self.input.read_at(here, &mut [0]).is_ok() {
                break;
            }
            self.next = self.aligned(self.input.after_error(here));
            hole.length = self.next - hole.offset;
        }
        hole
    }
}
