//! Opens and unlinks objects in files, by paths that other processes may change meanwhile.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::file::{flags_of, open_error, open_named, status_from};
use super::owner;
use super::pass::identity_from;
use super::walk::{self, Last};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::os::walk::open_without_links;
use crate::sys::{OpenRequest, OpenedFile, Owner};

pub(crate) use super::walk::remove_made;

/// Opens an object in an existing file. Owner and link count of a regular file are judged on the
/// open descriptor.
pub(crate) fn open_object(path: &Path, request: OpenRequest, owner: Owner) -> Result<OpenedFile> {
    const OPERATION: &str = "open";
    let flags = flags_of(request);
    let mut vouched_by = None;
    let opened = match open_named(Duration::ZERO, || open_without_links(path, flags)) {
        // The path has links, the call is missing or forbidden, or another process holds a lease.
        Err(Errno::LOOP | Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::AGAIN) => {
            let entry = walk::entry(path, owner, Last::Followed, OPERATION)?;
            vouched_by = entry.vouched_by;
            match open_named(Duration::ZERO, || entry.open(flags)) {
                Err(Errno::AGAIN) => {
                    // An object of a refused owner is not worth waiting for.
                    if let Ok(stat) = entry.stat() {
                        owner::check_owner(&stat, owner)?;
                    }
                    open_named(request.timeout, || entry.open(flags))
                }
                opened => opened,
            }
        }
        opened => opened,
    };
    let (file, stat) = opened.map_err(|errno| open_error(path, request, errno))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        owner::check_owner(&stat, owner)?;
        owner::check_links(&stat)?;
        if let Some(user) = vouched_by.filter(|&user| user != stat.st_uid) {
            return Err(Error::new(ErrorKind::ForeignOwner, OPERATION).with_detail(format!(
                "it belongs to {}, and links of {} lead to it; name the file itself",
                owner::described(stat.st_uid),
                owner::described(user)
            )));
        }
    }
    opened_from(file, &stat)
}

/// Returns an open file with what `fstat` has just told of it.
pub(crate) fn opened_from(file: File, stat: &Stat) -> Result<OpenedFile> {
    let status = status_from(&file, stat)?;
    Ok(OpenedFile { file, status, identity: identity_from(stat) })
}

/// Unlinks an object in a file. With `only`, unlinks the file of that identity only.
pub(crate) fn unlink_object(path: &Path, only: Option<[u64; 2]>) -> Result<()> {
    walk::entry(path, Owner::Own, Last::Followed, "unlink")?.unlink(only)
}
