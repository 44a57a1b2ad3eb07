//! Passes descriptors to other processes.

use std::ffi::c_int;

pub(crate) use crate::sys::posix::pass::{
    IDENTITY_OUTLIVES_NAME, duplicate_into, find, identity, inherit, receive, send,
};

/// No flag: macOS has none against SIGPIPE, which Rust programs ignore from their start.
pub(crate) const QUIET: c_int = 0;
/// No flag: macOS has none, so close-on-exec is set after the message was received.
pub(crate) const CLOSE_ON_EXEC: c_int = 0;
