//! Drafts: files that are being created, without a name if possible (`O_TMPFILE`), and
//! otherwise under a hidden name.
//!
//! The kernel removes an unnamed draft when its creator dies. A named draft is locked (`flock`) by its
//! creator. If the creator is killed, the kernel releases the lock, and the next process of the same user
//! that creates a named draft removes the file ([`sweep`]).

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags, Stat};
use rustix::io::{Errno, retry_on_intr};
use rustix::path::{Arg, DecInt};

use crate::error::{ErrorKind, Result};
use crate::sys::Existing;
use crate::sys::posix::{errno, owner};
use crate::sys::unique_name::unique;

/// The prefix of hidden names. No valid name of an object begins with a dot.
const HIDDEN: &str = ".sharemap-new-";

/// A file that has not received its name yet. Dropping the value removes the file.
pub(super) struct Draft<'a> {
    pub(super) file: File,
    directory: &'a OwnedFd,
    /// The hidden name; `None` if the draft is unnamed.
    hidden: Option<Hidden<'a>>,
}

/// A hidden name, which is removed on drop.
struct Hidden<'a> {
    directory: &'a OwnedFd,
    name: String,
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // Fails without harm if the draft was renamed to its final name.
        let _ = rustix::fs::unlinkat(self.directory, self.name.as_str(), AtFlags::empty());
    }
}

impl<'a> Draft<'a> {
    /// Creates an empty draft with mode 0600 in `directory`.
    pub(super) fn new(directory: &'a OwnedFd) -> Result<Self> {
        let private = Mode::from_raw_mode(0o600);
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let nameless =
            retry_on_intr(|| rustix::fs::openat(directory, ".", flags | OFlags::TMPFILE, private));
        if let Ok(file) = nameless {
            let file = File::from(file);
            if rustix::fs::access(link_of(&file).as_str(), rustix::fs::Access::EXISTS).is_ok() {
                return Ok(Self { file, directory, hidden: None });
            }
        }
        // The file system has no unnamed files, or there is no `/proc` to name them through.
        Self::hidden(directory)
    }

    /// Creates an empty draft with mode 0600 and a hidden name in `directory`.
    pub(super) fn hidden(directory: &'a OwnedFd) -> Result<Self> {
        let private = Mode::from_raw_mode(0o600);
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        sweep(directory);
        loop {
            let name = hidden_name();
            let new = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            match retry_on_intr(|| rustix::fs::openat(directory, name.as_str(), new, private)) {
                Ok(file) => {
                    let (file, hidden) = (File::from(file), Hidden { directory, name });
                    // Another process may have swept the draft before it was locked. If it has its name
                    // once the lock is held, it keeps it: processes sweep only while they hold the lock.
                    let locked = lock(&file).map_err(|errno| errno::error("create", errno))?;
                    if locked && rustix::fs::fstat(&file).is_ok_and(|stat| stat.st_nlink == 1) {
                        return Ok(Self { file, directory, hidden: Some(hidden) });
                    }
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno::error("create", errno)),
            }
        }
    }

    /// Gives the draft its final name. With [`Existing::Refused`], fails with `AlreadyExists` if the name is
    /// taken.
    pub(super) fn publish(self, name: &str, existing: Existing) -> Result<File> {
        let named = match existing {
            Existing::Refused => self.appear(name),
            Existing::Replaced => self.replace(name),
        };
        named.map_err(|errno| {
            let error = errno::error("create", errno);
            match errno {
                Errno::ISDIR | Errno::NOTEMPTY => {
                    error.with_kind(ErrorKind::NotAnObject).with_detail("a directory has the name")
                }
                Errno::PERM | Errno::ACCESS => error.with_detail(
                    "another user's object has the name, and only its owner can replace it",
                ),
                _ => error,
            }
        })
    }

    /// Names the draft, without replacing a file.
    pub(super) fn appear(self, name: impl Arg) -> rustix::io::Result<File> {
        match &self.hidden {
            None => self.link(name)?,
            Some(hidden) => {
                let directory = self.directory;
                let flags = RenameFlags::NOREPLACE;
                rustix::fs::renameat_with(directory, &*hidden.name, directory, name, flags)?;
                unlock(&self.file);
            }
        }
        Ok(self.file)
    }

