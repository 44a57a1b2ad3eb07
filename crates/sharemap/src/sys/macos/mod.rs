//! The port to macOS 11 and later, on Apple silicon and x86-64.

pub(crate) mod create_atomic;
pub(crate) mod directory;
pub(crate) mod exclusive;
pub(crate) mod fault;
pub(crate) mod fence;
pub(crate) mod file;
pub(crate) mod file_lock;
pub(crate) mod fork;
pub(crate) mod liveness;
mod mach;
pub(crate) mod map;
pub(crate) mod pass;
pub(crate) mod process;
pub(crate) mod shm;
pub(crate) mod slice;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod wait;
pub(crate) mod walk;
