//! Passes descriptors to other processes.

use rustix::net::{RecvFlags, SendFlags};

pub(crate) use crate::sys::posix::pass::{
    IDENTITY_OUTLIVES_NAME, duplicate_into, find, identity, inherit, receive, send,
};

/// No flag: macOS has none against SIGPIPE, which Rust programs ignore from their start.
pub(crate) const QUIET: SendFlags = SendFlags::empty();
/// No flag: macOS has none, so close-on-exec is set after the message was received.
pub(crate) const CLOSE_ON_EXEC: RecvFlags = RecvFlags::empty();
