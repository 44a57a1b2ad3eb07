//! Sections, views of them, and iteration over the regions of an address range.

#![allow(unsafe_code, reason = "calls that make and unmake address space")]

use std::ffi::{CStr, c_void};
use std::fs::File;
use std::mem::transmute;
use std::os::windows::io::{AsHandle, AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::OnceLock;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, GENERIC_EXECUTE, GENERIC_READ, GENERIC_WRITE, GetLastError, HANDLE,
    INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE, ReOpenFile,
};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP, FILE_MAP_COPY, FILE_MAP_EXECUTE, FILE_MAP_READ, FILE_MAP_WRITE,
    MEM_FREE, MEM_MAPPED, MEM_PRESERVE_PLACEHOLDER, MEM_RELEASE, MEM_REPLACE_PLACEHOLDER,
    MEM_RESERVE, MEM_RESERVE_PLACEHOLDER, MEMORY_BASIC_INFORMATION, MEMORY_MAPPED_VIEW_ADDRESS,
    MapViewOfFile, PAGE_EXECUTE_READ, PAGE_EXECUTE_READWRITE, PAGE_EXECUTE_WRITECOPY,
    PAGE_NOACCESS, PAGE_PROTECTION_FLAGS, PAGE_READONLY, PAGE_READWRITE, PAGE_WRITECOPY,
    SEC_COMMIT, SEC_LARGE_PAGES, SEC_RESERVE, UnmapViewOfFile, VirtualFree, VirtualQuery,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;
use windows_sys::core::w;

use super::code;
use crate::error::{Error, Result};
use crate::sys::{Access, HugePages, MapRequest};

/// Returns the page protection of a mapping.
pub(super) fn protection(access: Access, executable: bool) -> PAGE_PROTECTION_FLAGS {
    match (access, executable) {
        (Access::Read, false) => PAGE_READONLY,
        (Access::Read, true) => PAGE_EXECUTE_READ,
        (Access::Write, false) => PAGE_READWRITE,
        (Access::Write, true) => PAGE_EXECUTE_READWRITE,
        (Access::CopyOnWrite, false) => PAGE_WRITECOPY,
        (Access::CopyOnWrite, true) => PAGE_EXECUTE_WRITECOPY,
    }
}

/// A section object, of which views are mapped. Views stay mapped after the section's handle is closed.
pub(super) struct Section(OwnedHandle);

impl Section {
    /// Creates a section of the whole file at its present length. If `file` is itself a section, returns a
    /// duplicate of it.
    pub(super) fn of_file(file: &File, access: Access, executable: bool) -> Result<Self> {
        let protection = protection(access, executable);
        if section_len(file).is_some() {
            let section = file.as_handle().try_clone_to_owned();
            return section.map(Self).map_err(|error| code::from_io("map", error));
        }
        match Self::create(file.as_raw_handle(), protection, 0) {
            // Handles are rarely opened with the right to execute, even if the file allows it.
            None if executable && last_code() == ERROR_ACCESS_DENIED => {
                let file = reopen_for_execution(file, access)?;
                Self::create(file.as_raw_handle(), protection, 0)
            }
            section => section,
        }
        .ok_or_else(|| code::last("map"))
    }

    /// Creates a section of the paging file of `request.reserve` bytes. Executable views need an executable
    /// section.
    pub(super) fn anonymous(request: &MapRequest<'_>) -> Result<Self> {
        let protection = protection(Access::Write, request.executable);
        // A mapping that can grow commits its pages as it grows.
        let kind = match request.huge {
            HugePages::Reserved => SEC_COMMIT | SEC_LARGE_PAGES,
            _ if request.reserve > request.len => SEC_RESERVE,
            _ => SEC_COMMIT,
        };
        Self::create(INVALID_HANDLE_VALUE, protection | kind, request.reserve as u64)
            .ok_or_else(|| code::last("map"))
    }

    /// Creates a section of `len` bytes, or of a whole file if `len` is 0. After `None`, [`code::last`]
    /// returns the reason.
    fn create(file: HANDLE, protection: PAGE_PROTECTION_FLAGS, len: u64) -> Option<Self> {
        // SAFETY: the handle is open or stands for the paging file; there are no name and no security
        // attributes.
        unsafe {
            let section = CreateFileMappingW(
                file,
                ptr::null(),
                protection,
                (len >> 32) as u32,
                len as u32,
                ptr::null(),
            );
            (!section.is_null()).then(|| Self(OwnedHandle::from_raw_handle(section)))
        }
    }

