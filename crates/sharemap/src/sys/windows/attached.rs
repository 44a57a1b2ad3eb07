//! Sections of the paging file, which go with their last handle: objects that live while somebody is
//! attached, and memory without a name.

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
use super::section::last_code;
use super::security::Descriptor;
use super::shm::{check_owner, file_exists, squatted, wide};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::{CreateObject, Existing, HugePages, OpenObject, Owner, Scope};

fn section_name(name: &str, scope: Scope) -> Vec<u16> {
    wide(match scope {
        Scope::Session => format!("Local\\{name}"),
        Scope::Global => format!("Global\\{name}"),
    })
}

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
                "it lives while somebody is attached to it, and Windows takes no such name away",
            )
        }
        (ErrorKind::PermissionDenied, _, Scope::Global) => error.with_detail(
            "names for all sessions need the privilege to create global objects \
             (SeCreateGlobalPrivilege)",
        ),
        _ => error,
    })?;
    fill(&section)?;
    Ok(section)
}

/// A section of the paging file, as the file that others take it for.
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
    // SAFETY: no file, a descriptor that lives until the end or the default one, and a name that
    // ends with a zero or none; the handle is new and nobody else's.
    unsafe {
        let section = CreateFileMappingW(
            INVALID_HANDLE_VALUE,
            attributes.as_ref().map_or(ptr::null(), ptr::from_ref),
            PAGE_READWRITE | kind,
            (len >> 32) as u32,
            len as u32,
            name,
        );
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

pub(super) fn open_section(request: &OpenObject<'_>) -> Result<File> {
    let name = section_name(request.name, request.scope);
    let mut access = SECTION_QUERY | FILE_MAP_READ;
    if request.write {
        access |= FILE_MAP_WRITE;
    }
    if request.owner == Owner::Own {
        // To be told whose it is.
        access |= READ_CONTROL;
    }
    // SAFETY: a name that ends with a zero; the handle is new and nobody else's.
    let section = unsafe {
        let section = OpenFileMappingW(access, 0, name.as_ptr());
        if section.is_null() {
            return Err(match last_code() {
                // Something of another kind has the name: an event, a mutex.
                ERROR_INVALID_HANDLE => squatted("an object of another kind"),
                _ => code::last("open"),
            });
        }
        File::from(OwnedHandle::from_raw_handle(section))
    };
    check_owner(&section, SE_KERNEL_OBJECT, request.owner)?;
    Ok(section)
}

pub(super) fn section_exists(name: &str, scope: Scope) -> bool {
    let (owner, timeout) = (Owner::Any, Duration::ZERO);
    let request = OpenObject { name, write: false, owner, scope, timeout };
    !matches!(open_section(&request), Err(error) if error.kind() == ErrorKind::NotFound)
}

/// A section without a name. No list shows a label.
pub(crate) fn anonymous(_: &str, request: &CreateObject<'_>, huge: HugePages) -> Result<File> {
    let kind = match huge {
        HugePages::Reserved => SEC_COMMIT | SEC_LARGE_PAGES,
        HugePages::Default | HugePages::Transparent => SEC_COMMIT,
    };
    new_section(request, kind, None, "create anonymous shared memory")
}
