//! Objects that are being made: without a name, or with a hidden one for as long as it takes.
//!
//! A file with a hidden name is locked (`flock`) by whoever makes it, so that one whose maker was
//! killed is known, and swept by the next who has to make a hidden name.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use rustix::fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use crate::error::{ErrorKind, Result};
use crate::sys::Existing;
use crate::sys::posix::{errno, owner};

/// No valid name of an object begins so.
const HIDDEN: &str = ".sharemap-new-";

/// An object on its way to a name.
pub(super) struct Draft<'a> {
    pub(super) file: File,
    directory: &'a OwnedFd,
    /// The name that it has meanwhile.
    hidden: Option<Hidden<'a>>,
}

/// A name that is taken away in the end.
struct Hidden<'a> {
    directory: &'a OwnedFd,
    name: String,
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // Another name by now, where all went well.
        let _ = rustix::fs::unlinkat(self.directory, self.name.as_str(), AtFlags::empty());
    }
}

impl<'a> Draft<'a> {
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
        // A file system without nameless files, or no /proc to name them through.
        sweep(directory);
        loop {
            let name = hidden_name();
            let new = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            match retry_on_intr(|| rustix::fs::openat(directory, name.as_str(), new, private)) {
                Ok(file) => {
                    let (file, hidden) = (File::from(file), Hidden { directory, name });
                    // Somebody may have swept it before it was locked.
                    if lock(&file) && rustix::fs::fstat(&file).is_ok_and(|stat| stat.st_nlink == 1)
                    {
                        return Ok(Self { file, directory, hidden: Some(hidden) });
                    }
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno::error("create", errno)),
            }
        }
    }

    /// Gives it the name that it is to have.
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

    fn appear(self, name: &str) -> rustix::io::Result<File> {
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

    fn replace(mut self, name: &str) -> rustix::io::Result<File> {
        if self.hidden.is_none() {
            sweep(self.directory);
            lock(&self.file);
        }
        let hidden = match self.hidden.take() {
            Some(hidden) => hidden,
            None => loop {
                let name = hidden_name();
                match self.link(&name) {
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

    /// The first name of what has none.
    fn link(&self, name: &str) -> rustix::io::Result<()> {
        let from = link_of(&self.file);
        rustix::fs::linkat(CWD, from.as_str(), self.directory, name, AtFlags::SYMLINK_FOLLOW)
    }
}

pub(super) fn link_of(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Returns `true` if [`hidden_name`] could have generated the name: process, number, nanoseconds.
pub(super) fn is_hidden_name(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(HIDDEN) else { return false };
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    rest.split('-').count() == 3 && rest.split('-').all(is_number)
}

/// Returns a hidden name for an entry that is being created.
pub(super) fn hidden_name() -> String {
    format!("{HIDDEN}{}", unique())
}

/// Returns three numbers that no other process or call uses.
pub(super) fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{number}-{}", std::process::id(), now.as_nanos())
}

fn lock(file: &File) -> bool {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

fn unlock(file: &File) {
    let _ = rustix::fs::flock(file, FlockOperation::Unlock);
}

/// Removes the drafts of this user's killed processes: files and empty directories with a hidden
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
            // While this process holds the lock, no creator is alive. Processes unlink such a name
            // only while holding the lock, so it is still this file's only name.
            Ok(FileType::RegularFile) if lock(&file) => {
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
