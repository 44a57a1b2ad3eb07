//! The interface to the operating system. No other module has a `cfg(target_os)`.
//!
//! A port is a directory beside `linux/` with the modules below, and a `use … as os` line in this
//! file. `contract.rs` names every function that a port provides, with its type and its obligations;
//! the compiler checks the types. Layers above call these modules only:
//!
//! - `map`: maps, protects, flushes and unmaps address space, in whole pages. File offsets are
//!   multiples of [`map::granularity`]; `mapping` handles other offsets.
//! - `file`: opens, sizes, reads and queries files.
//! - `slice`: maps files for plain slices, whose lost pages the fault handler replaces by zeros.
//! - `file_lock`: locks byte ranges of files, each lock on a description of its own.
//! - `fault`: installs the fault handler for guarded accesses, and copies without one by system calls.
//! - `shm`: creates, opens, lists, seals and unlinks shared memory objects, named and anonymous. To
//!   the layers above, all of them are `File`s.
//! - `create_atomic`: creates a file that gets its name only after it is complete.
//! - `pass`: sends descriptors to other processes, and identifies open files.
//! - `process`: reports this process's limits and identity, the boot id, and a clock that all
//!   processes share; generates random ids.
//! - `wait`: blocks on a word of shared memory, and wakes blocked threads of any process.
//! - `fence`: the asymmetric fence, which costs only the waiting side.
//! - `liveness`: liveness locks, which the kernel releases when the holder's address space ends.
//! - `exclusive`: claims files that no other process uses, and removes exactly the file that was
//!   opened.
//! - `fork`: memory that is zero in a forked child, and numbers that distinguish a child from its
//!   ancestors.
//!
//! A port also has `testing`, for the tests of all layers: forks, stops, clones, chosen process ids.
//!
//! `arch` is not part of a port: it has the guarded instructions of each processor. `posix` is the
//! code that Linux and macOS share. `heap_wipe_fallback` serves ports without wiped memory, and
//! `plain_file_system` those that need no kinds of file systems.
//!
//! An error has a kind, an operation and, after a failed system call, its number and source. The
//! layers above add the path.

pub(crate) mod arch;

mod contract;
mod object;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod unique_name;

#[cfg(any(target_os = "macos", target_os = "windows"))]
mod heap_wipe_fallback;
#[cfg(any(target_os = "macos", target_os = "windows"))]
mod plain_file_system;

#[cfg(any(target_os = "linux", target_os = "macos"))]
mod posix;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as os;

#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
use macos as os;

#[cfg(target_os = "windows")]
mod windows;
#[cfg(target_os = "windows")]
use windows as os;

#[cfg(not(any(target_os = "linux", target_os = "macos", target_os = "windows")))]
compile_error!(
    "sharemap supports Linux, macOS and Windows; a port is a directory beside src/sys/linux with \
     the modules that src/sys/mod.rs lists, and src/sys/contract.rs has their functions"
);

pub use object::FileRole;
pub(crate) use object::{CreateObject, Existing, ObjectStatus, OpenObject, Owner, Scope, Sharing};
pub use object::{Lifetime, Seals};
pub use os::file::AsDescriptor;
pub(crate) use os::{
    create_atomic, exclusive, fault, fence, file, file_lock, fork, liveness, map, pass, process,
    shm, slice, wait,
};

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// Returns the error of an operation that needs the file descriptor of a mapping that closed it.
#[cold]
pub(crate) fn file_was_closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, operation).with_detail(
        "the operation needs the file's descriptor, which this mapping closed; map it without \
         MapOptions::close_file",
    )
}

/// The access that a mapping allows, and whether its writes reach the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Shared and read-only.
    Read,
    /// Shared and writable: writes reach the file and all its mappings.
    Write,
    /// Private and writable: writes stay in this mapping.
    CopyOnWrite,
}

