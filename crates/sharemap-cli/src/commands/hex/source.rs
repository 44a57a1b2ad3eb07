//! The bytes of a range in order, with holes where they cannot be read.

use super::Hole;
use sharemap::Mapping;
use std::ops::Range;

/// The next stretch of the range.
pub(super) enum Piece<'a> {
    Bytes { offset: u64, bytes: &'a [u8] },
    Hole(Hole),
}

pub(super) struct Source<'a> {
    map: &'a Mapping,
    start: usize,
    next: usize,
    end: usize,
    /// Reading goes on after a hole at a whole number of these from the start.
    step: usize,
    buffer: Vec<u8>,
    /// Met behind the bytes that were handed out last.
    pending: Option<Hole>,
}

impl<'a> Source<'a> {
    /// `piece` is a multiple of `step`.
    pub(super) fn new(map: &'a Mapping, range: Range<usize>, piece: usize, step: usize) -> Self {
        Self {
            map,
            start: range.start,
            next: range.start,
            end: range.end,
            step,
            buffer: vec![0; piece],
            pending: None,
        }
    }

    /// Bytes, or one hole for all that cannot be read for the same reason.
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
        Some(Piece::Bytes { offset: from as u64, bytes: &self.buffer[..good] })
    }

    /// Fills the buffer from `next` on and moves `next` behind it; the number of good bytes, and
    /// what stopped them in `pending`.
    fn read(&mut self) -> usize {
        let wanted = self.buffer.len().min(self.end - self.next);
        let buffer = &mut self.buffer[..wanted];
        let (good, hole) = match self.map.bytes().read_at(self.next, buffer) {
            // A shorter file leaves zeros up to the end of its last page, which are no bytes of it.
            Ok(()) => match self.shrunk_to() {
                Some(size) if size < self.next + wanted => {
                    let good = size.saturating_sub(self.next);
                    let reason = format!("the file has only {size} bytes by now");
                    (good, Some((self.end, reason)))
                }
                _ => (wanted, None),
            },
            Err(error) => {
                let size = self.shrunk_to().unwrap_or(usize::MAX);
                let fault = self.next + error.completed().unwrap_or(0);
                let good = fault.min(size).saturating_sub(self.next);
                let page = sharemap::page_size();
                let bad_until = (fault / page + 1).saturating_mul(page);
                (good, Some((bad_until.min(self.end), error.to_string())))
            }
        };
        let Some((until, reason)) = hole else {
            self.next += wanted;
            return wanted;
        };
        let offset = self.next + good;
        let aligned = (until - self.start).next_multiple_of(self.step);
        self.next = self.start.saturating_add(aligned).min(self.end);
        self.pending =
            Some(Hole { offset: offset as u64, length: (self.next - offset) as u64, reason });
        good
    }

    /// The file's size, if it has become smaller than what is mapped.
    fn shrunk_to(&self) -> Option<usize> {
        match self.map.is_current() {
            Ok(false) => {}
            _ => return None,
        }
        let size = self.map.file()?.metadata().ok()?.len();
        usize::try_from(size).ok().filter(|&size| size < self.map.len())
    }

    /// Takes what follows into the hole for as long as nothing can be read there either.
    fn extend(&mut self, mut hole: Hole) -> Hole {
        while self.next < self.end {
            // One byte tells whether a page can be read.
            let here = self.next;
            if self.map.bytes().get(here).is_ok() && self.shrunk_to().is_none_or(|size| here < size)
            {
                break;
            }
            let page = sharemap::page_size();
            let until = ((here / page + 1).saturating_mul(page)).min(self.end);
            let aligned = (until - self.start).next_multiple_of(self.step);
            self.next = self.start.saturating_add(aligned).min(self.end);
            hole.length = self.next as u64 - hole.offset;
        }
        hole
    }
}
