//! Operating system calls that the library does not wrap: counters, signals, properties of files, and
//! the raw mapping that the tour compares with the library's. `unix` and `windows` define the same
//! functions.

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

/// The resources that this process has used so far; `None` if the system does not count them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// The number of page faults, with and without a read from the disk.
    pub(crate) faults: Option<u64>,
    /// The largest amount of resident memory so far, in bytes.
    pub(crate) peak_resident: Option<u64>,
}

/// Calls `clean` when this process receives SIGINT, SIGTERM or SIGHUP, or the console asks it to end. The
/// process then ends as it would have without this call. Must be called while the process has one
/// thread, because other threads would not inherit the signal mask.
pub(crate) fn on_interrupt(clean: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    os::on_interrupt(clean)
}

/// Waits until the process ends. Must be called after `clean`, once the files that `clean` could not
/// remove because they were in use have been removed.
pub(crate) fn end_of_interrupt() {
    os::end_of_interrupt();
}

/// Returns `true` if a process can order the memory accesses of other processes (`membarrier`), as
/// releasing a lock does. `None` on systems without such a call.
pub(crate) fn asymmetric_fence() -> Option<bool> {
    os::asymmetric_fence()
}

/// Runs a command and waits until it ends. SIGINT, SIGTERM and SIGHUP that this process receives
/// meanwhile are forwarded to the command. A console notifies the command itself.
pub(crate) fn run_to_end(
    command: &mut std::process::Command,
) -> std::io::Result<std::process::ExitStatus> {
    os::run_to_end(command)
}

/// Returns the signal that ended a process; `None` if it ended otherwise.
pub(crate) fn signal(status: std::process::ExitStatus) -> Option<i32> {
    os::signal(status)
}

/// Kills a child process that has not been waited for, and returns when it has ended.
pub(crate) fn kill(id: u32) {
    os::kill(id);
}

/// The end of a process that read a truncated file without this library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "Windows has no signals")]
pub(crate) enum Death {
    /// The signal that an access to a lost page raises.
    LostPage,
    /// Another signal.
    Signal(i32),
    /// No signal; the process ended with this code.
    Exit(Option<i32>),
}

/// Returns the resources that this process has used so far.
pub(crate) fn usage() -> Usage {
    let mut usage = os::usage();
    // The counter in procfs is exact. The other one starts with the value of the parent.
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

/// Returns the bytes of storage that a file takes, which are fewer than its size if it has holes.
pub(crate) fn allocated(path: &Path) -> Option<u64> {
    os::allocated(path)
}

/// Returns how a process ended.
pub(crate) fn death(status: std::process::ExitStatus) -> Death {
    os::death(status)
}

/// Maps `path` without the library, calls `ready`, and reads one byte of each page by plain loads.
/// Returns the sum of the bytes. If the file is truncated meanwhile, the process dies of a signal.
///
/// Returns an error on systems that refuse to truncate a mapped file.
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

/// Returns the device and inode number of the entry `path`, which identify a file. `None` if the entry is
/// gone or the system has no such numbers.
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
