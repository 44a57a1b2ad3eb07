//! One error type: what was attempted, on what, where, and what to do about it.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The result of every fallible operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, in terms that a program can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file does not exist.
    NotFound,
    /// The file exists already, and a new one was asked for.
    AlreadyExists,
    /// The system denies access (`EACCES`, `EPERM`, `ERROR_ACCESS_DENIED`).
    PermissionDenied,
    /// Write access was asked of something that is not writable: a read-only descriptor, a
    /// read-only file system, a sealed object.
    NotWritable,
    /// The path is a directory.
    IsDirectory,
    /// The file is a special file without a size, and no length was given.
    NoSize,
    /// An index, offset or range outside of the view, mapping or file.
    OutOfBounds,
    /// The address or offset is not a multiple of what the type or the system asks for.
    Alignment,
    /// A length that is no multiple of the element's size, or that differs from what it must be.
    WrongSize,
    /// A length of zero where there must be something.
    ZeroLength,
    /// The file has more bytes than the limit for reading it allows, or would have more than its
    /// file system or this process may give to a file (`EFBIG`, `RLIMIT_FSIZE`).
    TooLarge,
    /// Offset plus length, or count times size, is more than the type or the system can express.
    Overflow,
    /// The bytes are no value of the element's type.
    Invalid,
    /// The memory could not be accessed: the file shrank, its file system is full, the disk failed,
    /// or the page is protected. `offset()` tells where. The text tells which, as far as the file's
    /// length and the free space show it when the text is formatted.
    Fault,
    /// The file system, quota or shared memory is full (`ENOSPC`, `EDQUOT`).
    NoSpace,
    /// No address range, or no memory, for a mapping of this size.
    OutOfAddressSpace,
    /// The process has as many mappings as the system allows (`vm.max_map_count`).
    TooManyMappings,
    /// More memory would be locked than is allowed (`RLIMIT_MEMLOCK`).
    LockLimit,
    /// No file descriptors or handles are left (`EMFILE`, `ENFILE`).
    TooManyFiles,
    /// Growth beyond the reservation made when the mapping was created.
    ExceedsReservation,
    /// Somebody else has the file open in a way that excludes this.
    Busy,
    /// A flush failed, now or earlier: what was written since the last good flush may be lost.
    FlushFailed,
    /// This system, file system or object cannot do it.
    Unsupported,
    /// An error of the operating system with no kind of its own.
    Io,
    /// The time allowed ran out.
    Timeout,
    /// The wait was cancelled.
    Cancelled,
    /// The call would have to wait: for a lock that this thread or another holds, a permit, a count
    /// or an event.
    WouldBlock,
    /// This thread has the lock already, in a way that excludes what it asks for.
    Deadlock,
    /// An owner poisoned the value. Only `lock_poisoned`, `read_poisoned` and `write_poisoned`
    /// acquire the lock.
    Poisoned,
    /// A member of the barrier died.
    Broken,
    /// An owner of the lock died, or panicked, with it.
    OwnerDied,
    /// A shared object's name is empty.
    NameEmpty,
    /// A shared object's name is longer than every system can have it.
    NameTooLong,
    /// A character that not every system has in names; `offset()` says which.
    NameCharacter,
    /// What has the name is no shared object: a link, a FIFO, a directory, or one with other names.
    NotAnObject,
    /// The object, or a symbolic link that leads to it, belongs to another user, or to a user that
    /// this user namespace does not map, and other owners were not allowed.
    ForeignOwner,
    /// It is a shared object of another kind than was asked for.
    WrongKind,
    /// Its type is laid out differently from the one that was asked for.
    WrongType,
    /// It was made by an older or a newer version, in a format that this one does not know.
    WrongVersion,
    /// It is shorter than its header says, or than a header is.
    Truncated,
    /// Its header contradicts itself.
    Malformed,
    /// Its creator died, or gave up, before it was ready.
    Incomplete,
    /// It was in use when the system went down, or who uses it cannot be told: its contents want to
    /// be checked first.
    Unclean,
    /// As many processes as it has room for are attached to it.
    TooManyProcesses,
    /// As many threads as it has room for use it, or hold all that they can.
    TooManyThreads,
    /// Seals that the object must have are missing.
    NotSealed,
}

