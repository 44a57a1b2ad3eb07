//! `WipeOnFork` on the heap, for systems that cannot wipe memory in a forked child (macOS) or have no
//! fork (Windows).

#![allow(unsafe_code, reason = "allocates by layout")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

use crate::error::{Error, ErrorKind, Result};

/// Zeroed private memory, aligned to a cache line. A forked child has a copy of it.
#[derive(Debug)]
pub(crate) struct WipeOnFork {
    base: *mut u8,
    layout: Layout,
}

// SAFETY: the value owns plain memory.
unsafe impl Send for WipeOnFork {}
// SAFETY: as above; a shared reference gives only the address.
unsafe impl Sync for WipeOnFork {}

impl WipeOnFork {
    /// Allocates at least `len` bytes.
    pub(crate) fn new(len: usize) -> Result<Self> {
        let layout = Layout::from_size_align(len.max(64), 64).map_err(|_| {
            Error::new(ErrorKind::OutOfAddressSpace, "allocate memory for an attachment")
        })?;
        // SAFETY: the size of the layout is at least 64.
        let base = unsafe { alloc_zeroed(layout) };
        if base.is_null() {
            handle_alloc_error(layout);
        }
        Ok(Self { base, layout })
    }

    /// Returns the address of the first byte.
    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }

    /// Does nothing: the memory is not used again.
    pub(crate) fn note_written(&self, _: usize) {}
}

impl Drop for WipeOnFork {
    fn drop(&mut self) {
        // SAFETY: the memory was allocated with this layout, and the value owned it.
        unsafe { dealloc(self.base, self.layout) };
    }
}
