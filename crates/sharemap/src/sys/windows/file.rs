//! Opens, reads and queries files. `space` changes their length and storage.

#![allow(unsafe_code, reason = "calls that std does not have")]

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind as ErrorOfIo, Read};
use std::ops::Range;
use std::os::windows::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::os::windows::io::{AsHandle, AsRawHandle};
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_INVALID_PARAMETER, HANDLE};
use windows_sys::Win32::Security::Authorization::SE_FILE_OBJECT;
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_READONLY, FILE_FLAG_BACKUP_SEMANTICS,
    FILE_FLAG_OPEN_REPARSE_POINT, FILE_STANDARD_INFO, FILE_TYPE_DISK, FileStandardInfo,
    GetFileInformationByHandleEx, GetFileType, GetVolumeInformationByHandleW,
};

use super::section::section_len;
use super::security::check_owner;
use super::{code, pass};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{
    CacheStatus, Create, FileIdentity, FileKind, FileStatus, OpenRequest, OpenedFile, Owner,
    ReadStep,
};

pub(crate) use crate::sys::plain_file_system::{FileSystem, kind_of_system};

pub(crate) use super::space::{allocate, data_extents, free_space, punch_hole, set_len};

/// A type that has a handle: a file, a device, or a borrowed or owned handle.
///
/// Every type that implements [`AsHandle`] (on Unix, `AsFd`) implements this trait, so there is nothing to
/// implement.
///
/// # Examples
/// ```no_run
/// use sharemap::{AsDescriptor, MappingMut};
///
/// fn first_byte(file: impl AsDescriptor) -> sharemap::Result<u8> {
///     MappingMut::map(file)?.bytes().get(0)
/// }
/// ```
pub trait AsDescriptor: AsHandle {
    /// Duplicates the handle. The duplicate refers to the same open file, and child processes do not inherit
    /// it.
    #[doc(hidden)]
    fn duplicate_descriptor(&self) -> Result<File>;
}

impl<T: AsHandle> AsDescriptor for T {
    fn duplicate_descriptor(&self) -> Result<File> {
        self.as_handle()
            .try_clone_to_owned()
            .map(File::from)
            .map_err(|error| code::from_io("duplicate the handle", error))
    }
}

/// Returns a second handle of the same open file.
pub(crate) fn duplicate(file: &File) -> Result<File> {
    file.duplicate_descriptor()
}

/// Opens an object in an existing file. Follows symbolic links of any owner: by default only
/// administrators can create them. An open file keeps its name here.
pub(crate) fn open_object(path: &Path, request: OpenRequest, owner: Owner) -> Result<OpenedFile> {
    let opened = OpenedFile::of(open(path, request)?)?;
    if opened.status.kind == FileKind::Regular {
        check_owner(&opened.file, SE_FILE_OBJECT, owner)?;
        check_links(&opened.file)?;
    }
    Ok(opened)
}

/// Unlinks a regular file. With `only`, unlinks the file of that identity only.
pub(crate) fn unlink_object(path: &Path, only: Option<[u64; 2]>) -> Result<()> {
    const OPERATION: &str = "unlink";
    let failed = |error| code::from_io(OPERATION, error);
    let found = path.symlink_metadata().map_err(failed)?;
    if found.is_dir() {
        return Err(Error::new(ErrorKind::IsDirectory, OPERATION));
    }
    if !found.is_file() {
        return Err(Error::new(ErrorKind::NotAnObject, OPERATION)
            .with_detail("it is a symbolic link or a special file, not an object"));
    }
    if let Some(only) = only {
        // The share modes of other handles do not forbid a handle without access rights.
        let named = OpenOptions::new()
            .access_mode(0)
            .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT)
            .open(path)
            .map_err(failed)?;
        if !pass::is_same(pass::identity(&named)?, only) {
            return Err(Error::new(ErrorKind::NotFound, OPERATION)
                .with_detail("another file has its name now; try again"));
        }
    }
    std::fs::remove_file(path).map_err(failed)
}

