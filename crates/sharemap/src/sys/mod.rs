//! The one door to the operating system: the only `cfg(target_os)` in the crate.
//!
//! A port is a folder with the files that the others have, and a line below. What it owes is the
//! contract in `contract.rs`, which the compiler checks, and the comments on the functions of
//! `linux/`:
//!
//! - `map`: address space. Everything works on whole pages and on offsets that are multiples of
//!   [`map::granularity`]; odd offsets are the business of `mapping`.
//! - `file`: opening, sizing and asking about files.
//! - `fault`: the handler that recovers guarded accesses, and the slow copies that need none.
//! - `shm`: shared memory objects, named and nameless, as files.
//! - `process`: this process's limits and counters, and who it is.
//! - `create_atomic`: files that get their name when they are whole.
//! - `wait`: sleeping on a word of shared memory, and waking those who do.
//! - `fence`: the fence that one side alone pays for.
//! - `liveness`: locks that the kernel keeps exactly as long as an address space lives.
//! - `fork`: memory that a forked child finds empty.
//! - `exclusive`: files that no other process uses, and exact removal.
//! - `pass`: handing descriptors to other processes.
//!
//! Errors come back with kind, operation, number and source; the layers above add the path.

pub(crate) mod arch;

mod contract;
mod object;
#[cfg(test)]
mod tests;

#[cfg(any(target_os = "macos", target_os = "windows"))]
mod heap_wipe_fallback;

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
    "sharemap runs on Linux, macOS and Windows; a port is a folder beside src/sys/linux with the \
     same files, and a line in src/sys/mod.rs; what it owes is in src/sys/contract.rs"
);

pub use object::FileRole;
pub(crate) use object::{CreateObject, Existing, ObjectStatus, OpenObject, Owner, Scope, Sharing};
pub use object::{Lifetime, Seals};
pub use os::file::AsDescriptor;
pub(crate) use os::{
    create_atomic, exclusive, fault, fence, file, file_lock, fork, liveness, map, pass, process,
    shm, wait,
};

use std::fs::File;
use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// Returns the error of an operation that needs the descriptor of a closed file.
#[cold]
pub(crate) fn file_was_closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, operation).with_detail(
        "that takes the file's descriptor, which this mapping closed; map it without \
         MapOptions::close_file",
    )
}

/// What a mapping may do with its pages, and with whom it shares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Shared, read-only.
    Read,
    /// Shared, read and write.
    Write,
    /// Private: writes stay in this mapping.
    CopyOnWrite,
}

/// A request for address space, backed by a file or by nothing.
pub(crate) struct MapRequest<'a> {
    /// `None`: anonymous memory, zeros.
    pub(crate) file: Option<&'a File>,
    /// A multiple of the granularity.
    pub(crate) offset: u64,
    /// Bytes to map now; not zero.
    pub(crate) len: usize,
    /// Address space to keep for growth in place: at least `len`.
    pub(crate) reserve: usize,
    pub(crate) access: Access,
    pub(crate) executable: bool,
    pub(crate) huge: HugePages,
}

/// Huge pages on request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HugePages {
    /// Whatever the system does by itself.
    #[default]
    Default,
    /// Ask the system to use huge pages where it can (`MADV_HUGEPAGE`); nothing fails if it cannot.
    Transparent,
    /// Reserved huge pages of the default size (`MAP_HUGETLB`, `SEC_LARGE_PAGES`): an error if
    /// there are not enough.
    Reserved,
}

/// Address space that is ours. Plain numbers: who owns a span unmaps it.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) base: *mut u8,
    /// Everything reserved, in whole pages.
    pub(crate) reserved: usize,
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenRequest {
    pub(crate) write: bool,
    pub(crate) create: Create,
    /// Nobody else may have it open for this: share mode 0 on Windows, an advisory `flock` elsewhere.
    pub(crate) exclusive: bool,
    /// The longest wait for a process that holds a lease on the file; zero to fail at once.
    #[allow(dead_code, reason = "files have leases on Linux only")]
    pub(crate) timeout: Duration,
}

/// The `timeout` of callers without one of their own. Like `open`, they wait until the kernel
/// breaks the lease (`lease-break-time`, 45 s by default).
pub(crate) const LEASE_BREAK: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Create {
    /// It must exist.
    Never,
    /// It must not exist (`O_EXCL`).
    New,
    /// New, or as it is.
    IfMissing,
}

/// What a descriptor refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Regular,
    Directory,
    /// A block device: its size comes from the device.
    #[allow(dead_code, reason = "Windows maps none")]
    Block,
    /// Anything without a size of its own: character devices, pipes, sockets.
    Special,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct FileStatus {
    pub(crate) kind: FileKind,
    /// Bytes; 0 for [`FileKind::Special`].
    pub(crate) len: u64,
    /// When the file was last changed, data or metadata, in nanoseconds of some clock, which may have
    /// wrapped around; 0 where nothing asks for it.
    pub(crate) changed: i64,
}

impl FileStatus {
    pub(crate) fn new(kind: FileKind, len: u64) -> Self {
        Self { kind, len, changed: 0 }
    }
}

