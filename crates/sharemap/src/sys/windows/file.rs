//! Opens, sizes, reads and queries files.

#![allow(unsafe_code, reason = "calls that std does not have")]

use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind as ErrorOfIo, Read};
use std::ops::Range;
use std::os::windows::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::os::windows::io::{AsHandle, AsRawHandle};
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_INVALID_PARAMETER, ERROR_MORE_DATA, HANDLE,
};
use windows_sys::Win32::Security::Authorization::SE_FILE_OBJECT;
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ALLOCATION_INFO, FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_READONLY, FILE_END_OF_FILE_INFO,
    FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT, FILE_INFO_BY_HANDLE_CLASS,
    FILE_STANDARD_INFO, FILE_TYPE_DISK, FileAllocationInfo, FileEndOfFileInfo, FileStandardInfo,
    GetDiskFreeSpaceExW, GetFileInformationByHandleEx, GetFileType, GetFinalPathNameByHandleW,
    GetVolumeInformationByHandleW, SetFileInformationByHandle,
};
use windows_sys::Win32::System::IO::DeviceIoControl;
use windows_sys::Win32::System::Ioctl::{
    FILE_ALLOCATED_RANGE_BUFFER, FILE_ZERO_DATA_INFORMATION, FSCTL_QUERY_ALLOCATED_RANGES,
    FSCTL_SET_SPARSE, FSCTL_SET_ZERO_DATA,
};

