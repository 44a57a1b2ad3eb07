//! Changes the length and the storage of files, and queries which parts have storage.

#![allow(unsafe_code, reason = "calls that std does not have")]

use std::ffi::c_void;
use std::fs::File;
use std::ops::Range;
use std::os::windows::fs::FileExt;
use std::ptr;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_INVALID_PARAMETER, ERROR_MORE_DATA,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ALLOCATION_INFO, FILE_END_OF_FILE_INFO, FILE_INFO_BY_HANDLE_CLASS, FileAllocationInfo,
    FileEndOfFileInfo, GetDiskFreeSpaceExW, GetFinalPathNameByHandleW, SetFileInformationByHandle,
};
use windows_sys::Win32::System::IO::DeviceIoControl;
use windows_sys::Win32::System::Ioctl::{
    FILE_ALLOCATED_RANGE_BUFFER, FILE_ZERO_DATA_INFORMATION, FSCTL_QUERY_ALLOCATED_RANGES,
    FSCTL_SET_SPARSE, FSCTL_SET_ZERO_DATA,
};

use super::code;
use super::file::{handle, status};
use crate::error::{Error, ErrorKind, Result};

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

/// Grows the file to the end of `range`, allocating the clusters first, so that a full disk changes nothing.
///
/// Where the file system cannot allocate clusters, the call writes zeros. What lies before the end of the file is as
/// before.
pub(crate) fn allocate(file: &File, range: Range<u64>) -> Result<()> {
    let (before, len) = (status(file)?.len, range.end);
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
    const OPERATION: &str = "punch a hole in";
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
            let error = code::last("list the data ranges of");
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
