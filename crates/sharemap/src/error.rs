//! The error type of the crate, and the kinds of errors.

mod kind;

pub use kind::ErrorKind;

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The result of every fallible operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// The error type of this crate: the operation, the file or object, the offset and length, the
/// cause, and the remedy.
///
/// Match on its [`kind`](Error::kind); the text is for people. An error is one pointer wide. It
/// converts into [`io::Error`] and back without loss, so `line?` on the lines of a reader returns the
/// original error.
///
/// # Examples
/// ```
/// # fn main() -> sharemap::Result<()> {
/// use sharemap::{ErrorKind, MappingMut};
///
/// let map = MappingMut::anonymous(4096)?;
/// let error = map.view::<u64>()?.get(512).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::OutOfBounds);
/// assert!(error.to_string().starts_with("cannot read"));
/// # Ok(()) }
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    object: Option<PathBuf>,
    offset: Option<u64>,
    place: Place,
    length: Option<u64>,
    completed: Option<usize>,
    detail: Option<Box<str>>,
    cause: Option<Cause>,
    source: Option<io::Error>,
}

/// What failed in the object, and thus how the text names the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The object, or its bytes at the offset: "read a.bin at offset 5".
    Bytes,
    /// A field of its header: "open jobs". Only readers of FORMAT.md know its offset.
    Field,
    /// A lock in it: "lock the mutex in jobs". Callers know the lock by its handle, not by its offset.
    Lock,
}

/// Determines the cause of the error when its text is formatted.
pub(crate) type Cause = Box<dyn Fn() -> Option<String> + Send + Sync>;

impl Error {
    /// Creates an error of `kind` in `operation`, a verb phrase that completes "cannot …".
    #[cold]
    pub(crate) fn new(kind: ErrorKind, operation: &'static str) -> Self {
        Self(Box::new(Inner {
            kind,
            operation,
            object: None,
            offset: None,
            place: Place::Bytes,
            length: None,
            completed: None,
            detail: None,
            cause: None,
            source: None,
        }))
    }

    /// Names the file or object; the first name given stays.
    pub(crate) fn with_path(mut self, path: Option<&Path>) -> Self {
        if self.0.object.is_none() {
            self.0.object = path.map(Path::to_path_buf);
        }
        self
    }

    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Replaces the operation: that of the caller, in place of one that it is made of.
    pub(crate) fn with_operation(mut self, operation: &'static str) -> Self {
        self.0.operation = operation;
        self
    }

    pub(crate) fn with_offset(mut self, offset: u64) -> Self {
        self.0.offset = Some(offset);
        self
    }

    /// Sets the offset of a header field. The text does not print it.
    pub(crate) fn with_field_offset(mut self, offset: u64) -> Self {
        self.0.place = Place::Field;
        self.with_offset(offset)
    }

    /// Sets the offset of the lock that the operation was applied to. The text does not print it.
    pub(crate) fn with_lock_offset(mut self, offset: u64) -> Self {
        self.0.place = Place::Lock;
        self.with_offset(offset)
    }

    /// Says that the operation was applied to something in the object: "claim a lane in jobs".
    pub(crate) fn inside(mut self) -> Self {
        self.0.place = Place::Lock;
        self
    }

    pub(crate) fn with_length(mut self, length: u64) -> Self {
        self.0.length = Some(length);
        self
    }

    /// Sets the number of elements that were transferred before the error.
    pub(crate) fn with_completed(mut self, completed: usize) -> Self {
        self.0.completed = Some(completed);
        self
    }

