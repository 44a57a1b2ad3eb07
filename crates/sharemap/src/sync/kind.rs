//! What a lane announces: the offset of a lock, with the kind of its part in it in the low bits.

use crate::peer::{KIND_MASK, OFFSET_MASK};

/// The low four bits of an announcement. 0 is none: the slot is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Kind {
    /// Holds or asks for a mutex.
    Mutex = 1,
    /// Holds, or asks for, the word of a lock for readers and writers.
    Writer = 2,
    /// Reads, or asks to.
    Reader = 3,
    /// Reads no more; about to wake who waited for that.
    Leaving = 4,
}

impl Kind {
    pub(crate) fn of(self, at: u64) -> u64 {
        debug_assert!(at & !OFFSET_MASK == 0, "locks lie on multiples of 16");
        at | self as u64
    }
}

/// The offset and kind of an announcement; anybody may have written it.
pub(crate) fn parse(announcement: u64) -> (u64, Option<Kind>) {
    let kind = match announcement & KIND_MASK {
        1 => Some(Kind::Mutex),
        2 => Some(Kind::Writer),
        3 => Some(Kind::Reader),
        4 => Some(Kind::Leaving),
        _ => None,
    };
    (announcement & OFFSET_MASK, kind)
}
