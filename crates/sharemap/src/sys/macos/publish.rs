//! Files that get their name when they are whole.

pub(crate) use crate::sys::posix::publish::create_new;
