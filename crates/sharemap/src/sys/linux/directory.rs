//! Opens a directory once, for calls that take its descriptor.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::sys::posix::owner;

/// The directory of named shared memory.
pub(super) const SHM: &str = "/dev/shm";

/// The flag that keeps an inspection from counting as an access.
pub(in crate::sys) const QUIETLY: OFlags = OFlags::NOATIME;

/// Opens a directory. Links on the path are followed if root or this user owns them; the last
/// component must not be a link.
pub(in crate::sys) fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    /// The kernel's own limit of links in a path.
    const MOST_LINKS: usize = 40;
    let start = |absolute| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(if absolute { "/" } else { "." }, flags, Mode::empty())
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if path == Path::new(SHM) {
        // `/dev/shm` belongs to root, and is a link on some systems.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        return rustix::fs::open(path, flags, Mode::empty());
    }
    let mut at = start(path.is_absolute())?;
    let mut rest = parts(path);
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        let next = rustix::fs::openat(&at, &part, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&next)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => at = next,
            FileType::Symlink if !rest.is_empty() && owner::may_lead(stat.st_uid) => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = rustix::fs::readlinkat(&next, "", Vec::new())?;
                let target = OsString::from_vec(target.into_bytes());
                let target = Path::new(&target);
                if target.is_absolute() {
                    at = start(true)?;
                }
                let mut through = parts(target);
                through.append(&mut rest);
                rest = through;
            }
            FileType::Symlink => return Err(Errno::LOOP),
            _ => return Err(Errno::NOTDIR),
        }
    }
    Ok(at)
}

/// Splits a path into the components that are walked.
fn parts(path: &Path) -> VecDeque<OsString> {
    let part = |component: Component<'_>| match component {
        Component::Normal(_) | Component::ParentDir => Some(component.as_os_str().to_owned()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    };
    path.components().filter_map(part).collect()
}