/// Unlinks a file that this process has just created, if it still has that name.
pub(crate) fn remove_made(path: &Path, made: [u64; 2]) {
    let _ = unlink_object(path, Some(made));
}

/// Opens a file by path, following links.
///
/// Fails with `IsDirectory` for directories, and with `NotWritable` for files that this user can only read.
pub(crate) fn open(path: &Path, request: OpenRequest) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(request.write);
    match request.create {
        Create::Never => {}
        Create::New => drop(options.create_new(true)),
        Create::IfMissing => drop(options.create(true)),
    }
    if request.exclusive {
        options.share_mode(0);
    }
    options.open(path).map_err(|source| {
        let denied = source.raw_os_error() == Some(ERROR_ACCESS_DENIED as i32);
        let error = code::from_io("open", source);
        match std::fs::metadata(path).map(|metadata| metadata.file_attributes()) {
            Ok(attributes) if denied && attributes & FILE_ATTRIBUTE_DIRECTORY != 0 => {
                error.with_kind(ErrorKind::IsDirectory)
            }
            Ok(attributes)
                if denied && request.write && attributes & FILE_ATTRIBUTE_READONLY != 0 =>
            {
                error
                    .with_kind(ErrorKind::NotWritable)
                    .with_detail("it may only be read; map it read-only or copy-on-write")
            }
            Ok(_) if denied && request.write && File::open(path).is_ok() => error
                .with_kind(ErrorKind::NotWritable)
                .with_detail("it may only be read; map it read-only or copy-on-write"),
            _ => error,
        }
    })
}

