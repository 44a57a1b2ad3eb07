//! macOS 11 and later, on Apple silicon and x86-64.

pub(crate) mod fault;
pub(crate) mod file;
pub(crate) mod map;
mod mach;
pub(crate) mod process;
