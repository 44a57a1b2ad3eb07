//! The port to Windows 10 and later.

mod attached;
pub(crate) mod code;
pub(crate) mod create_atomic;
pub(crate) mod exclusive;
pub(crate) mod fault;
pub(crate) mod fence;
pub(crate) mod file;
pub(crate) mod file_lock;
pub(crate) mod fork;
pub(crate) mod liveness;
pub(crate) mod map;
mod names;
mod pages;
pub(crate) mod pass;
pub(crate) mod process;
mod section;
mod security;
pub(crate) mod shm;
pub(crate) mod slice;
mod space;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod wait;
