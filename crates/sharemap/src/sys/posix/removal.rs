//! Removes exactly the file that was judged.
//!
//! Between a check of a name and the call that unlinks it, another file can get the name. The name
//! is therefore moved, by descriptors, into a private directory beside it, where no other user can
//! change it. The file is identified there, and then removed or moved back. A process that is
//! killed in between leaves the private directory with one file under its old name. [`interrupted`]
//! finds such directories.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};

use super::entry::{Entry, Identity, identity_of, named, open_directory};
use super::errno;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::process::random_id;

const OPERATION: &str = "remove";
/// The prefix of a private directory's name; 32 hexadecimal digits follow.
const PREFIX: &str = ".sharemap-gone-";

/// The mark of a private directory. Another directory of this user has no use for the sticky bit, and a
/// user that can give it such a name cannot set the bit.
const MARK: Mode = Mode::SVTX;

/// A directory of this user with mode 0700, locked (`flock`) while the process lives.
#[derive(Debug)]
struct Locked {
    name: String,
    directory: OwnedFd,
    identity: Identity,
    is_marked: bool,
}

/// A private directory for one removal. Dropping the value removes the directory if it is empty.
struct Private<'a> {
    parent: &'a OwnedFd,
    locked: Locked,
}

/// Removes an entry's name if the name still refers to the entry's file. Returns `false`, and keeps
/// the name, if `is_exclusive` reports that a process waits to open the file.
pub(in crate::sys) fn remove(entry: &Entry, is_exclusive: &dyn Fn() -> bool) -> Result<bool> {
    /// Far less than the time for which the kernel lets a process wait for a lease.
    const LEASE_HOLDS: Duration = Duration::from_secs(1);
    let begun = Instant::now();
    if !is_exclusive() {
        return Ok(false);
    }
    let (parent, name) = (entry.directory(), entry.name());
    let is_same = |found: rustix::io::Result<Identity>| found == Ok(entry.identity());
    let private = Private::new(parent)?;
    let inside = &private.locked.directory;
    if !is_same(named(parent, name)) {
        return Err(renamed());
    }
    rename(parent, inside, name).map_err(|errno| cannot_move(errno, parent))?;
    let is_judged = is_same(named(inside, name));
    if is_judged && is_exclusive() {
        return private.unlink(name);
    }
    match rename(inside, parent, name) {
        Ok(()) if is_judged => Ok(false),
        Ok(()) => Err(renamed()),
        // Another process has created a new file of that name. A process that still waits for the
        // lease has not opened this file, and finds the new one once this file is removed.
        Err(Errno::EXIST) if is_judged && begun.elapsed() < LEASE_HOLDS => private.unlink(name),
        Err(errno) => Err(private.left_behind(entry, errno)),
    }
}

impl Locked {
    /// Opens and locks a directory. `None` if other users may access it, or a process has locked
    /// it.
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
        let own = rustix::process::geteuid().as_raw();
        let is_private = stat.st_uid == own && stat.st_mode & 0o777 == 0o700 && stat.st_nlink > 0;
        let is_marked = Mode::from_raw_mode(stat.st_mode).contains(MARK);
        let identity = identity_of(&stat);
        Ok(is_private.then_some(Self { name, directory, identity, is_marked }))
    }

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
            // Another process may have replaced the directory, or a search for interrupted removals
            // may have locked it in order to remove it. Neither is used.
            match Locked::open(parent, name).map_err(cannot_make)? {
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

    fn unlink(&self, name: &OsStr) -> Result<bool> {
        rustix::fs::unlinkat(&self.locked.directory, name, AtFlags::empty())
            .map_err(|errno| errno::error(OPERATION, errno))?;
        Ok(true)
    }

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

#[cold]
fn renamed() -> Error {
    Error::new(ErrorKind::NotFound, OPERATION)
        .with_detail("another file has its name now; try again")
}

#[cold]
fn cannot_make(errno: Errno) -> Error {
    let error = errno::error(OPERATION, errno);
    match errno {
        Errno::NOSPC | Errno::DQUOT => error.with_detail(
            "no private directory can be made beside it to identify it in: the file system has no \
             inode left; raise their number (mount -o remount,nr_inodes=…)",
        ),
        _ => error.with_detail("no private directory can be made beside it to identify it in"),
    }
}

#[cold]
fn cannot_move(errno: Errno, parent: &OwnedFd) -> Error {
    let error = errno::error(OPERATION, errno);
    match errno {
        Errno::NOENT => renamed(),
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::XDEV => {
            error.with_kind(ErrorKind::Unsupported).with_detail(
                "its file system cannot move it into a private directory without replacing a file \
                 (renameat2), so it cannot be identified there and is not removed",
            )
        }
        Errno::PERM | Errno::ACCESS if is_sticky(parent) => {
            error.with_detail("only its owner can remove it from this directory")
        }
        _ => error,
    }
}

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

/// A removal whose process was killed: a private directory of this user, which this value keeps
/// locked.
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
        // A user that may write to `parent` gave this name to another directory, whose files stay.
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
