//! Shared memory: its life with and without a name, its permissions, and the ways to pass it to
//! other processes.

#![allow(unsafe_code, reason = "makes by hand what others might leave under a name")]

#[path = "../common/mod.rs"]
mod common;

#[cfg(unix)]
mod attacks;
#[cfg(target_os = "linux")]
mod foreign;
#[cfg(target_os = "linux")]
mod full;
#[cfg(target_os = "linux")]
mod killed;
mod life;
mod names;
mod pass;
mod sealed;
mod sharing;
#[cfg(windows)]
mod windows;

use std::sync::atomic::{AtomicU32, Ordering};

use sharemap::SharedMemory;

/// An unused name, which is unlinked when the value is dropped.
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("sharemap-test-{}-{number}", std::process::id()))
    }

    /// Returns the name passed by the parent process, which unlinks it.
    pub(crate) fn given(name: &std::path::Path) -> String {
        name.to_str().unwrap().to_owned()
    }
}

impl std::ops::Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = SharedMemory::unlink(&*self.0);
    }
}
