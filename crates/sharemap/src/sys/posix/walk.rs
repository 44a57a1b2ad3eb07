//! Walks a path one directory at a time, with each directory held open, and judges the symbolic
//! links.
//!
//! A link is followed if it belongs to root or to this user, like the kernel's rule for sticky
//! directories (`protected_symlinks`). The result is an open directory and a name in it. Later
//! calls act there, even if the path leads elsewhere by then.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::{errno, owner};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::Owner;
use crate::sys::os::walk::{HOLD, step};

/// The entry that a name in a directory refers to.
pub(crate) enum Step {
    /// A directory, held open.
    Folder(OwnedFd),
    /// A symbolic link.
    Link {
        owner: u32,
        /// `None`: a link of procfs, which the kernel resolves by other means than its text.
        target: Option<Vec<u8>>,
    },
    /// An entry of another kind.
    Other,
}

/// The treatment of a link in the last component of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    /// The link is followed.
    Followed,
    /// The link itself is the entry.
    Kept,
}

/// A name in a directory that is held open.
pub(crate) struct Entry {
    /// The directory, held open.
    pub(crate) folder: OwnedFd,
    name: Vec<u8>,
    /// The other user that owns links on the path. The object must belong to that user. `None` if all
    /// links were root's or this user's.
    pub(crate) vouched_by: Option<u32>,
    /// `true` if the name is a link of procfs.
    is_of_procfs: bool,
}

/// Walks `path`. Refuses links of other users. With [`Owner::Any`], follows links of one other
/// user, and the caller checks that the object belongs to that user.
pub(crate) fn entry(
    path: &Path,
    owner: Owner,
    last: Last,
    operation: &'static str,
) -> Result<Entry> {
    // The kernel's own limit of links in a path.
    const MOST_LINKS: usize = 40;
    let failed = |errno| errno::error(operation, errno);
    let start = |path: &[u8]| {
        let from = if path.starts_with(b"/") { "/" } else { "." };
        hold(CWD, from.as_bytes())
    };
    let path = path.as_os_str().as_bytes();
    if path.is_empty() {
        return Err(failed(Errno::NOENT));
    }
    let mut folder = start(path).map_err(failed)?;
    let mut parts = parts_of(path);
    let (mut links, mut vouched_by) = (0, None);
    loop {
        let name = parts.pop_front().unwrap_or_else(|| b".".to_vec());
        let is_last = parts.is_empty();
        if is_last && last == Last::Kept {
            return Ok(Entry { folder, name, vouched_by, is_of_procfs: false });
        }
        let found = match step(&folder, OsStr::from_bytes(&name)) {
            // The caller's open reports the missing file with more detail.
            Err(Errno::NOENT) if is_last => Step::Other,
            found => found.map_err(failed)?,
        };
        match found {
            Step::Folder(_) | Step::Other if is_last => {
                return Ok(Entry { folder, name, vouched_by, is_of_procfs: false });
            }
            Step::Folder(next) => folder = next,
            Step::Other => return Err(failed(Errno::NOTDIR)),
            Step::Link { target: None, .. } if is_last => {
                return Ok(Entry { folder, name, vouched_by, is_of_procfs: true });
            }
            Step::Link { target: None, .. } => folder = hold(&folder, &name).map_err(failed)?,
            Step::Link { owner: made_by, target: Some(target) } => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(failed(Errno::LOOP));
                }
                if !owner::may_lead(made_by) {
                    let is_first = vouched_by.is_none_or(|other| other == made_by);
                    if owner == Owner::Own || !is_first {
                        return Err(refused(&name, made_by, operation));
                    }
                    vouched_by = Some(made_by);
                }
                if target.starts_with(b"/") {
                    folder = start(&target).map_err(failed)?;
                }
                let mut more = parts_of(&target);
                more.append(&mut parts);
                parts = more;
            }
        }
    }
}

