//! Shared memory objects on Linux: files in `/dev/shm`, and memfds.
//!
//! A named object gets its name once it is complete, so no process opens an incomplete one. Until then it is
//! a draft (`unlinked.rs`), which the kernel or a later creator removes if its creator is killed.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, StatxFlags};
use rustix::io::{Errno, retry_on_intr};

use super::directory::SHM;
use super::new_object::{make_room, room_left, share};
use super::unlinked::Draft;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::posix::entry::description;
use crate::sys::posix::file::{deadline, leased, open_leased};
use crate::sys::posix::objects::opened_from;
use crate::sys::posix::{errno, owner};
use crate::sys::{CreateObject, Existing, Lifetime, ObjectStatus, OpenObject, OpenedFile};

pub(crate) use super::file::reopen_for as reopen;
pub(crate) use super::memfd::{anonymous, is_memory, seal, seals};
pub(crate) use super::new_object::no_room;

/// Returns the path of the object of this name.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(SHM).join(name)
}

/// Opens the directory of named objects, for lookups only.
pub(super) fn directory() -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(SHM, flags, Mode::empty()).map_err(absent)
}

/// Returns the error for a directory of named objects that cannot be opened.
#[cold]
fn absent(errno: Errno) -> Error {
    let error = errno::error("find shared memory in", errno).with_path(Some(Path::new(SHM)));
    match errno {
        Errno::NOENT | Errno::NOTDIR => error.with_detail(format!(
            "named shared memory needs a tmpfs mounted there (mount -t tmpfs -o mode=1777 tmpfs \
             {SHM})"
        )),
        _ => error,
    }
}

/// Adds to a failed creation why the directory accepts no further object, and the remedy.
#[cold]
fn refused_by(directory: &OwnedFd, error: Error) -> Error {
    let errno = error.os_code().map_or(Errno::IO, Errno::from_raw_os_error);
    match errno {
        Errno::ROFS => error.with_detail(format!(
            "{SHM} is mounted read-only; mount it for writing (mount -o remount,rw \
             {SHM})"
        )),
        Errno::NOSPC => match rustix::fs::fstatvfs(directory) {
            Ok(volume) if volume.f_files > 0 && volume.f_ffree == 0 => error.with_detail(format!(
                "all {} inodes of {SHM} are in use; remove what is left over (`sharemap \
                 ls`), or allow more (mount -o remount,nr_inodes=… {SHM})",
                volume.f_files
            )),
            Ok(volume) => room_left(SHM, &volume, error),
            Err(_) => error,
        },
        Errno::ACCESS | Errno::PERM => match rustix::fs::fstat(directory) {
            Ok(stat) if stat.st_mode & 0o1777 != 0o1777 => error.with_detail(format!(
                "{SHM} belongs to user {} and has mode {:o}; let every user create objects \
                 there (chmod 1777 {SHM})",
                stat.st_uid,
                stat.st_mode & 0o7777
            )),
            _ => error,
        },
        _ => error,
    }
}

/// Returns `true`: a named object is complete when it gets its name.
pub(crate) fn is_named_when_whole(_: &File) -> bool {
    true
}

/// The lock of a name while its object is being created. Linux needs none, because objects get their names when
/// they are complete.
#[derive(Debug)]
pub(crate) struct Making;

/// Returns at once, because there is no lock to acquire.
pub(crate) fn making(_: &str) -> Result<Option<Making>> {
    Ok(Some(Making))
}

/// Returns `false`: an object that has a name is complete.
pub(crate) fn is_being_made(_: &str) -> Result<bool> {
    Ok(false)
}

