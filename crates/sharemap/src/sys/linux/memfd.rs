//! Memory without a name, and seals.

use std::ffi::CString;
use std::fs::File;

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::{Errno, retry_on_intr};

use super::shm::{make_room, share};
use super::unlinked::link_of;
use super::{file, process};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::posix::errno;
use crate::sys::{Access, CreateObject, HugePages, Seals};

/// Memory without a name (a memfd, which can be sealed); `label` shows in `/proc`.
pub(crate) fn anonymous(label: &str, request: &CreateObject<'_>, huge: HugePages) -> Result<File> {
    const OPERATION: &str = "create anonymous shared memory";
    let failed = |errno| errno::error(OPERATION, errno);
    let label = CString::new(label).map_err(|_| failed(Errno::INVAL))?;
    let mut flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    if huge == HugePages::Reserved {
        flags |= MemfdFlags::HUGETLB;
    }
    // Without execution where the kernel (6.3) knows how to say it.
    let file = match rustix::fs::memfd_create(&label, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(&label, flags),
        result => result,
    };
    let file = file.map(File::from).map_err(|errno| {
        let error = failed(errno);
        match errno {
            Errno::NOENT | Errno::NODEV | Errno::NOSYS if huge == HugePages::Reserved => {
                error.with_kind(ErrorKind::Unsupported).with_detail("this kernel has no huge pages")
            }
            _ => error,
        }
    })?;
    share(&file, request.sharing)?;
    if huge != HugePages::Reserved && !request.sparse {
        within_memory(request.len)?;
    }
    let len = match huge {
        HugePages::Reserved => {
            let page = process::huge_page_size().unwrap_or_else(super::map::page_size);
            // Mapped, it would get the length of its reservation anyway, without pages behind it.
            let max = request.max.max(request.len);
            max.checked_next_multiple_of(page as u64)
                .ok_or_else(|| Error::new(ErrorKind::Overflow, OPERATION).with_length(max))?
        }
        _ => request.len,
    };
    make_room(&file, &CreateObject { len, ..*request })?;
    Ok(file)
}

/// A memfd has no file system that could be full: taking more than there is would end processes.
fn within_memory(len: u64) -> Result<()> {
    match process::available_memory() {
        Some(available) if len > available => {
            Err(Error::new(ErrorKind::NoSpace, "create anonymous shared memory")
                .with_length(len)
                .with_detail(format!("{available} bytes of memory and swap are available")))
        }
        _ => Ok(()),
    }
}

/// A description of its own: its locks and its position are nobody else's.
pub(crate) fn reopen(file: &File, access: Access) -> Result<File> {
    let flags = match access {
        Access::Write => OFlags::RDWR,
        Access::Read | Access::CopyOnWrite => OFlags::RDONLY,
    };
    let link = link_of(file);
    retry_on_intr(|| rustix::fs::open(link.as_str(), flags | OFlags::CLOEXEC, Mode::empty()))
        .map(File::from)
        .map_err(|errno| {
            let error = errno::error("open again", errno);
            match errno {
                Errno::NOENT => error.with_detail("that needs /proc"),
                Errno::ACCESS | Errno::PERM if access == Access::Write => {
                    error.with_kind(ErrorKind::NotWritable)
                }
                _ => error,
            }
        })
}

const SEALS: [(Seals, SealFlags); 3] = [
    (Seals::SHRINK, SealFlags::SHRINK),
    (Seals::GROW, SealFlags::GROW),
    (Seals::WRITE, SealFlags::WRITE),
];

pub(crate) fn seal(file: &File, seals: Seals) -> Result<()> {
    let wanted = SEALS.iter().filter(|(seal, _)| seals.contains(*seal)).map(|(_, flag)| *flag);
    rustix::fs::fcntl_add_seals(file, wanted.collect()).map_err(|errno| {
        let error = errno::error("seal", errno).with_detail(match errno {
            Errno::BUSY => "somebody has it mapped for writing",
            Errno::PERM => {
                "only writable memory without a name, whose seals are not sealed, takes seals"
            }
            _ => "only memory without a name (a memfd) takes seals",
        });
        match errno {
            Errno::PERM | Errno::INVAL => error.with_kind(ErrorKind::Unsupported),
            _ => error,
        }
    })
}

pub(crate) fn seals(file: &File) -> Result<Seals> {
    match rustix::fs::fcntl_get_seals(file) {
        Ok(flags) => Ok(SEALS
            .iter()
            .filter(|(_, flag)| flags.contains(*flag))
            .fold(Seals::NONE, |seals, (seal, _)| seals | *seal)),
        // A file that cannot have any.
        Err(Errno::INVAL) => Ok(Seals::NONE),
        Err(errno) => Err(errno::error("ask the seals of", errno)),
    }
}

pub(crate) fn is_memory(file: &File) -> std::result::Result<(), String> {
    match file::file_system(file) {
        Ok(name) if ["tmpfs", "hugetlbfs", "ramfs"].contains(&name.as_str()) => Ok(()),
        Ok(name) => Err(format!("it is a file on {name}")),
        Err(error) => Err(error.to_string()),
    }
}
