//! The plan of a region: the options it was mapped with, applied to the present state of its file.

use std::fs::File;

use crate::error::{Error, ErrorKind, Result};
use crate::mapping::descriptors::Origin;
use crate::sys::{self, Access, FileKind, FileStatus, HugePages};

/// The options of a region that are needed to map it again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) offset: u64,
    pub(super) wanted: Wanted,
    /// The reservation, if it is longer than the mapping.
    pub(super) reserve: usize,
    pub(super) access: Access,
    pub(super) executable: bool,
    pub(super) huge: HugePages,
    /// `true` if growth makes holes instead of allocating space.
    pub(super) sparse: bool,
    /// The regions that may use the same descriptor. `None`: no other region, because the descriptor
    /// carries a lock or its access mode matters.
    pub(super) shared: Option<Origin>,
}

/// The length to map: a number of bytes, or all bytes of the file from the offset on.
///
/// One word instead of an `Option`, because a region of more than 128 bytes is moved by a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted(usize);

impl Wanted {
    const ALL: Self = Self(usize::MAX);

    pub(super) fn new(len: Option<usize>) -> Self {
        // No address space has `usize::MAX` bytes, so one byte less fails alike.
        len.map_or(Self::ALL, |len| Self(len.min(Self::ALL.0 - 1)))
    }

    /// Returns `None` for all bytes of the file.
    pub(super) fn len(self) -> Option<usize> {
        (self.0 != Self::ALL.0).then_some(self.0)
    }
}

/// Returns the kind and length of a file to be mapped.
///
/// Fails for a regular file that states a length of 0 although it has bytes, like those of procfs:
/// its mapping would be empty.
#[inline]
pub(super) fn measure(file: &File) -> Result<FileStatus> {
    let status = sys::file::status(file)?;
    let says_nothing = status.kind == FileKind::Regular && status.len == 0;
    if says_nothing && sys::file::understates_size(file) { Err(understated()) } else { Ok(status) }
}

#[cold]
fn understated() -> Error {
    Error::new(ErrorKind::Unsupported, "map").with_detail(
        "its file system states a length of 0 although it has bytes; read it, for instance with \
         `FileContents` or `sharemap cat`",
    )
}

impl Plan {
    /// Returns the plan for a descriptor that the caller gave.
    pub(super) fn of_given(self) -> Self {
        Self { shared: self.shared.map(|_| Origin::Given), ..self }
    }

    /// Returns the distance of the offset from the last multiple of the granularity, which is a power
    /// of two.
    pub(super) fn slack(&self) -> usize {
        self.offset as usize & (sys::map::granularity() - 1)
    }

    /// Returns the number of bytes to map of a file in this state. Fails if the file has fewer.
    #[inline]
    pub(super) fn len_in(&self, status: FileStatus) -> Result<usize> {
        let error = |kind| {
            let error = Error::new(kind, "map").with_offset(self.offset);
            match self.wanted.len() {
                Some(len) => error.with_length(len as u64),
                None => error,
            }
        };
        // File offsets are signed on every system.
        let end = self.offset.checked_add(self.wanted.len().unwrap_or(0) as u64);
        let Some(end) = end.filter(|&end| i64::try_from(end).is_ok()) else {
            return Err(error(ErrorKind::Overflow));
        };
        match status.kind {
            FileKind::Directory => Err(error(ErrorKind::IsDirectory)),
            FileKind::Special => self.wanted.len().ok_or_else(|| {
                error(ErrorKind::NoSize).with_detail(
                    "set a length to map (`MapOptions::len`), or read it, for instance with \
                     `FileContents` or `sharemap cat`; a pipe can only be read",
                )
            }),
            FileKind::Regular | FileKind::Block => {
                if self.offset > status.len || end > status.len {
                    let holds = format!("the file has {} bytes", status.len);
                    return Err(error(ErrorKind::OutOfBounds).with_detail(holds));
                }
                let rest = status.len - self.offset;
                match self.wanted.len() {
                    Some(len) => Ok(len),
                    None => usize::try_from(rest).map_err(|_| {
                        error(ErrorKind::OutOfAddressSpace)
                            .with_length(rest)
                            .with_detail("map a part of it, or use a `SlidingWindow`")
                    }),
                }
            }
        }
    }

    /// Returns the number of bytes to map of a file that may be shorter than the planned length.
    pub(super) fn len_left_in(&self, status: FileStatus) -> Result<usize> {
        if matches!(status.kind, FileKind::Directory | FileKind::Special) {
            return self.len_in(status);
        }
        let rest = usize::try_from(status.len.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        Ok(self.wanted.len().map_or(rest, |wanted| wanted.min(rest)))
    }
}