/// Creates an object, calls `fill`, and then gives the object its name.
pub(crate) fn create(
    request: &CreateObject<'_>,
    fill: &mut dyn FnMut(&File) -> Result<()>,
) -> Result<File> {
    const OPERATION: &str = "create";
    if request.lifetime == Lifetime::Attached {
        return Err(Error::new(ErrorKind::Unsupported, OPERATION).with_detail(
            "Linux keeps a named object until it is unlinked; use `Lifetime::UntilUnlink`",
        ));
    }
    let directory = directory()?;
    let taken = rustix::fs::statat(&directory, request.name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    if taken && request.existing == Existing::Refused {
        // Checked first to avoid a useless allocation. Publishing checks it again, atomically.
        return Err(errno::error(OPERATION, Errno::EXIST));
    }
    let draft = Draft::new(&directory).map_err(|error| refused_by(&directory, error))?;
    share(&draft.file, request.sharing)?;
    make_room(&draft.file, request)?;
    fill(&draft.file)?;
    draft.publish(request.name, request.existing).map_err(|error| match error.kind() {
        ErrorKind::NoSpace => refused_by(&directory, error),
        _ => error,
    })
}

/// Opens the object of this name. It must be a regular file with a single name and an accepted owner, and not
/// a link, FIFO, directory or device.
pub(crate) fn open(request: &OpenObject<'_>) -> Result<OpenedFile> {
    const OPERATION: &str = "open";
    let directory = directory()?;
    let mut flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    flags |= if request.write { OFlags::RDWR } else { OFlags::RDONLY };
    let squatted = |what: &str| {
        Error::new(ErrorKind::NotAnObject, OPERATION).with_detail(format!("{what} has its name"))
    };
    // Another process may unlink the file between the lookup and the check of its links. The rounds bound
    // the retries; a process that exhausts them could unlink the object in any case.
    const ROUNDS: usize = 8;
    let deadline = deadline(request.timeout);
    let try_open = || {
        let open = || rustix::fs::openat(&directory, request.name, flags, Mode::empty());
        retry_on_intr(open).map(File::from)
    };
    for _ in 0..ROUNDS {
        let opened = match try_open() {
            Err(Errno::AGAIN) => {
                // An object of a refused owner is not worth waiting for.
                let link = AtFlags::SYMLINK_NOFOLLOW;
                if let Ok(stat) = rustix::fs::statat(&directory, request.name, link) {
                    owner::check_owner(&stat, request.owner)?;
                }
                open_leased(deadline, try_open)
            }
            opened => opened,
        };
        let file = match opened {
            Ok(file) => file,
            Err(Errno::AGAIN) => {
                return Err(leased(errno::error(OPERATION, Errno::AGAIN), request.timeout));
            }
            Err(Errno::LOOP) => return Err(squatted("a symbolic link")),
            Err(Errno::ISDIR) => return Err(squatted("a directory")),
            Err(Errno::NXIO) => return Err(squatted("a socket, or a missing device,")),
            Err(errno) => return Err(open_error(&directory, request, errno)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|errno| errno::error(OPERATION, errno))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(squatted("a directory")),
            FileType::Fifo => return Err(squatted("a FIFO")),
            _ => return Err(squatted("a device")),
        }
        owner::check_owner(&stat, request.owner)?;
        owner::check_links(&stat)?;
        if stat.st_nlink > 0 {
            return opened_from(file, &stat);
        }
    }
    Err(errno::error(OPERATION, Errno::NOENT))
}

/// Returns the error of a failed open, with the owner and mode of an object of another user.
#[cold]
fn open_error(directory: &OwnedFd, request: &OpenObject<'_>, errno: Errno) -> Error {
    let error = errno::error("open", errno);
    let denied = matches!(errno, Errno::ACCESS | Errno::PERM);
    match rustix::fs::statat(directory, request.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if denied => match owner::is_own(stat.st_uid) {
            false => error.with_detail(format!(
                "it belongs to {} and has mode {:o}",
                owner::described(stat.st_uid),
                stat.st_mode & 0o7777
            )),
            true if request.write => error.with_kind(ErrorKind::NotWritable),
            true => error,
        },
        _ => error,
    }
}

/// Returns `true` if the name leads to this object. A symbolic link does not, because opening refuses it.
pub(crate) fn is_linked(name: &str, file: &File) -> Result<Option<bool>> {
    const OPERATION: &str = "look up";
    let failed = |errno| errno::error(OPERATION, errno);
    let directory = directory()?;
    let named = match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => named,
        Err(Errno::NOENT) => return Ok(Some(false)),
        Err(errno) => return Err(failed(errno)),
    };
    let own = rustix::fs::fstat(file).map_err(failed)?;
    Ok(Some((named.st_dev, named.st_ino) == (own.st_dev, own.st_ino)))
}

/// Removes the name. Processes that have the object open keep it.
pub(crate) fn unlink(name: &str) -> Result<()> {
    let directory = directory()?;
    let found = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW);
    match found.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Ok(FileType::RegularFile) | Err(_) => {}
        Ok(other) => {
            return Err(
                Error::new(ErrorKind::NotAnObject, "unlink").with_detail(description(other))
            );
        }
    }
    rustix::fs::unlinkat(&directory, name, AtFlags::empty()).map_err(|errno| {
        let error = errno::error("unlink", errno);
        match errno {
            Errno::PERM | Errno::ACCESS => error.with_detail("only its owner can unlink it"),
            _ => error,
        }
    })
}

/// Returns the files of the directory and of its subdirectories (some programs create their objects there),
/// sorted by name. A name includes its subdirectory.
pub(crate) fn list() -> Result<Vec<ObjectStatus>> {
    let mut found = Vec::new();
    let shared = directory()?;
    let below = visit(&shared, Path::new("."), &mut found).map_err(absent)?;
    for name in below {
        // A private directory of another user, or an entry that has replaced it.
        let _ = visit(&shared, &name, &mut found);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Adds the files of a directory, opened once without following a link. Returns the names of its
/// subdirectories.
fn visit(
    shared: &OwnedFd,
    folder: &Path,
    found: &mut Vec<ObjectStatus>,
) -> std::result::Result<Vec<PathBuf>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = retry_on_intr(|| rustix::fs::openat(shared, folder, flags, Mode::empty()))?;
    let is_top = folder == Path::new(".");
    let mut folders = Vec::new();
    for entry in Dir::read_from(&opened)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        // Another process may have unlinked the entry.
        let Ok(stat) = rustix::fs::statx(&opened, name, flags, wanted) else { continue };
        // The name must not have the form `./name`.
        let name = if is_top { PathBuf::from(name) } else { folder.join(name) };
        match FileType::from_raw_mode(stat.stx_mode.into()) {
            FileType::RegularFile => found.push(ObjectStatus {
                path: Some(Path::new(SHM).join(&name)),
                name: name.into_os_string(),
                len: Some(stat.stx_size),
                allocated: Some(stat.stx_blocks.saturating_mul(512)),
                user: Some(stat.stx_uid),
                mode: Some(u32::from(stat.stx_mode) & 0o7777),
                created: (stat.stx_mask & StatxFlags::BTIME.bits() != 0)
                    .then(|| time(stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)),
                modified: Some(time(stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec)),
            }),
            FileType::Directory => folders.push(name),
            _ => {}
        }
    }
    Ok(folders)
}

/// Converts a time since the epoch, which may be negative.
fn time(seconds: i64, nanoseconds: u32) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let base = match seconds {
        0.. => SystemTime::UNIX_EPOCH.checked_add(whole),
        _ => SystemTime::UNIX_EPOCH.checked_sub(whole),
    };
    base.unwrap_or(SystemTime::UNIX_EPOCH) + Duration::from_nanos(nanoseconds.into())
}
