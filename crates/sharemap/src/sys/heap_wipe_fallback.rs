//! Private memory that no system call empties in a child: for systems that have none for it, or no
//! children that copy memory.

#![allow(unsafe_code, reason = "allocates by layout")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

use crate::error::{Error, ErrorKind, Result};

/// Zeroed private memory, on cache lines of its own. A forked child has a copy.
#[derive(Debug)]
pub(crate) struct WipeOnFork {
    base: *mut u8,
    layout: Layout,
}

// SAFETY: it owns plain memory.
unsafe impl Send for WipeOnFork {}
// SAFETY: as above; it only gives the address.
unsafe impl Sync for WipeOnFork {}

impl WipeOnFork {
    pub(crate) fn new(len: usize) -> Result<Self> {
        let layout = Layout::from_size_align(len.max(64), 64)
            .map_err(|_| Error::new(ErrorKind::OutOfAddressSpace, "make room for an attachment"))?;
        // SAFETY: the layout is not of size 0.
        let base = unsafe { alloc_zeroed(layout) };
        if base.is_null() {
            handle_alloc_error(layout);
        }
        Ok(Self { base, layout })
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }
}

impl Drop for WipeOnFork {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.base, self.layout) };
    }
}
