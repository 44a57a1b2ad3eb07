//! A file opened by its name. The directory and the file are opened once, and all later calls use
//! these two descriptors.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::errno;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::os;

const OPERATION: &str = "inspect";

/// The device and the inode of a file.
pub(in crate::sys) type Identity = (u64, u64);

/// A regular file, its directory, and its name there.
#[derive(Debug)]
pub(crate) struct Entry {
    directory: OwnedFd,
    name: OsString,
    path: PathBuf,
    file: File,
    identity: Identity,
}

impl Entry {
    /// Opens a file for reading, without following a link in the last two components of its path.
    ///
    /// `Ok(None)` if another process holds a lease on it.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>> {
        let Some(name) = path.file_name() else {
            return Err(not_regular("it is a directory"));
        };
        let directory = open_directory(path.parent().unwrap_or(Path::new("")))?;
        let failed = |errno| errno::error(OPERATION, errno);
        // Opening a FIFO or a device can already have an effect, so neither is opened.
        let seen =
            rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        require_regular(&seen)?;
        let open = |more| {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
            let flags = flags | OFlags::CLOEXEC | more;
            retry_on_intr(|| rustix::fs::openat(&directory, name, flags, Mode::empty()))
        };
        let opened = match open(os::directory::QUIETLY) {
            // Only the owner may use `O_NOATIME`.
            Err(Errno::PERM) => open(OFlags::empty()),
            opened => opened,
        };
        let file = match opened {
            Ok(file) => File::from(file),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::LOOP) => return Err(not_regular(description(FileType::Symlink))),
            Err(errno) => return Err(failed(errno)),
        };
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        require_regular(&stat)?;
        let (name, path, identity) = (name.to_owned(), path.to_path_buf(), identity_of(&stat));
        Ok(Some(Self { directory, name, path, file, identity }))
    }

    /// Returns the file, open for reading.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(in crate::sys) fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    pub(in crate::sys) fn name(&self) -> &OsStr {
        &self.name
    }

    /// Returns the path, for messages and for the name of the directory.
    pub(in crate::sys) fn path(&self) -> &Path {
        &self.path
    }

    pub(in crate::sys) fn identity(&self) -> Identity {
        self.identity
    }
}

/// Opens the directory of a file to be removed.
pub(in crate::sys) fn open_directory(path: &Path) -> Result<OwnedFd> {
    os::directory::open(path).map_err(|errno| {
        let error = errno::error("open the directory of", errno);
        match errno {
            Errno::LOOP | Errno::NOTDIR => error
                .with_kind(ErrorKind::NotAnObject)
                .with_detail("the path has a symbolic link; name the directory that it leads to"),
            _ => error,
        }
    })
}

/// Returns device and inode of the entry `name` in a directory. A link is not followed.
pub(in crate::sys) fn named(directory: impl AsFd, name: &OsStr) -> rustix::io::Result<Identity> {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| identity_of(&stat))
}

/// Returns device and inode of a file from its status.
#[allow(clippy::unnecessary_cast, reason = "the fields' types differ between systems")]
pub(in crate::sys) fn identity_of(stat: &Stat) -> Identity {
    (stat.st_dev as u64, stat.st_ino as u64)
}

/// Returns an error unless the file is a regular one.
fn require_regular(stat: &Stat) -> Result<()> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        other => Err(not_regular(description(other))),
    }
}

/// Describes a kind of file in an error.
pub(in crate::sys) fn description(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "it is a regular file",
        FileType::Directory => "it is a directory",
        FileType::Symlink => "it is a symbolic link",
        FileType::Fifo => "it is a FIFO",
        FileType::Socket => "it is a socket",
        _ => "it is a device",
    }
}

/// Returns the error for a file that is not a regular one.
#[cold]
fn not_regular(what: &str) -> Error {
    Error::new(ErrorKind::NotAnObject, OPERATION).with_detail(what)
}
