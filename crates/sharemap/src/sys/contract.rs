//! The contract of a backend: what its files have to have, checked where they are compiled.
//!
//! `unsafe` functions ask that `base..base + len` lies in a span that the caller owns, on page bounds,
//! and that nobody holds references into it.

use std::ffi::OsString;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{
    Access, Advice, CacheStatus, CreateObject, FileIdentity, FileRole, FileStatus, HugePages,
    Limits, LockMode, LockWait, MapRequest, ObjectStatus, OpenObject, OpenRequest, Owner,
    PageState, Protection, ReadStep, Recovery, Seals, SlotHome, SlotMode, Span, WaitPlace,
    create_atomic, exclusive, fault, fence, file, file_lock, fork, liveness, map, pass, process,
    shm, wait,
};
use crate::error::{Error, Result};

#[allow(clippy::type_complexity, reason = "types as functions have them")]
const _: () = {
    let _: fn() -> usize = map::page_size;
    let _: fn() -> usize = map::granularity;
    let _: fn(&MapRequest<'_>) -> Result<Span> = map::map;
    let _: unsafe fn(&Span) -> Result<()> = map::unmap;
    // (span, request that made it, bytes mapped, bytes wanted <= reserved): makes the file's bytes
    // up to the latter accessible at the same addresses; the file has been grown before.
    let _: unsafe fn(&Span, &MapRequest<'_>, usize, usize) -> Result<()> = map::extend;
    let _: unsafe fn(*mut u8, usize, Protection) -> Result<()> = map::protect;
    // Without a file (it was closed), this and the calls below may be Unsupported.
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
    // Opens an existing object by path, not exclusively. Owner and link count of a regular file are
    // judged on the descriptor. Links on the path are followed if their owners are trusted.
    let _: fn(&Path, OpenRequest, Owner) -> Result<File> = file::open_object;
    // Unlinks a regular file, following the same links to its directory. With an identity, unlinks
    // that file only.
    let _: fn(&Path, Option<[u64; 2]>) -> Result<()> = file::unlink_object;
    // Unlinks a file that this process has just created, if it still has that name.
    let _: fn(&Path, [u64; 2]) = file::remove_made;
    // Returns `true` if the path, links followed, leads to this very file.
    let _: fn(&Path, &File) -> Result<bool> = file::is_linked;
    let _: fn(&File) -> Result<File> = file::duplicate;
    // Returns `None` if files cannot be told apart for certain, or descriptors are not scarce yet.
    let _: fn(&File) -> Option<FileIdentity> = file::identity;
    // Returns `true` if both are duplicates of one descriptor; `false` also where the system does not
    // tell.
    let _: fn(&File, &File) -> bool = file::is_duplicate;
    // Returns `true` if writes by path may go to a copy that neither this descriptor nor its
    // mappings show. Callers ask once the file has been changed.
    let _: fn(&File) -> bool = file::may_be_superseded;
    // Opens that copy for reading.
    let _: fn(&File) -> Result<File> = file::reopen;
    let _: fn(&File) -> Result<FileStatus> = file::status;
    // Returns `true` if a regular file of length 0 has bytes nevertheless, like those of procfs.
    let _: fn(&File) -> bool = file::understates_size;
    // Reads once into the spare capacity, which is not empty: at an offset, or at the descriptor's
    // position. A file without offsets is always read at its position.
    let _: fn(&File, &mut Vec<u8>, Option<u64>) -> Result<ReadStep> = file::read_more;
    // After a `ReadStep::NotYet`, blocks until bytes or the end can be read.
    let _: fn(&File) -> Result<()> = file::wait_for_bytes;
    let _: fn(&File, u64) -> Result<()> = file::set_len;
    // Grows to `len` with every byte backed by storage, or fails with NoSpace and the old length.
    let _: fn(&File, u64) -> Result<()> = file::allocate;
    let _: fn(&File, Range<u64>) -> Result<()> = file::punch_hole;
    let _: fn(&File, Range<u64>) -> Result<Vec<Range<u64>>> = file::data_extents;
    let _: fn(&File, Range<u64>) -> Result<CacheStatus> = file::cache_status;
    // Drops clean cached pages of a range.
    let _: fn(&File, Range<u64>) -> Result<()> = file::evict;
    // Makes data and the metadata needed to find it durable (`fdatasync`, `FlushFileBuffers`).
    let _: fn(&File) -> Result<()> = file::sync_data;
    let _: fn(&File) -> Result<String> = file::file_system;
    // Returns the bytes that this process can still store in the file's file system, if known.
    let _: fn(&File) -> Option<u64> = file::free_space;
    // Whether the kernel promises that the file's bytes never change and never go away; else why.
    let _: fn(&File) -> std::result::Result<(), String> = file::immutable;

    // The same file, opened once more, for one lock of this mode; the path is where it was opened.
    let _: fn(&File, Option<&Path>, LockMode) -> Result<File> = file_lock::description;
    // On such a description; whether it got it. The range is not empty.
    let _: fn(&File, &Range<u64>, LockMode, LockWait) -> Result<bool> = file_lock::lock;
    let _: fn(&File, &Range<u64>) -> Result<()> = file_lock::unlock;

    // Installs the handler at the first call; what this process can do. Cheap afterwards.
    let _: fn() -> Recovery = fault::recovery;
    // Tests the handlers again, by running one that was installed later.
    let _: fn() -> Recovery = fault::check;
    // Inspects the handlers without running them. An unknown handler counts as keeping faults.
    let _: fn() -> Recovery = fault::inspect;
    // Whether this thread can take the signals a fault raises.
    let _: fn() -> bool = fault::thread_ready;
    // Copies without any handler, by asking the system; the bytes copied before the first bad one.
    let _: unsafe fn(*const u8, *mut u8, usize) -> usize = fault::copy_from_foreign;
    let _: unsafe fn(*mut u8, *const u8, usize) -> usize = fault::copy_to_foreign;

    // Makes an object of the length asked for, with memory behind every byte, has it filled, and
    // gives it its name; after an error there is none. Where the system cannot make it without a
    // name, the name comes first, and an object that is not filled yet can be opened.
    let _: fn(&CreateObject<'_>, &mut dyn FnMut(&File) -> Result<()>) -> Result<File> = shm::create;
    // Whether the name of such an object came last.
    let _: fn(&File) -> bool = shm::is_named_when_whole;
    // Where it comes first: while the value lives nobody else makes or replaces the object of this
    // name. `None`: somebody does.
    let _: fn(&str) -> Result<Option<shm::Making>> = shm::making;
    // And whether somebody may be making the object of this name, in which nothing is to be seen yet.
    let _: fn(&str) -> Result<bool> = shm::is_being_made;
    // Opens an object if it is one and the owner is right.
    let _: fn(&OpenObject<'_>) -> Result<File> = shm::open;
    // Returns `true` if the name leads to this object; `None` if the system cannot tell two objects
    // apart.
    let _: fn(&str, &File) -> Result<Option<bool>> = shm::is_linked;
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
        create_atomic::create_new;
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
    // Whether that stays the same when the file is renamed.
    let _: bool = pass::IDENTITY_OUTLIVES_NAME;

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
    let _: fn(&File, Option<&Path>, [u8; 16]) -> Result<liveness::Slots> = liveness::Slots::open;
    // For whoever only looks on, and makes nothing; `None` where nobody has taken a slot yet.
    let _: fn(&File, Option<&Path>, [u8; 16]) -> Result<Option<liveness::Slots>> =
        liveness::Slots::find;
    let _: fn(&liveness::Slots) -> SlotHome = liveness::Slots::home;
    let _: fn(&liveness::Slots, u64, SlotMode) -> Result<Option<liveness::LivenessLock>> =
        liveness::Slots::take;
    // Asks as one who wants it alone.
    let _: fn(&liveness::Slots, u64) -> Result<bool> = liveness::Slots::is_free;
    // Finds slots that one lock covers, at least one of them in a range; locks all slots of a
    // range.
    let _: fn(&liveness::Slots, &Range<u64>) -> Result<Option<Range<u64>>> =
        liveness::Slots::held_among;
    let _: fn(&liveness::Slots, &Range<u64>) -> Result<Option<Vec<liveness::LivenessLock>>> =
        liveness::Slots::take_all;
    let _: u64 = liveness::MOST_AT_ONCE;
    // A number that is not 0, to be kept in memory that a child finds empty.
    let _: fn(liveness::LivenessLock) -> usize = liveness::LivenessLock::into_raw;
    let _: unsafe fn(usize) -> liveness::LivenessLock = liveness::LivenessLock::from_raw;

    // Opens a regular file by name, once, without following a link. `None` if another process has
    // it exclusively.
    let _: fn(&Path) -> Result<Option<exclusive::Entry>> = exclusive::Entry::open;
    let _: fn(&str) -> Result<Option<exclusive::Entry>> = exclusive::Entry::open_named;
    let _: fn(&exclusive::Entry) -> &File = exclusive::Entry::file;
    let _: fn(&exclusive::Entry) -> FileRole = exclusive::Entry::role;
    // Removes the name if it still refers to this file, even if processes use the file.
    let _: fn(&exclusive::Entry) -> Result<()> = exclusive::Entry::unlink;
    // While the value lives, no other process has the file open or, if the system sees that,
    // mapped. A process that opens the file waits or is refused. `None` if a process uses the file.
    // `remove` returns `false`, and does nothing, if a process waits to open the file. It fails if
    // another file has the name.
    let _: fn(exclusive::Entry) -> Result<Option<exclusive::Exclusive>> =
        exclusive::Exclusive::take;
    let _: fn(&exclusive::Exclusive) -> &File = exclusive::Exclusive::file;
    let _: fn(&exclusive::Exclusive) -> bool = exclusive::Exclusive::sees_mappings;
    let _: fn(&exclusive::Exclusive) -> bool = exclusive::Exclusive::is_exclusive;
    let _: fn(exclusive::Exclusive) -> Result<bool> = exclusive::Exclusive::remove;
    // Returns the removals whose processes were killed, in a directory or in shared memory.
    let _: fn(Option<&Path>) -> Result<Vec<exclusive::Interrupted>> = exclusive::interrupted;
    let _: fn(&exclusive::Interrupted) -> &Path = exclusive::Interrupted::path;
    let _: fn(&exclusive::Interrupted) -> &[OsString] = exclusive::Interrupted::names;
    let _: fn(&exclusive::Interrupted) -> Result<()> = exclusive::Interrupted::restore;

    let _: fn(usize) -> Result<fork::WipeOnFork> = fork::WipeOnFork::new;
    let _: fn(&fork::WipeOnFork) -> *mut u8 = fork::WipeOnFork::base;
    let _: fn() -> bool = fork::wipes;
    // Makes forks of other threads wait for the value's end. For moments without blocking calls.
    let _: fn() -> fork::HeldOff = fork::hold_off;
    // Another number than that of any process that this one was forked from.
    let _: fn() -> u32 = fork::process;
};
