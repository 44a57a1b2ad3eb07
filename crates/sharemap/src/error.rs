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
    length: Option<u64>,
    completed: Option<usize>,
    detail: Option<Box<str>>,
    cause: Option<Cause>,
    source: Option<io::Error>,
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

    pub(crate) fn with_offset(mut self, offset: u64) -> Self {
        self.0.offset = Some(offset);
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
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the operation that failed, as a verb phrase: "map", "flush", "read".
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// Returns the path of the file, or the name of the object; `None` if it has neither.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.object.as_deref()
    }

    /// Returns the offset of the error, in bytes from the start of the file, or of the memory if there
    /// is no file.
    ///
    /// For a [`Fault`](ErrorKind::Fault), this is the first byte that could not be accessed. For a
    /// [`NameCharacter`](ErrorKind::NameCharacter), it is the position in the name.
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
    #[must_use]
    pub fn completed(&self) -> Option<usize> {
        self.0.completed
    }

    /// Returns the code of the operating system (`errno`, `GetLastError`), if a system call failed.
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
        write!(f, "cannot {}", inner.operation)?;
        if let Some(object) = &inner.object {
            write!(f, " {}", object.display())?;
        }
        if let Some(offset) = inner.offset {
            write!(f, " at offset {offset}")?;
        }
        if let Some(length) = inner.length {
            write!(f, " (length {length})")?;
        }
        write!(f, ": {}", inner.kind.describe())?;
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
            write!(f, "; {completed} done before it")?;
        }
        match &inner.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
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
                Self::new(kind, "do input or output").with_source(error)
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
