//! Reading files that are not mapped, up to a limit.

use std::fs::File;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::{self, FileKind, FileStatus, ReadStep};

/// The size of a read if the file does not state its length.
const FIRST: usize = 64 << 10;

/// The granularity of reads: some files of procfs consist of records and refuse odd lengths.
const UNIT: usize = 4 << 10;

/// A file to read from its beginning, or a pipe or device to read from its position.
pub(super) struct Source<'a> {
    pub(super) file: &'a File,
    pub(super) status: FileStatus,
    /// `true` if the position of the descriptor belongs to the caller. It is then neither used nor
    /// moved if the file has offsets.
    pub(super) adopted: bool,
}

impl Source<'_> {
    /// Reads `len` bytes, or fewer if the file ends first.
    pub(super) fn read_len(&self, len: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        reserve(&mut bytes, len)?;
        while bytes.len() < len {
            if !self.step(&mut bytes)? {
                break;
            }
        }
        // The allocation may be larger than requested.
        bytes.truncate(len);
        Ok(bytes)
    }

    /// Reads to the end. Fails if the file has more than `limit` bytes.
    pub(super) fn read_to_end(&self, limit: u64) -> Result<Vec<u8>> {
        if self.status.len > limit {
            return Err(too_large(limit).with_length(self.status.len));
        }
        // Reading one byte more than expected shows either the end or an excess.
        let mut room = usize::try_from(self.status.len).map_or(FIRST, |len| match len {
            0 => FIRST,
            len => len.saturating_add(1),
        });
        let mut bytes = Vec::new();
        loop {
            let left = limit.saturating_add(1).saturating_sub(bytes.len() as u64);
            let more = room.min(usize::try_from(left).unwrap_or(usize::MAX));
            reserve(&mut bytes, more.checked_next_multiple_of(UNIT).unwrap_or(more))?;
            while bytes.len() < bytes.capacity() {
                if !self.step(&mut bytes)? {
                    return Ok(bytes);
                }
                if bytes.len() as u64 > limit {
                    return Err(too_large(limit));
                }
            }
            room = bytes.len();
        }
    }

    /// Reads once. Returns `false` at the end.
    fn step(&self, bytes: &mut Vec<u8>) -> Result<bool> {
        let has_offsets = matches!(self.status.kind, FileKind::Regular | FileKind::Block);
        let from = (self.adopted && has_offsets).then_some(bytes.len() as u64);
        loop {
            match sys::file::read_more(self.file, bytes, from)? {
                ReadStep::Bytes(_) => return Ok(true),
                ReadStep::End => return Ok(false),
                // A regular file has no more bytes now, but a pipe's writers may write more.
                ReadStep::NotYet if has_offsets => return Ok(false),
                ReadStep::NotYet => sys::file::wait_for_bytes(self.file)?,
            }
        }
    }
}

/// Reserves capacity for `more` bytes.
fn reserve(bytes: &mut Vec<u8>, more: usize) -> Result<()> {
    bytes.try_reserve_exact(more).map_err(|_| {
        Error::new(ErrorKind::OutOfAddressSpace, "read").with_length((bytes.len() + more) as u64)
    })
}

#[cold]
fn too_large(limit: u64) -> Error {
    Error::new(ErrorKind::TooLarge, "read").with_detail(format!(
        "it cannot be mapped, and at most {limit} bytes of such a file are read; raise the limit \
         with `FileContentsOptions::read_limit`, or read it as a stream"
    ))
}
