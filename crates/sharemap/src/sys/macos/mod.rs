//! macOS 11 and later, on Apple silicon and x86-64.

pub(crate) mod directory;
pub(crate) mod exclusive;
pub(crate) mod fault;
pub(crate) mod fence;
pub(crate) mod file;
pub(crate) mod file_lock;
pub(crate) mod fork;
mod mach;
pub(crate) mod map;
pub(crate) mod pass;
pub(crate) mod process;
pub(crate) mod publish;
pub(crate) mod shm;
pub(crate) mod slot;
pub(crate) mod wait;
pub(crate) mod walk;
