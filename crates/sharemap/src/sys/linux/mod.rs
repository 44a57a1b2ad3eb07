//! Linux.

mod action;
pub(crate) mod fault;
pub(crate) mod file;
pub(crate) mod map;
pub(crate) mod process;
mod self_test;
pub(crate) mod shm;
