//! The file of a region: kept open, shared with other regions of the file, or closed.

use std::fs::File;
use std::sync::Arc;

use crate::error::Result;
use crate::guard::SharedFile;
use crate::mapping::descriptors::{self, OpenFile, Origin};
use crate::mapping::plan::Plan;
use crate::mapping::region::Region;
use crate::sys::{self, FileKind, FileStatus};

/// The file of a region, and its state when it was mapped.
pub(super) struct BackingFile {
    open: Option<Arc<OpenFile>>,
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
        let open = file.map(|file| match plan.shared {
            Some(origin) => descriptors::share(file, origin),
            None => OpenFile::new(file, None),
        });
        let can_shrink = status.kind == FileKind::Regular;
        Self { open, changed: status.changed, is_closed: false, can_shrink }
    }

    pub(super) fn open(&self) -> Option<&File> {
        self.open.as_ref().map(|open| &open.file)
    }
}

impl Region {
    /// Returns the open file, for `AsFd` and `AsHandle`; `None` for anonymous memory, and for a
    /// mapping that [closed](crate::MapOptions::close_file) its file.
    ///
    /// Other mappings of the file may share the descriptor, so read at explicit offsets, not at its
    /// position. A descriptor that the caller gave is shared only with mappings of its duplicates,
    /// because it may carry locks.
    #[must_use]
    pub fn file(&self) -> Option<&File> {
        self.backing_file.open()
    }

    pub(super) fn is_anonymous(&self) -> bool {
        self.backing_file.open.is_none() && !self.backing_file.is_closed
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
            self.backing_file.open = None;
            self.backing_file.is_closed = true;
        }
    }

    /// Returns the file for errors of faults, if another process can truncate it.
    pub(crate) fn shrinking_file(&self) -> Option<SharedFile> {
        let open = self.backing_file.open.as_ref().filter(|_| self.backing_file.can_shrink)?;
        Some(Arc::clone(open) as _)
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
    pub fn is_current(&self) -> Result<bool> {
        let file = self.file_for("ask the size of")?;
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
        let Some(file) = self.file_for("map anew")? else {
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
            let before = self.backing_file.open.take();
            self.backing_file.open = Some(match self.plan.shared {
                Some(Origin::Opened) => descriptors::share(again, Origin::Opened),
                Some(Origin::Given) | None => OpenFile::new(again, before),
            });
        }
        Ok(Some(status))
    }

    /// Records the file's time of change, after it was mapped again.
    pub(super) fn set_changed(&mut self, status: FileStatus) {
        self.backing_file.changed = status.changed;
    }
}