/// A request for address space, backed by a file or by anonymous memory.
pub(crate) struct MapRequest<'a> {
    /// The file to map; `None` for anonymous memory, which is zeroed.
    pub(crate) file: Option<&'a File>,
    /// The offset in the file, a multiple of [`map::granularity`].
    pub(crate) offset: u64,
    /// The number of bytes to map now; not zero.
    pub(crate) len: usize,
    /// The bytes of address space to reserve, so that the mapping can grow in place; at least `len`.
    pub(crate) reserve: usize,
    pub(crate) access: Access,
    pub(crate) executable: bool,
    pub(crate) huge: HugePages,
}

/// The use of huge pages for a mapping or a shared memory object.
///
/// ```no_run
/// use sharemap::{HugePages, MapOptions};
///
/// # fn main() -> sharemap::Result<()> {
/// // 1 GiB on transparent huge pages, where the system has them.
/// let options = MapOptions::new().huge_pages(HugePages::Transparent);
/// let memory = options.anonymous(1 << 30)?;
/// # Ok(()) }
/// ```
#[doc(alias = "hugetlb")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HugePages {
    /// The system decides.
    #[default]
    Default,
    /// Asks the system to use huge pages where it can (`MADV_HUGEPAGE`). Mapping does not fail if it
    /// cannot.
    Transparent,
    /// Uses reserved huge pages of the default size (`MAP_HUGETLB`, `SEC_LARGE_PAGES`). Mapping fails
    /// if there are not enough of them.
    Reserved,
}

/// A range of mapped or reserved address space.
///
/// Dropping a span unmaps nothing: its owner must call [`map::unmap`].
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) base: *mut u8,
    /// The length in bytes of the whole reservation, in whole pages.
    pub(crate) reserved: usize,
}

/// A request to open a file by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenRequest {
    pub(crate) write: bool,
    pub(crate) create: Create,
    /// Opens the file exclusively: with share mode 0 on Windows, and under an advisory `flock`
    /// elsewhere. Fails while a conflicting opening exists.
    pub(crate) exclusive: bool,
    /// The longest wait for a process that holds a lease on the file; with zero, opening a leased
    /// file fails at once.
    #[allow(dead_code, reason = "files have leases on Linux only")]
    pub(crate) timeout: Duration,
}

/// The `timeout` of operations that have none of their own. Like `open(2)`, they wait until the
/// kernel breaks the lease (`lease-break-time`, 45 s by default).
pub(crate) const LEASE_BREAK: Duration = Duration::from_secs(60);

/// The treatment of a missing or an existing file when a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Create {
    /// The file must exist.
    Never,
    /// The file must not exist (`O_EXCL`).
    New,
    /// Creates the file if it does not exist, and otherwise opens it unchanged.
    IfMissing,
}

/// The kind of file that a descriptor refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Regular,
    Directory,
    /// A block device, which has the size of the device.
    #[allow(dead_code, reason = "Windows maps none")]
    Block,
    /// A file without a size: a character device, a pipe or a socket.
    Special,
}

/// The kind, length and time of change of an open file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileStatus {
    pub(crate) kind: FileKind,
    /// The length in bytes; 0 for [`FileKind::Special`].
    pub(crate) len: u64,
    /// The time of the last change of data or metadata, in nanoseconds. It may wrap around and is
    /// only compared for equality; 0 on systems where no caller needs it.
    pub(crate) changed: i64,
    /// The preferred size of reads in bytes, which is the size of a page on hugetlbfs; 0 on systems
    /// where no caller needs it.
    #[allow(dead_code, reason = "other systems have no files of huge pages")]
    pub(crate) block: u32,
}

impl FileStatus {
    pub(crate) fn new(kind: FileKind, len: u64) -> Self {
        Self { kind, len, changed: 0, block: 0 }
    }
}

/// An open file with its status and identity, as one query has told them.
#[derive(Debug)]
pub(crate) struct OpenedFile {
    pub(crate) file: File,
    pub(crate) status: FileStatus,
    /// As `pass::identity` returns it.
    pub(crate) identity: [u64; 2],
}

impl OpenedFile {
    /// Queries the status and the identity of an open file.
    pub(crate) fn of(file: File) -> Result<Self> {
        let (status, identity) = (os::file::status(&file)?, os::pass::identity(&file)?);
        Ok(Self { file, status, identity })
    }
}

