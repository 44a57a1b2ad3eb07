//! Having a file alone: a write lease, which the kernel grants only while nobody else has the file
//! open or mapped, in whatever container, and which holds up whoever opens it then.

#![allow(unsafe_code, reason = "asks for a lease")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::file::file_system;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::posix::errno;

const OPERATION: &str = "ask who has";
const REMOVE: &str = "remove";
const F_SETSIG: libc::c_int = 10;

/// Nobody else has the file. Given back with the value.
#[derive(Debug)]
pub(crate) struct Alone {
    file: File,
    path: PathBuf,
    sees_mappings: bool,
}

impl Alone {
    /// `None`: somebody has it.
    pub(crate) fn take(path: &Path) -> Result<Option<Self>> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
        let file = match options.open(path) {
            Ok(file) => file,
            // Somebody has a lease on it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        if !file.metadata().map_err(|error| failed(&error))?.is_file() {
            return Err(
                Error::new(ErrorKind::NotAnObject, OPERATION).with_detail("it is no regular file")
            );
        }
        let sees_mappings = match file_system(&file)?.as_str() {
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
        change(&file, F_SETSIG, libc::SIGURG)?;
        match change(&file, libc::F_SETLEASE, libc::F_WRLCK) {
            Ok(()) => Ok(Some(Self { file, path: path.to_path_buf(), sees_mappings })),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The file, open for reading.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Whether nobody has it mapped either.
    pub(crate) fn sees_mappings(&self) -> bool {
        self.sees_mappings
    }

    /// Takes the name away, unless somebody waits to open the file: then `false`.
    pub(crate) fn remove(self) -> Result<bool> {
        let has = self.file.metadata().map_err(|error| errno::from_io(REMOVE, &error))?;
        let named = std::fs::symlink_metadata(&self.path)
            .map_err(|error| errno::from_io(REMOVE, &error))?;
        if (named.dev(), named.ino()) != (has.dev(), has.ino()) {
            return Err(Error::new(ErrorKind::NotFound, REMOVE)
                .with_detail("its name is another file's by now"));
        }
        // SAFETY: plain numbers.
        if unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_GETLEASE) } != libc::F_WRLCK {
            return Ok(false);
        }
        std::fs::remove_file(&self.path).map_err(|error| errno::from_io(REMOVE, &error))?;
        Ok(true)
    }
}

impl Drop for Alone {
    /// A child that was forked meanwhile has the descriptor, and keeps nobody waiting.
    fn drop(&mut self) {
        let _ = change(&self.file, libc::F_SETLEASE, libc::F_UNLCK);
    }
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

#[cold]
fn failed(error: &io::Error) -> Error {
    errno::from_io(OPERATION, error)
}
