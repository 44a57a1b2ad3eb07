//! What the command asks of the operating system beside the library: counters to show, and the
//! raw mapping that the tour puts next to the library's. The same functions in each file.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as os;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as os;

pub(crate) mod holders;
pub(crate) mod procfs;
pub(crate) mod search;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// What this process has used so far; `None` where the system does not count it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Page faults, whether they needed the disk or not.
    pub(crate) faults: Option<u64>,
    /// The most memory it has had resident at once, in bytes.
    pub(crate) peak_resident: Option<u64>,
}

/// Calls `clean` when somebody asks this process to end: by SIGINT, SIGTERM or SIGHUP, or from the
/// console. Then it ends of that. To be called by the only thread there is.
pub(crate) fn on_interrupt(clean: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    os::on_interrupt(clean)
}

/// After `clean` has been called, and what it could not remove because it was in use is removed:
/// waits for the end, or lets it come.
pub(crate) fn end_of_interrupt() {
    os::end_of_interrupt();
}

/// Whether one process can order the memory accesses of others, as unlocking does; `None` where
/// there is no such question.
pub(crate) fn asymmetric_fence() -> Option<bool> {
    os::asymmetric_fence()
}

/// Runs a command to its end. Whoever asks this process to end meanwhile asks the command: by SIGINT,
/// SIGTERM or SIGHUP, or from the console, which asks both.
pub(crate) fn run_to_end(
    command: &mut std::process::Command,
) -> std::io::Result<std::process::ExitStatus> {
    os::run_to_end(command)
}

/// The signal that ended a process; `None` if none did.
pub(crate) fn signal(status: std::process::ExitStatus) -> Option<i32> {
    os::signal(status)
}

/// Ends a child process that has not been waited for, and returns when it is gone.
pub(crate) fn kill(id: u32) {
    os::kill(id);
}

/// What became of a process that read the way a program does without this library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "Windows has no signals")]
pub(crate) enum Death {
    /// By the signal that a lost page raises.
    LostPage,
    /// By some other signal.
    Signal(i32),
    /// Not by a signal: it ended with this code.
    Exit(Option<i32>),
}

pub(crate) fn usage() -> Usage {
    let mut usage = os::usage();
    // Exact for this process, where the other counter starts with what the parent had.
    usage.peak_resident = procfs::peak_resident().or(usage.peak_resident);
    usage
}

/// Returns the bytes that an ordinary user can still write to the file system of `dir`; `None` if
/// the file system has no limit of its own.
pub(crate) fn free_space(dir: &Path) -> Option<u64> {
    os::free_space(dir)
}

/// Opens a regular file for reading without waiting for the holder of a lease or the other end of a
/// FIFO.
pub(crate) fn open_to_look(path: &Path) -> std::io::Result<std::fs::File> {
    let file = os::open_to_look(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(std::io::ErrorKind::InvalidInput.into()),
    }
}

/// Returns the number of files that an ordinary user can still create on the file system of `dir`;
/// `None` if the file system does not count them.
pub(crate) fn free_files(dir: &Path) -> Option<u64> {
    os::free_files(dir)
}

/// Returns `true` if the file is a device with a size, which can be mapped.
pub(crate) fn is_block_device(metadata: &std::fs::Metadata) -> bool {
    os::is_block_device(metadata)
}

/// Returns the permissions of a file or directory, links followed; `None` if the system has none.
pub(crate) fn mode(path: &Path) -> Option<u32> {
    os::mode(path)
}

/// Bytes of storage that the file takes: fewer than its size where it has holes.
pub(crate) fn allocated(path: &Path) -> Option<u64> {
    os::allocated(path)
}

pub(crate) fn death(status: std::process::ExitStatus) -> Death {
    os::death(status)
}

/// Maps `path` as C would, calls `ready`, and reads one byte of each page by plain loads. Returns
/// the sum; where the file has been cut off meanwhile, it does not return: the process dies.
///
/// `Err` on systems that refuse to cut off a mapped file.
pub(crate) fn read_raw(path: &Path, ready: impl FnOnce()) -> std::io::Result<u64> {
    os::read_raw(path, ready)
}

/// Returns the name of the user with this number; `None` if it is unknown. Each number is looked up
/// once.
pub(crate) fn user_name(user: u32) -> Option<String> {
    static KNOWN: Mutex<BTreeMap<u32, Option<String>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(user).or_insert_with(|| os::user_name(user)).clone()
}

/// What tells a file from all others: device and inode. `None` where files have no numbers, or it is
/// gone.
pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
    os::identity(path)
}

/// Returns the owner's number and the permissions of the entry `path`, which may be a link. `None`
/// if the entry is gone or the system has none.
pub(crate) fn permissions(path: &Path) -> Option<(u32, u32)> {
    os::permissions(path)
}

/// Returns the [`identity`] of an open file.
pub(crate) fn identity_of(file: &File) -> Option<(u64, u64)> {
    os::identity_of(file)
}

/// Returns the [`allocated`] bytes of an open file.
pub(crate) fn allocated_by(file: &File) -> Option<u64> {
    os::allocated_by(file)
}

/// Returns the owner of a file if it is not the user of this process.
pub(crate) fn foreign_owner(file: &File) -> Option<u32> {
    os::foreign_owner(file)
}

/// Returns the time at which a file, its permissions or its names last changed, in seconds. On
/// tmpfs, stores to mapped memory do not count.
pub(crate) fn changed(file: &File) -> Option<SystemTime> {
    os::changed(file)
}

/// Returns the time of a file's last use: the last access, write or change. Mapping a file counts
/// as an access, which Linux records once in 24 hours. `None` if the file system does not record
/// accesses.
pub(crate) fn unused_since(file: &File) -> Option<SystemTime> {
    let metadata = file.metadata().ok().filter(|_| os::notes_accesses(file))?;
    [metadata.accessed().ok(), metadata.modified().ok(), changed(file)].into_iter().flatten().max()
}

/// Returns device and inode of the target of a link in `/proc`, without asking its file system. A
/// file system of another user may never answer.
pub(crate) fn identity_behind(link: &Path) -> Option<(u64, u64)> {
    os::identity_behind(link)
}
