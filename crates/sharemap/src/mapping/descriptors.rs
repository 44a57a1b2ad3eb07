//! The table of descriptors that the regions of one file share.
//!
//! Descriptors are scarce (`ulimit -n`), and a file may be mapped in thousands of parts. Files that
//! are open with the same identity and mode share one descriptor. `sys::file::identity` tells which
//! files can be identified for certain. It skips the first few descriptors of a process, so a
//! program with few mappings does no work here.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError, Weak};

use crate::sys::{self, FileIdentity};

/// An open file, which regions may share.
pub(super) struct OpenFile {
    pub(super) file: File,
    /// The process that opened the file. A child of a raw `clone` has a copy of the table, in which an
    /// entry may name a descriptor that the child does not have.
    process: u32,
    /// The first descriptor of an exclusive mapping, or the descriptor of the caller. It is kept
    /// open because it may carry a lock.
    #[allow(dead_code, reason = "kept open, not used")]
    pub(super) before: Option<Arc<Self>>,
}

impl OpenFile {
    /// Wraps a file that this process opened. `before` stays open with it.
    #[inline]
    pub(super) fn new(file: File, before: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self { file, process: sys::fork::process(), before })
    }
}

impl AsRef<File> for OpenFile {
    fn as_ref(&self) -> &File {
        &self.file
    }
}

/// The origin of a descriptor, which decides which other descriptors can replace it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// Opened for a mapping. Any descriptor of the same file and mode can replace it.
    Opened,
    /// Given by the caller, which may have locked the file by it. Such locks end with the last
    /// duplicate of the descriptor. Only its duplicates can replace it, and it can replace no other
    /// descriptor.
    Given,
}

static FILES: Mutex<Files> = Mutex::new(Files { by_identity: BTreeMap::new(), clean_at: 0 });

struct Files {
    by_identity: BTreeMap<(Origin, FileIdentity), Weak<OpenFile>>,
    /// The number of entries at which those of closed files are removed.
    clean_at: usize,
}

/// Returns an open file that can replace `file`: one with the same identity and mode that is
/// already open, or `file` itself. Fails with `file` if it is not worth sharing, or cannot be
/// identified.
#[inline]
pub(super) fn share(file: File, origin: Origin) -> Result<Arc<OpenFile>, File> {
    match sys::file::identity(&file) {
        None => Err(file),
        Some(identity) => Ok(share_identified(file, (origin, identity))),
    }
}

fn share_identified(file: File, key: (Origin, FileIdentity)) -> Arc<OpenFile> {
    let file = OpenFile::new(file, None);
    // The kernel copies a process's descriptors before its memory. A child that is forked between the
    // opening of a file and its entry here would find an entry for a descriptor that it does not have.
    let held_off = sys::fork::hold_off();
    let Some(mut files) = lock() else {
        return file;
    };
    let found = files.by_identity.get(&key).and_then(Weak::upgrade);
    let serves = |found: &Arc<OpenFile>| {
        found.process == file.process
            && (key.0 == Origin::Opened || sys::file::is_duplicate(&found.file, &file.file))
    };
    if let Some(shared) = found.as_ref().filter(|found| serves(found)) {
        // Unlocks before `file` is closed, which may block.
        drop((files, held_off));
        return Arc::clone(shared);
    }
    if files.by_identity.len() >= files.clean_at {
        files.by_identity.retain(|_, file| file.strong_count() > 0);
        files.clean_at = 2 * files.by_identity.len() + 16;
    }
    files.by_identity.insert(key, Arc::downgrade(&file));
    // Unlocks before the file that was found is closed.
    drop((files, held_off));
    file
}

/// Locks the table. Returns `None` after some attempts, because a child of a raw `clone` may find the
/// lock held for ever. The region then keeps a descriptor of its own.
fn lock() -> Option<MutexGuard<'static, Files>> {
    const ATTEMPTS: usize = 64;
    for _ in 0..ATTEMPTS {
        match FILES.try_lock() {
            Ok(files) => return Some(files),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
    None
}
