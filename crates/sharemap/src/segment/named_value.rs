//! Named values.

use crate::error::{ErrorKind, Result};
use crate::layout::fingerprint_of;
use crate::segment::directory::{HEAD, Head, NamedKind, fingerprint};
use crate::segment::map::{Existing, Form, Inserted, Value};
use crate::segment::offset::Offset;
use crate::segment::segment::Segment;
use crate::segment::stored::{Stored, copy_out, copy_out_at_once, description};

impl Segment {
    /// Creates a named value.
    ///
    /// The name and the value appear in one step: no process finds the one without the other.
    ///
    /// # Errors
    /// - `AlreadyExists` - an object has the name.
    /// - `NameEmpty`, `NameTooLong` - a name has 1 to 255 bytes.
    /// - `NoSpace` - the segment is full and may not grow, or its file system is full.
    /// - `TooLarge` - the value is longer than about 64 MiB.
    /// - `NotWritable` - the segment is open for reading only.
    /// - `Timeout` - the handle has a [timeout](Self::with_timeout), and a lock was held for longer.
    /// - `TooManyThreads` - no lane became free within about 100 ms.
    /// - `TooManyProcesses` - a forked child could not attach.
    /// - `Malformed` - the segment is damaged; see [`check`](Self::check).
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// segment.create_value("origin", &[0.0_f64, 0.0])?;
    /// let error = segment.create_value("origin", &7_u8).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "construct")]
    pub fn create_value<T: Stored + ?Sized>(&self, name: &str, value: &T) -> Result<()> {
        match self.put(name, &description::<T>(), value.stored_bytes(), Existing::Kept)? {
            Inserted::New => Ok(()),
            _ => Err(self.named_object(ErrorKind::AlreadyExists, "create", name)),
        }
    }

    /// Replaces a named value, or creates it.
    ///
    /// The old value is replaced as a whole in one step, of whatever length they are.
    ///
    /// # Errors
    /// - `WrongType`, `WrongKind` - the object of this name has another type, or is a container.
    /// - `Busy` - other threads replaced the value in all of many attempts.
    ///
    /// Otherwise as for [`create_value`](Self::create_value).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// segment.set_value("state", "starting")?;
    /// segment.set_value("state", "running")?;
    /// assert_eq!(segment.value::<str>("state")?.unwrap(), "running");
    /// assert_eq!(segment.set_value("state", &7_u8).unwrap_err().kind(), ErrorKind::WrongType);
    /// # Ok(()) }
    /// ```
    pub fn set_value<T: Stored + ?Sized>(&self, name: &str, value: &T) -> Result<()> {
        self.set_described_value(name, &description::<T>(), value.stored_bytes())
    }

    /// Sets a named value of the type that `text` describes to these bytes, for programs that learn the type when
    /// they run.
    ///
    /// The caller makes sure that the bytes are a value of the type. If not, reads of the value fail with `Invalid`.
    #[doc(hidden)]
    pub fn set_described_value(&self, name: &str, text: &str, bytes: &[u8]) -> Result<()> {
        let expected = fingerprint_of(text);
        let mut attempt = 0;
        loop {
            let word = |_, value: Value| Ok(value.word);
            let found = self.find_described(name, &expected, || text.to_owned(), word)?;
            let existing = found.map_or(Existing::Kept, Existing::ReplacedIf);
            match self.put(name, text, bytes, existing)? {
                // Another thread created, replaced or removed it meanwhile.
                Inserted::Kept => {
                    attempt += 1;
                    self.names().pause(attempt).map_err(|error| self.named(error))?;
                }
                Inserted::New | Inserted::Replaced(()) => return Ok(()),
            }
        }
    }

    fn put(
        &self,
        name: &str,
        text: &str,
        value: &[u8],
        existing: Existing,
    ) -> Result<Inserted<()>> {
        let key = self.name_key(name)?;
        let bytes = Head::of(NamedKind::Value, 0, text).encode(value, text);
        let names = self.names();
        let put = self.at_once(|allocator, access| {
            let (access, key) = ((access, self.names_source()?), (&key, Form::Keys));
            names.insert_block_at_once(allocator, access, key, (&bytes, existing), |_| Some(()))
        });
        match put {
            Some(put) => put,
            None => self.with(|allocator| {
                names.insert_block(allocator, &key, &bytes, existing, None, |_| Ok(()))
            }),
        }
    }

    /// Returns a copy of a named value; `None` if no object has the name.
    ///
    /// Takes no lock, and writes nothing.
    ///
    /// # Errors
    /// - `WrongType`, `WrongKind` - the object of this name has another type, or is a container.
    /// - `Invalid` - the bytes are not a valid value of the type.
    /// - `NameEmpty`, `NameTooLong` - a name has 1 to 255 bytes.
    /// - `Busy` - writers replaced the value in all of many attempts.
    /// - `Malformed` - the segment is damaged; see [`check`](Self::check).
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// segment.set_value("origin", &[1.5_f64, 2.5])?;
    /// assert_eq!(segment.value::<[f64; 2]>("origin")?, Some([1.5, 2.5]));
    /// assert_eq!(segment.value::<u32>("target")?, None);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "find")]
    pub fn value<T: Stored + ?Sized>(&self, name: &str) -> Result<Option<T::Owned>> {
        let memory = self.session().memory();
        let found =
            self.find_at_once(&self.name_key(name)?, &fingerprint::<T>(), |head, mut glimpse| {
                let (_, len) = head.value_place(glimpse.value);
                copy_out_at_once::<T>(memory, &mut glimpse, HEAD, len)
            });
        match found {
            Some(found) => Ok(found),
            None => self.find::<T, _>(name, |head, value| {
                let (at, len) = head.value_place(value);
                copy_out::<T>(memory, at, len)
            }),
        }
    }

    /// Returns the offset of a named value of fixed length; `None` if no object has the name.
    ///
    /// The offset is valid until the value is replaced or removed.
    ///
    /// # Errors
    /// As for [`value`](Self::value).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// segment.create_value("hits", &0_u64)?;
    /// let hits = segment.offset::<u64>("hits")?.unwrap();
    /// segment.write(hits, &7)?;
    /// assert_eq!(segment.value::<u64>("hits")?, Some(7));
    /// # Ok(()) }
    /// ```
    pub fn offset<T: Stored>(&self, name: &str) -> Result<Option<Offset<T>>> {
        let offset = |value: Value| Offset::of(self.inner.tag, value.at + HEAD);
        let found = self.find_at_once(&self.name_key(name)?, &fingerprint::<T>(), |_, glimpse| {
            Some(offset(glimpse.value))
        });
        match found {
            Some(found) => Ok(found),
            None => self.find::<T, _>(name, |_, value| Ok(offset(value))),
        }
    }

    /// Returns the bytes of a named value of the type that `text` describes, like [`value`](Self::value), for programs
    /// that learn the type when they run.
    #[doc(hidden)]
    pub fn described_value(&self, name: &str, text: &str) -> Result<Option<Vec<u8>>> {
        self.find_described(
            name,
            &fingerprint_of(text),
            || text.to_owned(),
            |head, value| {
                let (at, len) = head.value_place(value);
                self.session().memory().view(at, len)?.to_vec()
            },
        )
    }

    /// Calls `read` with a named value, after a check of its type.
    #[cold]
    fn find<T: Stored + ?Sized, R>(
        &self,
        name: &str,
        read: impl FnMut(Head, Value) -> Result<R>,
    ) -> Result<Option<R>> {
        self.find_described(name, &fingerprint::<T>(), description::<T>, read)
    }
}
