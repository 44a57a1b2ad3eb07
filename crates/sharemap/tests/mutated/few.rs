//! A few locks with values that a single store writes, or that few bytes are valid for.

use sharemap::{Condvar, Mutex, Shareable, SharedType};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// Whether a job exists.
#[derive(Clone, Copy, Debug, Shareable, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u8)]
pub enum Job {
    None,
    Some = 7,
}

/// Locks of a one-word value, and of a value for which most bytes are invalid.
#[derive(SharedType)]
pub struct Few {
    pub count: Mutex<u64>,
    pub job: Mutex<[Job; 8]>,
    pub ready: Condvar,
}

pub fn first() -> Few {
    Few { count: Mutex::new(5), job: Mutex::new([Job::None; 8]), ready: Condvar::new() }
}

/// The offsets of the locks in the payload.
pub const LOCKS: [u64; 3] = [0, 32, 64];
