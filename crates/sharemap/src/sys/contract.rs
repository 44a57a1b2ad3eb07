//! The contract of a port: its functions with their types, which the compiler checks, and their
//! obligations, which the comments state.
//!
//! For all functions:
//!
//! - A feature that the system does not have is an error of kind `Unsupported` with the reason, unless the
//!   comment says otherwise.
//! - `fork` and `fence` acquire no lock: in a forked child, the thread that holds it may not exist.
//! - The caller of an `unsafe` function of `map` owns a span that contains `base..base + len`, and no
//!   reference into that range exists. `base` and `len` are multiples of the page size.

use std::ffi::OsString;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{
    Access, Advice, CacheStatus, CreateObject, FileIdentity, FileRole, FileStatus, HugePages,
    Limits, LockMode, LockWait, MapRequest, ObjectStatus, OpenObject, OpenRequest, OpenedFile,
    Owner, PageState, Protection, ReadStep, Recovery, Seals, SharedFile, SlotHome, SlotMode, Span,
    WaitPlace, create_atomic, exclusive, fault, fence, file, file_lock, fork, liveness, map, pass,
    process, shm, slice, wait,
};
use crate::error::{Error, Result};

#[allow(clippy::type_complexity, reason = "types as functions have them")]
const _: () = {
    let _: fn() -> usize = map::page_size;
    // Returns the unit of file offsets and of addresses: a power of two, at least the page size.
    let _: fn() -> usize = map::granularity;
    // Reserves `reserve` bytes at free addresses, and maps at least the first `len` of them.
    let _: fn(&MapRequest<'_>) -> Result<Span> = map::map;
    // Unmaps the whole reservation.
    let _: unsafe fn(&Span) -> Result<()> = map::unmap;
    // (span, its request, mapped bytes, wanted bytes, at most `reserved`): maps the wanted bytes at
    // the same base. The caller has grown the file to that length.
    let _: unsafe fn(&Span, &MapRequest<'_>, usize, usize) -> Result<()> = map::extend;
    let _: unsafe fn(*mut u8, usize, Protection) -> Result<()> = map::protect;
    // Writes the changed pages of a shared mapping to the file's storage, and returns once they are
    // durable. If the mapping closed its file (`None`), flushing and residency may be Unsupported.
    let _: unsafe fn(*mut u8, usize, Option<&File>) -> Result<()> = map::flush;
    // Starts to write the changed pages, without waiting. The file comes with the offset of `base`.
    let _: unsafe fn(*mut u8, usize, Option<(&File, u64)>) -> Result<()> = map::flush_async;
    // No advice loses data.
    let _: unsafe fn(*mut u8, usize, Advice) -> Result<()> = map::advise;
    // Drops the contents: anonymous memory reads as zeros then, copy-on-write memory as the file. The
    // range is not shared with a file.
    let _: unsafe fn(*mut u8, usize) -> Result<()> = map::discard;
    // Keeps the pages in memory until `unlock` or `unmap`.
    let _: unsafe fn(*mut u8, usize) -> Result<()> = map::lock;
    let _: unsafe fn(*mut u8, usize) -> Result<()> = map::unlock;
    // Faults the pages in, with `Access::Write` for writing, without changing their contents.
    let _: unsafe fn(*mut u8, usize, Access) -> Result<()> = map::populate;
    // Returns the state of each page, in order.
    let _: unsafe fn(*mut u8, usize, Option<&File>) -> Result<Vec<PageState>> = map::residency;

    // Opens a file by path, following links. Does not wait for the other end of a FIFO.
    let _: fn(&Path, OpenRequest) -> Result<File> = file::open;
    // Opens an existing object by path, not exclusively. The owner and the link count of a regular file
    // are checked on the descriptor. Links on the path are followed only if their owners are trusted
    // (SAFETY.md, "Owners and links").
    let _: fn(&Path, OpenRequest, Owner) -> Result<OpenedFile> = file::open_object;
    // Unlinks a regular file, following links to its directory like `open_object`. With an identity,
    // unlinks only that file.
    let _: fn(&Path, Option<[u64; 2]>) -> Result<()> = file::unlink_object;
    // Unlinks a file that this process has just created, if the name still leads to it.
    let _: fn(&Path, [u64; 2]) = file::remove_made;
    // Returns `true` if the path leads to this file. Links are followed.
    let _: fn(&Path, &File) -> Result<bool> = file::is_linked;
    // Returns a descriptor of the same open file description, which a started program does not inherit.
    let _: fn(&File) -> Result<File> = file::duplicate;
    // Returns `None` if the file system may give two files one number, or while the process has few
    // descriptors open.
    let _: fn(&File) -> Option<FileIdentity> = file::identity;
    // Returns `true` if both are duplicates of one descriptor; `false` if not or unknown.
    let _: fn(&File, &File) -> bool = file::is_duplicate;
    // Returns `true` if a writer by path may get a copy of the file that this descriptor and its
    // mappings do not show. Callers ask only after the file was changed.
    let _: fn(&File) -> bool = file::may_be_superseded;
    // Opens for reading the file that the descriptor's path leads to now.
    let _: fn(&File) -> Result<File> = file::reopen;
    let _: fn(&File) -> Result<FileStatus> = file::status;
    // Returns `true` if a regular file has bytes although its length is 0, like those of procfs.
    let _: fn(&File) -> bool = file::understates_size;
    // Appends the bytes of one read call, up to the vector's spare capacity, which is not empty. Reads
    // at the offset, or at the descriptor's position. A file without offsets is read at its position.
    let _: fn(&File, &mut Vec<u8>, Option<u64>) -> Result<ReadStep> = file::read_more;
    // Blocks until bytes or the end can be read, after a `ReadStep::NotYet`.
    let _: fn(&File) -> Result<()> = file::wait_for_bytes;
    // Changes the length. New bytes are zeros, possibly without storage.
    let _: fn(&File, u64) -> Result<()> = file::set_len;
    // Grows the file to `len` with storage behind every byte. A failure restores the length.
    let _: fn(&File, Range<u64>) -> Result<()> = file::allocate;
    // Makes a range zeros and releases its storage.
    let _: fn(&File, Range<u64>) -> Result<()> = file::punch_hole;
    // Returns the parts of a range that are not holes, in order.
    let _: fn(&File, Range<u64>) -> Result<Vec<Range<u64>>> = file::data_extents;
    let _: fn(&File, Range<u64>) -> Result<CacheStatus> = file::cache_status;
    // Drops the clean cached pages of a range.
    let _: fn(&File, Range<u64>) -> Result<()> = file::evict;
    // Makes data and the metadata needed to find it durable (`fdatasync`, `FlushFileBuffers`).
    let _: fn(&File) -> Result<()> = file::sync_data;
    // Returns what objects need to know of the kind of the file system that contains the file: whether two
    // files never have one identity, and whether a descriptor may show an earlier copy of its file.
    let _: fn(&File) -> Result<file::FileSystem> = file::kind_of_system;
    let _: fn(file::FileSystem) -> bool = file::FileSystem::tells_files_apart;
    let _: fn(file::FileSystem) -> bool = file::FileSystem::copies_up;
    // Returns the system's name of the file system that contains the file.
    let _: fn(&File) -> Result<String> = file::file_system;
    // Returns the number of bytes that this process can still store in the file's file system, if known.
    let _: fn(&File) -> Option<u64> = file::free_space;
    // Succeeds if the kernel guarantees that the file's bytes never change or disappear; fails with the
    // missing condition.
    let _: fn(&File) -> std::result::Result<(), String> = file::immutable;

    // Opens the file once more, for one lock of this mode. The path, if any, leads to the file.
    let _: fn(&File, Option<&Path>, LockMode) -> Result<File> = file_lock::description;
    // Acquires a lock on such a description. Returns `false` if it conflicts with another lock and must
    // not wait. The range is not empty and ends at `LOCK_END` at most.
    let _: fn(&File, &Range<u64>, LockMode, LockWait) -> Result<bool> = file_lock::lock;
    let _: fn(&File, &Range<u64>) -> Result<()> = file_lock::unlock;

    // Returns how this process makes guarded accesses. The first call installs and tests the handler;
    // later calls are cheap.
    let _: fn() -> Recovery = fault::recovery;
    // Tests the handlers again, which may run a handler that was installed later.
    let _: fn() -> Recovery = fault::check;
    // Inspects the handlers without running them. An unknown handler counts as keeping faults.
    let _: fn() -> Recovery = fault::inspect;
    // Returns `true` if this thread does not block the signals of faults.
    let _: fn() -> bool = fault::thread_ready;
    // Copy by system calls, without a handler: from (`copy_from_foreign`) or to (`copy_to_foreign`)
    // memory that may fault. Return the number of bytes copied before the first fault.
    let _: unsafe fn(*const u8, *mut u8, usize) -> usize = fault::copy_from_foreign;
    let _: unsafe fn(*mut u8, *const u8, usize) -> usize = fault::copy_to_foreign;

    // Maps bytes of a file, from an offset on: not zero, and all in the file, of which the status was just
    // queried. The handler replaces lost pages by zeros, up to the end of the mapping in one step, and
    // records the first lost byte before any thread can read a zero. Fails where a fault would not reach
    // the handler.
    let _: fn(&File, FileStatus, u64, usize) -> Result<slice::GuardedSpan> =
        slice::GuardedSpan::map;
    // Returns the address of the first byte, which is readable while the value lives.
    let _: fn(&slice::GuardedSpan) -> *const u8 = slice::GuardedSpan::base;
    // Returns the offset from there of the first byte that a fault has shown to be lost.
    let _: fn(&slice::GuardedSpan) -> Option<u64> = slice::GuardedSpan::lost;

    // Creates a zeroed object, with memory behind every byte unless it is sparse, calls the function
    // to fill it, and gives it its name. An error leaves no object. Where the system needs a name to
    // create an object, the name comes first, and others can open the object before it is filled.
    let _: fn(&CreateObject<'_>, &mut dyn FnMut(&File) -> Result<()>) -> Result<File> = shm::create;
    // Returns `true` if objects like this one get their names after they are filled.
    let _: fn(&File) -> bool = shm::is_named_when_whole;
    // Acquires the lock of a name, where names come first: while the value lives, no other process
    // creates or replaces the object of this name. Returns `None` if another process holds the lock.
    let _: fn(&str) -> Result<Option<shm::Making>> = shm::making;
    // Returns `true` if a process may be creating the object of this name, although the object is
    // still empty.
    let _: fn(&str) -> Result<bool> = shm::is_being_made;
    // Opens the object of this name. Only a plain object with a single name and an accepted owner is
    // opened, and no link is followed.
    let _: fn(&OpenObject<'_>) -> Result<OpenedFile> = shm::open;
    // Returns `true` if the name leads to this object; `None` if an object has the name and the system
    // cannot tell objects apart.
    let _: fn(&str, &File) -> Result<Option<bool>> = shm::is_linked;
    // Removes the name. Processes that have the object open keep it.
    let _: fn(&str) -> Result<()> = shm::unlink;
    let _: fn() -> Result<Vec<ObjectStatus>> = shm::list;
    // Creates an object without a name. The label appears in the system's lists, where it has any.
    let _: fn(&str, &CreateObject<'_>, HugePages) -> Result<File> = shm::anonymous;
    // Opens the object once more, for reading (`Read`) or for reading and writing (`Write`). The result
    // may share its open file description where the system cannot open an object without its name.
    let _: fn(&File, Access) -> Result<File> = shm::reopen;
    // Adds seals to the object, and returns the seals that it has.
    let _: fn(&File, Seals) -> Result<()> = shm::seal;
    let _: fn(&File) -> Result<Seals> = shm::seals;
    // Succeeds if the descriptor is of shared memory; fails with the kind of file that it is.
    let _: fn(&File) -> std::result::Result<(), String> = shm::is_memory;
    // Adds the remedy to an error of kind `NoSpace`. Returns other errors unchanged.
    let _: fn(&File, Error) -> Error = shm::no_room;
    // Returns the system's own name of the object, which is a path where objects are files.
    let _: fn(&str) -> PathBuf = shm::path;

    // Creates a file of this many bytes, with storage behind each, calls the function to fill it, and
    // then gives it its name, which must be free. An error leaves no file of that name.
    let _: fn(&Path, u64, &mut dyn FnMut(&File) -> Result<()>) -> Result<File> =
        create_atomic::create_new;
    // Sends the bytes and one descriptor over a socket, and receives exactly as much.
    let _: fn(&File, &[u8], &File) -> Result<()> = pass::send;
    let _: fn(&File, &mut [u8]) -> Result<File> = pass::receive;
    // Makes a file inheritable by the child that the command starts. Returns its number in the child,
    // and a file that the caller keeps open until the child is started. On Windows, all children that
    // are started meanwhile inherit it, too.
    let _: fn(&mut Command, File) -> Result<(u64, File)> = pass::inherit;
    // Duplicates the file into a running process, by its id. Returns the number there.
    let _: fn(&File, u32) -> Result<u64> = pass::duplicate_into;
    // Returns the file that a number refers to in this process. Fails with NotFound unless the file
    // has this identity.
    let _: fn(u64, [u64; 2]) -> Result<File> = pass::find;
    // Returns numbers that identify an open file. If bit 63 of the first is set, they do not
    // distinguish two objects of one length.
    let _: fn(&File) -> Result<[u64; 2]> = pass::identity;
    // `true` if an open file keeps its identity when it is renamed.
    let _: bool = pass::IDENTITY_OUTLIVES_NAME;

    let _: fn() -> Limits = process::limits;
    // Returns the number of this process's mappings, if known. Allocates nothing.
    let _: fn() -> Option<u64> = process::mapping_count;
    // Returns an id that all processes agree on and that changes with each boot; `None` if the system
    // has none.
    let _: fn() -> Option<[u8; 16]> = process::boot_id;
    // Returns the start time of a process, by its id, in units of the system.
    let _: fn(u32) -> Option<u64> = process::start_time;
    // Returns the namespace of process ids in which this process runs; 0 if there is one only, or if
    // it is unknown.
    let _: fn() -> u64 = process::id_space;
    // Returns 16 unpredictable bytes, which never repeat.
    let _: fn() -> Result<[u8; 16]> = process::random_id;
    // Returns the time since a moment that is the same for all processes; monotonic.
    let _: fn() -> u64 = process::milliseconds;
    // Returns the number of processors of the machine, at least 1.
    let _: fn() -> usize = process::processors;

    // Waits on the words of the object of this id. Both words of a `WaitPlace` lie in a span that the
    // caller keeps mapped. A word on a page that is gone is a Fault.
    let _: fn([u8; 16]) -> wait::Waits = wait::Waits::new;
    // Blocks until a wake if the word is as expected, for at most the given monotonic time, and returns
    // at once otherwise. May return early. Where buckets replace the futex, another waiter may receive
    // the wake instead, so callers bound every wait.
    let _: unsafe fn(&wait::Waits, &WaitPlace, u32, Option<Duration>) -> Result<()> =
        wait::Waits::wait;
    // Wakes this many of the threads of all processes that wait on the word, possibly more. Returns
    // their number; where that is unknown, 0 if there was none, and at least 1 otherwise.
    let _: unsafe fn(&wait::Waits, &WaitPlace, u32) -> Result<u32> = wait::Waits::wake;

    // Registers this process for the fences of all others, if the system has such a fence. The
    // registration lasts as long as the process, and a forked child inherits it.
    let _: fn() = fence::register;
    // Returns `true` once this process is registered: a plain store may then release a lock.
    let _: fn() -> bool = fence::is_registered;
    // A full fence on this thread and on all threads of registered processes. Returns `false` if the
    // system refused it.
    let _: fn() -> bool = fence::fence_all;

    // The liveness locks of an object (FORMAT.md, "Slots"). `open` takes the object's file, its path
    // if it has a name, and its id, and creates what carries the locks if it is not the file itself.
    let _: fn(&File, Option<&Path>, [u8; 16]) -> Result<liveness::Slots> = liveness::Slots::open;
    // `of` opens them without a descriptor of their own, where it can: the identity and the kind of the file
    // system are those of the file.
    let _: fn(
        SharedFile,
        [u64; 2],
        file::FileSystem,
        Option<&Path>,
        [u8; 16],
    ) -> Result<liveness::Slots> = liveness::Slots::of;
    // Opens the slots for queries, and creates nothing. Returns `None` if what carries them does not
    // exist, or is not visible to this process.
    let _: fn(&File, Option<&Path>, [u8; 16]) -> Result<Option<liveness::Slots>> =
        liveness::Slots::find;
    // Returns what carries the locks. Processes with different homes cannot see each other's locks.
    let _: fn(&liveness::Slots) -> SlotHome = liveness::Slots::home;
    // Acquires a lock without waiting; `None` if a conflicting lock is held. The lock ends when the
    // value is dropped, and the kernel releases it when the process exits, is killed or executes another
    // program. As far as the system allows (docs/PLATFORMS.md), neither a `close` by other code releases
    // the lock, nor does a forked child prolong it.
    let _: fn(&liveness::Slots, u64, SlotMode) -> Result<Option<liveness::LivenessLock>> =
        liveness::Slots::take;
    // Returns `true` if no process holds the slot in any mode. A port may query by acquiring the slot
    // exclusively for a moment. Concurrent queries may then both return `false`, and `take` retries.
    let _: fn(&liveness::Slots, u64) -> Result<bool> = liveness::Slots::is_free;
    // Returns a range of slots that one lock covers, at least one of them in the given range, which is
    // not empty; `None` if all slots of the range are free.
    let _: fn(&liveness::Slots, &Range<u64>) -> Result<Option<Range<u64>>> =
        liveness::Slots::held_among;
    // Acquires all slots of a range exclusively, at most `MOST_AT_ONCE`. Returns `None`, and holds
    // nothing, if one is held.
    let _: fn(&liveness::Slots, &Range<u64>) -> Result<Option<Vec<liveness::LivenessLock>>> =
        liveness::Slots::take_all;
    let _: u64 = liveness::MOST_AT_ONCE;
    // Converts a lock to a number, not 0, that can be stored in memory that a child finds zeroed, and
    // back. The number must be converted back at most once, in the same process.
    let _: fn(liveness::LivenessLock) -> usize = liveness::LivenessLock::into_raw;
    let _: unsafe fn(usize) -> liveness::LivenessLock = liveness::LivenessLock::from_raw;

    // Opens a regular file by its path (`open`) or the file of named shared memory (`open_named`),
    // without following a link to it. Returns `None` if another process has claimed the file. All
    // later queries and removals apply to this file.
    let _: fn(&Path) -> Result<Option<exclusive::Entry>> = exclusive::Entry::open;
    let _: fn(&str) -> Result<Option<exclusive::Entry>> = exclusive::Entry::open_named;
    let _: fn(&exclusive::Entry) -> &File = exclusive::Entry::file;
    let _: fn(&exclusive::Entry) -> FileRole = exclusive::Entry::role;
    // Removes the name if it still refers to this file, even if processes use the file.
    let _: fn(&exclusive::Entry) -> Result<()> = exclusive::Entry::unlink;
    // Claims the file: while the value lives, no other process has it open or, if `sees_mappings`
    // returns `true`, mapped. A process that opens it meanwhile waits or is refused. Returns `None` if
    // a process uses the file.
    let _: fn(exclusive::Entry) -> Result<Option<exclusive::Exclusive>> =
        exclusive::Exclusive::take;
    let _: fn(&exclusive::Exclusive) -> &File = exclusive::Exclusive::file;
    let _: fn(&exclusive::Exclusive) -> bool = exclusive::Exclusive::sees_mappings;
    // Returns `false` once a process waits to open the file.
    let _: fn(&exclusive::Exclusive) -> bool = exclusive::Exclusive::is_exclusive;
    // Removes the name of exactly this file. Returns `false`, and removes nothing, if a process waits
    // to open it or has it mapped. Fails with NotFound if another file has the name.
    let _: fn(exclusive::Exclusive) -> Result<bool> = exclusive::Exclusive::remove;
    // Returns the removals that were interrupted by the death of their processes, in a directory or,
    // without one, in shared memory. `restore` moves the files back.
    let _: fn(Option<&Path>) -> Result<Vec<exclusive::Interrupted>> = exclusive::interrupted;
    let _: fn(&exclusive::Interrupted) -> &Path = exclusive::Interrupted::path;
    let _: fn(&exclusive::Interrupted) -> &[OsString] = exclusive::Interrupted::names;
    let _: fn(&exclusive::Interrupted) -> Result<()> = exclusive::Interrupted::restore;

    // Allocates zeroed private memory, aligned to a cache line. If `wipes` returns `true`, a forked
    // child finds it zeroed, or the system has no fork. Otherwise a child has a copy, and the layers
    // above compare `process`.
    let _: fn(usize) -> Result<fork::WipeOnFork> = fork::WipeOnFork::new;
    let _: fn(&fork::WipeOnFork) -> *mut u8 = fork::WipeOnFork::base;
    // Records that the first bytes, as many, may have been written. Callers record it before they write:
    // a port may zero only these for the next user of the memory.
    let _: fn(&fork::WipeOnFork, usize) = fork::WipeOnFork::note_written;
    let _: fn() -> bool = fork::wipes;
    // Delays `fork` by other threads while the value lives. It must live for a few system calls only.
    // The delay is bounded, and a raw `clone` is not delayed.
    let _: fn() -> fork::HeldOff = fork::hold_off;
    // Returns a number, not 0, that distinguishes this process from those it was forked from.
    let _: fn() -> u32 = fork::process;
};
