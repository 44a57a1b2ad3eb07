//! Creates files under a hidden name in the same directory, and names them once they are complete.
//!
//! A creator that is killed leaves the hidden file behind.

use std::ffi::OsString;
use std::fs::File;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::retry_on_intr;

use super::errno;
use super::walk::Entry;
use crate::error::Result;
use crate::sys::os::file::allocate;

/// Creates a file of `len` bytes with a hidden name, calls `fill`, and gives the file the entry's
/// name, which must be free.
pub(crate) fn create_hidden(
    entry: &Entry,
    len: u64,
    fill: &mut dyn FnMut(&File) -> Result<()>,
) -> Result<File> {
    let failed = |errno| errno::error("create", errno);
    let (folder, hidden) = (&entry.folder, hidden(entry));
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = retry_on_intr(|| rustix::fs::openat(folder, &*hidden, flags, mode))
        .map(File::from)
        .map_err(failed)?;
    // A link, unlike a rename, fails if the name is taken. The hidden name is removed in any case.
    let made = allocate(&file, len).and_then(|()| fill(&file)).and_then(|()| {
        rustix::fs::linkat(folder, &*hidden, folder, entry.name(), AtFlags::empty()).map_err(failed)
    });
    let _ = rustix::fs::unlinkat(folder, &*hidden, AtFlags::empty());
    made.map(|()| file)
}

/// Returns a hidden name that no other creation uses: it has the process id, a count and the time.
fn hidden(entry: &Entry) -> OsString {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut hidden = OsString::from(".");
    hidden.push(entry.name());
    hidden.push(format!("-{}-{number}-{}", std::process::id(), now.as_nanos()));
    hidden
}
