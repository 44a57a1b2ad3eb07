//! Sections of the paging file, which the system destroys with their last handle: objects that exist while
//! a process is attached, and anonymous memory.

#![allow(unsafe_code, reason = "calls that std does not have")]

use std::fs::File;
use std::os::windows::io::{FromRawHandle, OwnedHandle};
use std::ptr;
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_ALREADY_EXISTS, ERROR_INVALID_HANDLE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Security::Authorization::SE_KERNEL_OBJECT;
use windows_sys::Win32::Storage::FileSystem::READ_CONTROL;
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP_READ, FILE_MAP_WRITE, OpenFileMappingW, PAGE_READWRITE,
    SEC_COMMIT, SEC_LARGE_PAGES, SECTION_QUERY,
};

use super::code;
use super::names::{file_exists, squatted, wide};
use super::section::last_code;
use super::security::{Descriptor, check_owner};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{CreateObject, Existing, HugePages, OpenObject, Owner, Scope};

/// Returns the name of the section in the namespace of `scope`, with a terminating zero.
fn section_name(name: &str, scope: Scope) -> Vec<u16> {
    wide(match scope {
        Scope::Session => format!("Local\\{name}"),
        Scope::Global => format!("Global\\{name}"),
    })
}

/// Creates a named section and calls `fill`.
///
/// Other processes can open the section by its name before `fill` returns (FORMAT.md, "Making").
pub(super) fn create_section(
    request: &CreateObject<'_>,
    fill: &mut dyn FnMut(&File) -> Result<()>,
) -> Result<File> {
    const OPERATION: &str = "create";
    let scope = request.sharing.scope;
    if file_exists(request.name) {
        return Err(Error::new(ErrorKind::AlreadyExists, OPERATION));
    }
    let name = section_name(request.name, scope);
    let made = new_section(request, SEC_COMMIT, Some(&name), OPERATION);
    let section = made.map_err(|error| match (error.kind(), request.existing, scope) {
        (ErrorKind::AlreadyExists, Existing::Replaced, _) => {
            error.with_kind(ErrorKind::Unsupported).with_detail(
                "Windows cannot remove its name while a process is attached; use another name, or \
                 end the processes that are attached",
            )
        }
        (ErrorKind::PermissionDenied, _, Scope::Global) => error.with_detail(
            "a name in all sessions needs the privilege SeCreateGlobalPrivilege; use a name in \
             this session, or grant the privilege",
        ),
        _ => error,
    })?;
    fill(&section)?;
    Ok(section)
}

/// Creates a section of the paging file, which the layers above treat as a `File`.
///
/// `kind` has the section's `SEC_` flags. Fails with `AlreadyExists` if an object has the name.
fn new_section(
    request: &CreateObject<'_>,
    kind: u32,
    name: Option<&[u16]>,
    operation: &'static str,
) -> Result<File> {
    let name = name.map_or(ptr::null(), <[u16]>::as_ptr);
    let len = request.max.max(request.len);
    let security = match request.sharing.mode & 0o007 {
        0 => None,
        others => Some(Descriptor::with_others(others)?),
    };
    let attributes = security.as_ref().map(Descriptor::attributes);
    // SAFETY: there is no file; the descriptor is the default or outlives the call; the name is null
    // or ends with a zero. Nothing else owns the new handle.
    unsafe {
        let section = CreateFileMappingW(
            INVALID_HANDLE_VALUE,
            attributes.as_ref().map_or(ptr::null(), ptr::from_ref),
            PAGE_READWRITE | kind,
            (len >> 32) as u32,
            len as u32,
            name,
        );
        // For a name that is taken, the call succeeds, and returns a handle to the existing section.
        let existed = last_code() == ERROR_ALREADY_EXISTS;
        if section.is_null() {
            return Err(code::last(operation).with_length(len));
        }
        let section = OwnedHandle::from_raw_handle(section);
        if existed {
            return Err(Error::new(ErrorKind::AlreadyExists, operation));
        }
        Ok(File::from(section))
    }
}

/// Opens the named section, and checks its owner.
pub(super) fn open_section(request: &OpenObject<'_>) -> Result<File> {
    let name = section_name(request.name, request.scope);
    let mut access = SECTION_QUERY | FILE_MAP_READ;
    if request.write {
        access |= FILE_MAP_WRITE;
    }
    if request.owner == Owner::Own {
        // The check of the owner reads the security descriptor.
        access |= READ_CONTROL;
    }
    // SAFETY: the name ends with a zero. Nothing else owns the new handle.
    let section = unsafe {
        let section = OpenFileMappingW(access, 0, name.as_ptr());
        if section.is_null() {
            return Err(match last_code() {
                // An object of another type, such as an event or a mutex, has the name.
                ERROR_INVALID_HANDLE => squatted("an object of another kind"),
                _ => code::last("open"),
            });
        }
        File::from(OwnedHandle::from_raw_handle(section))
    };
    check_owner(&section, SE_KERNEL_OBJECT, request.owner)?;
    Ok(section)
}

/// Returns `true` if an object of any type has the section's name. An error other than `NotFound` also
/// means that the name is taken.
pub(super) fn section_exists(name: &str, scope: Scope) -> bool {
    let (owner, timeout) = (Owner::Any, Duration::ZERO);
    let request = OpenObject { name, write: false, owner, scope, timeout };
    !matches!(open_section(&request), Err(error) if error.kind() == ErrorKind::NotFound)
}

/// Creates a section without a name. The label is ignored, because no tool could show it.
pub(crate) fn anonymous(_: &str, request: &CreateObject<'_>, huge: HugePages) -> Result<File> {
    let kind = match huge {
        HugePages::Reserved => SEC_COMMIT | SEC_LARGE_PAGES,
        HugePages::Default | HugePages::Transparent => SEC_COMMIT,
    };
    new_section(request, kind, None, "create anonymous shared memory")
}