    /// Maps a view of `len` bytes at an address that the system chooses.
    pub(super) fn view(&self, request: &MapRequest<'_>, len: usize) -> Option<*mut u8> {
        let mut access: FILE_MAP = match request.access {
            Access::Read => FILE_MAP_READ,
            Access::Write => FILE_MAP_READ | FILE_MAP_WRITE,
            Access::CopyOnWrite => FILE_MAP_COPY,
        };
        if request.executable {
            access |= FILE_MAP_EXECUTE;
        }
        let (high, low) = ((request.offset >> 32) as u32, request.offset as u32);
        // SAFETY: the address space is new, so nothing else uses it.
        let view = unsafe { MapViewOfFile(self.0.as_raw_handle(), access, high, low, len) };
        (!view.Value.is_null()).then_some(view.Value.cast())
    }

    /// Maps a view that replaces a placeholder of the same number of pages. Returns `true` on success.
    ///
    /// `len` is in bytes, because a view may not reach past the end of its section.
    ///
    /// # Safety
    /// The caller must own the placeholder.
    pub(super) unsafe fn view_at(
        &self,
        calls: &Placeholders,
        base: *mut u8,
        offset: u64,
        len: usize,
        protection: PAGE_PROTECTION_FLAGS,
    ) -> bool {
        // SAFETY: the call replaces only the caller's placeholder.
        unsafe {
            let view = (calls.map_view)(
                self.0.as_raw_handle(),
                GetCurrentProcess(),
                base.cast(),
                offset,
                len,
                MEM_REPLACE_PLACEHOLDER,
                protection,
                ptr::null_mut(),
                0,
            );
            !view.Value.is_null()
        }
    }
}

/// Returns the length of a section of the paging file, in whole pages. `None` if the handle refers to
/// another type of object, such as a file.
pub(super) fn section_len(file: &File) -> Option<u64> {
    #[repr(C)]
    struct SectionBasicInformation {
        base: *mut c_void,
        attributes: u32,
        len: i64,
    }
    type NtQuerySection =
        unsafe extern "system" fn(HANDLE, u32, *mut c_void, usize, *mut usize) -> i32;
    static QUERY: OnceLock<Option<NtQuerySection>> = OnceLock::new();
    // SAFETY: the system's function has this type by its documentation.
    let query = QUERY.get_or_init(|| unsafe {
        let module = GetModuleHandleW(w!("ntdll.dll"));
        let found = GetProcAddress(module, c"NtQuerySection".as_ptr().cast())?;
        Some(transmute::<_, NtQuerySection>(found))
    });
    let mut told = SectionBasicInformation { base: ptr::null_mut(), attributes: 0, len: 0 };
    // SAFETY: the buffer has the stated size. The call fails for handles of other types.
    let status = unsafe {
        (*query)?(
            file.as_raw_handle(),
            0,
            (&raw mut told).cast(),
            size_of::<SectionBasicInformation>(),
            ptr::null_mut(),
        )
    };
    if status >= 0 { u64::try_from(told.len).ok() } else { None }
}

/// Returns the code of this thread's last error (`GetLastError`).
pub(super) fn last_code() -> u32 {
    // SAFETY: the call only returns a number.
    unsafe { GetLastError() }
}

/// Opens a new handle of the file with the right to execute.
fn reopen_for_execution(file: &File, access: Access) -> Result<OwnedHandle> {
    let write = if access == Access::Write { GENERIC_WRITE } else { 0 };
    // SAFETY: the handle is open. Nothing else owns the new one.
    unsafe {
        let handle = ReOpenFile(
            file.as_raw_handle(),
            GENERIC_READ | GENERIC_EXECUTE | write,
            FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
            0,
        );
        if handle == INVALID_HANDLE_VALUE {
            return Err(execution_denied(code::last("map")));
        }
        Ok(OwnedHandle::from_raw_handle(handle))
    }
}

fn execution_denied(error: Error) -> Error {
    error.with_detail(
        "this user may not execute the file, or another handle's share mode forbids it",
    )
}

type VirtualAlloc2 = unsafe extern "system" fn(
    HANDLE,
    *const c_void,
    usize,
    u32,
    u32,
    *mut c_void,
    u32,
) -> *mut c_void;
type MapViewOfFile3 = unsafe extern "system" fn(
    HANDLE,
    HANDLE,
    *const c_void,
    u64,
    usize,
    u32,
    u32,
    *mut c_void,
    u32,
) -> MEMORY_MAPPED_VIEW_ADDRESS;

