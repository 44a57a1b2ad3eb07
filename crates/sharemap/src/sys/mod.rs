//! The one door to the operating system: the only `cfg(target_os)` in the crate.
//!
//! A port is a folder with the files that the others have, and a line below. What it owes is the
//! contract at the end of this file, which the compiler checks, and the comments on the functions
//! of `linux/`:
//!
//! - `map`: address space. Everything works on whole pages and on offsets that are multiples of
//!   [`map::granularity`]; odd offsets are the business of `mapping`.
//! - `file`: opening, sizing and asking about files.
//! - `fault`: the handler that recovers guarded accesses, and the slow copies that need none.
//! - `shm`: shared memory objects, named and nameless, as files.
//! - `process`: this process's limits and counters, and who it is.
//! - `publish`: files that get their name when they are whole.
//! - `wait`: sleeping on a word of shared memory, and waking those who do.
//! - `fence`: the fence that one side alone pays for.
//! - `slot`: locks that the kernel keeps exactly as long as an address space lives.
//! - `fork`: memory that a forked child finds empty.
//! - `alone`: having a file that nobody else has, for a moment.
//! - `pass`: handing descriptors to other processes.
//!
//! Errors come back with kind, operation, number and source; the layers above add the path.

pub(crate) mod arch;

#[cfg(test)]
mod conformance;
#[cfg(test)]
pub(crate) mod killing;
mod object;
#[cfg(test)]
pub(crate) mod second;
#[cfg(test)]
pub(crate) mod stunts;

#[cfg(any(target_os = "macos", target_os = "windows"))]
mod copied;

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
     same files, and a line in src/sys/mod.rs, whose last lines are the contract"
);

pub(crate) use object::{CreateObject, Existing, ObjectStatus, OpenObject, Owner, Scope, Sharing};
pub use object::{Lifetime, Seals};
pub use os::file::AsDescriptor;
pub(crate) use os::{
    alone, fault, fence, file, file_lock, fork, map, pass, process, publish, shm, slot, wait,
};

use std::fs::File;
use std::ops::Range;

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
}

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

