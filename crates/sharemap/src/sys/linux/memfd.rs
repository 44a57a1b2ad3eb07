//! Anonymous shared memory (memfds), and seals.

use std::ffi::CString;
use std::fs::File;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use super::file_system::file_system;
use super::new_object::{make_room, share};
use super::process;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::posix::errno;
use crate::sys::{CreateObject, HugePages, Seals};

/// Creates shared memory without a name: a memfd, which can be sealed. `label` appears in `/proc`.
pub(crate) fn anonymous(label: &str, request: &CreateObject<'_>, huge: HugePages) -> Result<File> {
    const OPERATION: &str = "create anonymous shared memory";
    let failed = |errno| errno::error(OPERATION, errno);
    let label = CString::new(label).map_err(|_| failed(Errno::INVAL))?;
    let mut flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    if huge == HugePages::Reserved {
        flags |= MemfdFlags::HUGETLB;
    }
    // Forbids execution, where the kernel supports that (from Linux 6.3 on).
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
            // Mapping the reservation would grow the file to this length anyway, but without pages for it.
            let max = request.max.max(request.len);
            max.checked_next_multiple_of(page as u64)
                .ok_or_else(|| Error::new(ErrorKind::Overflow, OPERATION).with_length(max))?
        }
        _ => request.len,
    };
    make_room(&file, &CreateObject { len, ..*request })?;
    Ok(file)
}

/// Returns an error if `len` bytes exceed the available memory.
///
/// A memfd has no file system that could be full: an allocation of too much memory would make the kernel end
/// processes.
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

const SEALS: [(Seals, SealFlags); 3] = [
    (Seals::SHRINK, SealFlags::SHRINK),
    (Seals::GROW, SealFlags::GROW),
    (Seals::WRITE, SealFlags::WRITE),
];

/// Adds seals to the file.
pub(crate) fn seal(file: &File, seals: Seals) -> Result<()> {
    let wanted = SEALS.iter().filter(|(seal, _)| seals.contains(*seal)).map(|(_, flag)| *flag);
    rustix::fs::fcntl_add_seals(file, wanted.collect()).map_err(|errno| {
        let error = errno::error("seal", errno).with_detail(match errno {
            Errno::BUSY => "a process has it mapped for writing; unmap it first",
            Errno::PERM => "only a writable memfd without `F_SEAL_SEAL` takes further seals",
            _ => "only memory without a name (a memfd) can be sealed",
        });
        match errno {
            Errno::PERM | Errno::INVAL => error.with_kind(ErrorKind::Unsupported),
            _ => error,
        }
    })
}

/// Returns the seals of the file.
pub(crate) fn seals(file: &File) -> Result<Seals> {
    match rustix::fs::fcntl_get_seals(file) {
        Ok(flags) => Ok(SEALS
            .iter()
            .filter(|(_, flag)| flags.contains(*flag))
            .fold(Seals::NONE, |seals, (seal, _)| seals | *seal)),
        // The file cannot have seals.
        Err(Errno::INVAL) => Ok(Seals::NONE),
        Err(errno) => Err(errno::error("read the seals of", errno)),
    }
}

/// Succeeds if the descriptor is of shared memory. Otherwise fails with the kind of file that it is.
pub(crate) fn is_memory(file: &File) -> std::result::Result<(), String> {
    match file_system(file) {
        Ok(name) if ["tmpfs", "hugetlbfs", "ramfs"].contains(&name.as_str()) => Ok(()),
        Ok(name) => Err(format!("it is a file on {name}")),
        Err(error) => Err(error.to_string()),
    }
}
