//! Passes descriptors to other processes.

use rustix::net::{RecvFlags, SendFlags};

pub(crate) use crate::sys::posix::pass::{
    IDENTITY_OUTLIVES_NAME, duplicate_into, find, identity, inherit, receive, send,
};

/// Makes a send to a closed socket an error, and no signal.
pub(crate) const QUIET: SendFlags = SendFlags::NOSIGNAL;
/// Closes received descriptors on `exec`.
pub(crate) const CLOSE_ON_EXEC: RecvFlags = RecvFlags::CMSG_CLOEXEC;
