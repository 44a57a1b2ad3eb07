//! The file behind a region: kept open, shared with other regions of it, or closed.

use std::fs::File;
use std::sync::Arc;

use crate::error::Result;
use crate::guard::SharedFile;
use crate::mapping::descriptors::{self, OpenFile, Origin};
use crate::mapping::plan::Plan;
use crate::mapping::region::Region;
use crate::sys::{self, FileKind, FileStatus};

pub(super) struct BackingFile {
    state: State,
    /// When the file had last been changed, by the time that what is mapped was opened.
    changed: i64,
    /// Whether an outsider can take bytes away: regular files only.
    can_shrink: bool,
}

enum State {
    /// Anonymous memory.
    None,
    Open(Arc<OpenFile>),
    /// Closed once it was mapped, as [`MapOptions::close_file`](crate::MapOptions::close_file) asks.
    Closed,
}

impl BackingFile {
    pub(super) fn new(file: Option<File>, status: FileStatus, plan: Plan) -> Self {
        let state = match file {
            None => State::None,
            Some(file) => State::Open(match plan.shared {
                Some(origin) => descriptors::share(file, origin),
                None => Arc::new(OpenFile { file, before: None }),
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
    /// The open file, for `AsFd` and `AsHandle`; `None` for anonymous memory, and for a mapping that
    /// [closed](crate::MapOptions::close_file) it.
    ///
    /// Other mappings of the file may share the descriptor: read at explicit offsets, not at its
    /// position. A descriptor that the caller gave, with the locks that it carries, is shared by the
    /// mappings of that descriptor alone.
    #[must_use]
    pub fn file(&self) -> Option<&File> {
        self.backing_file.open()
    }

    pub(super) fn is_anonymous(&self) -> bool {
        matches!(self.backing_file.state, State::None)
    }

    /// Returns the file that `operation` asks about; `None` for anonymous memory.
    ///
    /// A mapping that closed its file fails.
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

    /// The file, for errors of faults, if an outsider can take bytes of it away.
    pub(crate) fn shrinking_file(&self) -> Option<SharedFile> {
        match &self.backing_file.state {
            State::Open(open) if self.backing_file.can_shrink => Some(Arc::clone(open) as _),
            State::Open(_) | State::None | State::Closed => None,
        }
    }

    /// Bytes that the file has from the mapping's offset on; `None` where an outsider can take none
    /// away, or where the file was closed.
    pub(super) fn bytes_left(&self) -> Option<u64> {
        let file = self.file().filter(|_| self.backing_file.can_shrink)?;
        let status = sys::file::status(file).ok()?;
        Some(status.len.saturating_sub(self.plan.offset))
    }

    /// Returns `true` if the file has the length it had when this mapping was made, or last followed
    /// it.
    ///
    /// Anonymous memory and devices are always current.
    ///
    /// On overlay file systems (containers), a file that is written to by its path may be copied
    /// first, and a mapping of it that was made through a read-only descriptor goes on showing the
    /// original. Such a mapping is not current once the file has been changed in any way;
    /// [`remap`](crate::Mapping::remap) follows the copy.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if the mapping
    /// [closed](crate::MapOptions::close_file) its file; other kinds report a failed system call.
    pub fn is_current(&self) -> Result<bool> {
        let file = self.file_for("ask the size of")?;
        let Some(file) = file.filter(|_| self.backing_file.can_shrink) else {
            return Ok(true);
        };
        let status = sys::file::status(file).map_err(|error| self.named(error))?;
        let unchanged = status.changed == self.backing_file.changed;
        Ok(status.len == self.file_len() && (unchanged || !sys::file::may_be_superseded(file)))
    }

    /// Asks for the file's status, and opens it anew where this descriptor may have been left with
    /// what the file was; `None` for anonymous memory. What is mapped stays mapped: after mapping the
    /// file that is open now, the caller says so by [`set_changed`](Self::set_changed).
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
                    State::Open(Arc::new(OpenFile { file: again, before: Some(before) }))
                }
                _ => State::Open(descriptors::share(again, Origin::Opened)),
            };
        }
        Ok(Some(status))
    }

    pub(super) fn set_changed(&mut self, status: FileStatus) {
        self.backing_file.changed = status.changed;
    }
}