use super::section::section_len;
use super::{code, pass, shm};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{
    CacheStatus, Create, FileIdentity, FileKind, FileStatus, OpenRequest, Owner, ReadStep,
};

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
pub(crate) fn open_object(path: &Path, request: OpenRequest, owner: Owner) -> Result<File> {
    let file = open(path, request)?;
    if status(&file)?.kind == FileKind::Regular {
        shm::check_owner(&file, SE_FILE_OBJECT, owner)?;
        shm::check_links(&file)?;
    }
    Ok(file)
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

fn handle(file: &File) -> HANDLE {
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
        let error = code::last("ask the size of");
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

/// Sets one property of the file. Returns `false` if the system refuses; [`code::last`] then returns the
/// reason.
///
/// `T` must be the type that belongs to `class`.
fn set_information<T>(file: &File, class: FILE_INFO_BY_HANDLE_CLASS, information: &T) -> bool {
    // SAFETY: the callers below pass the type that belongs to the class.
    unsafe {
        SetFileInformationByHandle(
            handle(file),
            class,
            ptr::from_ref(information).cast(),
            size_of::<T>() as u32,
        ) != 0
    }
}

/// Converts a length for the system, which has signed ones.
fn signed(len: u64) -> Result<i64> {
    i64::try_from(len).map_err(|_| {
        Error::new(ErrorKind::NoSpace, "change the length of")
            .with_length(len)
            .with_detail("it exceeds the largest possible length of a file")
    })
}

/// Returns the error of a call that has just failed to change a file's length or storage.
#[cold]
fn size_error(operation: &'static str, len: u64) -> Error {
    let error = code::last(operation).with_length(len);
    match error.os_code().map(|code| code as u32) {
        Some(ERROR_ACCESS_DENIED) => error
            .with_kind(ErrorKind::NotWritable)
            .with_detail("the handle was not opened for writing; open the file with write access"),
        // The file system cannot represent the length.
        Some(ERROR_INVALID_PARAMETER) => error.with_kind(ErrorKind::NoSpace),
        _ => error,
    }
}

/// Changes the length. A file of which any process maps a part can only grow.
pub(crate) fn set_len(file: &File, len: u64) -> Result<()> {
    let information = FILE_END_OF_FILE_INFO { EndOfFile: signed(len)? };
    if set_information(file, FileEndOfFileInfo, &information) {
        Ok(())
    } else {
        Err(size_error("change the length of", len))
    }
}

/// Grows the file to `len`, allocating the clusters first, so that a full disk changes nothing.
///
/// Where the file system cannot allocate clusters, the call writes zeros.
pub(crate) fn allocate(file: &File, len: u64) -> Result<()> {
    let before = status(file)?.len;
    if before >= len {
        return Ok(());
    }
    let information = FILE_ALLOCATION_INFO { AllocationSize: signed(len)? };
    if set_information(file, FileAllocationInfo, &information) {
        return set_len(file, len);
    }
    let error = size_error("allocate", len);
    if error.kind() != ErrorKind::Unsupported {
        return Err(error);
    }
    // Wine and some network drives cannot allocate. Check the free space before writing zeros: a mapped
    // file that has grown cannot be shortened again.
    if let Some(free) = free_space(file).filter(|&free| free < len - before) {
        let detail = format!("the volume has {free} free bytes, and {} are needed", len - before);
        return Err(error.with_kind(ErrorKind::NoSpace).with_detail(detail));
    }
    write_zeros(file, before, len).map_err(|error| match set_len(file, before) {
        Ok(()) => error,
        Err(_) => error.with_detail(format!(
            "the disk became full meanwhile, and Windows cannot shorten a mapped file; shorten it to \
             {before} bytes when no process maps it"
        )),
    })
}

/// Returns the number of bytes that this user may still allocate on the file's volume.
pub(crate) fn free_space(file: &File) -> Option<u64> {
    let mut path = vec![0u16; 32 << 10];
    let mut free = 0;
    // SAFETY: the buffer has the stated length; the directory's name ends with a zero.
    unsafe {
        let len = GetFinalPathNameByHandleW(handle(file), path.as_mut_ptr(), path.len() as u32, 0);
        let name = path.get(..len as usize).filter(|name| !name.is_empty())?;
        let directory = name.iter().rposition(|&unit| unit == u16::from(b'\\'))? + 1;
        path[directory] = 0;
        let known = GetDiskFreeSpaceExW(path.as_ptr(), &mut free, ptr::null_mut(), ptr::null_mut());
        (known != 0).then_some(free)
    }
}

/// Writes zeros to `from..to`.
fn write_zeros(file: &File, from: u64, to: u64) -> Result<()> {
    const CHUNK: usize = 256 << 10;
    let zeros = vec![0; CHUNK];
    let mut at = from;
    while at < to {
        let part = (to - at).min(CHUNK as u64) as usize;
        let written = file
            .seek_write(&zeros[..part], at)
            .map_err(|error| code::from_io("allocate", error).with_length(to))?;
        at += written as u64;
    }
    Ok(())
}

/// Calls `DeviceIoControl` with a code that returns no data.
///
/// `input` must be null or have the type that belongs to `code`.
fn control(file: &File, code: u32, input: *const c_void, input_len: u32) -> bool {
    let mut returned = 0;
    // SAFETY: the callers pass the input that belongs to the code, which returns no data.
    unsafe {
        DeviceIoControl(
            handle(file),
            code,
            input,
            input_len,
            ptr::null_mut(),
            0,
            &mut returned,
            ptr::null_mut(),
        ) != 0
    }
}

/// Makes the file sparse, and the range zeros without clusters (`FSCTL_SET_ZERO_DATA`).
pub(crate) fn punch_hole(file: &File, range: Range<u64>) -> Result<()> {
    const OPERATION: &str = "punch a hole into";
    let unsupported = |error: Error| match error.kind() {
        ErrorKind::Unsupported | ErrorKind::Io => error
            .with_kind(ErrorKind::Unsupported)
            .with_detail("its file system has no sparse files; write zeros instead"),
        _ => error,
    };
    if !control(file, FSCTL_SET_SPARSE, ptr::null(), 0) {
        return Err(unsupported(code::last(OPERATION)));
    }
    let zero = FILE_ZERO_DATA_INFORMATION {
        FileOffset: signed(range.start)?,
        BeyondFinalZero: signed(range.end)?,
    };
    let size = size_of::<FILE_ZERO_DATA_INFORMATION>() as u32;
    if control(file, FSCTL_SET_ZERO_DATA, (&raw const zero).cast(), size) {
        return Ok(());
    }
    Err(unsupported(code::last(OPERATION)).with_offset(range.start))
}

/// Returns the parts of `range` that have clusters, in order. Adjacent parts are merged.
pub(crate) fn data_extents(file: &File, range: Range<u64>) -> Result<Vec<Range<u64>>> {
    const AT_A_TIME: usize = 64;
    let mut extents: Vec<Range<u64>> = Vec::new();
    let mut from = range.start;
    while from < range.end {
        let asked = FILE_ALLOCATED_RANGE_BUFFER {
            FileOffset: signed(from)?,
            Length: signed(range.end - from)?,
        };
        let mut found = [FILE_ALLOCATED_RANGE_BUFFER::default(); AT_A_TIME];
        let mut bytes = 0;
        // SAFETY: the input is one range; the output has the stated size.
        let all = unsafe {
            DeviceIoControl(
                handle(file),
                FSCTL_QUERY_ALLOCATED_RANGES,
                (&raw const asked).cast(),
                size_of_val(&asked) as u32,
                found.as_mut_ptr().cast(),
                size_of_val(&found) as u32,
                &mut bytes,
                ptr::null_mut(),
            )
        } != 0;
        if !all {
            let error = code::last("list the data of");
            match error.os_code().map(|code| code as u32) {
                Some(ERROR_MORE_DATA) => {}
                // Without sparse files, everything is data.
                _ if error.kind() == ErrorKind::Unsupported => return Ok(vec![range]),
                _ => return Err(error),
            }
        }
        let found = &found[..bytes as usize / size_of::<FILE_ALLOCATED_RANGE_BUFFER>()];
        for allocated in found {
            // A range may begin before the requested one.
            let start = (allocated.FileOffset as u64).max(range.start);
            let end = (allocated.FileOffset as u64)
                .saturating_add(allocated.Length as u64)
                .min(range.end);
            match extents.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ if start < end => extents.push(start..end),
                _ => {}
            }
        }
        match extents.last() {
            Some(last) if !all && last.end > from => from = last.end,
            _ => break,
        }
    }
    Ok(extents)
}

/// Fails with `Unsupported`.
pub(crate) fn cache_status(_: &File, _: Range<u64>) -> Result<CacheStatus> {
    Err(Error::new(ErrorKind::Unsupported, "ask for the cached pages of")
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
        return Err(code::last("ask the file system of"));
    }
    let len = name.iter().position(|&unit| unit == 0).unwrap_or(ROOM);
    Ok(String::from_utf16_lossy(&name[..len]))
}

/// Fails with the reason why references to the file's bytes are unsound: other processes can change them.
pub(crate) fn immutable(_: &File) -> std::result::Result<(), String> {
    Err("Windows has no seals, so a process with write access can change the bytes of a reference"
        .into())
}
