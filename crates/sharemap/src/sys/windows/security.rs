//! The owner of an object, and the access of other users to it.

#![allow(unsafe_code, reason = "calls that std does not have")]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, GetSecurityInfo,
    SDDL_REVISION_1, SE_OBJECT_TYPE,
};
use windows_sys::Win32::Security::{
    EqualSid, GetTokenInformation, OWNER_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID,
    SECURITY_ATTRIBUTES, TOKEN_INFORMATION_CLASS, TOKEN_OWNER, TOKEN_QUERY, TOKEN_USER, TokenOwner,
    TokenUser,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

use super::code;
use super::names::wide;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::Owner;

/// Memory that the system allocated for a result (`LocalAlloc`).
struct Local(*mut c_void);

impl Drop for Local {
    fn drop(&mut self) {
        // SAFETY: the system allocated the memory for the caller, and no reference to it exists.
        unsafe { LocalFree(self.0) };
    }
}

/// Returns information on this process's access token. The buffer has the size that the system requires, and
/// the alignment of every information class.
fn token(class: TOKEN_INFORMATION_CLASS) -> Result<Vec<u64>> {
    const OPERATION: &str = "query the user of this process";
    let mut token = ptr::null_mut();
    // SAFETY: nothing else owns the new handle; the buffer has the stated size.
    unsafe {
        if OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &mut token) == 0 {
            return Err(code::last(OPERATION));
        }
        let token = OwnedHandle::from_raw_handle(token);
        let mut len = 0;
        GetTokenInformation(token.as_raw_handle(), class, ptr::null_mut(), 0, &mut len);
        let mut answer = vec![0u64; (len as usize).div_ceil(8).max(8)];
        let room = (answer.len() * 8) as u32;
        let into = answer.as_mut_ptr().cast();
        if GetTokenInformation(token.as_raw_handle(), class, into, room, &mut len) == 0 {
            return Err(code::last(OPERATION));
        }
        Ok(answer)
    }
}

/// Returns `true` if the object's owner is this process's user, or the owner of the objects that this process
/// creates. For an elevated administrator, the latter is the group of administrators.
fn is_own(file: &File, kind: SE_OBJECT_TYPE) -> Result<bool> {
    let (user, owner) = (token(TokenUser)?, token(TokenOwner)?);
    let mut found: PSID = ptr::null_mut();
    let mut descriptor: PSECURITY_DESCRIPTOR = ptr::null_mut();
    // SAFETY: the handle is open. The result points into a descriptor that is freed below. The token's
    // information begins with the structures of the requested classes.
    unsafe {
        let status = GetSecurityInfo(
            file.as_raw_handle(),
            kind,
            OWNER_SECURITY_INFORMATION,
            &mut found,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            &mut descriptor,
        );
        if status != 0 {
            let source = io::Error::from_raw_os_error(status as i32);
            return Err(code::from_io("query the owner of", source));
        }
        let _descriptor = Local(descriptor);
        if found.is_null() {
            // Windows always records an owner. Wine may not, and has only one user.
            return Ok(true);
        }
        let user = (*user.as_ptr().cast::<TOKEN_USER>()).User.Sid;
        let owner = (*owner.as_ptr().cast::<TOKEN_OWNER>()).Owner;
        Ok(EqualSid(found, user) != 0 || EqualSid(found, owner) != 0)
    }
}

/// Returns an error if the object belongs to another user, and `owner` does not allow that.
pub(super) fn check_owner(file: &File, kind: SE_OBJECT_TYPE, owner: Owner) -> Result<()> {
    if owner == Owner::Any || is_own(file, kind)? {
        return Ok(());
    }
    Err(Error::new(ErrorKind::ForeignOwner, "open").with_detail(
        "it belongs to another user; to open it, use allow_any_owner (--allow-any-owner)",
    ))
}

/// The security descriptor of a new object.
pub(super) struct Descriptor(Local);

impl Descriptor {
    /// Allocates a descriptor that grants all access to this user and the system, and to all other users the
    /// access of the last digit of `mode`.
    pub(super) fn with_others(mode: u32) -> Result<Self> {
        const OPERATION: &str = "share";
        let user = token(TokenUser)?;
        let mut text = ptr::null_mut();
        // SAFETY: the information begins with the structure of its class; the text ends with a zero.
        let user = unsafe {
            let sid = (*user.as_ptr().cast::<TOKEN_USER>()).User.Sid;
            if ConvertSidToStringSidW(sid, &mut text) == 0 {
                return Err(code::last(OPERATION));
            }
            let _text = Local(text.cast());
            let len = (0..).take_while(|&at| *text.add(at) != 0).count();
            String::from_utf16_lossy(std::slice::from_raw_parts(text, len))
        };
        let read = if mode & 0o4 != 0 { "GR" } else { "" };
        let write = if mode & 0o2 != 0 { "GW" } else { "" };
        let everybody = format!("D:P(A;;GA;;;{user})(A;;GA;;;SY)(A;;{read}{write};;;WD)");
        let everybody = wide(everybody);
        let mut descriptor = ptr::null_mut();
        // SAFETY: the text ends with a zero. `Local` frees the result.
        let made = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                everybody.as_ptr(),
                SDDL_REVISION_1,
                &mut descriptor,
                ptr::null_mut(),
            )
        };
        if made == 0 {
            return Err(code::last(OPERATION));
        }
        Ok(Self(Local(descriptor)))
    }

    /// Returns the attributes for a call that creates an object. They are valid while the descriptor exists.
    pub(super) fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
            lpSecurityDescriptor: self.0.0,
            bInheritHandle: 0,
        }
    }
}
