//! The record of a participant (FORMAT.md, "Participant").

use crate::error::{Error, ErrorKind, Result};
use crate::peer::memory::Memory;

// Offsets of the fields of a participant's record.
pub(super) const USE: u64 = 0;
pub(super) const PROCESS: u64 = 4;
pub(super) const START: u64 = 8;
pub(super) const NUMBER: u64 = 16;
pub(super) const SPACE: u64 = 24;
pub(super) const SINCE: u64 = 32;

/// Values of `USE`.
pub(super) const FREE: u32 = 0;
pub(super) const IN_USE: u32 = 1;

/// The descriptive fields of a participant's record. For inspection only: liveness is decided by the
/// kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The process id, in the process's own pid namespace.
    pub(super) process: u32,
    /// When the process started, in the system's own units.
    pub(super) start_time: u64,
    /// The number of attachments to the object before this one.
    pub(super) epoch: u64,
    /// The pid namespace.
    pub(super) id_space: u64,
    /// When the process attached, in nanoseconds since 1970.
    pub(super) since: u64,
}

impl Record {
    /// Reads the record at offset `at`. Its fields may belong to two participants if it changes
    /// meanwhile.
    pub(super) fn read(memory: &Memory, at: u64) -> Result<Self> {
        Ok(Self {
            process: memory.load(at + PROCESS)?,
            start_time: memory.load(at + START)?,
            epoch: memory.load(at + NUMBER)?,
            id_space: memory.load(at + SPACE)?,
            since: memory.load(at + SINCE)?,
        })
    }
}

/// Returns the error for an object in use under another home, where this process cannot query liveness
/// locks.
#[cold]
pub(super) fn elsewhere() -> Error {
    Error::new(ErrorKind::Unclean, "open").with_detail(
        "its liveness locks are in another mount or container, which this process cannot see; use \
         it from there, or accept it as unclean once no process uses it",
    )
}
