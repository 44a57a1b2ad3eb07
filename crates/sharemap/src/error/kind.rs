//! `ErrorKind`: what went wrong, in the crate's terms.

use std::io;

/// The kind of an [`Error`](super::Error), for a program to match on.
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
    /// [`Error::offset`](super::Error::offset) returns the first byte that could not be accessed. The text of the error
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
    /// The file was changed while a guarded slice of it was in use.
    Changed,
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
    /// The other side of the channel has left it: there is no sender any more and no message, or the receiver was dropped.
    Closed,
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
    /// [`Error::offset`](super::Error::offset) returns its position.
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
    pub(super) fn describe(self) -> &'static str {
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
            Self::Changed => "the file was changed meanwhile",
            Self::FlushFailed => {
                "a flush failed; data written since the last successful flush may be lost"
            }
            Self::Unsupported => "not supported",
            Self::Io => "input/output error",
            Self::Timeout => "the timeout elapsed",
            Self::Cancelled => "the call was cancelled",
            Self::WouldBlock => "it is not available without blocking",
            Self::Closed => "the other side has left the channel",
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
    pub(super) fn repeats_system_text(self) -> bool {
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

    pub(super) fn to_io(self) -> io::ErrorKind {
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
            Self::Closed => io::ErrorKind::BrokenPipe,
            _ => io::ErrorKind::Other,
        }
    }
}