/// Returns the directory and the name of a file that this process has just created at `path`. The
/// kernel resolves the directory, as it did for the creation.
fn entry_as_made(path: &Path) -> std::result::Result<Entry, Errno> {
    let name = path.file_name().ok_or(Errno::ISDIR)?.as_bytes().to_vec();
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let folder = hold(CWD, parent.as_os_str().as_bytes())?;
    Ok(Entry { folder, name, vouched_by: None, is_of_procfs: false })
}

/// Unlinks a file that this process has just created at `path`, if it still has that name.
pub(crate) fn remove_made(path: &Path, made: [u64; 2]) {
    if let Ok(entry) = entry_as_made(path) {
        let _ = entry.unlink(Some(made));
    }
}

impl Entry {
    /// Returns the name in the directory.
    pub(crate) fn name(&self) -> &OsStr {
        OsStr::from_bytes(&self.name)
    }

    /// Opens the entry. Follows a symbolic link only if it is one of procfs.
    pub(crate) fn open(&self, flags: OFlags) -> std::result::Result<File, Errno> {
        let nofollow = if self.is_of_procfs { OFlags::empty() } else { OFlags::NOFOLLOW };
        retry_on_intr(|| {
            rustix::fs::openat(&self.folder, self.name(), flags | nofollow, Mode::empty())
        })
        .map(File::from)
    }

    /// Returns the status of the entry itself, without following a link.
    pub(crate) fn stat(&self) -> std::result::Result<Stat, Errno> {
        rustix::fs::statat(&self.folder, self.name(), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Unlinks a regular file. With `only`, unlinks the file of that identity only.
    ///
    /// The check and the unlink are two calls. A user that may write to this directory can exchange
    /// the entry in between, and another entry of the same directory is then unlinked.
    pub(crate) fn unlink(&self, only: Option<[u64; 2]>) -> Result<()> {
        const OPERATION: &str = "unlink";
        let failed = |errno| errno::error(OPERATION, errno);
        let stat = self.stat().map_err(failed)?;
        let no_object = |what: &str| {
            Err(Error::new(ErrorKind::NotAnObject, OPERATION).with_detail(what.to_owned()))
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Error::new(ErrorKind::IsDirectory, OPERATION)),
            FileType::Symlink => return no_object("it is a symbolic link"),
            _ => return no_object("it is a special file"),
        }
        #[allow(clippy::unnecessary_cast, reason = "the types differ between systems")]
        let found = [stat.st_dev as u64, stat.st_ino as u64];
        if only.is_some_and(|only| only != found) {
            return Err(Error::new(ErrorKind::NotFound, OPERATION)
                .with_detail("another file has its name now; try again"));
        }
        rustix::fs::unlinkat(&self.folder, self.name(), AtFlags::empty()).map_err(failed)
    }
}

/// Opens a directory for lookups. The kernel follows links.
fn hold(from: impl AsFd, name: &[u8]) -> std::result::Result<OwnedFd, Errno> {
    let flags = HOLD | OFlags::DIRECTORY | OFlags::CLOEXEC;
    retry_on_intr(|| rustix::fs::openat(from.as_fd(), name, flags, Mode::empty()))
}

/// Splits a path into components. A trailing slash becomes `.`, so that the last entry must be a
/// directory.
fn parts_of(path: &[u8]) -> VecDeque<Vec<u8>> {
    let mut parts: VecDeque<_> = path
        .split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    if path.ends_with(b"/") {
        parts.push_back(b".".to_vec());
    }
    parts
}

/// Returns the error for a link of another user.
#[cold]
fn refused(name: &[u8], made_by: u32, operation: &'static str) -> Error {
    Error::new(ErrorKind::ForeignOwner, operation).with_detail(format!(
        "the symbolic link {} on the path belongs to {}, and only links of root and of this user are \
         followed; name the file that it leads to",
        OsStr::from_bytes(name).to_string_lossy(),
        owner::described(made_by)
    ))
}