/// The calls that reserve address space for later views. Windows has them since Windows 10 1803.
pub(super) struct Placeholders {
    allocate: VirtualAlloc2,
    map_view: MapViewOfFile3,
}

impl Placeholders {
    /// Returns the calls. `None` if the system does not have them.
    pub(super) fn get() -> Option<&'static Self> {
        static CALLS: OnceLock<Option<Placeholders>> = OnceLock::new();
        CALLS
            .get_or_init(|| {
                // SAFETY: the system's functions have these types by their documentation.
                unsafe {
                    let module = GetModuleHandleW(w!("kernelbase.dll"));
                    if module.is_null() {
                        return None;
                    }
                    let find = |name: &CStr| GetProcAddress(module, name.as_ptr().cast());
                    Some(Self {
                        allocate: transmute::<_, VirtualAlloc2>(find(c"VirtualAlloc2")?),
                        map_view: transmute::<_, MapViewOfFile3>(find(c"MapViewOfFile3")?),
                    })
                }
            })
            .as_ref()
    }

    /// Reserves a placeholder of `len` bytes.
    pub(super) fn reserve(&self, len: usize) -> Option<*mut u8> {
        // SAFETY: the address space is new, so nothing else uses it.
        let base = unsafe {
            (self.allocate)(
                GetCurrentProcess(),
                ptr::null(),
                len,
                MEM_RESERVE | MEM_RESERVE_PLACEHOLDER,
                PAGE_NOACCESS,
                ptr::null_mut(),
                0,
            )
        };
        (!base.is_null()).then_some(base.cast())
    }

    /// Splits a placeholder after its first `len` bytes; it must be longer. Returns `true` on success.
    ///
    /// # Safety
    /// The caller must own the placeholder.
    pub(super) unsafe fn split(&self, base: *mut u8, len: usize) -> bool {
        // SAFETY: both parts stay reserved.
        unsafe { VirtualFree(base.cast(), len, MEM_RELEASE | MEM_PRESERVE_PLACEHOLDER) != 0 }
    }
}

/// Iterates over the regions of `base..end`: runs of pages with the same allocation and protection.
///
/// The first region may begin before `base`, and the last may end after `end`.
pub(super) fn regions(base: usize, end: usize) -> impl Iterator<Item = MEMORY_BASIC_INFORMATION> {
    let mut at = base;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let mut region = MEMORY_BASIC_INFORMATION::default();
        // SAFETY: the buffer has the stated size; the call accepts any address.
        let known = unsafe {
            VirtualQuery(at as *const c_void, &mut region, size_of::<MEMORY_BASIC_INFORMATION>())
        };
        if known == 0 {
            return None;
        }
        at = (region.BaseAddress as usize).checked_add(region.RegionSize)?;
        Some(region)
    })
}

/// Splits `base..base + len` into parts that belong to one allocation each. Returns the start, the length
/// and the first region of each part.
pub(super) fn parts(base: *mut u8, len: usize) -> Vec<(*mut u8, usize, MEMORY_BASIC_INFORMATION)> {
    let end = base as usize + len;
    let mut parts: Vec<(*mut u8, usize, MEMORY_BASIC_INFORMATION)> = Vec::new();
    for region in regions(base as usize, end) {
        let start = (region.BaseAddress as usize).max(base as usize);
        let bytes = (region.BaseAddress as usize + region.RegionSize).min(end) - start;
        match parts.last_mut() {
            Some((_, before, first)) if first.AllocationBase == region.AllocationBase => {
                *before += bytes;
            }
            _ => parts.push((start as *mut u8, bytes, region)),
        }
    }
    parts
}

/// Unmaps or releases every allocation in the range. Continues after an error, and returns the first one.
///
/// # Safety
/// The caller must own the range, which must consist of whole allocations.
pub(super) unsafe fn release(base: *mut u8, len: usize) -> Result<()> {
    let mut result = Ok(());
    for (start, bytes, region) in parts(base, len) {
        // SAFETY: `start` is the start of an allocation of the caller.
        let released = unsafe {
            match (region.State, region.Type) {
                (MEM_FREE, _) => true,
                (_, MEM_MAPPED) => {
                    UnmapViewOfFile(MEMORY_MAPPED_VIEW_ADDRESS { Value: start.cast() }) != 0
                }
                _ => VirtualFree(start.cast(), 0, MEM_RELEASE) != 0,
            }
        };
        if !released && result.is_ok() {
            result = Err(code::last("unmap").with_length(bytes as u64));
        }
    }
    result
}
