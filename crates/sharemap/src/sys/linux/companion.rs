//! Companions in shared memory: of each object's owner, in a directory of the owner's.
//!
//! `/dev/shm` is where processes that share memory meet, whatever their environment, mounts and
//! containers otherwise are, so companions are there, although every user may make entries in it.
//! Another user who takes the name of a directory gets nothing but an error from those who look for
//! it, and root moves such an entry out of the way.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Stat, Uid};
use rustix::io::{Errno, retry_on_intr};

use super::draft::{Draft, hidden_name, unique};
use super::shm;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::Existing;
use crate::sys::posix::companion::{Flaw, Folder, Found, LEASE_TIMEOUT, file, folder};
use crate::sys::posix::{errno, owner};

const OPERATION: &str = "attach to";
/// Others may keep removing and making it.
const ROUNDS: usize = 64;

pub(super) fn path(owner: u32, name: &str) -> PathBuf {
    shm::path(&folder_of(owner)).join(name)
}

fn folder_of(owner: u32) -> String {
    format!(".sharemap-{owner}")
}

/// Opens a companion that exists, for asking, without waiting. `None`: there is none to be seen.
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

/// Opens the companion of an object of `owner`, or makes it: as `owner`, or as root in the name of
/// `owner`.
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
            // Others look here only as long as both have their names.
            Found::File(file) if is_at(&folder, &shared, &place) => return Ok(file),
            Found::File(_) => {}
            Found::Missing => make_file(&folder, owner, name)?,
            // In a directory that none but its owner and root can change.
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

/// Makes the directory of `owner`. It has its name when it is its owner's: a maker that is killed
/// leaves an empty directory under a hidden name.
fn make_folder(shared: &OwnedFd, owner: u32) -> Result<()> {
    let place = folder_of(owner);
    let private = Mode::RWXU;
    if rustix::process::geteuid().as_raw() == owner {
        return match rustix::fs::mkdirat(shared, &*place, private) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(failed(errno)),
        };
    }
    // Without the sticky bit others could put another directory into the place of the one made here.
    let stat = rustix::fs::fstat(shared).map_err(failed)?;
    if stat.st_mode & 0o022 != 0 && stat.st_mode & Mode::SVTX.bits() == 0 {
        return Err(Error::new(ErrorKind::PermissionDenied, OPERATION).with_detail(
            "/dev/shm has no sticky bit, so that root makes nothing there for another user; chmod \
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
            // Another process made it; or removed this one, which was empty.
            Errno::EXIST | Errno::NOENT => Ok(()),
            errno => Err(failed(errno)),
        }
    })
}

/// Makes a companion, which has its name when it is its owner's.
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
        // Another process was first, or removed the directory.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Moves what another user put into the place of a directory out of the way, if this is root: no
/// process uses it. Others get the error that says what root is to do.
///
/// Nothing is followed, and nothing is deleted but an empty directory, whichever that is: those who
/// make one there make it again.
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
        // Another process of root's was faster, and this is the directory that it made.
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
            "{path}, where the companions of user {owner} go, belongs to {}; remove it as root: rm \
             -r {path}",
            owner::described(user)
        ),
        Flaw::NoDirectory(user) => format!(
            "{path}, where the companions of user {owner} go, is no directory, and belongs to {}; \
             remove it as that user or as root: rm {path}",
            owner::described(user)
        ),
        Flaw::Writable => format!(
            "{path}, where the companions of user {owner} go, may be written to by others; let only \
             its owner write to it: chmod 700 {path}"
        ),
    };
    Error::new(ErrorKind::PermissionDenied, OPERATION).with_detail(detail)
}

#[cold]
fn failed(errno: Errno) -> Error {
    errno::error(OPERATION, errno).with_detail(
        "its file system cannot carry the locks that tell who lives, and the companion in /dev/shm \
         cannot be had",
    )
}
