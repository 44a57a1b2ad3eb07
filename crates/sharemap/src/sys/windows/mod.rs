//! Windows 10 and later.

mod attached;
pub(crate) mod code;
pub(crate) mod exclusive;
pub(crate) mod fault;
pub(crate) mod fence;
pub(crate) mod file;
pub(crate) mod file_lock;
pub(crate) mod fork;
pub(crate) mod map;
mod pages;
pub(crate) mod pass;
pub(crate) mod process;
pub(crate) mod publish;
mod section;
mod security;
pub(crate) mod shm;
pub(crate) mod slot;
pub(crate) mod wait;
