//! Writing a view as a stream.

use std::io::{self, Seek, SeekFrom, Write};

use super::ViewMut;
use crate::error::{Error, ErrorKind};

/// A stream into the bytes of a view: [`Write`] and [`Seek`].
///
/// Writes go to the mapped memory at once; `flush` of this stream has nothing to do, and makes
/// nothing durable: that is the mapping's. At the end of the view, and where a seek went behind it,
/// `write` accepts no more bytes (`Ok(0)`, and `write_all` is an error of kind `WriteZero`).
#[derive(Debug)]
pub struct Writer<'a> {
    view: ViewMut<'a, u8>,
    position: usize,
}

impl<'a> ViewMut<'a, u8> {
    /// A stream into the bytes, from the first on.
    #[must_use]
    pub fn writer(&self) -> Writer<'a> {
        Writer { view: *self, position: 0 }
    }
}

impl Writer<'_> {
    /// Bytes from the start of the view to where the next byte goes.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }
}

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.view.len().saturating_sub(self.position));
        if count == 0 {
            return Ok(0);
        }
        let written = match self.view.write_at(self.position, &bytes[..count]) {
            Ok(()) => count,
            Err(error) => match error.completed() {
                Some(some @ 1..) => some,
                _ => return Err(error.into()),
            },
        };
        self.position += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Writer<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = target(to, self.position, self.view.len())?;
        Ok(self.position as u64)
    }
}

/// The position that a seek asks for, which may lie behind the end.
pub(super) fn target(to: SeekFrom, position: usize, len: usize) -> io::Result<usize> {
    let target = match to {
        SeekFrom::Start(offset) => Some(offset),
        SeekFrom::Current(by) => (position as u64).checked_add_signed(by),
        SeekFrom::End(by) => (len as u64).checked_add_signed(by),
    };
    target.and_then(|target| usize::try_from(target).ok()).ok_or_else(|| {
        Error::new(ErrorKind::Overflow, "seek")
            .with_detail(format!("{to:?} from {position} in {len} bytes"))
            .into()
    })
}
