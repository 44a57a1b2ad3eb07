//! Memory that a forked child shares with its parent.

use std::marker::PhantomData;

use crate::peers::raw::RawMap;
use crate::reason::Reason;

/// A value of atomics in shared memory, of which all zeros are the first value.
pub struct Shared<T> {
    memory: RawMap,
    value: PhantomData<T>,
}

impl<T> Shared<T> {
    /// Allocates the value, which has an alignment of at most a page. It must consist of atomics and plain bytes.
    pub fn new() -> Result<Self, Reason> {
        Ok(Self { memory: RawMap::anonymous(size_of::<T>())?, value: PhantomData })
    }

    pub fn get(&self) -> &T {
        // SAFETY: the mapping is long enough, page-aligned, zeroed at first, and lives as long as the borrow.
        unsafe { &*self.memory.base().cast() }
    }
}

/// Bytes in shared memory.
pub struct SharedBytes(RawMap);

impl SharedBytes {
    pub fn new(len: usize) -> Result<Self, Reason> {
        RawMap::anonymous(len).map(Self)
    }

    pub fn base(&self) -> *mut u8 {
        self.0.base()
    }
}
