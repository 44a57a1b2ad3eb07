//! Companions in shared memory: `/dev/shm/.sharemap-UID/DEVICE-INODE` (FORMAT.md, "Slots"). A companion and
//! its directory belong to the object's owner.
//!
//! Companions are in `/dev/shm` because all processes that share memory see it, in every environment,
//! mount namespace and container. Every user can create entries there. If another user takes the
//! name of a companion directory, no process uses that entry: attaching fails with an error, and root
//! moves the entry aside.
//!
//! No step is locked. Each may find that another process created, removed or renamed the entry, so
//! [`open_or_create`] starts again from the name, and accepts a companion only if it and its directory
//! have their names after it is open.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Stat, Uid};
use rustix::io::{Errno, retry_on_intr};

use super::shm;
use super::unlinked::{Draft, hidden_name};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::Existing;
use crate::sys::posix::companion::{Flaw, Folder, Found, LEASE_TIMEOUT, file, folder};
use crate::sys::posix::{errno, owner};
use crate::sys::unique_name::unique;

const OPERATION: &str = "attach to";
/// The number of attempts, because other processes may keep removing and creating the directory.
const ROUNDS: usize = 64;

/// Returns the path of the companion `name` of an object of `owner`.
pub(super) fn path(owner: u32, name: &str) -> PathBuf {
    shm::path(&folder_of(owner)).join(name)
}

/// Returns the name of the companion directory of `owner`.
fn folder_of(owner: u32) -> String {
    format!(".sharemap-{owner}")
}

/// Opens an existing companion for queries, without waiting for a lease. Returns `None` if none is visible
/// to this user, or if an entry of its name cannot be trusted.
pub(super) fn find(owner: u32, name: &str) -> Result<Option<File>> {
    if owner::is_unknown(owner) {
        return Ok(None);
    }
    let shared = shm::directory()?;
    let opened = match folder(&shared, &folder_of(owner), owner) {
        Ok(Folder::Usable(folder)) => file(&folder, name, owner, OFlags::RDONLY, Duration::ZERO),
        Ok(Folder::Missing | Folder::Unusable(_)) => return Ok(None),
        Err(errno) => Err(errno),
    };
    match opened {
        Ok(Found::File(file)) => Ok(Some(file)),
        Ok(Found::Missing | Found::Foreign) | Err(Errno::ACCESS | Errno::PERM) => Ok(None),
        Err(errno) => Err(failed(errno)),
    }
}

/// Opens the companion of an object of `owner`, creating it and its directory if they are missing.
///
/// This process must run as `owner` or as root. Fails with `PermissionDenied` if another user has taken
/// the name of the directory, and with `Busy` if other processes keep removing it.
pub(super) fn open_or_create(owner: u32, name: &str) -> Result<File> {
    let shared = shm::directory()?;
    let place = folder_of(owner);
    for _ in 0..ROUNDS {
        let folder = match folder(&shared, &place, owner).map_err(failed)? {
            Folder::Usable(folder) => folder,
            Folder::Missing => {
                make_folder(&shared, owner)?;
                continue;
            }
            Folder::Unusable(flaw) => {
                clear(&shared, owner, flaw)?;
                continue;
            }
        };
        match file(&folder, name, owner, OFlags::RDWR, LEASE_TIMEOUT).map_err(failed)? {
            // Other processes find this companion only if both it and its directory have their names. A
            // lock on a file that lost its name would prove nothing to them.
            Found::File(file) if is_at(&folder, &shared, &place) => return Ok(file),
            Found::File(_) => {}
            Found::Missing => make_file(&folder, owner, name)?,
            // Only the owner and root can change this directory, so the entry is safe to remove.
            Found::Foreign => match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed(errno).with_path(Some(&path(owner, name)))),
            },
        }
    }
    Err(failed(Errno::BUSY).with_detail("other processes keep removing its companion in /dev/shm"))
}

/// Returns `true` if `place` still refers to the directory that was opened.
fn is_at(opened: &OwnedFd, shared: &OwnedFd, place: &str) -> bool {
    let identity = |stat: Stat| (stat.st_dev, stat.st_ino);
    let now = rustix::fs::statat(shared, place, AtFlags::SYMLINK_NOFOLLOW);
    rustix::fs::fstat(opened)
        .is_ok_and(|opened| now.is_ok_and(|now| identity(now) == identity(opened)))
}

