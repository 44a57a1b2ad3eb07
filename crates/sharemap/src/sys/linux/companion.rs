//! Companions in shared memory. A companion belongs to its object's owner, and lies in a directory
//! of the owner.
//!
//! Companions are in `/dev/shm` because all processes that share memory see it, whatever their
//! environment, mounts and containers. Every user can create entries there. If another user takes
//! the name of a companion directory, attaching fails with an error, and root moves the entry
//! aside.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Stat, Uid};
use rustix::io::{Errno, retry_on_intr};

use super::shm;
use super::unlinked::{Draft, hidden_name, unique};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::Existing;
use crate::sys::posix::companion::{Flaw, Folder, Found, LEASE_TIMEOUT, file, folder};
use crate::sys::posix::{errno, owner};

const OPERATION: &str = "attach to";
/// The number of attempts, because other processes may keep removing and creating the directory.
const ROUNDS: usize = 64;

pub(super) fn path(owner: u32, name: &str) -> PathBuf {
    shm::path(&folder_of(owner)).join(name)
}

fn folder_of(owner: u32) -> String {
    format!(".sharemap-{owner}")
}

/// Opens an existing companion for queries, without waiting. `None` if none is visible.
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

/// Opens or creates the companion of an object of `owner`. Only `owner`, and root on its behalf,
/// can create it.
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
            // Other processes find this companion only while both it and its directory have their
            // names.
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

fn is_at(opened: &OwnedFd, shared: &OwnedFd, place: &str) -> bool {
    let identity = |stat: Stat| (stat.st_dev, stat.st_ino);
    let now = rustix::fs::statat(shared, place, AtFlags::SYMLINK_NOFOLLOW);
    rustix::fs::fstat(opened)
        .is_ok_and(|opened| now.is_ok_and(|now| identity(now) == identity(opened)))
}

/// Creates the directory of `owner`. The directory gets its name only after it belongs to `owner`.
/// A process that is killed before leaves an empty directory under a hidden name.
fn make_folder(shared: &OwnedFd, owner: u32) -> Result<()> {
    let place = folder_of(owner);
    let private = Mode::RWXU;
    if rustix::process::geteuid().as_raw() == owner {
        return match rustix::fs::mkdirat(shared, &*place, private) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(failed(errno)),
        };
    }
    // Without the sticky bit, another user could replace the directory created here.
    let stat = rustix::fs::fstat(shared).map_err(failed)?;
    if stat.st_mode & 0o022 != 0 && stat.st_mode & Mode::SVTX.bits() == 0 {
        return Err(Error::new(ErrorKind::PermissionDenied, OPERATION).with_detail(
            "/dev/shm has no sticky bit, so root creates nothing there for another user; chmod \
             1777 /dev/shm",
        ));
    }
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
            // Another process created the directory, or removed the empty hidden one.
            Errno::EXIST | Errno::NOENT => Ok(()),
            errno => Err(failed(errno)),
        }
    })
}

/// Creates a companion. The file gets its name only after it belongs to `owner`.
fn make_file(folder: &OwnedFd, owner: u32, name: &str) -> Result<()> {
    let made = Draft::new(folder).and_then(|draft| {
        if rustix::process::geteuid().as_raw() != owner {
            rustix::fs::fchown(&draft.file, Some(Uid::from_raw(owner)), None).map_err(failed)?;
        }
        draft.publish(name, Existing::Refused)
    });
    match made {
        Err(error) if !matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {
            Err(error.with_path(Some(&path(owner, name))))
        }
        // Another process created the companion first, or removed the directory.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Moves aside an entry of another user that has the name of a companion directory, if this process
/// is root. No process uses such an entry. For other users, returns an error with the remedy for
/// root.
///
/// No link is followed, and only an empty directory is deleted. If that was a companion directory
/// that another process has just created, the process creates it again.
fn clear(shared: &OwnedFd, owner: u32, flaw: Flaw) -> Result<()> {
    let place = folder_of(owner);
    let is_owners = matches!(flaw, Flaw::Writable);
    if is_owners || !rustix::process::geteuid().is_root() {
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
        // Another process of root was faster, and created this directory.
        let _ = rustix::fs::renameat_with(shared, &*aside, shared, &*place, exclusive);
    }
    Ok(())
}

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
            "{path}, the companion directory of user {owner}, is no directory, and belongs to {}; \
             remove it as that user or as root: rm {path}",
            owner::described(user)
        ),
        Flaw::Writable => format!(
            "{path}, the companion directory of user {owner}, may be written to by others; let only \
             its owner write to it: chmod 700 {path}"
        ),
    };
    Error::new(ErrorKind::PermissionDenied, OPERATION).with_detail(detail)
}

#[cold]
fn failed(errno: Errno) -> Error {
    errno::error(OPERATION, errno).with_detail(
        "its file system cannot carry liveness locks, and the companion in /dev/shm cannot be \
         opened",
    )
}
