//! The file of a region: kept open, shared with other regions of the file, or closed.

#![allow(unsafe_code, reason = "a descriptor that is shared only if an error refers to it")]

use std::fs::File;
use std::mem::{self, ManuallyDrop};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::guard::SharedFile;
use crate::mapping::descriptors::{self, OpenFile, Origin};
use crate::mapping::plan::Plan;
use crate::mapping::region::Region;
use crate::sys::{self, Access, FileKind, FileStatus};

/// The file of a region, and its state when it was mapped.
///
/// Most programs map few files, each once, and see no fault. A descriptor is therefore counted
/// ([`OpenFile`]) only once it has a second user: another region, or the error of a fault.
pub(super) struct BackingFile {
    /// The descriptor of this region alone. Once `shared` is set, `shared` closes the descriptor, and
    /// this is an alias of its file.
    own: ManuallyDrop<Option<File>>,
    /// A counted descriptor, from `Arc::into_raw`; null if there is none. Only [`close`](Self::close)
    /// clears it.
    shared: AtomicPtr<OpenFile>,
    /// The time of the file's last change when the mapped descriptor was opened.
    changed: i64,
    /// `true` for a file that was closed after mapping it
    /// ([`MapOptions::close_file`](crate::MapOptions::close_file)). Otherwise, memory without an
    /// open file is anonymous.
    is_closed: bool,
    /// `true` for regular files, which another process can truncate.
    can_shrink: bool,
}

impl BackingFile {
    #[inline(always)] // As in `Region::unmapped`.
    pub(super) fn new(file: Option<File>, status: FileStatus, plan: Plan) -> Self {
        let mut backing = Self {
            own: ManuallyDrop::new(None),
            shared: AtomicPtr::new(ptr::null_mut()),
            changed: status.changed,
            is_closed: false,
            can_shrink: status.kind == FileKind::Regular,
        };
        if let Some(file) = file {
            backing.set(match plan.shared {
                Some(origin) => descriptors::share(file, origin),
                None => Err(file),
            });
        }
        backing
    }

    /// Sets the descriptor of a value that has none: a counted one, or one of this region alone.
    #[inline(always)] // As in `Region::unmapped`.
    fn set(&mut self, file: std::result::Result<Arc<OpenFile>, File>) {
        match file {
            Ok(shared) => *self.shared.get_mut() = Arc::into_raw(shared).cast_mut(),
            Err(file) => *self.own = Some(file),
        }
    }

    pub(super) fn open(&self) -> Option<&File> {
        if let Some(own) = &*self.own {
            return Some(own);
        }
        // SAFETY: null, or from `Arc::into_raw`, and counted until `close`, which needs this value
        // exclusively.
        unsafe { self.shared.load(Ordering::Acquire).as_ref() }.map(|open| &open.file)
    }

    /// Returns the descriptor as a counted one.
    fn share(&self) -> Option<Arc<OpenFile>> {
        let mut shared = self.shared.load(Ordering::Acquire);
        if shared.is_null() {
            let own = self.own.as_ref()?;
            // SAFETY: a file is a number. Two values have it from here on, of which one closes it:
            // the alias if it is stored below, because `close` then ignores `own`. Otherwise the
            // alias is forgotten.
            let alias = OpenFile::new(unsafe { ptr::read(own) }, None);
            let new = Arc::into_raw(alias).cast_mut();
            let stored = self.shared.compare_exchange(
                ptr::null_mut(),
                new,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match stored {
                Ok(_) => shared = new,
                Err(found) => {
                    shared = found;
                    // SAFETY: from `Arc::into_raw` above; no other thread has seen it.
                    let alias = Arc::into_inner(unsafe { Arc::from_raw(new) });
                    alias.into_iter().for_each(|alias| mem::forget(alias.file));
                }
            }
        }
        // SAFETY: from `Arc::into_raw`, and counted until `close`, which needs this value exclusively.
        unsafe {
            Arc::increment_strong_count(shared);
            Some(Arc::from_raw(shared))
        }
    }

    /// Closes the descriptor, or stops sharing it.
    fn close(&mut self) {
        let shared = mem::replace(self.shared.get_mut(), ptr::null_mut());
        if shared.is_null() {
            drop(self.own.take());
        } else {
            mem::forget(self.own.take());
            // SAFETY: from `Arc::into_raw`, and no longer stored.
            drop(unsafe { Arc::from_raw(shared) });
        }
    }
}

impl Drop for BackingFile {
    fn drop(&mut self) {
        self.close();
    }
}

impl Region {
    /// Returns the open file, for `AsFd` and `AsHandle`; `None` for anonymous memory, and for a
    /// mapping that [closed](crate::MapOptions::close_file) its file.
    ///
    /// Other mappings of the file may share the descriptor, so read at explicit offsets, not at its
    /// position. A descriptor that the caller gave is shared only with mappings of its duplicates,
    /// because it may carry locks.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-region-file-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 4])?;
    /// let map = Mapping::open(&path)?;
    /// let modified = map.file().unwrap().metadata()?.modified()?;
    /// assert!(modified.elapsed().is_ok());
    /// assert!(MappingMut::anonymous(4)?.file().is_none());
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn file(&self) -> Option<&File> {
        self.backing_file.open()
    }

    pub(super) fn is_anonymous(&self) -> bool {
        self.file().is_none() && !self.backing_file.is_closed
    }

    /// Returns the file that `operation` asks about; `None` for anonymous memory.
    ///
    /// Fails for a mapping that closed its file.
    pub(super) fn file_for(&self, operation: &'static str) -> Result<Option<&File>> {
        if self.backing_file.is_closed {
            return Err(self.named(sys::file_was_closed(operation)));
        }
        Ok(self.backing_file.open())
    }

