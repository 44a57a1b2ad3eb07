//! Handing descriptors to other processes.

use rustix::net::{RecvFlags, SendFlags};

pub(crate) use crate::sys::posix::pass::{
    IDENTITY_OUTLIVES_NAME, duplicate_into, find, identity, inherit, receive, send,
};

pub(crate) const QUIET: SendFlags = SendFlags::NOSIGNAL;
pub(crate) const CLOSE_ON_EXEC: RecvFlags = RecvFlags::CMSG_CLOEXEC;