/// Returns `true` if the path, links followed, leads to this file.
pub(crate) fn is_linked(path: &Path, file: &File) -> Result<bool> {
    // The share modes of other handles do not forbid a handle without access rights.
    let named =
        OpenOptions::new().access_mode(0).custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(path);
    match named.map_err(|error| code::from_io("look up", error)) {
        Ok(named) => Ok(pass::is_same(pass::identity(&named)?, pass::identity(file)?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        // A deleted file keeps its name until its last handle is closed, but cannot be opened by
        // it.
        Err(_) if standard_information(file).is_some_and(|known| known.DeletePending) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns an error for a file with several names, which may serve another purpose under another
/// name.
pub(super) fn check_links(file: &File) -> Result<()> {
    match standard_information(file).map(|known| known.NumberOfLinks) {
        Some(links) if links > 1 => Err(Error::new(ErrorKind::NotAnObject, "open")
            .with_detail(format!(
                "it has {links} names (hard links), so it may serve another purpose; use a file with \
                 one name"
            ))),
        _ => Ok(()),
    }
}

/// Returns the system's information on a file on a disk. After `None`, [`code::last`] returns the reason.
fn standard_information(file: &File) -> Option<FILE_STANDARD_INFO> {
    let mut info = FILE_STANDARD_INFO::default();
    // SAFETY: the buffer has the type and size of its class.
    let known = unsafe {
        GetFileInformationByHandleEx(
            handle(file),
            FileStandardInfo,
            (&raw mut info).cast(),
            size_of::<FILE_STANDARD_INFO>() as u32,
        )
    };
    (known != 0).then_some(info)
}

/// Returns the file's handle.
pub(super) fn handle(file: &File) -> HANDLE {
    file.as_raw_handle()
}

/// Returns kind and length. Disks and volumes count as special files, which Windows does not map.
/// Sections of the paging file count as regular files.
pub(crate) fn status(file: &File) -> Result<FileStatus> {
    // SAFETY: the call only queries an open handle.
    if unsafe { GetFileType(handle(file)) } != FILE_TYPE_DISK {
        if let Some(len) = section_len(file) {
            return Ok(FileStatus::new(FileKind::Regular, len));
        }
        return Ok(FileStatus::new(FileKind::Special, 0));
    }
    let Some(info) = standard_information(file) else {
        let error = code::last("determine the size of");
        // A volume counts as a disk, but does not have this information.
        return match error.os_code().map(|code| code as u32) {
            Some(ERROR_INVALID_PARAMETER) => Ok(FileStatus::new(FileKind::Special, 0)),
            _ => Err(error),
        };
    };
    Ok(if info.Directory {
        FileStatus::new(FileKind::Directory, 0)
    } else {
        FileStatus::new(FileKind::Regular, info.EndOfFile as u64)
    })
}

/// Returns `None`: handles are not scarce here.
pub(crate) fn identity(_: &File) -> Option<FileIdentity> {
    None
}

/// Returns `false`: no caller asks, because files are not identified here.
pub(crate) fn is_duplicate(_: &File, _: &File) -> bool {
    false
}

/// Returns `false`: a handle shows all writes to its file.
pub(crate) fn may_be_superseded(_: &File) -> bool {
    false
}

/// Returns a second handle of the same open file, which shows later writes as well as a new one would.
pub(crate) fn reopen(file: &File) -> Result<File> {
    duplicate(file)
}

/// Returns `false`: files here have the length that they state.
pub(crate) fn understates_size(_: &File) -> bool {
    false
}

/// Appends the bytes of one read call. A read at an offset moves the handle's position.
pub(crate) fn read_more(file: &File, into: &mut Vec<u8>, from: Option<u64>) -> Result<ReadStep> {
    let before = into.len();
    into.resize(into.capacity(), 0);
    let read = match from {
        Some(from) => file.seek_read(&mut into[before..], from),
        None => (&*file).read(&mut into[before..]),
    };
    into.truncate(before + read.as_ref().map_or(0, |&count| count));
    match read {
        Ok(0) => Ok(ReadStep::End),
        Ok(count) => Ok(ReadStep::Bytes(count)),
        // The other end of a pipe was closed.
        Err(source) if source.kind() == ErrorOfIo::BrokenPipe => Ok(ReadStep::End),
        Err(source) => Err(code::from_io("read", source)),
    }
}

/// Does nothing: reads block here.
pub(crate) fn wait_for_bytes(_: &File) -> Result<()> {
    Ok(())
}

/// Fails with `Unsupported`.
pub(crate) fn cache_status(_: &File, _: Range<u64>) -> Result<CacheStatus> {
    Err(Error::new(ErrorKind::Unsupported, "query the page cache for")
        .with_detail("Windows does not report which pages its file cache holds"))
}

/// Fails with `Unsupported`.
pub(crate) fn evict(_: &File, _: Range<u64>) -> Result<()> {
    Err(Error::new(ErrorKind::Unsupported, "evict")
        .with_detail("Windows has no call that drops a file's cached pages"))
}

/// Makes data and metadata durable, through the drive's own cache (`FlushFileBuffers`).
pub(crate) fn sync_data(file: &File) -> Result<()> {
    if section_len(file).is_some() {
        // A section of the paging file has no durable storage.
        return Ok(());
    }
    file.sync_data()
        .map_err(|error| code::from_io("flush", error).with_kind(ErrorKind::FlushFailed))
}

/// Returns the name of the file system, such as "NTFS".
pub(crate) fn file_system(file: &File) -> Result<String> {
    const ROOM: usize = 64;
    let mut name = [0u16; ROOM];
    // SAFETY: the call returns only the name, whose buffer has the stated length.
    let known = unsafe {
        GetVolumeInformationByHandleW(
            handle(file),
            ptr::null_mut(),
            0,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            name.as_mut_ptr(),
            ROOM as u32,
        )
    };
    if known == 0 {
        return Err(code::last("identify the file system of"));
    }
    let len = name.iter().position(|&unit| unit == 0).unwrap_or(ROOM);
    Ok(String::from_utf16_lossy(&name[..len]))
}

/// Fails with the reason why references to the file's bytes are unsound: other processes can change them.
pub(crate) fn immutable(_: &File) -> std::result::Result<(), String> {
    Err("Windows has no seals, so a process with write access can change the bytes of a reference"
        .into())
}
