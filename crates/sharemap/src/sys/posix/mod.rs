//! Code that the ports to Linux and macOS share: it uses only what POSIX, or both systems, guarantee.

mod code;
pub(crate) mod companion;
pub(crate) mod entry;
pub(crate) mod errno;
pub(crate) mod fault;
pub(crate) mod file;
pub(crate) mod file_lock;
pub(crate) mod fork;
pub(crate) mod map;
pub(crate) mod objects;
pub(crate) mod owner;
pub(crate) mod pass;
pub(crate) mod process;
pub(crate) mod removal;
pub(crate) mod slice;
pub(crate) mod socket;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod walk;