/// A file that several values refer to. The last that is dropped closes it.
pub(crate) type SharedFile = Arc<dyn AsRef<File> + Send + Sync>;

/// The file and the access mode of a descriptor. Descriptors with equal values are interchangeable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(dead_code, reason = "Windows has plenty of handles")]
pub(crate) struct FileIdentity {
    pub(crate) device: u64,
    pub(crate) file: u64,
    /// The access mode and the status flags.
    pub(crate) flags: u64,
    /// The time of the last change, if a change may replace the file (overlayfs); otherwise 0.
    pub(crate) changed: i64,
}

/// The result of one read call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadStep {
    /// The call read this many bytes, at least one.
    Bytes(usize),
    /// The call met the end of the file.
    End,
    /// There are no bytes yet, and the descriptor is non-blocking.
    #[allow(dead_code, reason = "Windows waits for them")]
    NotYet,
}

/// The state of one page, as the system reported it.
///
/// ```
/// use sharemap::{MappingMut, PageState};
///
/// # fn main() -> sharemap::Result<()> {
/// let map = MappingMut::anonymous(1 << 16)?;
/// map.bytes().set(0, 1)?;
/// let pages = map.residency()?;
/// assert_ne!(pages.pages()[0], PageState::Absent);
/// # Ok(()) }
/// ```
#[doc(alias = "mincore")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PageState {
    /// The page is in memory.
    Resident,
    /// The page is not in memory; the next access faults it in.
    Absent,
    /// The system does not tell, for this kind of memory or to this user.
    Unknown,
}

/// The pages of a range of a file that the page cache holds (`cachestat`, Linux 6.5).
///
/// ```no_run
/// use sharemap::Mapping;
///
/// # fn main() -> sharemap::Result<()> {
/// let status = Mapping::open("genome.bin")?.cache_status()?;
/// println!("{} pages cached, {} of them not yet written", status.cached, status.dirty);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CacheStatus {
    /// The number of pages in the cache.
    pub cached: u64,
    /// The number of cached pages that were changed and are not yet written.
    pub dirty: u64,
    /// The number of cached pages that are being written.
    pub writeback: u64,
    /// The number of pages that were evicted from the cache.
    pub evicted: u64,
    /// The number of pages that were evicted so recently that reading them again would indicate
    /// memory pressure.
    pub recently_evicted: u64,
}

/// The protection of pages (`mprotect`, `VirtualProtect`).
///
/// ```
/// use sharemap::{AnonymousMapping, ErrorKind, Protection};
///
/// # fn main() -> sharemap::Result<()> {
/// let memory = AnonymousMapping::new(1 << 16)?.protect(.., Protection::None)?;
/// assert_eq!(memory.bytes().get(0).unwrap_err().kind(), ErrorKind::Fault);
/// # Ok(()) }
/// ```
#[doc(alias = "mprotect")]
#[doc(alias = "VirtualProtect")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protection {
    /// Allows no access (`PROT_NONE`, `PAGE_NOACCESS`).
    None,
    /// Allows reads (`PROT_READ`, `PAGE_READONLY`).
    Read,
    /// Allows reads and writes (`PROT_READ | PROT_WRITE`, `PAGE_READWRITE`).
    ReadWrite,
    /// Allows reads and execution (`PROT_READ | PROT_EXEC`, `PAGE_EXECUTE_READ`).
    ReadExecute,
}

