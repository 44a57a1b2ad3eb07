//! A new object, before it has its name: its group, its permissions, and the memory behind it.

use std::fs::File;

use rustix::fs::{Gid, Mode, Stat, StatVfs};

use super::directory::SHM;
use super::file;
use super::file_system::is_on_hugetlbfs;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::posix::errno;
use crate::sys::{CreateObject, Sharing};

/// Sets the group and the permissions, independently of the umask.
pub(super) fn share(file: &File, sharing: Sharing) -> Result<()> {
    const OPERATION: &str = "share";
    if let Some(group) = sharing.group {
        rustix::fs::fchown(file, None, Some(Gid::from_raw(group))).map_err(|errno| {
            errno::error(OPERATION, errno)
                .with_detail(format!("only a member of group {group} may give it to the group"))
        })?;
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(sharing.mode))
        .map_err(|errno| errno::error(OPERATION, errno))
}

/// Grows a new object to its length, with memory behind every byte unless it is sparse.
pub(super) fn make_room(file: &File, request: &CreateObject<'_>) -> Result<()> {
    if request.sparse {
        return file::set_len(file, request.len);
    }
    file::allocate(file, 0..request.len)
        .map_err(|error| no_room(file, error).with_length(request.len))
}

/// Adds the free space and the remedy to an error of kind `NoSpace`. Returns other errors unchanged.
#[cold]
pub(crate) fn no_room(file: &File, error: Error) -> Error {
    if error.kind() != ErrorKind::NoSpace || is_on_hugetlbfs(file) {
        return error;
    }
    let device = |stat: rustix::io::Result<Stat>| stat.ok().map(|stat| stat.st_dev);
    let is_named = device(rustix::fs::fstat(file)) == device(rustix::fs::stat(SHM));
    match rustix::fs::fstatvfs(file) {
        Ok(volume) if is_named => room_left(SHM, &volume, error),
        Ok(volume) => room_left("its file system", &volume, error),
        Err(_) => error,
    }
}

/// Adds the free space of `place`, and for shared memory the remedy.
pub(super) fn room_left(place: &str, volume: &StatVfs, error: Error) -> Error {
    if volume.f_blocks == 0 {
        return error;
    }
    let remedy = match place {
        SHM => {
            "; remove objects that are left over (`sharemap ls`), mount it larger (mount -o \
             remount,size=… /dev/shm), or start the container with a larger one (docker \
             --shm-size=…)"
        }
        _ => "",
    };
    error.with_detail(format!(
        "{place} has {} of {} bytes free{remedy}",
        volume.f_bfree.saturating_mul(volume.f_frsize),
        volume.f_blocks.saturating_mul(volume.f_frsize),
    ))
}
