//! Exclusive use of a file: a write lease, which the kernel grants only while nobody else has the file
//! open or mapped, in whatever container, and which holds up whoever opens it then.

#![allow(unsafe_code, reason = "asks for a lease")]

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::file::file_system;
use super::{draft, shm};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::FileRole;
use crate::sys::posix::entry::identity_of;
use crate::sys::posix::{errno, removal};

pub(crate) use crate::sys::posix::entry::Entry;
pub(crate) use crate::sys::posix::removal::Interrupted;

const OPERATION: &str = "ask who has";
const F_SETSIG: libc::c_int = 10;

/// A file that no other process has open, nor has mapped where the kernel sees that. Dropping the value
/// lets others open it.
#[derive(Debug)]
pub(crate) struct Exclusive {
    entry: Entry,
    sees_mappings: bool,
}

impl Exclusive {
    /// Asks for a lease. `None` if another process uses the file.
    pub(crate) fn take(entry: Entry) -> Result<Option<Self>> {
        let file = entry.file();
        let sees_mappings = match file_system(file)?.as_str() {
            system @ ("nfs" | "cifs" | "9p" | "ceph" | "fuse") => {
                return Err(Error::new(ErrorKind::Unsupported, OPERATION).with_detail(format!(
                    "it lies on {system}, where other machines may have it"
                )));
            }
            // It maps the file below.
            "overlayfs" => false,
            _ => true,
        };
        // Whoever opens it makes the kernel send a signal; by default one that ends the process.
        change(file, F_SETSIG, libc::SIGURG)?;
        match change(file, libc::F_SETLEASE, libc::F_WRLCK) {
            Ok(()) => Ok(Some(Self { entry, sees_mappings })),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The file, open for reading.
    pub(crate) fn file(&self) -> &File {
        self.entry.file()
    }

    /// Whether mappings count, too.
    pub(crate) fn sees_mappings(&self) -> bool {
        self.sees_mappings
    }

    /// Whether no process waits to open the file: the lease is given up while one does.
    pub(crate) fn is_exclusive(&self) -> bool {
        // SAFETY: an open descriptor, and plain numbers.
        unsafe { libc::fcntl(self.file().as_raw_fd(), libc::F_GETLEASE) == libc::F_WRLCK }
    }

    /// Takes the name away, unless a process waits to open the file: then `false`.
    pub(crate) fn remove(self) -> Result<bool> {
        removal::remove(&self.entry, &|| self.is_exclusive())
    }
}

impl Drop for Exclusive {
    /// A child that was forked meanwhile has the descriptor, and keeps no process waiting.
    fn drop(&mut self) {
        let _ = change(self.file(), libc::F_SETLEASE, libc::F_UNLCK);
    }
}

pub(crate) fn open_named(name: &str) -> Result<Option<Entry>> {
    Entry::open(&shm::path(name))
}

/// The removals that their processes did not finish: in shared memory, or in a directory.
pub(crate) fn interrupted(directory: Option<&Path>) -> Result<Vec<Interrupted>> {
    removal::interrupted(directory.unwrap_or(Path::new(shm::DIRECTORY)))
}

/// What a file is for: known by its place, its name, its owner and what is in it, all by descriptors.
pub(crate) fn role(entry: &Entry) -> FileRole {
    role_of(entry).unwrap_or(FileRole::Object)
}

fn role_of(entry: &Entry) -> Option<FileRole> {
    let shm = shm::directory().ok()?;
    let directory = rustix::fs::fstat(entry.directory()).ok()?;
    let file = rustix::fs::fstat(entry.file()).ok()?;
    let name = entry.name().to_str()?;
    let is_single = file.st_nlink == 1;
    if identity_of(&directory) == identity_of(&rustix::fs::fstat(&shm).ok()?) {
        return (is_single && draft::is_hidden_name(name)).then_some(FileRole::Draft);
    }
    let folder = entry.path().parent()?.file_name()?;
    let own = rustix::process::geteuid().as_raw();
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

/// The user whose companions are in a directory: directly in shared memory, called after the user, and
/// writable by no other.
fn owner_of_companions(shm: &OwnedFd, name: &OsStr, identity: (u64, u64)) -> Option<u32> {
    let text = name.to_str()?.strip_prefix(".sharemap-")?;
    let owner = text.parse::<u32>().ok().filter(|owner| owner.to_string() == text)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::openat(shm, name, flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&found).ok()?;
    let is_it = identity_of(&stat) == identity && stat.st_uid == owner && stat.st_mode & 0o022 == 0;
    is_it.then_some(owner)
}

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
            made.with_detail("only its owner is told whether somebody else has it")
        }
        Errno::INVAL | Errno::NOSYS => made.with_kind(ErrorKind::Unsupported).with_detail(
            "its file system has no leases, by which the kernel says that nobody has it",
        ),
        _ => made,
    })
}