/// Advice to the system about the use of a range of memory (`madvise`).
///
/// Advice never loses data. Advice that the system does not have is an error of kind
/// [`Unsupported`](crate::ErrorKind::Unsupported).
///
/// ```
/// use sharemap::{Advice, ErrorKind, MappingMut};
///
/// # fn main() -> sharemap::Result<()> {
/// let map = MappingMut::anonymous(1 << 16)?;
/// match map.advise(Advice::Sequential) {
///     Err(error) if error.kind() == ErrorKind::Unsupported => {} // not on this system
///     advised => advised?,
/// }
/// # Ok(()) }
/// ```
#[doc(alias = "madvise")]
#[doc(alias = "posix_madvise")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Advice {
    /// Restores the default behaviour (`MADV_NORMAL`).
    Normal,
    /// Expects accesses in random order: reads no pages ahead (`MADV_RANDOM`).
    Random,
    /// Expects accesses in ascending order: reads far ahead, and may reclaim pages soon after they
    /// are read (`MADV_SEQUENTIAL`).
    Sequential,
    /// Starts to read the range into memory (`MADV_WILLNEED`, `PrefetchVirtualMemory`).
    WillNeed,
    /// Makes the pages the first to be reclaimed (`MADV_COLD`). Linux only.
    Cold,
    /// Reclaims the pages now (`MADV_PAGEOUT`). Linux only.
    PageOut,
    /// Allows transparent huge pages (`MADV_HUGEPAGE`). Linux only.
    HugePage,
    /// Forbids transparent huge pages (`MADV_NOHUGEPAGE`). Linux only.
    NoHugePage,
    /// Replaces the pages by huge pages now (`MADV_COLLAPSE`). Linux only.
    Collapse,
    /// Allows merging of pages with equal contents (`MADV_MERGEABLE`). Linux only.
    Mergeable,
    /// Forbids merging of pages, and separates merged ones (`MADV_UNMERGEABLE`). Linux only.
    Unmergeable,
    /// Excludes the range from the address space of forked children (`MADV_DONTFORK`). Linux only.
    DontFork,
    /// Includes the range in forked children again (`MADV_DOFORK`). Linux only.
    DoFork,
    /// Excludes the range from core dumps (`MADV_DONTDUMP`). Linux only.
    DontDump,
    /// Includes the range in core dumps again (`MADV_DODUMP`). Linux only.
    DoDump,
}

/// Limits of this process and of the system, for error messages. `None`: unlimited or unknown.
#[derive(Clone, Copy, Debug, Default)]
#[allow(dead_code, reason = "which of them an error names differs between systems")]
pub(crate) struct Limits {
    pub(crate) open_files: Option<u64>,
    pub(crate) locked_bytes: Option<u64>,
    pub(crate) mappings: Option<u64>,
}

/// A word of a shared object on which threads can wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitPlace {
    /// The address of the word in this process; a multiple of 4.
    pub(crate) word: *mut u8,
    /// The number of the word's wait bucket (FORMAT.md, "Wait buckets").
    #[allow(dead_code, reason = "for systems without a futex between processes")]
    pub(crate) bucket: u32,
    /// The address of the bucket's count of sleeping threads.
    #[allow(dead_code, reason = "for systems without a futex between processes")]
    pub(crate) sleepers: *mut u8,
}

/// The mode of a file lock. Any number of shared locks, or one exclusive lock, can cover a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockMode {
    Shared,
    Exclusive,
}

/// The wait for a file lock that conflicts with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockWait {
    No,
    Forever,
}

/// The end of the range that file locks may cover. The slots of liveness locks begin here.
pub(crate) const LOCK_END: u64 = SLOT_BASE;

/// The file offset of slot 0 (FORMAT.md, "Slots"), beyond the end of any file. File locks end
/// before it, so they never conflict with liveness locks.
#[allow(dead_code, reason = "for systems whose files have locks of ranges")]
pub(crate) const SLOT_BASE: u64 = 1 << 62;

/// The mode of a liveness lock on a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotMode {
    /// Exclusive: a creator or a participant.
    Alone,
    /// Shared by all processes that have the object open read-only or copy-on-write.
    Shared,
}

/// The file that carries an object's liveness locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "which one it is differs between systems")]
pub(crate) enum SlotHome {
    /// The object's own file.
    Object,
    /// A companion file or directory, because the object's own file cannot carry them.
    Companion { device: u64, file: u64 },
}

/// The way in which a process, a thread or a mapping makes guarded accesses.
///
/// ```
/// use sharemap::guard::{self, Recovery};
///
/// if guard::recovery() == Recovery::Syscall {
///     eprintln!("every access is a system call here");
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Recovery {
    /// Faults are recovered in place, so an access is the plain instruction.
    InPlace,
    /// Every access is a system call that copies the bytes: slower, and as safe.
    Syscall,
}
