//! Handing descriptors to other processes.

use rustix::net::{RecvFlags, SendFlags};

pub(crate) use crate::sys::posix::pass::{
    IDENTITY_OUTLIVES_NAME, duplicate_into, find, identity, inherit, receive, send,
};

/// There is no flag: programs in Rust ignore the signal from the beginning.
pub(crate) const QUIET: SendFlags = SendFlags::empty();
/// Said after the message has come.
pub(crate) const CLOSE_ON_EXEC: RecvFlags = RecvFlags::empty();