    /// Returns what the text adds to the kind.
    pub(crate) fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    pub(crate) fn with_detail(mut self, detail: impl Into<Box<str>>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Sets a function that determines the cause when the text is formatted. Without a known cause,
    /// a fault's text lists the possible ones.
    pub(crate) fn with_cause(mut self, cause: Cause) -> Self {
        self.0.cause = Some(cause);
        self
    }

    pub(crate) fn with_source(mut self, source: io::Error) -> Self {
        self.0.source = Some(source);
        self
    }

    /// Returns the kind of the error.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let error = Mapping::open("/no/such/file").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotFound);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the operation that failed, as a verb phrase: "map", "flush", "read".
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let error = Mapping::open("/no/such/file").unwrap_err();
    /// assert_eq!(error.operation(), "open");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// Returns the path of the file, or the name of the object; `None` if it has neither.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let error = Mapping::open("/no/such/file").unwrap_err();
    /// assert_eq!(error.path(), Some(std::path::Path::new("/no/such/file")));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.object.as_deref()
    }

    /// Returns the offset of the error, in bytes from the start of the file, or of the memory if there
    /// is no file.
    ///
    /// For a [`Fault`](ErrorKind::Fault), this is the first byte that could not be accessed. For a
    /// [`NameCharacter`](ErrorKind::NameCharacter), it is the position in the name. For an error of a
    /// lock, it is the offset that `sharemap locks` prints.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MappingMut::anonymous(4096)?;
    /// let error = map.view_at::<u32>(6, 10).unwrap_err();
    /// assert_eq!((error.kind(), error.offset()), (ErrorKind::Alignment, Some(6)));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// Returns the length that the operation was given, if it has one.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.0.length
    }

    /// Returns the number of elements that were transferred before the error, for transfers of many
    /// elements.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-completed-{}", std::process::id()));
    /// let map = MappingMut::create(&path, 2 * page_size() as u64)?;
    /// let file = std::fs::File::options().write(true).open(&path)?;
    /// // Windows does not truncate a mapped file.
    /// if file.set_len(page_size() as u64).is_ok() {
    ///     let error = map.bytes().to_vec().unwrap_err();
    ///     assert_eq!((error.kind(), error.completed()), (ErrorKind::Fault, Some(page_size())));
    /// }
    /// # drop((map, file));
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn completed(&self) -> Option<usize> {
        self.0.completed
    }

    /// Returns the code of the operating system (`errno`, `GetLastError`), if a system call failed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let error = Mapping::open("/no/such/file").unwrap_err();
    /// assert!(error.os_code().is_some()); // `ENOENT` on Unix
    /// assert_eq!(MappingMut::anonymous(0).unwrap_err().os_code(), None); // no system call
    /// # Ok(()) }
    /// ```
    #[doc(alias = "errno")]
    #[doc(alias = "GetLastError")]
    #[must_use]
    pub fn os_code(&self) -> Option<i32> {
        self.0.source.as_ref().and_then(io::Error::raw_os_error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        match &inner.object {
            Some(object) => {
                let link = if inner.place == Place::Lock { " in" } else { "" };
                write!(f, "cannot {}{link} {}", inner.operation, object.display())?;
            }
            None => write!(f, "cannot {}", without_preposition(inner.operation))?,
        }
        if let (Some(offset), Place::Bytes) = (inner.offset, inner.place) {
            write!(f, " at offset {offset}")?;
        }
        if let Some(length) = inner.length {
            write!(f, " (length {length})")?;
        }
        write!(f, ": {}", inner.kind.describe())?;
        // The text of these kinds already says what the system's text would repeat.
        let code = self.os_code().filter(|_| inner.kind.repeats_system_text());
        if let Some(code) = code {
            write!(f, " (os error {code})")?;
        }
        match inner.cause.as_ref().and_then(|cause| cause()) {
            Some(cause) => write!(f, ": {cause}")?,
            None if inner.kind == ErrorKind::Fault && inner.detail.is_none() => f.write_str(
                " (the file shrank, its file system is full, the device failed, or the page is \
                 protected)",
            )?,
            None => {}
        }
        if let Some(detail) = &inner.detail {
            write!(f, "; {detail}")?;
        }
        if let Some(completed) = inner.completed {
            write!(f, "; {completed} transferred before the error")?;
        }
        match &inner.source {
            Some(source) if code.is_none() => write!(f, ": {source}"),
            _ => Ok(()),
        }
    }
}

