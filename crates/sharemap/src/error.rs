//! The error type of the crate, and the kinds of errors.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The result of every fallible operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// The kind of an [`Error`], for a program to match on.
///
/// Each function that returns an error lists the kinds that it returns, under *Errors*.
///
/// # Examples
/// ```
/// use sharemap::{ErrorKind, Mapping};
///
/// let error = Mapping::open("no-such-file").unwrap_err();
/// match error.kind() {
///     ErrorKind::NotFound => {} // create it, for instance
///     _ => panic!("{error}"),
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file or object does not exist.
    NotFound,
    /// A file or object of this name already exists, and the call creates a new one only.
    AlreadyExists,
    /// The system denies access (`EACCES`, `EPERM`, `ERROR_ACCESS_DENIED`).
    PermissionDenied,
    /// Write access was requested to something that is not writable: a file that this user may only
    /// read, a descriptor opened for reading, a read-only file system, a sealed object.
    NotWritable,
    /// The path is a directory.
    IsDirectory,
    /// The file is a special file without a size, and no length was given.
    NoSize,
    /// An index, offset or range lies outside of the view, mapping or file.
    OutOfBounds,
    /// An address or offset is not a multiple of the alignment that the type or the system needs.
    Alignment,
    /// A length is not a multiple of the element's size, or is not the length that is needed.
    WrongSize,
    /// A length is zero where it must not be.
    ZeroLength,
    /// The file has more bytes than the limit for reading it, or would exceed the largest size that
    /// its file system or this process may give a file (`EFBIG`, `RLIMIT_FSIZE`).
    TooLarge,
    /// The sum of an offset and a length, or the product of a count and a size, is more than the type
    /// or the system can express.
    Overflow,
    /// The bytes are not a valid value of the type.
    Invalid,
    /// The memory could not be accessed: the file shrank, its file system is full, its device failed,
    /// or the page is protected.
    ///
    /// [`Error::offset`] returns the first byte that could not be accessed. The text of the error
    /// names the cause, as far as the file's length and the free space show it when the text is
    /// formatted.
    Fault,
    /// The file system, the quota or the shared memory is full (`ENOSPC`, `EDQUOT`).
    NoSpace,
    /// There is no free address range, or not enough memory, for a mapping of this size (`ENOMEM`).
    OutOfAddressSpace,
    /// The process has as many mappings as the system allows (`vm.max_map_count`).
    TooManyMappings,
    /// The call would lock more memory than this process may lock (`RLIMIT_MEMLOCK`).
    LockLimit,
    /// The process or the system has no free file descriptors or handles (`EMFILE`, `ENFILE`).
    TooManyFiles,
    /// The new length exceeds the reservation that was made when the mapping was created.
    ExceedsReservation,
    /// Another process, or another handle of this one, uses the file or object in a way that excludes
    /// this operation.
    Busy,
    /// This flush or an earlier one failed: changes since the last successful flush may be lost.
    FlushFailed,
    /// This system, file system, file or object does not support the operation.
    Unsupported,
    /// An error of the operating system that has no kind of its own here.
    Io,
    /// The timeout elapsed.
    Timeout,
    /// The call had to block after a call of `cancel`.
    Cancelled,
    /// The call would have to block: for a lock that another thread holds, a permit, a count or an
    /// event.
    WouldBlock,
    /// This thread already holds the lock, in a mode that excludes the one it asks for.
    Deadlock,
    /// An owner poisoned the value. Only `lock_poisoned`, `read_poisoned` and `write_poisoned`
    /// acquire the lock.
    Poisoned,
    /// A member of the barrier died.
    Broken,
    /// An owner of the lock died, or panicked, while holding it.
    OwnerDied,
    /// The name of an object is empty.
    NameEmpty,
    /// The name of an object is longer than 200 bytes, which not every system supports.
    NameTooLong,
    /// The name of an object contains a character that not every system supports.
    /// [`Error::offset`] returns its position.
    NameCharacter,
    /// The name belongs to something that is not an object: a symbolic link, a FIFO, a device, a
    /// directory, or a file with further names.
    NotAnObject,
    /// The object, or a symbolic link that leads to it, belongs to another user, or to a user that
    /// this user namespace does not map, and `allow_any_owner` was not set.
    ForeignOwner,
    /// The object is of another kind.
    WrongKind,
    /// The layout of the object's type differs from the type that it was opened as.
    WrongType,
    /// The object has a format that this version of the crate does not know.
    WrongVersion,
    /// The object is shorter than its header says, or than a header.
    Truncated,
    /// The header of the object contradicts itself.
    Malformed,
    /// The creator of the object died, or failed, before the object was complete.
    Incomplete,
    /// The object was in use when the system went down, or its participants cannot be determined. Its
    /// contents must be checked before it is used.
    Unclean,
    /// The object has as many participants as it has room for.
    TooManyProcesses,
    /// No lane is free: as many threads as the object has room for use it, or hold as many locks as
    /// they can.
    TooManyThreads,
    /// Seals that the object must have are missing.
    NotSealed,
}

