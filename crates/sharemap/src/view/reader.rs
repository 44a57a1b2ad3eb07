//! A stream that reads a view.

use std::fmt;
use std::io::{self, BufRead, Read, Seek, SeekFrom};

use super::View;

/// The size of the buffer.
const BUFFER: usize = 64 << 10;

/// Reads of this many bytes and more bypass the buffer if it is empty.
const DIRECT: usize = 8 << 10;

/// A stream over the bytes of a view, with [`Read`], [`BufRead`] and [`Seek`].
///
/// Bytes are copied into a private buffer of 64 KiB, because other processes may change the mapped
/// memory while a line is examined. Reads of 8 KiB and more go directly to the caller's buffer once the
/// private one is empty. The file's length is compared after every copy out of the mapped memory. If the
/// file shrank, the bytes before its new end are read, then an error of kind
/// [`Fault`](crate::ErrorKind::Fault); never zeros. The [`io::Error`]s convert into the
/// [`Error`](crate::Error)s that caused them.
///
/// Seeking past the end is allowed, as in a file; reads there return no bytes.
///
/// # Concurrent changes
///
/// A reader returns each byte as it was when it was copied, as [`std::io::BufReader`] does: at most 64 KiB
/// ahead of the position.
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
    /// The bytes that were copied from there.
    buffer: Vec<u8>,
    /// The number of bytes of the buffer that have been consumed.
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
        Reader { view: *self, start: 0, buffer: Vec::new(), consumed: 0 }
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

    /// Discards the buffer, and continues at `position`.
    #[inline]
    fn restart(&mut self, position: usize) {
        self.start = position;
        self.buffer.clear();
        self.consumed = 0;
    }

    /// Returns the bytes in the buffer that have not been consumed.
    #[inline]
    fn buffered(&self) -> &[u8] {
        self.buffer.get(self.consumed..).unwrap_or_default()
    }

    /// Fills the empty buffer; at the end of the view, it stays empty.
    #[inline]
    fn refill(&mut self) -> io::Result<()> {
        let position = self.position();
        let buffer = std::mem::take(&mut self.buffer);
        self.restart(position);
        self.buffer = filled(self.view, position, buffer)?;
        Ok(())
    }
}

// The functions out of line take the reader's fields by value: a borrow of the reader would keep it in
// memory, and each read of a byte would wait for the stores of the previous one.

/// Returns `buffer` with the bytes from `position` on instead of its own.
#[inline(never)]
fn filled(view: View<'_, u8>, position: usize, mut buffer: Vec<u8>) -> io::Result<Vec<u8>> {
    buffer.resize(BUFFER.min(view.len()), 0);
    let count = copy(view, position, &mut buffer)?;
    buffer.truncate(count);
    Ok(buffer)
}

/// Copies the bytes from `position` on into `out`, and returns their number.
///
/// The length of the file is queried after the copy. If it were queried before, a truncation between
/// the two could fill the end of `out` with the zeros of the last page.
#[inline(never)]
fn copy(view: View<'_, u8>, position: usize, out: &mut [u8]) -> io::Result<usize> {
    let Some(left) = view.len().checked_sub(position) else {
        return Ok(0);
    };
    let wanted = out.len().min(left);
    let read = match view.read_at(position, &mut out[..wanted]) {
        Ok(()) => wanted,
        Err(error) => match error.completed() {
            Some(some @ 1..) => some,
            _ => return Err(error.into()),
        },
    };
    let Some(remains) = view.available_from(position) else {
        return Ok(read);
    };
    if wanted > 0 && remains == 0 {
        return Err(view.fault("read", view.base as usize + position).into());
    }
    Ok(read.min(remains))
}

impl Read for Reader<'_> {
    #[inline]
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.buffered().is_empty() {
            if out.len() >= DIRECT {
                let position = self.position();
                let count = copy(self.view, position, out)?;
                self.restart(position + count);
                return Ok(count);
            }
            self.refill()?;
        }
        let count = self.buffered().read(out)?;
        self.consumed += count;
        Ok(count)
    }

    #[inline]
    fn read_exact(&mut self, mut out: &mut [u8]) -> io::Result<()> {
        if let Some(bytes) = self.buffered().get(..out.len()) {
            out.copy_from_slice(bytes);
            self.consumed += out.len();
            return Ok(());
        }
        while !out.is_empty() {
            match self.read(out)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => out = &mut out[count..],
            }
        }
        Ok(())
    }

    fn read_to_end(&mut self, out: &mut Vec<u8>) -> io::Result<usize> {
        let before = out.len();
        out.try_reserve(self.view.len().saturating_sub(self.position()))?;
        loop {
            let start = out.len();
            let left = self.view.len().saturating_sub(self.position());
            // Cleared in pieces that stay in the cache until they are overwritten.
            out.resize(start + left.min(BUFFER), 0);
            match self.read(&mut out[start..]) {
                Ok(0) => {
                    out.truncate(start);
                    return Ok(start - before);
                }
                Ok(count) => out.truncate(start + count),
                Err(error) => {
                    out.truncate(start);
                    return Err(error);
                }
            }
        }
    }
}

impl BufRead for Reader<'_> {
    #[inline]
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.buffered().is_empty() {
            self.refill()?;
        }
        Ok(self.buffered())
    }

    #[inline]
    fn consume(&mut self, count: usize) {
        self.consumed = self.buffer.len().min(self.consumed.saturating_add(count));
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
            Some(within) if within <= self.buffer.len() => self.consumed = within,
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