/// The contract of a backend. `unsafe` functions ask that `base..base + len` lies in a span that
/// the caller owns, on page bounds, and that nobody holds references into it.
#[allow(dead_code, clippy::type_complexity)]
const CONTRACT: () = {
    use crate::error::{Error, Result};
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::time::Duration;

    let _: fn() -> usize = map::page_size;
    let _: fn() -> usize = map::granularity;
    let _: fn(&MapRequest<'_>) -> Result<Span> = map::map;
    let _: unsafe fn(&Span) -> Result<()> = map::unmap;
    // (span, request that made it, bytes mapped, bytes wanted <= reserved): makes the file's bytes
    // up to the latter accessible at the same addresses; the file has been grown before.
    let _: unsafe fn(&Span, &MapRequest<'_>, usize, usize) -> Result<()> = map::extend;
    let _: unsafe fn(*mut u8, usize, Protection) -> Result<()> = map::protect;
    let _: unsafe fn(*mut u8, usize, Option<&File>) -> Result<()> = map::flush;
    // Starts writing without waiting for it; the file comes with the offset of the first byte.
    let _: unsafe fn(*mut u8, usize, Option<(&File, u64)>) -> Result<()> = map::flush_async;
    let _: unsafe fn(*mut u8, usize, Advice) -> Result<()> = map::advise;
    // Drops pages: anonymous memory reads as zeros, copy-on-write memory as the file.
    let _: unsafe fn(*mut u8, usize) -> Result<()> = map::discard;
    let _: unsafe fn(*mut u8, usize) -> Result<()> = map::lock;
    let _: unsafe fn(*mut u8, usize) -> Result<()> = map::unlock;
    // Faults pages in, for writing if the access is so. Unsupported where the system has no call.
    let _: unsafe fn(*mut u8, usize, Access) -> Result<()> = map::populate;
    let _: unsafe fn(*mut u8, usize, Option<&File>) -> Result<Vec<PageState>> = map::residency;

    let _: fn(&Path, OpenRequest) -> Result<File> = file::open;
    let _: fn(&File) -> Result<File> = file::duplicate;
    let _: fn(&File) -> Result<FileStatus> = file::status;
    let _: fn(&File, u64) -> Result<()> = file::set_len;
    // Grows to `len` with every byte backed by storage, or fails with NoSpace and the old length.
    let _: fn(&File, u64) -> Result<()> = file::allocate;
    let _: fn(&File, Range<u64>) -> Result<()> = file::punch_hole;
    let _: fn(&File, u64) -> Result<Vec<Range<u64>>> = file::data_extents;
    let _: fn(&File, Range<u64>) -> Result<CacheStatus> = file::cache_status;
    // Drops clean cached pages of a range.
    let _: fn(&File, Range<u64>) -> Result<()> = file::evict;
    // Makes data and the metadata needed to find it durable (`fdatasync`, `FlushFileBuffers`).
    let _: fn(&File) -> Result<()> = file::sync_data;
    let _: fn(&File) -> Result<String> = file::file_system;
    // Whether the kernel promises that the file's bytes never change and never go away; else why.
    let _: fn(&File) -> std::result::Result<(), String> = file::immutable;

    // The same file, opened once more, for one lock of this mode; the path is where it was opened.
    let _: fn(&File, Option<&Path>, LockMode) -> Result<File> = file_lock::description;
    // On such a description; whether it got it. The range is not empty.
    let _: fn(&File, &Range<u64>, LockMode, LockWait) -> Result<bool> = file_lock::lock;
    let _: fn(&File, &Range<u64>) -> Result<()> = file_lock::unlock;

    // Installs the handler at the first call; what this process can do. Cheap afterwards.
    let _: fn() -> Recovery = fault::recovery;
    // Asks again: a handler installed later may stand in the way.
    let _: fn() -> Recovery = fault::check;
    // Whether this thread can take the signals a fault raises.
    let _: fn() -> bool = fault::thread_ready;
    // Copies without any handler, by asking the system; the bytes copied before the first bad one.
    let _: unsafe fn(*const u8, *mut u8, usize) -> usize = fault::copy_from_foreign;
    let _: unsafe fn(*mut u8, *const u8, usize) -> usize = fault::copy_to_foreign;

    // Makes an object of the length asked for, with memory behind every byte, has it filled, and
    // gives it its name; after an error there is none. Where the system cannot make it without a
    // name, the name comes first, and an object that is not filled yet can be opened.
    let _: fn(&CreateObject<'_>, &mut dyn FnMut(&File) -> Result<()>) -> Result<File> = shm::create;
    // Whether that name comes last.
    let _: bool = shm::NAMED_WHEN_WHOLE;
    // Opens an object if it is one and the owner is right.
    let _: fn(&OpenObject<'_>) -> Result<File> = shm::open;
    let _: fn(&str) -> Result<()> = shm::unlink;
    let _: fn() -> Result<Vec<ObjectStatus>> = shm::list;
    // The label shows in the system's own lists, where there are any.
    let _: fn(&str, &CreateObject<'_>, HugePages) -> Result<File> = shm::anonymous;
    // Another open description of the same object, for reading or also for writing.
    let _: fn(&File, Access) -> Result<File> = shm::reopen;
    // Makes the promises; those that it keeps.
    let _: fn(&File, Seals) -> Result<()> = shm::seal;
    let _: fn(&File) -> Result<Seals> = shm::seals;
    // Whether it is memory, and no file of some device; else what it is.
    let _: fn(&File) -> std::result::Result<(), String> = shm::is_memory;
    // The error with what to do about too little room for the object.
    let _: fn(&File, Error) -> Error = shm::no_room;
    // What the system calls the object of this name.
    let _: fn(&str) -> PathBuf = shm::path;

    // Makes a file of so many bytes, with storage behind each, that must not exist; has it filled,
    // and only then gives it its name; after an error there is none.
    let _: fn(&Path, u64, &mut dyn FnMut(&File) -> Result<()>) -> Result<File> =
        publish::create_new;
    // Over a socket: bytes, and a descriptor with them.
    let _: fn(&File, &[u8], &File) -> Result<()> = pass::send;
    let _: fn(&File, &mut [u8]) -> Result<File> = pass::receive;
    // To a child process that is about to be started: the number by which it finds it, as long as
    // the file that is given back is open.
    let _: fn(&mut Command, File) -> Result<(u64, File)> = pass::inherit;
    // To a running process (its id): the number by which it finds it.
    let _: fn(&File, u32) -> Result<u64> = pass::duplicate_into;
    // What the number means in this process, if that is the object of this identity.
    let _: fn(u64, [u64; 2]) -> Result<File> = pass::find;
    let _: fn(&File) -> Result<[u64; 2]> = pass::identity;

    let _: fn() -> Limits = process::limits;
    let _: fn() -> Option<u64> = process::mapping_count;
    let _: fn() -> Option<[u8; 16]> = process::boot_id;
    let _: fn(u32) -> Option<u64> = process::start_time;
    let _: fn() -> u64 = process::id_space;
    let _: fn() -> Result<[u8; 16]> = process::random_id;
    // Since some moment that is the same for all processes of the system; monotonic.
    let _: fn() -> u64 = process::milliseconds;

    // `wait` sleeps while the word is as expected, at most so long in monotonic time, and may return
    // early; `wake` gives how many it woke, at least whether any. Both: a word that is gone is a
    // Fault. The place lies in a span of the caller's.
    let _: fn([u8; 16]) -> wait::Waits = wait::Waits::new;
    let _: unsafe fn(&wait::Waits, &WaitPlace, u32, Option<Duration>) -> Result<()> =
        wait::Waits::wait;
    let _: unsafe fn(&wait::Waits, &WaitPlace, u32) -> Result<u32> = wait::Waits::wake;

    // Asks that plain stores of this process be ordered by the fences of others; and whether they
    // are, which they stay.
    let _: fn() = fence::register;
    let _: fn() -> bool = fence::is_registered;
    // Orders this thread, and all of processes that registered; `false` if it could not.
    let _: fn() -> bool = fence::fence_all;

    // The file is the object's, opened as its data is, with its path, if it has one, and the object's
    // id; holds are made on descriptions of their own.
    let _: fn(&File, Option<&Path>, [u8; 16]) -> Result<slot::Slots> = slot::Slots::open;
    // For whoever only looks on, and makes nothing; `None` where nobody has taken a slot yet.
    let _: fn(&File, Option<&Path>, [u8; 16]) -> Result<Option<slot::Slots>> = slot::Slots::find;
    let _: fn(&slot::Slots) -> SlotHome = slot::Slots::home;
    let _: fn(&slot::Slots, u64, SlotMode) -> Result<Option<slot::Hold>> = slot::Slots::take;
    // Asks as one who wants it alone.
    let _: fn(&slot::Slots, u64) -> Result<bool> = slot::Slots::is_free;
    // A number that is not 0, to be kept in memory that a child finds empty.
    let _: fn(slot::Hold) -> usize = slot::Hold::into_raw;
    let _: unsafe fn(usize) -> slot::Hold = slot::Hold::from_raw;

    // While the value lives nobody else has the file open, nor mapped if the system sees that, and
    // whoever opens it waits or is refused. `None`: somebody has it. `remove`: `false`, and nothing
    // done, if somebody came.
    let _: fn(&Path) -> Result<Option<alone::Alone>> = alone::Alone::take;
    let _: fn(&alone::Alone) -> &File = alone::Alone::file;
    let _: fn(&alone::Alone) -> bool = alone::Alone::sees_mappings;
    let _: fn(alone::Alone) -> Result<bool> = alone::Alone::remove;

    let _: fn(usize) -> Result<fork::Wiped> = fork::Wiped::new;
    let _: fn(&fork::Wiped) -> *mut u8 = fork::Wiped::base;
    let _: fn() -> bool = fork::wipes;
};

/// How guarded accesses can be made in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Recovery {
    /// Faults are recovered in place: an access is the plain instruction.
    InPlace,
    /// Every access asks the operating system to copy: slower and as safe.
    Syscall,
}
