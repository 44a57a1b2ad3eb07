//! A stream that writes a view.

use std::io::{self, Seek, SeekFrom, Write};

use super::ViewMut;
use crate::error::{Error, ErrorKind};

/// A stream into the bytes of a view, with [`Write`] and [`Seek`].
///
/// Writes go to the mapped memory at once. `flush` of this stream does nothing; to make the bytes
/// durable, [flush the mapping](crate::MappingMut::flush). At and past the end of the view `write`
/// returns `Ok(0)`, so `write_all` is an error of kind `WriteZero`.
///
/// # Examples
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::io::Write;
///
/// let map = sharemap::MappingMut::anonymous(4096)?;
/// writeln!(map.writer(), "{} bytes", map.len())?;
/// assert_eq!(map.bytes().find(b'\n')?, Some(10));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Writer<'a> {
    view: ViewMut<'a, u8>,
    position: usize,
}

impl<'a> ViewMut<'a, u8> {
    /// Returns a stream into the bytes, which begins at the first.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// use std::io::Write;
    ///
    /// let map = MappingMut::anonymous(100)?;
    /// let mut writer = map.bytes().subview(10..20)?.writer();
    /// writer.write_all(b"0123456789")?;
    /// // The view has no room left.
    /// assert_eq!(writer.write(b"more")?, 0);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn writer(&self) -> Writer<'a> {
        Writer { view: *self, position: 0 }
    }
}

impl Writer<'_> {
    /// Returns the position in the view at which the next byte is written.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// use std::io::{Seek, SeekFrom, Write};
    ///
    /// let map = MappingMut::anonymous(100)?;
    /// let mut writer = map.writer();
    /// writer.seek(SeekFrom::Start(50))?;
    /// writer.write_all(b"text")?;
    /// assert_eq!(writer.position(), 54);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Writes as many of `bytes` as possible, and returns the error of those that are left.
    #[cold]
    #[inline(never)]
    fn write_part_of(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write(bytes)? {
                0 => {
                    let kind = io::ErrorKind::WriteZero;
                    return Err(io::Error::new(kind, "failed to write whole buffer"));
                }
                count => bytes = &bytes[count..],
            }
        }
        Ok(())
    }
}

impl Write for Writer<'_> {
    #[inline]
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

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let has_room = bytes.len() <= self.view.len().saturating_sub(self.position);
        if has_room && self.view.write_at(self.position, bytes).is_ok() {
            self.position += bytes.len();
            return Ok(());
        }
        self.write_part_of(bytes)
    }

    /// Does nothing: the stream has no buffer.
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

/// Returns the position that a seek asks for, which may be past the end.
pub(super) fn target(to: SeekFrom, position: usize, len: usize) -> io::Result<usize> {
    let target = match to {
        SeekFrom::Start(offset) => Some(offset),
        SeekFrom::Current(by) => (position as u64).checked_add_signed(by),
        SeekFrom::End(by) => (len as u64).checked_add_signed(by),
    };
    target.and_then(|target| usize::try_from(target).ok()).ok_or_else(|| {
        Error::new(ErrorKind::Overflow, "seek")
            .with_detail(format!("{to:?} from position {position} of {len} bytes"))
            .into()
    })
}
