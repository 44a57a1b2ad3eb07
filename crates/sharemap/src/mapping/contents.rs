//! A whole file, by whatever way is faster.

#![allow(unsafe_code, reason = "views of a private buffer")]

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::guard::Recovery;
use crate::mapping::{MapOptions, Mapping, Region};
use crate::sys::{self, Access, Create, FileKind, OpenRequest};
use crate::view::{Backing, View};

/// Up to here a copy is cheaper than the page faults and the unmapping. (Into memory that the
/// program has used before it is so up to about 1 MiB; into new memory only to half of this.)
const READ_UP_TO: u64 = 256 << 10;

/// The contents of a file: a small file is read, a large one mapped, and both look alike.
///
/// A file that was read is as it was then; one that is mapped shows later changes.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("sharemap-contents-{}", std::process::id()));
/// # std::fs::write(&path, "small")?;
/// use sharemap::Contents;
///
/// let contents = Contents::open(&path)?;
/// assert_eq!(contents.to_vec()?, b"small");
/// assert!(!contents.is_mapped());
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
pub struct Contents {
    held: Held,
}

enum Held {
    Read(Buffer),
    Mapped(Mapping),
}

/// Bytes on the heap; nobody writes to them, so that views may read them as they like.
struct Buffer {
    bytes: Bytes,
    path: Box<Path>,
}

enum Bytes {
    /// Filled by one call, into memory that was not cleared before.
    Filled(BufReader<File>),
    Collected(Vec<u8>),
}

impl Buffer {
    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Filled(reader) => reader.buffer(),
            Bytes::Collected(bytes) => bytes,
        }
    }
}

impl Contents {
    /// Reads or maps a file.
    ///
    /// Files of the system that claim to be empty (as in `/proc`) are read to their end.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let named = |error: Error| error.with_path(Some(path));
        let request = OpenRequest { write: false, create: Create::Never, exclusive: false };
        let file = sys::file::open(path, request).map_err(named)?;
        let status = sys::file::status(&file).map_err(named)?;
        let held = if status.kind == FileKind::Regular && status.len <= READ_UP_TO {
            let bytes = read(file, status.len as usize).map_err(named)?;
            Held::Read(Buffer { bytes, path: path.into() })
        } else {
            let plan = MapOptions::new().plan(Access::Read);
            let len = plan.len_in(status).map_err(named)?;
            let mut region = Region::unmapped(Some(file), Some(path), status, plan);
            region.place(len)?;
            Held::Mapped(Mapping::from_region(region))
        };
        Ok(Self { held })
    }

    /// All bytes.
    #[must_use]
    pub fn bytes(&self) -> View<'_, u8> {
        match &self.held {
            Held::Mapped(mapping) => mapping.bytes(),
            Held::Read(buffer) => {
                let bytes = buffer.bytes();
                let base = bytes.as_ptr().cast_mut();
                // SAFETY: the buffer lives as long as the borrow, and shared views only read it.
                unsafe { View::new(buffer, base, bytes.len()) }
                    .unwrap_or_else(|error| unreachable!("bytes fit anywhere: {error}"))
            }
        }
    }

    /// Bytes in the file, when it was opened.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.held {
            Held::Mapped(mapping) => mapping.len(),
            Held::Read(buffer) => buffer.bytes().len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the file is mapped, and not read.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        matches!(self.held, Held::Mapped(_))
    }

    /// A copy of all bytes.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        match &self.held {
            Held::Mapped(mapping) => mapping.bytes().to_vec(),
            Held::Read(buffer) => Ok(buffer.bytes().to_vec()),
        }
    }
}

/// Reads `len` bytes, or what there is if that is less; all there is if the length is said to be 0.
fn read(file: File, len: usize) -> Result<Bytes> {
    let failed = |error| Error::new(ErrorKind::Io, "read").with_source(error);
    let mut reader = BufReader::with_capacity(len, file);
    let filled = match len {
        0 => 0,
        _ => reader.fill_buf().map_err(failed)?.len(),
    };
    if len > 0 && filled == len {
        return Ok(Bytes::Filled(reader));
    }
    let mut bytes = reader.buffer().to_vec();
    let rest = if len == 0 { u64::MAX } else { (len - filled) as u64 };
    reader.into_inner().take(rest).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Bytes::Collected(bytes))
}

impl Backing for Buffer {
    fn base(&self) -> usize {
        self.bytes().as_ptr().expose_provenance()
    }

    fn origin(&self) -> u64 {
        0
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn recovery(&self) -> Recovery {
        crate::guard::recovery()
    }

    fn available(&self) -> Option<u64> {
        None
    }
}

impl fmt::Debug for Contents {
    /// Path, length and how it is held; never contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = match &self.held {
            Held::Read(buffer) => Some(&*buffer.path),
            Held::Mapped(mapping) => mapping.path(),
        };
        f.debug_struct("Contents")
            .field("path", &path)
            .field("len", &self.len())
            .field("mapped", &self.is_mapped())
            .finish()
    }
}
