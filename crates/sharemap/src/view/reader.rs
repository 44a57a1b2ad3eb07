//! A stream that reads a view.

use std::fmt;
use std::io::{self, BufRead, Read, Seek, SeekFrom};

use super::View;
use crate::error::Result;

/// The size of the buffer.
const BUFFER: usize = 64 << 10;

/// A stream over the bytes of a view, with [`Read`], [`BufRead`] and [`Seek`].
///
/// Bytes are copied into a private buffer of 64 KiB, because other processes may change the mapped
/// memory while a line is examined. The file's length is compared after every copy. If the file
/// shrank, the bytes before its new end are read, then an error of kind
/// [`Fault`](crate::ErrorKind::Fault); never zeros. The [`io::Error`]s convert into the
/// [`Error`](crate::Error)s that caused them.
///
/// Seeking past the end is allowed, as in a file; reads there return no bytes.
///
/// # Concurrent changes
///
/// A reader returns each byte as it was when the buffer was filled, as [`std::io::BufReader`] does.
///
/// - [`seek`](Seek::seek) and `rewind` discard the buffer, even if the target lies in it: the next
///   read sees the writes of other threads and processes, and fails with
///   [`Fault`](crate::ErrorKind::Fault) if the file now ends before the target. Polling an offset by
///   `seek` is therefore correct, and copies up to 64 KiB a time; [`View::get`] copies one element.
/// - [`seek_relative`](Seek::seek_relative) keeps the buffer if the target lies in it: the next read
///   then returns the bytes of the last copy, also if the file has been changed or truncated since.
/// - [`stream_position`](Seek::stream_position) and [`position`](Self::position) discard nothing.
///
/// # Examples
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::io::BufRead;
///
/// let map = sharemap::MappingMut::anonymous(4096)?;
/// map.bytes().write_at(0, b"one\ntwo\n")?;
/// let mut lines = map.reader().lines();
/// assert_eq!(lines.next().unwrap()?, "one");
/// # Ok(()) }
/// ```
///
/// The effect of seeking on buffered bytes:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::io::{Read, Seek, SeekFrom};
///
/// let map = sharemap::MappingMut::anonymous(4096)?;
/// let (mut reader, mut byte) = (map.reader(), [0]);
/// reader.read_exact(&mut byte)?;
/// map.bytes().set(0, 7)?;
/// reader.seek_relative(-1)?; // buffered: as it was
/// reader.read_exact(&mut byte)?;
/// assert_eq!(byte, [0]);
/// reader.seek(SeekFrom::Start(0))?; // copied anew: as it is
/// reader.read_exact(&mut byte)?;
/// assert_eq!(byte, [7]);
/// # Ok(()) }
/// ```
pub struct Reader<'a> {
    view: View<'a, u8>,
    /// The position in the view of the first byte of the buffer.
    start: usize,
    buffer: Vec<u8>,
    /// The number of bytes in the buffer that were copied from the view.
    filled: usize,
    /// The number of those that have been consumed.
    consumed: usize,
}

impl<'a> View<'a, u8> {
    /// Returns a stream over the bytes, with `Read`, `BufRead` and `Seek`.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// use std::io::Read;
    ///
    /// let map = MappingMut::anonymous(9)?;
    /// map.bytes().write_at(0, b"some text")?;
    /// let mut word = String::new();
    /// map.bytes().subview(5..)?.reader().read_to_string(&mut word)?;
    /// assert_eq!(word, "text");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn reader(&self) -> Reader<'a> {
        Reader { view: *self, start: 0, buffer: Vec::new(), filled: 0, consumed: 0 }
    }
}

impl Reader<'_> {
    /// Returns the position in the view of the next byte that will be read. After a seek past the end,
    /// it is past the end.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// use std::io::{BufRead, Seek, SeekFrom};
    ///
    /// let map = MappingMut::anonymous(100)?;
    /// map.bytes().write_at(0, b"one\ntwo\n")?;
    /// let mut reader = map.reader();
    /// reader.read_line(&mut String::new())?;
    /// assert_eq!(reader.position(), 4);
    /// reader.seek(SeekFrom::End(-10))?;
    /// assert_eq!(reader.position(), 90);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn position(&self) -> usize {
        self.start + self.consumed
    }

    /// Returns the length of the whole view in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.view.len()
    }

    /// Returns `true` if the view has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.view.is_empty()
    }

    /// Copies the bytes at `position` into `out`, and returns their number.
    ///
    /// The length of the file is queried after the copy. If it were queried before, a truncation between
    /// the two could fill the end of `out` with the zeros of the last page.
    fn copy(&self, position: usize, out: &mut [u8]) -> Result<usize> {
        let Some(left) = self.view.len().checked_sub(position) else {
            return Ok(0);
        };
        let wanted = out.len().min(left);
        let read = match self.view.read_at(position, &mut out[..wanted]) {
            Ok(()) => wanted,
            Err(error) => match error.completed() {
                Some(some @ 1..) => some,
                _ => return Err(error),
            },
        };
        let Some(available) = self.view.backing.available() else {
            return Ok(read);
        };
        let before = self.view.base as usize - self.view.backing.base() + position;
        let remains = usize::try_from(available).unwrap_or(usize::MAX).saturating_sub(before);
        if wanted > 0 && remains == 0 {
            return Err(self.view.fault("read", self.view.base as usize + position));
        }
        Ok(read.min(remains))
    }

    /// Discards the buffer, and continues at `position`.
    fn restart(&mut self, position: usize) {
        self.start = position;
        self.filled = 0;
        self.consumed = 0;
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.consumed == self.filled && out.len() >= BUFFER {
            let position = self.position();
            let count = self.copy(position, out)?;
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
        if self.consumed == self.filled {
            let position = self.position();
            self.restart(position);
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.resize(BUFFER.min(self.view.len()), 0);
            let copied = self.copy(position, &mut buffer);
            self.buffer = buffer;
            self.filled = copied?;
        }
        Ok(&self.buffer[self.consumed..self.filled])
    }

    fn consume(&mut self, count: usize) {
        self.consumed = self.filled.min(self.consumed.saturating_add(count));
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = super::writer::target(to, self.position(), self.view.len())?;
        self.restart(position);
        Ok(position as u64)
    }

    fn seek_relative(&mut self, by: i64) -> io::Result<()> {
        let to = SeekFrom::Current(by);
        let position = super::writer::target(to, self.position(), self.view.len())?;
        match position.checked_sub(self.start) {
            Some(within) if within <= self.filled => self.consumed = within,
            _ => self.restart(position),
        }
        Ok(())
    }

    // The provided method would seek, and discard the buffer.
    fn stream_position(&mut self) -> io::Result<u64> {
        Ok(self.position() as u64)
    }
}

impl fmt::Debug for Reader<'_> {
    /// Prints the view and the position, never the contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let position = self.position();
        f.debug_struct("Reader").field("view", &self.view).field("position", &position).finish()
    }
}
