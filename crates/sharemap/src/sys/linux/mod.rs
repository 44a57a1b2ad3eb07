//! The port to Linux.

mod action;
mod companion;
pub(crate) mod create_atomic;
pub(crate) mod directory;
pub(crate) mod exclusive;
pub(crate) mod fault;
pub(crate) mod fence;
pub(crate) mod file;
pub(crate) mod file_lock;
mod file_system;
pub(crate) mod fork;
#[cfg(all(test, target_arch = "x86_64", not(sharemap_syscall_fallback)))]
mod kill_search;
pub(crate) mod liveness;
pub(crate) mod map;
mod memfd;
mod new_object;
mod ofd;
pub(crate) mod pass;
pub(crate) mod process;
mod self_test;
pub(crate) mod shm;
pub(crate) mod slice;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod unlinked;
pub(crate) mod wait;
pub(crate) mod walk;
