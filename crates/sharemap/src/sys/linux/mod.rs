//! Linux.

mod action;
mod companion;
pub(crate) mod create_atomic;
#[cfg(test)]
mod deaths;
pub(crate) mod directory;
pub(crate) mod exclusive;
pub(crate) mod fault;
pub(crate) mod fence;
pub(crate) mod file;
pub(crate) mod file_lock;
pub(crate) mod fork;
#[cfg(test)]
mod forks;
#[cfg(test)]
mod leases;
pub(crate) mod liveness;
pub(crate) mod map;
mod memfd;
mod ofd;
#[cfg(test)]
mod overlays;
pub(crate) mod pass;
pub(crate) mod process;
#[cfg(test)]
mod removals;
mod self_test;
pub(crate) mod shm;
mod unlinked;
pub(crate) mod wait;
pub(crate) mod walk;