impl ErrorKind {
    fn describe(self) -> &'static str {
        match self {
            Self::NotFound => "no such file",
            Self::AlreadyExists => "it exists already",
            Self::PermissionDenied => "permission denied",
            Self::NotWritable => "it is not writable",
            Self::IsDirectory => "it is a directory",
            Self::NoSize => "it is a special file that has no size",
            Self::OutOfBounds => "out of bounds",
            Self::Alignment => "misaligned",
            Self::WrongSize => "wrong size",
            Self::ZeroLength => "the length is zero",
            Self::TooLarge => "more bytes than are allowed",
            Self::Overflow => "offset or length overflows",
            Self::Invalid => "the bytes are no value of the type",
            Self::Fault => "the memory could not be accessed",
            Self::NoSpace => "no space left",
            Self::OutOfAddressSpace => "no address space or memory left for it",
            Self::TooManyMappings => "the process has too many mappings",
            Self::LockLimit => "more memory than may be locked",
            Self::TooManyFiles => "too many open files",
            Self::ExceedsReservation => "more than was reserved when the mapping was made",
            Self::Busy => "it is in use",
            Self::FlushFailed => {
                "a flush failed; data written since the last good flush may be lost"
            }
            Self::Unsupported => "not supported",
            Self::Io => "input/output error",
            Self::Timeout => "the time ran out",
            Self::Cancelled => "the wait was cancelled",
            Self::WouldBlock => "it is not available without waiting",
            Self::Deadlock => "this thread has it already; release that first",
            Self::Poisoned => {
                "an owner poisoned the value; acquire the lock with `lock_poisoned`, `read_poisoned` or \
                 `write_poisoned`"
            }
            Self::Broken => "a member died; those who remain start again",
            Self::OwnerDied => "an owner died, or panicked, with it",
            Self::NameEmpty => "the name is empty",
            Self::NameTooLong => "the name is too long",
            Self::NameCharacter => "a character that names cannot have",
            Self::NotAnObject => "it is no shared memory object",
            Self::ForeignOwner => "another user's object",
            Self::WrongKind => "it is of another kind",
            Self::WrongType => "it holds another type",
            Self::WrongVersion => "it has a format that this version does not know",
            Self::Truncated => "it has been cut short",
            Self::Malformed => "its header contradicts itself",
            Self::Incomplete => "its creator did not finish it",
            Self::Unclean => "its contents have to be checked first",
            Self::TooManyProcesses => "no room for another process",
            Self::TooManyThreads => "no room for another thread, or another lock",
            Self::NotSealed => "it is not sealed as it must be",
        }
    }

    fn to_io(self) -> io::ErrorKind {
        match self {
            Self::NotFound => io::ErrorKind::NotFound,
            Self::AlreadyExists => io::ErrorKind::AlreadyExists,
            Self::PermissionDenied => io::ErrorKind::PermissionDenied,
            Self::NotWritable | Self::ForeignOwner => io::ErrorKind::PermissionDenied,
            Self::NameEmpty | Self::NameTooLong | Self::NameCharacter => {
                io::ErrorKind::InvalidInput
            }
            Self::OutOfBounds => io::ErrorKind::UnexpectedEof,
            Self::Alignment | Self::WrongSize | Self::ZeroLength | Self::Overflow => {
                io::ErrorKind::InvalidInput
            }
            Self::Invalid => io::ErrorKind::InvalidData,
            Self::TooLarge => io::ErrorKind::FileTooLarge,
            Self::OutOfAddressSpace => io::ErrorKind::OutOfMemory,
            Self::Unsupported => io::ErrorKind::Unsupported,
            Self::Timeout => io::ErrorKind::TimedOut,
            Self::WouldBlock => io::ErrorKind::WouldBlock,
            _ => io::ErrorKind::Other,
        }
    }
}

/// An error: the operation, the file or object, the offset and length, the cause, and what to do.
///
/// One pointer wide. [`kind`](Error::kind) is what to match on; the text is for people. It converts
/// into [`io::Error`] and back without losing anything, so that `line?` on a reader's lines gives
/// the original error.
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
    /// An error of `kind` in `operation`, a verb phrase that completes "cannot …".
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

    /// Says how many elements were transferred before the error.
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

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The operation that failed: a verb phrase, as in "map", "flush", "read".
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// The file or object, if it has a name.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.object.as_deref()
    }

    /// The offset concerned, in bytes from the start of the file (of the memory, where there is no
    /// file). For a [`Fault`](ErrorKind::Fault), the first byte that could not be accessed.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// The length or index concerned.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.0.length
    }

    /// For transfers of many elements: how many were transferred before the error.
    #[must_use]
    pub fn completed(&self) -> Option<usize> {
        self.0.completed
    }

    /// The operating system's own code (`errno`, `GetLastError`), if it came from there.
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
    /// Gives back the original error where this crate's error is inside.
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
    fn survives_the_way_through_io_error() {
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
