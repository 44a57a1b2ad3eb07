//! Removes exactly the file that was opened.
//!
//! Between a check of a name and the call that unlinks it, another file can get the name. The name is
//! therefore moved, by descriptors, into a private directory beside it, where no other user can change it.
//! The file is identified there, and then removed or moved back. A process that is killed in between
//! leaves the private directory, with the file under its old name or empty. [`interrupted`] finds such
//! directories, and [`Interrupted::restore`] moves the file back.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};

use super::entry::{Entry, Identity, identity_of, named, open_directory};
use super::{errno, owner};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::process::random_id;

const OPERATION: &str = "remove";
/// The prefix of a private directory's name; 32 hexadecimal digits follow.
const PREFIX: &str = ".sharemap-gone-";

/// The mode bit that marks a private directory. A user that may write to the parent can rename another
/// directory of this user to such a name, but cannot set its sticky bit.
const MARK: Mode = Mode::SVTX;

/// A directory of this user with mode 0700, locked (`flock`) while the value exists. The lock tells a
/// removal in progress from an interrupted one.
#[derive(Debug)]
struct Locked {
    name: String,
    directory: OwnedFd,
    identity: Identity,
    is_marked: bool,
}

/// The private directory of one removal. Dropping the value removes the directory if it is empty.
struct Private<'a> {
    parent: &'a OwnedFd,
    locked: Locked,
}

/// Removes an entry's name if the name still refers to the entry's file. Returns `false`, and keeps the
/// name, if `is_exclusive` returns `false`, because a process waits to open the file.
///
/// Fails with `NotFound` if another file has the name.
pub(in crate::sys) fn remove(entry: &Entry, is_exclusive: &dyn Fn() -> bool) -> Result<bool> {
    /// A time for which the lease surely holds: far less than `lease-break-time`.
    const LEASE_HOLDS: Duration = Duration::from_secs(1);
    let begun = Instant::now();
    if !is_exclusive() {
        return Ok(false);
    }
    let (parent, name) = (entry.directory(), entry.name());
    let is_same = |found: rustix::io::Result<Identity>| found == Ok(entry.identity());
    let private = Private::new(parent)?;
    let inside = &private.locked.directory;
    // Before the move, because a move of the wrong file must be undone.
    if !is_same(named(parent, name)) {
        return Err(renamed());
    }
    rename(parent, inside, name).map_err(|errno| cannot_move(errno, parent))?;
    // Death from here on leaves the file in the private directory, and `restore` moves it back. Only in the
    // directory is it certain which file was moved.
    let is_judged = is_same(named(inside, name));
    if is_judged && is_exclusive() {
        return private.unlink(name);
    }
    match rename(inside, parent, name) {
        Ok(()) if is_judged => Ok(false),
        Ok(()) => Err(renamed()),
        // Another process created a new file of that name. A process that still waits for the lease has not
        // opened this file. Once this file is removed, it looks the name up again and finds the new one.
        Err(Errno::EXIST) if is_judged && begun.elapsed() < LEASE_HOLDS => private.unlink(name),
        Err(errno) => Err(private.left_behind(entry, errno)),
    }
}

impl Entry {
    /// Removes the file's name, even if processes use the file.
    pub(crate) fn unlink(&self) -> Result<()> {
        remove(self, &|| true).map(|_| ())
    }
}

impl Locked {
    /// Opens and locks a directory. Returns `None` if it is not a directory of this user with mode 0700, if it
    /// has lost its name, or if a process has locked it.
    fn open(parent: &OwnedFd, name: String) -> rustix::io::Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = match rustix::fs::openat(parent, name.as_str(), flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::ACCESS) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let lock = FlockOperation::NonBlockingLockExclusive;
        if retry_on_intr(|| rustix::fs::flock(&directory, lock)).is_err() {
            return Ok(None);
        }
        let stat = rustix::fs::fstat(&directory)?;
        let own = owner::effective_user();
        let is_private = stat.st_uid == own && stat.st_mode & 0o777 == 0o700 && stat.st_nlink > 0;
        let is_marked = Mode::from_raw_mode(stat.st_mode).contains(MARK);
        let identity = identity_of(&stat);
        Ok(is_private.then_some(Self { name, directory, identity, is_marked }))
    }

    /// Returns the names of the entries of the directory.
    fn entries(&self) -> rustix::io::Result<Vec<OsString>> {
        let mut found = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                found.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(found)
    }

    /// Removes the directory if it is empty.
    fn remove_from(&self, parent: &OwnedFd) {
        if named(parent, OsStr::new(&self.name)) == Ok(self.identity) {
            let _ = rustix::fs::unlinkat(parent, self.name.as_str(), AtFlags::REMOVEDIR);
        }
    }
}

