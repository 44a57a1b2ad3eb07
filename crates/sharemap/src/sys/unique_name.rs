//! Names for files that are being created.

#[cfg(not(target_os = "linux"))]
use std::ffi::{OsStr, OsString};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

/// Returns three numbers that no other process or call uses: the process id, a count and the time.
pub(super) fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{number}-{}", std::process::id(), now.as_nanos())
}

/// Returns a hidden name for a file that will have the name `name`.
#[cfg(not(target_os = "linux"))]
pub(super) fn hidden(name: &OsStr) -> OsString {
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!("-{}", unique()));
    hidden
}
