//! Changing the length of a mapping: in place within its reservation, or at new addresses.

#![allow(unsafe_code, reason = "extends address space that it owns")]

use crate::error::{Error, ErrorKind, Result};
use crate::mapping::create::make_room;
use crate::mapping::plan::Wanted;
use crate::mapping::region::Region;
use crate::sys::{self, FileKind, FileStatus};

impl Region {
    /// Grows the mapping in place, and its file if it is shorter.
    pub(super) fn grow_in_place(&self, new_len: usize) -> Result<()> {
        let _changes = self.changes();
        let len = self.len();
        if new_len <= len {
            return Ok(());
        }
        if new_len > self.reserved() {
            let detail = match self.reserved() {
                0 => "an empty mapping has no reservation; use `resize`".to_owned(),
                reserved => format!("only {reserved} bytes are reserved; reserve more"),
            };
            return Err(self
                .named(Error::new(ErrorKind::ExceedsReservation, "grow"))
                .with_length(new_len as u64)
                .with_detail(detail));
        }
        self.lengthen_file(new_len)?;
        self.extend_to(new_len)
    }

    /// Grows the mapping in place to the present length of its file, within the reservation. Returns
    /// the new length, which is never less than the old one.
    pub(crate) fn refresh_len(&self) -> Result<usize> {
        let _changes = self.changes();
        let len = self.len();
        let status = self.sized_status()?;
        let there = status.len.saturating_sub(self.plan.offset);
        let new_len = usize::try_from(there).unwrap_or(usize::MAX).min(self.reserved());
        if new_len > len {
            self.set_file_len(status.len);
            self.extend_to(new_len)?;
        }
        Ok(self.len())
    }

    /// Commits existing bytes of the file, within the reservation, and sets the new length.
    ///
    /// The bytes must exist: the length is stored last, so a view never shows bytes before they can be
    /// accessed.
    fn extend_to(&self, new_len: usize) -> Result<()> {
        let Some(span) = self.span() else {
            return Ok(());
        };
        let (mapped, wanted) = (self.mapped(), self.slack() + new_len);
        if wanted > mapped {
            let request = self.request(new_len)?;
            // SAFETY: the span is this region's own and has room for the length.
            unsafe { sys::map::extend(&span, &request, mapped, wanted) }
                .map_err(|error| self.named(error))?;
        }
        self.adopt(None, new_len);
        Ok(())
    }

    /// Grows the file to hold `new_len` mapped bytes. A longer file keeps its length.
    fn lengthen_file(&self, new_len: usize) -> Result<()> {
        let Some(file) = self.file_for("grow")? else {
            return Ok(());
        };
        let needed = self.file_end(new_len)?;
        let status = self.sized_status()?;
        if status.len < needed {
            // Not from the beginning: the system would look at each page that is there already.
            make_room(file, status.len..needed, self.plan.sparse)
                .map_err(|error| self.named(error))?;
            self.set_file_len(needed);
        } else {
            self.set_file_len(status.len);
        }
        Ok(())
    }

    /// Returns the length of the file that a mapping of `len` bytes needs.
    fn file_end(&self, len: usize) -> Result<u64> {
        let end = self.plan.offset.checked_add(len as u64);
        end.filter(|&end| i64::try_from(end).is_ok()).ok_or_else(|| {
            self.named(Error::new(ErrorKind::Overflow, "resize"))
                .with_offset(self.plan.offset)
                .with_length(len as u64)
        })
    }

    /// Returns the status of the file. Fails if its length cannot be changed.
    fn sized_status(&self) -> Result<FileStatus> {
        let Some(file) = self.file_for("resize")? else {
            return Ok(FileStatus::new(FileKind::Special, 0));
        };
        let status = sys::file::status(file).map_err(|error| self.named(error))?;
        if status.kind == FileKind::Regular {
            return Ok(status);
        }
        Err(self
            .named(Error::new(ErrorKind::Unsupported, "resize"))
            .with_detail("only regular files and shared memory objects can change their length"))
    }

    /// Grows or shrinks the mapping together with its file, at other addresses if necessary.
    pub(super) fn resize_to(&mut self, new_len: usize) -> Result<()> {
        let len = self.len();
        if new_len == len {
            return Ok(());
        }
        self.file_for("resize")?;
        let planned = self.plan.wanted;
        self.plan.wanted = Wanted::new(planned.len().map(|_| new_len));
        let resized = match new_len > len {
            true => self.grow_anyhow(new_len),
            false => self.shrink(len, new_len),
        };
        if resized.is_err() {
            // `remap` must not exceed the length that the mapping still has.
            self.plan.wanted = planned;
        }
        resized
    }

    /// Shrinks the mapping from `len` bytes, and the file, if the mapping ends with it.
    fn shrink(&mut self, len: usize, new_len: usize) -> Result<()> {
        let Some(file) = self.file() else {
            return self.shrink_anonymous(new_len);
        };
        let status = self.sized_status()?;
        // A mapping that ends before its file must not truncate the bytes after it.
        let cuts = status.len == self.file_end(len)?;
        if !cuts {
            return self.place(new_len);
        }
        let new_end = self.file_end(new_len)?;
        // Unmap first: Windows cannot truncate a mapped file, and the truncated bytes must not stay
        // accessible.
        let file = sys::file::duplicate(file).map_err(|error| self.named(error))?;
        let span = self.take_span();
        self.unmap(span)?;
        let cut = sys::file::set_len(&file, new_end).map_err(|error| self.named(error));
        let (len, end) = if cut.is_ok() { (new_len, new_end) } else { (len, status.len) };
        self.set_file_len(end);
        self.place(len)?;
        cut
    }

    /// Grows in place within the reservation, otherwise at other addresses.
    fn grow_anyhow(&mut self, new_len: usize) -> Result<()> {
        if new_len <= self.reserved() || self.is_anonymous() {
            return self.grow_in_place(new_len);
        }
        let before = self.sized_status()?.len;
        self.lengthen_file(new_len)?;
        self.place(new_len).inspect_err(|_| {
            let file = self.file();
            if file.is_some_and(|file| sys::file::set_len(file, before).is_ok()) {
                self.set_file_len(before);
            }
        })
    }

    /// Shrinks anonymous memory. The address space stays reserved, and the discarded bytes are zeros if
    /// the memory grows again.
    fn shrink_anonymous(&mut self, new_len: usize) -> Result<()> {
        self.forget(new_len..self.len())?;
        self.adopt(None, new_len);
        Ok(())
    }

    /// Maps the file again at its present length.
    pub(super) fn follow(&mut self) -> Result<()> {
        let Some(status) = self.refresh_file()? else {
            return Ok(());
        };
        let len = self.plan.len_left_in(status).map_err(|error| self.named(error))?;
        self.place(len)?;
        self.set_changed(status);
        self.set_file_len(status.len);
        Ok(())
    }
}