impl<'a> Private<'a> {
    /// Creates, locks and marks a private directory in `parent`.
    fn new(parent: &'a OwnedFd) -> Result<Self> {
        const ROUNDS: usize = 8;
        for _ in 0..ROUNDS {
            let number = u128::from_ne_bytes(random_id()?);
            let name = format!("{PREFIX}{number:032x}");
            match rustix::fs::mkdirat(parent, name.as_str(), Mode::RWXU) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(errno) => return Err(cannot_make(errno)),
            }
            // Another process may have replaced the directory, or a search for interrupted removals may have
            // locked it in order to remove it. In both cases, another directory is created.
            match Locked::open(parent, name).map_err(cannot_make)? {
                // Marked only after it is known to be empty: a marked directory's files are moved back.
                Some(locked) if locked.entries().map_err(cannot_make)?.is_empty() => {
                    rustix::fs::fchmod(&locked.directory, Mode::RWXU | MARK)
                        .map_err(cannot_make)?;
                    return Ok(Self { parent, locked });
                }
                _ => {}
            }
        }
        Err(Error::new(ErrorKind::Busy, OPERATION).with_detail(
            "another process replaced or locked the private directory each time; try again",
        ))
    }

    /// Removes the file in the directory.
    fn unlink(&self, name: &OsStr) -> Result<bool> {
        rustix::fs::unlinkat(&self.locked.directory, name, AtFlags::empty())
            .map_err(|errno| errno::error(OPERATION, errno))?;
        Ok(true)
    }

    /// Returns the error for a file that cannot be moved back.
    #[cold]
    fn left_behind(&self, entry: &Entry, errno: Errno) -> Error {
        let place = entry.path().with_file_name(&self.locked.name);
        errno::error(OPERATION, errno).with_detail(format!(
            "the file of that name was moved to {} and could not be moved back; `sharemap gc {}` moves \
             it back once the name is free",
            place.display(),
            entry.path().display()
        ))
    }
}

impl Drop for Private<'_> {
    fn drop(&mut self) {
        self.locked.remove_from(self.parent);
    }
}

/// Moves a name to another directory, where the name must be free.
fn rename(from: &OwnedFd, to: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    rustix::fs::renameat_with(from, name, to, name, RenameFlags::NOREPLACE)
}

/// Returns the error for a name that no longer refers to the file.
#[cold]
fn renamed() -> Error {
    Error::new(ErrorKind::NotFound, OPERATION)
        .with_detail("another file has its name now; try again")
}

/// Returns the error for a private directory that cannot be created.
#[cold]
fn cannot_make(errno: Errno) -> Error {
    let error = errno::error(OPERATION, errno);
    match errno {
        Errno::NOSPC | Errno::DQUOT => error.with_detail(
            "no private directory can be created beside it, because the file system has no inode left; \
             allow more inodes (mount -o remount,nr_inodes=…)",
        ),
        _ => error.with_detail("no private directory can be created beside it"),
    }
}

/// Returns the error for a name that cannot be moved into the private directory.
#[cold]
fn cannot_move(errno: Errno, parent: &OwnedFd) -> Error {
    let error = errno::error(OPERATION, errno);
    match errno {
        Errno::NOENT => renamed(),
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::XDEV => {
            error.with_kind(ErrorKind::Unsupported).with_detail(
                "its file system cannot move a file without replacing another (renameat2), so the \
                 file cannot be identified in a private directory and is not removed",
            )
        }
        Errno::PERM | Errno::ACCESS if is_sticky(parent) => {
            error.with_detail("only its owner can remove it from this directory")
        }
        _ => error,
    }
}

/// Returns `true` if only the owner of an entry can rename or remove it from the directory.
fn is_sticky(directory: &OwnedFd) -> bool {
    rustix::fs::fstat(directory).is_ok_and(|stat| stat.st_mode & 0o1000 != 0)
}

/// Returns `true` if the name has the form of a private directory's.
pub(in crate::sys) fn is_private_name(name: &OsStr) -> bool {
    let digits = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
    digits.is_some_and(|digits| {
        digits.len() == 32 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// A removal that was interrupted by the death of its process: a private directory of this user. The value
/// keeps it locked, so that only one process restores it.
#[derive(Debug)]
pub(crate) struct Interrupted {
    parent: Arc<OwnedFd>,
    locked: Locked,
    path: PathBuf,
    names: Vec<OsString>,
}

/// Returns the interrupted removals in a directory.
pub(crate) fn interrupted(directory: &Path) -> Result<Vec<Interrupted>> {
    let failed = |errno| errno::error("search", errno);
    let parent = Arc::new(open_directory(directory)?);
    let mut found = Vec::new();
    // `parent` may be a descriptor that cannot be read, only searched.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(&*parent, ".", flags, Mode::empty()).map_err(failed)?;
    for entry in Dir::new(readable).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        let Some(text) = name.to_str().filter(|_| is_private_name(name)) else { continue };
        let Some(locked) = Locked::open(&parent, text.to_owned()).map_err(failed)? else {
            continue;
        };
        let (names, path) = (locked.entries().map_err(failed)?, directory.join(name));
        // Without the mark, this is another directory that was renamed; its files stay. An empty one may also
        // be that of a process that was killed before it set the mark.
        if !locked.is_marked && !names.is_empty() {
            continue;
        }
        found.push(Interrupted { parent: Arc::clone(&parent), locked, path, names });
    }
    Ok(found)
}

impl Interrupted {
    /// Returns the path of the private directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the names of the files in the directory: one, or none.
    pub(crate) fn names(&self) -> &[OsString] {
        &self.names
    }

    /// Moves the file back to its name, and removes the directory.
    pub(crate) fn restore(&self) -> Result<()> {
        for name in &self.names {
            rename(&self.locked.directory, &self.parent, name).map_err(|errno| {
                let error = errno::error("move back", errno);
                match errno {
                    Errno::EXIST => error.with_detail(format!(
                        "another file has the name now; the moved file stays at {}",
                        self.path.join(name).display()
                    )),
                    _ => error,
                }
            })?;
        }
        self.locked.remove_from(&self.parent);
        Ok(())
    }
}
