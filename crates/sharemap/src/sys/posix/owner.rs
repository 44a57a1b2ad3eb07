//! Judges the owner and the link count of a file from the status of its open descriptor.

use rustix::fs::Stat;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::{Owner, os};

/// Returns the effective user of this process (`geteuid`).
#[allow(unsafe_code, reason = "calls the C library")]
pub(crate) fn effective_user() -> u32 {
    // SAFETY: the call only returns a number, and cannot fail.
    unsafe { libc::geteuid() }
}

/// Returns `true` if the effective user is root.
pub(crate) fn is_root() -> bool {
    effective_user() == 0
}

/// Returns `true` if `user` is certainly this process's effective user.
pub(crate) fn is_own(user: u32) -> bool {
    user == effective_user() && !is_unknown(user)
}

/// Returns `true` if the kernel shows `user` for users that this user namespace does not map. Such
/// an owner may be any user, and never counts as this one.
pub(crate) fn is_unknown(user: u32) -> bool {
    os::process::is_unknown_user(user)
}

/// Returns `true` if symbolic links of `user` are followed: those of root and of this user.
pub(crate) fn may_lead(user: u32) -> bool {
    is_own(user) || user == 0 && !is_unknown(user)
}

/// Returns an error for an object of another user, unless any owner is allowed.
pub(crate) fn check_owner(stat: &Stat, owner: Owner) -> Result<()> {
    if owner == Owner::Any || is_own(stat.st_uid) {
        return Ok(());
    }
    let own = effective_user();
    Err(Error::new(ErrorKind::ForeignOwner, "open").with_detail(format!(
        "it belongs to {}, and this is user {own}; allow any owner (`allow_any_owner`, \
         --allow-any-owner) if that is meant",
        described(stat.st_uid)
    )))
}

/// Returns an error for a file with several names, which may serve another purpose under another
/// name.
pub(crate) fn check_links(stat: &Stat) -> Result<()> {
    if stat.st_nlink <= 1 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NotAnObject, "open").with_detail(format!(
        "it has {} names (hard links), so it may serve another purpose; use a file with one name",
        stat.st_nlink
    )))
}

/// Describes a user in an error.
pub(crate) fn described(user: u32) -> String {
    match is_unknown(user) {
        true => format!("a user that is unknown in this user namespace (shown as {user})"),
        false => format!("user {user}"),
    }
}