impl ErrorKind {
    fn describe(self) -> &'static str {
        match self {
            Self::NotFound => "it does not exist",
            Self::AlreadyExists => "it already exists",
            Self::PermissionDenied => "permission denied",
            Self::NotWritable => "it is not writable",
            Self::IsDirectory => "it is a directory",
            Self::NoSize => "it is a special file without a size",
            Self::OutOfBounds => "out of bounds",
            Self::Alignment => "misaligned",
            Self::WrongSize => "wrong size",
            Self::ZeroLength => "the length is zero",
            Self::TooLarge => "it has more bytes than are allowed",
            Self::Overflow => "offset or length overflows",
            Self::Invalid => "the bytes are not a valid value of the type",
            Self::Fault => "the memory could not be accessed",
            Self::NoSpace => "no space left",
            Self::OutOfAddressSpace => "there is not enough address space or memory",
            Self::TooManyMappings => "the process has too many mappings",
            Self::LockLimit => "it is more memory than this process may lock",
            Self::TooManyFiles => "too many open files",
            Self::ExceedsReservation => "the new length exceeds the reservation",
            Self::Busy => "it is in use",
            Self::FlushFailed => {
                "a flush failed; data written since the last successful flush may be lost"
            }
            Self::Unsupported => "not supported",
            Self::Io => "input/output error",
            Self::Timeout => "the timeout elapsed",
            Self::Cancelled => "the call was cancelled",
            Self::WouldBlock => "it is not available without blocking",
            Self::Deadlock => "this thread already holds the lock; release it first",
            Self::Poisoned => {
                "an owner poisoned the value; acquire the lock with `lock_poisoned`, `read_poisoned` or \
                 `write_poisoned`"
            }
            Self::Broken => "a member died; call `restart` to use the barrier again",
            Self::OwnerDied => "an owner died or panicked while holding the lock",
            Self::NameEmpty => "the name is empty",
            Self::NameTooLong => "the name is too long",
            Self::NameCharacter => "the name contains a character that is not portable",
            Self::NotAnObject => "it is not a shared object",
            Self::ForeignOwner => "it belongs to another user",
            Self::WrongKind => "the object is of another kind",
            Self::WrongType => "the object holds another type",
            Self::WrongVersion => "the object has a format that this version does not know",
            Self::Truncated => "the object was truncated",
            Self::Malformed => "its header or tables are inconsistent",
            Self::Incomplete => "its creator did not finish it",
            Self::Unclean => "its contents must be checked before it is used",
            Self::TooManyProcesses => "there is no room for another process",
            Self::TooManyThreads => "no lane is free",
            Self::NotSealed => "required seals are missing",
        }
    }

    /// Returns `true` if `describe` says the same as the system's text for the error.
    fn repeats_system_text(self) -> bool {
        matches!(
            self,
            Self::NotFound
                | Self::AlreadyExists
                | Self::PermissionDenied
                | Self::IsDirectory
                | Self::NoSpace
                | Self::TooManyFiles
        )
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