    /// Closes the file, unless other regions share it.
    pub(super) fn close_file(&mut self) {
        if !self.is_anonymous() {
            self.backing_file.close();
            self.backing_file.is_closed = true;
        }
    }

    /// Returns the file for errors of faults, if another process can truncate it.
    pub(crate) fn shrinking_file(&self) -> Option<SharedFile> {
        if !self.backing_file.can_shrink {
            return None;
        }
        self.backing_file.share().map(|open| open as _)
    }

    /// Returns the file, for another mapping that shows the same bytes as this one.
    pub(super) fn file_of_bytes(&self, operation: &'static str) -> Result<SharedFile> {
        let refuse = |reason: &str| {
            Err(self.named(Error::new(ErrorKind::Unsupported, operation)).with_detail(reason))
        };
        if self.plan.access == Access::CopyOnWrite && !self.is_anonymous() {
            return refuse(
                "a copy-on-write mapping shows private changes, which no other mapping shows; map the \
                 file read-only",
            );
        }
        self.file_for(operation)?;
        match self.backing_file.share() {
            Some(open) => Ok(open as _),
            None => refuse(
                "anonymous memory has no file, and its pages cannot be lost; `View::as_slice` serves",
            ),
        }
    }

    /// Returns the bytes of the file from the mapping's offset on; `None` if the file cannot be
    /// truncated, or was closed.
    pub(super) fn bytes_left(&self) -> Option<u64> {
        let file = self.file().filter(|_| self.backing_file.can_shrink)?;
        let status = sys::file::status(file).ok()?;
        Some(status.len.saturating_sub(self.plan.offset))
    }

    /// Returns `true` if the file still has the length that it had when this mapping was created or
    /// last remapped.
    ///
    /// Anonymous memory and devices are always current.
    ///
    /// On overlay file systems (containers), a write by path may first copy the file, and a mapping
    /// through a read-only descriptor keeps showing the original. Such a mapping is not current
    /// after any change to the file; [`remap`](crate::Mapping::remap) follows the copy.
    ///
    /// # Errors
    /// - `Unsupported` - the mapping [closed](crate::MapOptions::close_file) its file.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-region-current-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 4])?;
    /// let mut map = Mapping::open(&path)?;
    /// let file = std::fs::File::options().append(true).open(&path)?;
    /// std::io::Write::write_all(&mut &file, b"more")?; // usually in another process
    /// if !map.is_current()? {
    ///     map.remap()?;
    /// }
    /// assert_eq!(map.len(), 8);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn is_current(&self) -> Result<bool> {
        let file = self.file_for("determine the size of")?;
        let Some(file) = file.filter(|_| self.backing_file.can_shrink) else {
            return Ok(true);
        };
        let status = sys::file::status(file).map_err(|error| self.named(error))?;
        let unchanged = status.changed == self.backing_file.changed;
        Ok(status.len == self.file_len() && (unchanged || !sys::file::may_be_superseded(file)))
    }

    /// Returns the file's status; `None` for anonymous memory. Opens the file again if a copy-up
    /// may have left this descriptor with the original. The old mapping stays: the caller maps the
    /// new file, and then calls [`set_changed`](Self::set_changed).
    pub(super) fn refresh_file(&mut self) -> Result<Option<FileStatus>> {
        let Some(file) = self.file_for("remap")? else {
            return Ok(None);
        };
        let mut status = sys::file::status(file).map_err(|error| self.named(error))?;
        let backing = &self.backing_file;
        if status.changed != backing.changed
            && backing.can_shrink
            && sys::file::may_be_superseded(file)
        {
            let again = sys::file::reopen(file).map_err(|error| self.named(error))?;
            status = sys::file::status(&again).map_err(|error| self.named(error))?;
            let before = self.backing_file.share();
            self.backing_file.close();
            self.backing_file.set(match self.plan.shared {
                Some(Origin::Opened) => descriptors::share(again, Origin::Opened),
                Some(Origin::Given) | None => Ok(OpenFile::new(again, before)),
            });
        }
        Ok(Some(status))
    }

    /// Records the file's time of change, after it was mapped again.
    pub(super) fn set_changed(&mut self, status: FileStatus) {
        self.backing_file.changed = status.changed;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use crate::mapping::Mapping;

    /// Threads whose accesses fault at the same moment count the descriptor once, and the mapping
    /// closes it.
    #[test]
    fn a_descriptor_is_counted_once() {
        let path = std::env::temp_dir().join(format!("sharemap-counted-{}", std::process::id()));
        std::fs::write(&path, [7; 10]).unwrap();
        for _ in 0..100 {
            let map = Mapping::open(&path).unwrap();
            let together = Barrier::new(4);
            let shared: Vec<_> = std::thread::scope(|scope| {
                let share = || {
                    together.wait();
                    map.shrinking_file().unwrap()
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(share)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(shared.iter().all(|file| Arc::ptr_eq(file, &shared[0])));
            assert_eq!((*shared[0]).as_ref().metadata().unwrap().len(), 10);
            assert_eq!(map.file().unwrap().metadata().unwrap().len(), 10);
            let weak = Arc::downgrade(&shared[0]);
            drop(shared);
            assert!(weak.upgrade().is_some(), "the mapping keeps it open");
            drop(map);
            assert!(weak.upgrade().is_none(), "an error does not");
        }
        std::fs::remove_file(path).unwrap();
    }
}
