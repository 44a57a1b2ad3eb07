//! Exclusive claims on files, by write leases (`F_SETLEASE`).
//!
//! The kernel grants a write lease only while no other open file description of the file exists, in any
//! process of any container. A mapping keeps its description, so mapped files are refused, too. While the
//! lease is held, a process that opens the file waits, for at most `/proc/sys/fs/lease-break-time`
//! seconds, or fails with `EWOULDBLOCK` if it does not block.

#![allow(unsafe_code, reason = "requests a lease")]

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::directory::SHM;
use super::file_system::file_system;
use super::{shm, unlinked};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::FileRole;
use crate::sys::posix::entry::identity_of;
use crate::sys::posix::{errno, owner, removal};

pub(crate) use crate::sys::posix::entry::Entry;
pub(crate) use crate::sys::posix::removal::Interrupted;

const OPERATION: &str = "find the processes that use";
/// Selects the signal that announces the break of a lease.
const F_SETSIG: libc::c_int = 10;

/// An exclusive claim on a file: no other process has it open or, where the kernel sees that, mapped.
/// Dropping the value ends the claim, and waiting processes open the file.
#[derive(Debug)]
pub(crate) struct Exclusive {
    entry: Entry,
    sees_mappings: bool,
}

impl Exclusive {
    /// Claims the file. Returns `None` if another process uses it.
    ///
    /// Fails with `Unsupported` on network and FUSE file systems and without leases, and with
    /// `PermissionDenied` for a file of another user.
    pub(crate) fn take(entry: Entry) -> Result<Option<Self>> {
        let file = entry.file();
        let sees_mappings = match file_system(file)?.as_str() {
            system @ ("nfs" | "cifs" | "9p" | "ceph" | "fuse") => {
                return Err(Error::new(ErrorKind::Unsupported, OPERATION)
                    .with_detail(format!("it is on {system}, where other machines may use it")));
            }
            // A mapping on overlayfs keeps a description of the file in the lower or upper layer, not of
            // this file.
            "overlayfs" => false,
            _ => true,
        };
        // The kernel sends a signal when another process opens the file. The default, `SIGIO`, would end
        // this process; `SIGURG` is ignored by default.
        change(file, F_SETSIG, libc::SIGURG)?;
        match change(file, libc::F_SETLEASE, libc::F_WRLCK) {
            Ok(()) => Ok(Some(Self { entry, sees_mappings })),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the file, open for reading.
    pub(crate) fn file(&self) -> &File {
        self.entry.file()
    }

    /// Returns `true` if the kernel also excludes mappings.
    pub(crate) fn sees_mappings(&self) -> bool {
        self.sees_mappings
    }

    /// Returns `true` while no process waits to open the file. When one does, the kernel starts to break
    /// the lease.
    pub(crate) fn is_exclusive(&self) -> bool {
        // SAFETY: an open descriptor, and plain numbers.
        unsafe { libc::fcntl(self.file().as_raw_fd(), libc::F_GETLEASE) == libc::F_WRLCK }
    }

    /// Removes the file's name. Returns `false`, and removes nothing, if a process waits to open
    /// the file.
    pub(crate) fn remove(self) -> Result<bool> {
        removal::remove(&self.entry, &|| self.is_exclusive())
    }
}

impl Drop for Exclusive {
    /// Releases the lease. Closing the descriptor is not enough, because a child that was forked meanwhile
    /// has a copy of it.
    fn drop(&mut self) {
        let _ = change(self.file(), libc::F_SETLEASE, libc::F_UNLCK);
    }
}

impl Entry {
    /// Opens the file of named shared memory like [`open`](Self::open).
    pub(crate) fn open_named(name: &str) -> Result<Option<Self>> {
        Self::open(&shm::path(name))
    }

    /// Returns the role of the file, from its directory, name, owner and contents. All but the names are
    /// checked by descriptor.
    pub(crate) fn role(&self) -> FileRole {
        role_of(self).unwrap_or(FileRole::Object)
    }
}

/// Returns the interrupted removals in a directory, or in shared memory.
pub(crate) fn interrupted(directory: Option<&Path>) -> Result<Vec<Interrupted>> {
    removal::interrupted(directory.unwrap_or(Path::new(SHM)))
}

/// Returns `None` if the file has no special role, or a check fails.
fn role_of(entry: &Entry) -> Option<FileRole> {
    let shm = shm::directory().ok()?;
    let directory = rustix::fs::fstat(entry.directory()).ok()?;
    let file = rustix::fs::fstat(entry.file()).ok()?;
    let name = entry.name().to_str()?;
    let is_single = file.st_nlink == 1;
    if identity_of(&directory) == identity_of(&rustix::fs::fstat(&shm).ok()?) {
        return (is_single && unlinked::is_hidden_name(name)).then_some(FileRole::Draft);
    }
    let folder = entry.path().parent()?.file_name()?;
    let own = owner::effective_user();
    if removal::is_private_name(folder) && directory.st_uid == own {
        return Some(FileRole::Moved);
    }
    let owner = owner_of_companions(&shm, folder, identity_of(&directory))?;
    let (device, number) = name.split_once('-')?;
    let hex = |text: &str| {
        let number = u64::from_str_radix(text, 16).ok()?;
        (format!("{number:x}") == text).then_some(number)
    };
    let (device, file_number) = (hex(device)?, hex(number)?);
    let is_companion = is_single && file.st_size == 0 && file.st_uid == owner;
    is_companion.then_some(FileRole::Companion { device, file: file_number })
}

/// Returns the owner of the companions in a directory; `None` if it is not a companion directory. Such a
/// directory is in `/dev/shm`, has the owner's number in its name, and only the owner can write to it.
fn owner_of_companions(shm: &OwnedFd, name: &OsStr, identity: (u64, u64)) -> Option<u32> {
    let text = name.to_str()?.strip_prefix(".sharemap-")?;
    let owner = text.parse::<u32>().ok().filter(|owner| owner.to_string() == text)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::openat(shm, name, flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&found).ok()?;
    let is_it = identity_of(&stat) == identity && stat.st_uid == owner && stat.st_mode & 0o022 == 0;
    is_it.then_some(owner)
}

/// Calls `fcntl` with a number. Fails with `WouldBlock` if another process uses the file.
fn change(file: &File, command: libc::c_int, value: libc::c_int) -> Result<()> {
    // SAFETY: an open descriptor, and plain numbers.
    if unsafe { libc::fcntl(file.as_raw_fd(), command, value) } == 0 {
        return Ok(());
    }
    let errno = errno::last();
    let made = errno::error(OPERATION, errno);
    Err(match errno {
        Errno::AGAIN => made.with_kind(ErrorKind::WouldBlock),
        Errno::ACCESS | Errno::PERM => {
            made.with_detail("the kernel tells only the file's owner whether a process uses it")
        }
        Errno::INVAL | Errno::NOSYS => made.with_kind(ErrorKind::Unsupported).with_detail(
            "its file system has no leases, which would prove that no process uses it",
        ),
        _ => made,
    })
}