/// The file and mode of a descriptor. Two descriptors with equal values are interchangeable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(dead_code, reason = "Windows has plenty of handles")]
pub(crate) struct FileIdentity {
    pub(crate) device: u64,
    pub(crate) file: u64,
    /// Access mode and status flags.
    pub(crate) flags: u64,
    /// The time of the last change, if a change may replace the file; otherwise 0.
    pub(crate) changed: i64,
}

/// The result of one read call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadStep {
    /// This many bytes, at least one.
    Bytes(usize),
    /// The end of the file.
    End,
    /// No bytes yet; the descriptor does not block.
    #[allow(dead_code, reason = "Windows waits for them")]
    NotYet,
}

/// What is known of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PageState {
    /// In memory.
    Resident,
    /// Not in memory: the next access faults it in.
    Absent,
    /// The system does not say (to this user, for this kind of memory).
    Unknown,
}

/// What the page cache holds of a range of a file, in pages (`cachestat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CacheStatus {
    /// Pages in the cache.
    pub cached: u64,
    /// Pages changed and not yet written.
    pub dirty: u64,
    /// Pages being written.
    pub writeback: u64,
    /// Pages that were in the cache and were evicted.
    pub evicted: u64,
    /// Pages evicted not long ago, whose return would mean memory pressure.
    pub recently_evicted: u64,
}

/// Page protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protection {
    /// No access (`PROT_NONE`, `PAGE_NOACCESS`).
    None,
    /// Reads only (`PROT_READ`, `PAGE_READONLY`).
    Read,
    /// Reads and writes (`PROT_READ | PROT_WRITE`, `PAGE_READWRITE`).
    ReadWrite,
    /// Reads and execution (`PROT_READ | PROT_EXEC`, `PAGE_EXECUTE_READ`).
    ReadExecute,
}

/// What to tell the system about the use of a range (`madvise`).
///
/// Each is a hint that loses no data; where a system has no such hint it is
/// [`Unsupported`](crate::ErrorKind::Unsupported).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Advice {
    /// `MADV_NORMAL`: back to the default.
    Normal,
    /// `MADV_RANDOM`: no read-ahead.
    Random,
    /// `MADV_SEQUENTIAL`: read far ahead, drop behind.
    Sequential,
    /// `MADV_WILLNEED` (`PrefetchVirtualMemory`): read it in soon.
    WillNeed,
    /// `MADV_COLD`: reclaim it first. Linux.
    Cold,
    /// `MADV_PAGEOUT`: reclaim it now. Linux.
    PageOut,
    /// `MADV_HUGEPAGE`: use huge pages. Linux.
    HugePage,
    /// `MADV_NOHUGEPAGE`: no huge pages. Linux.
    NoHugePage,
    /// `MADV_COLLAPSE`: make huge pages of it now. Linux.
    Collapse,
    /// `MADV_MERGEABLE`: merge equal pages. Linux.
    Mergeable,
    /// `MADV_UNMERGEABLE`: no longer merge equal pages. Linux.
    Unmergeable,
    /// `MADV_DONTFORK`: a forked child does not have it. Linux.
    DontFork,
    /// `MADV_DOFORK`: a forked child has it again. Linux.
    DoFork,
    /// `MADV_DONTDUMP`: leave it out of core dumps. Linux.
    DontDump,
    /// `MADV_DODUMP`: have it in core dumps again. Linux.
    DoDump,
}

/// Limits of this process and system that an error can name; `None` where there is none to name.
#[derive(Clone, Copy, Debug, Default)]
#[allow(dead_code, reason = "which of them an error names differs between systems")]
pub(crate) struct Limits {
    pub(crate) open_files: Option<u64>,
    pub(crate) locked_bytes: Option<u64>,
    pub(crate) mappings: Option<u64>,
}

/// A word of a shared object to sleep on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitPlace {
    /// Where it is mapped here; a multiple of 4.
    pub(crate) word: *mut u8,
    /// The object's wait bucket that belongs to it, for systems without a futex between processes:
    /// its number, and where its count of sleepers is mapped.
    #[allow(dead_code, reason = "for systems without a futex between processes")]
    pub(crate) bucket: u32,
    #[allow(dead_code, reason = "for systems without a futex between processes")]
    pub(crate) sleepers: *mut u8,
}

/// Whether a file lock admits others like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockMode {
    Shared,
    Exclusive,
}

/// How long to wait for a file lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockWait {
    No,
    Forever,
}

/// The end of what locks of files cover: slots lie behind it.
pub(crate) const LOCK_END: u64 = SLOT_BASE;

/// The file offset of slot 0: behind all that a file can hold, and behind what locks of whole files
/// and of ranges cover here.
#[allow(dead_code, reason = "for systems whose files have locks of ranges")]
pub(crate) const SLOT_BASE: u64 = 1 << 62;

/// Who else may hold a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "for the layers to the right")]
pub(crate) enum SlotMode {
    /// Nobody.
    Alone,
    /// Others who share it: those who may not write to the object.
    Shared,
}

/// What carries the locks of an object's slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "which one it is differs between systems")]
pub(crate) enum SlotHome {
    /// The object's own file.
    Object,
    /// Another file, because the object's file system cannot.
    Companion { device: u64, file: u64 },
}

/// How guarded accesses can be made in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Recovery {
    /// Faults are recovered in place: an access is the plain instruction.
    InPlace,
    /// Every access asks the operating system to copy: slower and as safe.
    Syscall,
}
