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

use std::path::Path;

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

/// Bytes that an ordinary user can still write to the file system of `dir`; `None` where it has no
/// limit of its own.
pub(crate) fn free_space(dir: &Path) -> Option<u64> {
    os::free_space(dir)
}

/// Files that an ordinary user can still make on the file system of `dir`; `None` where they are not
/// counted.
pub(crate) fn free_files(dir: &Path) -> Option<u64> {
    os::free_files(dir)
}

/// Whether it is a device with a size, that can be mapped.
pub(crate) fn is_block_device(metadata: &std::fs::Metadata) -> bool {
    os::is_block_device(metadata)
}

/// The permissions of a file or directory, links followed; `None` where there are none.
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

/// The name of the user with this number; `None` where there is none to know.
pub(crate) fn user_name(user: u32) -> Option<String> {
    os::user_name(user)
}

/// What tells a file from all others: device and inode. `None` where files have no numbers, or it is
/// gone.
pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
    os::identity(path)
}