/// Creates the companion directory of `owner`. Does nothing if another process was faster.
///
/// Root creates it under a hidden name, gives it to `owner`, and then renames it: under its own name, a
/// directory of root would be unusable for `owner`. If root dies in between, an empty directory with a
/// hidden name remains, which a later sweep by the user that owns it removes (`unlinked::sweep`).
fn make_folder(shared: &OwnedFd, owner: u32) -> Result<()> {
    let place = folder_of(owner);
    let private = Mode::RWXU;
    if owner::effective_user() == owner {
        return match rustix::fs::mkdirat(shared, &*place, private) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(failed(errno)),
        };
    }
    // Without the sticky bit, another user could replace the hidden directory before it is opened.
    let stat = rustix::fs::fstat(shared).map_err(failed)?;
    if stat.st_mode & 0o022 != 0 && stat.st_mode & Mode::SVTX.bits() == 0 {
        return Err(Error::new(ErrorKind::PermissionDenied, OPERATION).with_detail(
            "/dev/shm has no sticky bit, so root creates nothing there for another user; chmod \
             1777 /dev/shm",
        ));
    }
    // The owner is changed by descriptor, and the directory is opened without following a link.
    let hidden = hidden_name();
    rustix::fs::mkdirat(shared, &*hidden, private).map_err(failed)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let named = retry_on_intr(|| rustix::fs::openat(shared, &*hidden, flags, Mode::empty()))
        .and_then(|made| rustix::fs::fchown(&made, Some(Uid::from_raw(owner)), None))
        .and_then(|()| {
            let flags = RenameFlags::NOREPLACE;
            rustix::fs::renameat_with(shared, &*hidden, shared, &*place, flags)
        });
    named.or_else(|errno| {
        let _ = rustix::fs::unlinkat(shared, &*hidden, AtFlags::REMOVEDIR);
        match errno {
            // Another process created the directory, or swept the empty hidden one. The caller retries.
            Errno::EXIST | Errno::NOENT => Ok(()),
            errno => Err(failed(errno)),
        }
    })
}

/// Creates a companion. Does nothing if another process was faster.
///
/// The file gets its name only after it belongs to `owner`. A creator that dies before leaves no file, or a
/// hidden draft that is swept.
fn make_file(folder: &OwnedFd, owner: u32, name: &str) -> Result<()> {
    let made = Draft::new(folder).and_then(|draft| {
        if owner::effective_user() != owner {
            rustix::fs::fchown(&draft.file, Some(Uid::from_raw(owner)), None).map_err(failed)?;
        }
        draft.publish(name, Existing::Refused)
    });
    match made {
        Err(error) if !matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {
            Err(error.with_path(Some(&path(owner, name))))
        }
        // Another process created the companion first, or removed the directory. The caller retries.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Moves an entry aside that has the name of a companion directory and belongs to another user, if this
/// process is root. Otherwise fails with `PermissionDenied` and the remedy.
///
/// No process uses such an entry. No link is followed, and only an empty directory is deleted. If that was
/// a companion directory that another process has just created, that process creates it again.
fn clear(shared: &OwnedFd, owner: u32, flaw: Flaw) -> Result<()> {
    let place = folder_of(owner);
    let is_owners = matches!(flaw, Flaw::Writable);
    if is_owners || !owner::is_root() {
        return Err(squatted(&place, owner, flaw));
    }
    match rustix::fs::unlinkat(shared, &*place, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(_) => {}
    }
    let aside = format!(".sharemap-aside-{owner}-{}", unique());
    let exclusive = RenameFlags::NOREPLACE;
    match rustix::fs::renameat_with(shared, &*place, shared, &*aside, exclusive) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(()),
        Err(_) => return Err(squatted(&place, owner, flaw)),
    }
    if let Ok(Folder::Usable(_)) = folder(shared, &aside, owner) {
        // Between the check and the rename, another process of root replaced the entry by the right
        // directory. It goes back to its name, unless that is taken again.
        let _ = rustix::fs::renameat_with(shared, &*aside, shared, &*place, exclusive);
    }
    Ok(())
}

/// Returns the error for a companion directory that cannot be trusted, with the command that helps.
#[cold]
fn squatted(place: &str, owner: u32, flaw: Flaw) -> Error {
    let path = shm::path(place);
    let path = path.display();
    let detail = match flaw {
        Flaw::Foreign(user) => format!(
            "{path}, the companion directory of user {owner}, belongs to {}; remove it as root: rm \
             -r {path}",
            owner::described(user)
        ),
        Flaw::NoDirectory(user) => format!(
            "{path}, the companion directory of user {owner}, is not a directory, and belongs to {}; \
             remove it as that user or as root: rm {path}",
            owner::described(user)
        ),
        Flaw::Writable => format!(
            "{path}, the companion directory of user {owner}, is writable by other users; let only \
             its owner write to it: chmod 700 {path}"
        ),
    };
    Error::new(ErrorKind::PermissionDenied, OPERATION).with_detail(detail)
}

/// Returns the error of a failed system call.
#[cold]
fn failed(errno: Errno) -> Error {
    errno::error(OPERATION, errno).with_detail(
        "its file system cannot carry liveness locks, and the companion in /dev/shm cannot be \
         opened",
    )
}
