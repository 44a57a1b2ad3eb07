//! macOS 11 and later, on Apple silicon and x86-64.

pub(crate) mod fault;
pub(crate) mod file;
mod mach;
pub(crate) mod map;
pub(crate) mod process;
pub(crate) mod shm;