/// Removes the preposition at the end of an operation, for an error without a path.
fn without_preposition(operation: &str) -> &str {
    const PREPOSITIONS: [&str; 7] = [" of", " in", " into", " to", " for", " from", " about"];
    PREPOSITIONS.iter().find_map(|word| operation.strip_suffix(word)).unwrap_or(operation)
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        f.debug_struct("Error")
            .field("kind", &inner.kind)
            .field("operation", &inner.operation)
            .field("path", &inner.object)
            .field("offset", &inner.offset)
            .field("length", &inner.length)
            .field("completed", &inner.completed)
            .field("detail", &inner.detail)
            .field("source", &inner.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error.0.source {
            Some(source) => source.kind(),
            None => error.kind().to_io(),
        };
        Self::new(kind, error)
    }
}

impl From<io::Error> for Error {
    /// Returns the original error if `error` contains an error of this crate.
    fn from(error: io::Error) -> Self {
        match error.downcast::<Error>() {
            Ok(original) => original,
            Err(error) => {
                let kind = match error.kind() {
                    io::ErrorKind::NotFound => ErrorKind::NotFound,
                    io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
                    io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
                    io::ErrorKind::IsADirectory => ErrorKind::IsDirectory,
                    io::ErrorKind::OutOfMemory => ErrorKind::OutOfAddressSpace,
                    io::ErrorKind::InvalidData => ErrorKind::Invalid,
                    io::ErrorKind::UnexpectedEof => ErrorKind::OutOfBounds,
                    io::ErrorKind::Unsupported => ErrorKind::Unsupported,
                    _ => ErrorKind::Io,
                };
                Self::new(kind, "perform I/O").with_source(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversion_to_io_error_and_back_keeps_all_fields() {
        let error = Error::new(ErrorKind::Fault, "read")
            .with_path(Some(Path::new("a.bin")))
            .with_offset(4096)
            .with_completed(7);
        let back = Error::from(io::Error::from(error));
        assert_eq!(back.kind(), ErrorKind::Fault);
        assert_eq!(back.offset(), Some(4096));
        assert_eq!(back.completed(), Some(7));
        assert_eq!(back.path(), Some(Path::new("a.bin")));
    }

    #[test]
    fn text_names_the_object_and_what_is_in_it() {
        let path = Some(Path::new("jobs"));
        let read = |operation| Error::new(ErrorKind::Overflow, operation).with_offset(7);
        let text = "offset or length overflows";
        let copied = read("copy out of");
        assert_eq!(copied.to_string(), format!("cannot copy out at offset 7: {text}"));
        let copied = copied.with_path(path);
        assert_eq!(copied.to_string(), format!("cannot copy out of jobs at offset 7: {text}"));
        let locked = read("lock the mutex").with_lock_offset(640);
        assert_eq!(locked.to_string(), format!("cannot lock the mutex: {text}"));
        let locked = locked.with_path(path);
        assert_eq!(locked.to_string(), format!("cannot lock the mutex in jobs: {text}"));
        assert_eq!(locked.offset(), Some(640));
        let opened = read("open").with_field_offset(8).with_path(path);
        assert_eq!(opened.to_string(), format!("cannot open jobs: {text}"));
        let source = io::Error::from_raw_os_error(2);
        let opened = Error::new(ErrorKind::NotFound, "open").with_path(path).with_source(source);
        assert_eq!(opened.to_string(), "cannot open jobs: it does not exist (os error 2)");
    }

    #[test]
    fn keeps_the_source_and_its_code() {
        let source = io::Error::from_raw_os_error(2);
        let error = Error::new(ErrorKind::NotFound, "open").with_source(source);
        assert_eq!(error.os_code(), Some(2));
        assert!(StdError::source(&error).is_some());
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn is_one_pointer_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }
}
