//! Passes descriptors to other processes.

use std::ffi::c_int;

pub(crate) use crate::sys::posix::pass::{
    IDENTITY_OUTLIVES_NAME, duplicate_into, find, identity, inherit, receive, send,
};

/// Makes a send to a closed socket an error, and no signal.
pub(crate) const QUIET: c_int = libc::MSG_NOSIGNAL;
/// Closes received descriptors on `exec`.
pub(crate) const CLOSE_ON_EXEC: c_int = libc::MSG_CMSG_CLOEXEC;