    /// Names the draft, replacing a file that has the name.
    ///
    /// Linking an unnamed file cannot replace another, so the file is linked to a hidden name first and then
    /// renamed. Death in between leaves a hidden draft, which the next sweep removes.
    fn replace(mut self, name: &str) -> rustix::io::Result<File> {
        // Locked before it gets the hidden name, so that no process sweeps it.
        if self.hidden.is_none() {
            sweep(self.directory);
            lock(&self.file)?;
        }
        let hidden = match self.hidden.take() {
            Some(hidden) => hidden,
            None => loop {
                let name = hidden_name();
                match self.link(name.as_str()) {
                    Ok(()) => break Hidden { directory: self.directory, name },
                    Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno),
                }
            },
        };
        rustix::fs::renameat(self.directory, &*hidden.name, self.directory, name)?;
        unlock(&self.file);
        Ok(self.file)
    }

    /// Gives an unnamed file its first name.
    fn link(&self, name: impl Arg) -> rustix::io::Result<()> {
        let from = link_of(&self.file);
        rustix::fs::linkat(CWD, from.as_str(), self.directory, name, AtFlags::SYMLINK_FOLLOW)
    }
}

/// A path through `/proc` that leads to an open file. It takes no memory on the heap: each opening of an object needs
/// one.
pub(super) struct Link {
    text: [u8; 32],
    len: usize,
}

impl Link {
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..self.len]).unwrap_or_default()
    }
}

/// Returns a path through `/proc` that leads to an open file.
pub(super) fn link_of(file: &File) -> Link {
    const FOLDER: &[u8] = b"/proc/self/fd/";
    let number = DecInt::from_fd(file);
    let len = FOLDER.len() + number.as_bytes().len();
    let mut text = [0; 32];
    text[..FOLDER.len()].copy_from_slice(FOLDER);
    text[FOLDER.len()..len].copy_from_slice(number.as_bytes());
    Link { text, len }
}

/// Returns `true` if the name has the form of [`hidden_name`]: process id, number, nanoseconds.
pub(super) fn is_hidden_name(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(HIDDEN) else { return false };
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    rest.split('-').count() == 3 && rest.split('-').all(is_number)
}

/// Returns a hidden name for an entry that is being created.
pub(super) fn hidden_name() -> String {
    format!("{HIDDEN}{}", unique())
}

/// Attempts to lock a draft. Returns `false` if another process holds the lock.
fn lock(file: &File) -> rustix::io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn unlock(file: &File) {
    let _ = rustix::fs::flock(file, FlockOperation::Unlock);
}

/// Removes the drafts that killed processes of this user left: files and empty directories with a hidden
/// name and no other name. Does nothing in a directory where another user could replace them.
fn sweep(directory: &OwnedFd) {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let Ok(opened) = rustix::fs::openat(directory, ".", flags | OFlags::DIRECTORY, Mode::empty())
    else {
        return;
    };
    let is_safe = rustix::fs::fstat(&opened)
        .is_ok_and(|stat| stat.st_mode & 0o022 == 0 || stat.st_mode & Mode::SVTX.bits() != 0);
    let Ok(entries) = Dir::new(opened) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !is_safe || !name.to_str().is_ok_and(is_hidden_name) {
            continue;
        }
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let Ok(file) = rustix::fs::openat(directory, name, flags, Mode::empty()) else { continue };
        let file = File::from(file);
        let stat = || rustix::fs::fstat(&file);
        if !stat().is_ok_and(|stat| owner::is_own(stat.st_uid)) {
            continue;
        }
        match stat().map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            // `rmdir` removes only an empty directory; a live creator then creates another.
            Ok(FileType::Directory) => {
                let _ = rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR);
            }
            // This process holds the lock, so the creator is dead. Processes unlink such a name only while
            // they hold the lock, so a name that leads to this file now still does when it is unlinked.
            Ok(FileType::RegularFile) if lock(&file) == Ok(true) => {
                let now = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
                let same = stat().is_ok_and(|stat| {
                    let of = |stat: &Stat| (stat.st_dev, stat.st_ino);
                    stat.st_nlink == 1 && now.is_ok_and(|now| of(&now) == of(&stat))
                });
                if same {
                    let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
                }
            }
            _ => {}
        }
    }
}
