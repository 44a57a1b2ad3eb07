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
    state: State,
    /// The time of the file's last change when the mapped descriptor was opened.
    changed: i64,
    /// `true` for regular files, which another process can truncate.
    can_shrink: bool,
}

enum State {
    /// Anonymous memory.
    None,
    Open(Arc<OpenFile>),
    /// A file that was closed after mapping it
    /// ([`MapOptions::close_file`](crate::MapOptions::close_file)).
    Closed,
}

impl BackingFile {
    pub(super) fn new(file: Option<File>, status: FileStatus, plan: Plan) -> Self {
        let state = match file {
            None => State::None,
            Some(file) => State::Open(match plan.shared {
                Some(origin) => descriptors::share(file, origin),
                None => OpenFile::new(file, None),
            }),
        };
        Self { state, changed: status.changed, can_shrink: status.kind == FileKind::Regular }
    }

    pub(super) fn open(&self) -> Option<&File> {
        match &self.state {
            State::Open(open) => Some(&open.file),
            State::None | State::Closed => None,
        }
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
        matches!(self.backing_file.state, State::None)
    }

    /// Returns the file that `operation` asks about; `None` for anonymous memory.
    ///
    /// Fails for a mapping that closed its file.
    pub(super) fn file_for(&self, operation: &'static str) -> Result<Option<&File>> {
        match &self.backing_file.state {
            State::None => Ok(None),
            State::Open(open) => Ok(Some(&open.file)),
            State::Closed => Err(self.named(sys::file_was_closed(operation))),
        }
    }

    /// Closes the file, unless other regions share it.
    pub(super) fn close_file(&mut self) {
        if !self.is_anonymous() {
            self.backing_file.state = State::Closed;
        }
    }

    /// Returns the file for errors of faults, if another process can truncate it.
    pub(crate) fn shrinking_file(&self) -> Option<SharedFile> {
        match &self.backing_file.state {
            State::Open(open) if self.backing_file.can_shrink => Some(Arc::clone(open) as _),
            State::Open(_) | State::None | State::Closed => None,
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
            let before = std::mem::replace(&mut self.backing_file.state, State::Closed);
            self.backing_file.state = match before {
                State::Open(before) if self.plan.shared != Some(Origin::Opened) => {
                    State::Open(OpenFile::new(again, Some(before)))
                }
                _ => State::Open(descriptors::share(again, Origin::Opened)),
            };
        }
        Ok(Some(status))
    }

    /// Records the file's time of change, after it was mapped again.
    pub(super) fn set_changed(&mut self, status: FileStatus) {
        self.backing_file.changed = status.changed;
    }
}
