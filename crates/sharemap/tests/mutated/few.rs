//! A few locks with values that one store writes, or that are not valid for all bytes.

use sharemap::{Condvar, Mutex, Shareable, SharedType};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// Whether there is a job.
#[derive(Clone, Copy, Debug, Shareable, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u8)]
pub enum Job {
    None,
    Some = 7,
}

/// A mutex of a value of which few bytes are one.
#[derive(SharedType)]
pub struct Few {
    pub count: Mutex<u64>,
    pub job: Mutex<[Job; 8]>,
    pub ready: Condvar,
}

pub fn first() -> Few {
    Few { count: Mutex::new(5), job: Mutex::new([Job::None; 8]), ready: Condvar::new() }
}

/// Where they lie in the payload.
pub const LOCKS: [u64; 3] = [0, 32, 64];
