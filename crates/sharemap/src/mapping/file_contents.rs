//! Whole files, read or mapped, whichever is faster.

#![allow(unsafe_code, reason = "views of a private buffer")]

use std::fmt;
use std::fs::File;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::guard::{Recovery, SharedFile};
use crate::mapping::read::Source;
use crate::mapping::{MapOptions, Mapping, Region};
use crate::sys::{self, Access, AsDescriptor, Create, FileKind, OpenRequest};
use crate::view::{Backing, View};

/// The size up to which a copy is cheaper than page faults and unmapping. (The exact limit is about
/// 1 MiB for memory that the program has used before, and half of this for new memory.)
const READ_UP_TO: u64 = 256 << 10;

/// The contents of a file: a small file is read, a large one mapped, and both look alike.
///
/// Every readable file can be opened. A file that the system refuses to map is read to its end, up
/// to a [limit](FileContentsOptions::read_limit): files of `/proc` and some of `/sys`, files of
/// FUSE file systems with `direct_io`, pipes, and devices such as `/dev/null`.
///
/// The contents of a file that was read do not change; a mapped file shows later changes.
///
/// # Examples
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("sharemap-contents-{}", std::process::id()));
/// # std::fs::write(&path, "small")?;
/// use sharemap::FileContents;
///
/// let contents = FileContents::open(&path)?;
/// assert_eq!(contents.to_vec()?, b"small");
/// assert!(!contents.is_mapped());
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
pub struct FileContents {
    held: Held,
}

enum Held {
    Read(Buffer),
    Mapped(Mapping),
}

/// Bytes on the heap. No thread writes to them, so views may read them.
struct Buffer {
    bytes: Vec<u8>,
    path: Option<Box<Path>>,
}

impl FileContents {
    /// Reads or maps a file, with the default [`FileContentsOptions`].
    ///
    /// # Errors
    /// As for [`FileContentsOptions::open`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-contents-open-{}", std::process::id()));
    /// # std::fs::write(&path, "some text")?;
    /// let contents = FileContents::open(&path)?;
    /// assert_eq!(contents.bytes().find_bytes(b"text")?, Some(5));
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::options().open(path)
    }

    /// Reads or maps the file of an open descriptor. The caller may close the descriptor
    /// afterwards.
    ///
    /// # Errors
    /// As for [`FileContentsOptions::from_file`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-contents-file-{}", std::process::id()));
    /// # std::fs::write(&path, "some text")?;
    /// let contents = FileContents::from_file(std::fs::File::open(&path)?)?;
    /// assert_eq!((contents.len(), contents.path()), (9, None));
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn from_file(file: impl AsDescriptor) -> Result<Self> {
        Self::options().from_file(file)
    }

    /// Returns options for reading or mapping a file.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-contents-options-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let contents = FileContents::options().read_limit(1 << 20).open(&path)?;
    /// assert_eq!(contents.len(), 100);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn options() -> FileContentsOptions {
        FileContentsOptions::new()
    }

    /// Returns a view of all bytes.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-contents-bytes-{}", std::process::id()));
    /// # std::fs::write(&path, "a\nb\n")?;
    /// let lines = FileContents::open(&path)?.bytes().count(b'\n')?;
    /// assert_eq!(lines, 2);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn bytes(&self) -> View<'_, u8> {
        match &self.held {
            Held::Mapped(mapping) => mapping.bytes(),
            Held::Read(buffer) => {
                let base = buffer.bytes.as_ptr().cast_mut();
                // SAFETY: the buffer lives as long as the borrow, and shared views only read it.
                unsafe { View::new(buffer, base, buffer.bytes.len()) }
                    .unwrap_or_else(|error| unreachable!("bytes fit anywhere: {error}"))
            }
        }
    }

    /// Returns the length of the file in bytes at the time it was opened.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.held {
            Held::Mapped(mapping) => mapping.len(),
            Held::Read(buffer) => buffer.bytes.len(),
        }
    }

    /// Returns `true` if the file was empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns `true` if the file is mapped, not read.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-contents-mapped-{}", std::process::id()));
    /// # std::fs::write(&path, "some text")?;
    /// let contents = FileContents::open(&path)?;
    /// let how = if contents.is_mapped() { "mapped" } else { "read" };
    /// println!("{} bytes, {how}", contents.len());
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        matches!(self.held, Held::Mapped(_))
    }

    /// Returns the bytes as a plain slice if the file was read; `None` if it is mapped.
    ///
    /// For a mapped file, [`View::guarded_slice`] returns a plain slice, and
    /// [`View::for_each_chunk`] passes copies of its parts.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-contents-read-{}", std::process::id()));
    /// # std::fs::write(&path, "some text")?;
    /// fn count(bytes: &[u8]) -> usize {
    ///     bytes.split(u8::is_ascii_whitespace).count()
    /// }
    ///
    /// let contents = FileContents::open(&path)?;
    /// let words = match contents.as_read() {
    ///     Some(bytes) => count(bytes),
    ///     None => {
    ///         // SAFETY: no process writes to the file; counting is sound whatever it reads.
    ///         let slice = unsafe { contents.bytes().guarded_slice() }?;
    ///         let words = count(&slice);
    ///         slice.finish()?;
    ///         words
    ///     }
    /// };
    /// assert_eq!(words, 2);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn as_read(&self) -> Option<&[u8]> {
        match &self.held {
            Held::Mapped(_) => None,
            Held::Read(buffer) => Some(&buffer.bytes),
        }
    }

    /// Returns the path by which the file was opened; `None` for a descriptor.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.held {
            Held::Read(buffer) => buffer.path.as_deref(),
            Held::Mapped(mapping) => mapping.path(),
        }
    }

    /// Returns a copy of all bytes.
    ///
    /// # Errors
    /// As for [`View::to_vec`]. The contents of a file that was read give no error.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-contents-vec-{}", std::process::id()));
    /// # std::fs::write(&path, "some text")?;
    /// assert_eq!(FileContents::open(&path)?.to_vec()?, b"some text");
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        match &self.held {
            Held::Mapped(mapping) => mapping.bytes().to_vec(),
            Held::Read(buffer) => Ok(buffer.bytes.clone()),
        }
    }
}

/// Options for [`FileContents`], which limit how much of a file is read.
///
/// # Examples
/// ```
/// use sharemap::{ErrorKind, FileContents};
///
/// // An endless file, on systems that have one.
/// let error = FileContents::options().read_limit(1 << 16).open("/dev/zero").unwrap_err();
/// assert!(matches!(error.kind(), ErrorKind::TooLarge | ErrorKind::NotFound));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct FileContentsOptions {
    read_limit: u64,
}

impl FileContentsOptions {
    /// The default [`read_limit`](Self::read_limit): 256 MiB.
    pub const DEFAULT_READ_LIMIT: u64 = 256 << 20;

    /// Returns the default options.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-contents-new-{}", std::process::id()));
    /// # std::fs::write(&path, "some text")?;
    /// let contents = FileContentsOptions::new().open(&path)?;
    /// assert!(!contents.is_empty());
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn new() -> Self {
        Self { read_limit: Self::DEFAULT_READ_LIMIT }
    }

    /// Sets the largest number of bytes to read from a file that cannot be mapped or states no
    /// length. A longer file, such as the endless `/dev/zero`, is an error. The default is
    /// [256 MiB](Self::DEFAULT_READ_LIMIT).
    ///
    /// Files that are mapped, and regular files of up to 256 KiB, have no limit.
    pub fn read_limit(mut self, bytes: u64) -> Self {
        self.read_limit = bytes;
        self
    }

    /// Reads or maps a file.
    ///
    /// A pipe is read until its last writer closes it, and the call blocks until then. A FIFO that
    /// no process has open for writing is empty. To wait for a writer, open the FIFO by
    /// [`File::open`] and pass it to [`from_file`](Self::from_file).
    ///
    /// # Errors
    /// - `NotFound` - the file does not exist.
    /// - `PermissionDenied` - this user may not open the file.
    /// - `IsDirectory` - the path is a directory.
    /// - `TooLarge` - the file cannot be mapped, or states no length, and has more bytes than the
    ///   limit.
    /// - `OutOfAddressSpace` - there is no address space, or not enough memory, for the file.
    /// - `TooManyMappings` - the process has as many mappings as the system allows.
    /// - `TooManyFiles` - the process or the system has no free file descriptors.
    /// - `Busy` - another process holds a lease on the file and did not release it in time (Linux).
    ///
    /// Other kinds report a failed system call.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<FileContents> {
        let path = path.as_ref();
        let request = OpenRequest {
            write: false,
            create: Create::Never,
            exclusive: false,
            timeout: sys::LEASE_BREAK,
        };
        let file = sys::file::open(path, request).map_err(|error| error.with_path(Some(path)))?;
        self.take(file, Some(path), false).map_err(|error| error.with_path(Some(path)))
    }

    /// Reads or maps the file of an open descriptor. The caller may close the descriptor
    /// afterwards.
    ///
    /// A file is read or mapped as a whole, independently of the position of the descriptor. A pipe or a
    /// device without a size is read from its position to its end. On Windows, reading moves the
    /// position.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn from_file(&self, file: impl AsDescriptor) -> Result<FileContents> {
        self.take(file.duplicate_descriptor()?, None, true)
    }

    fn take(&self, file: File, path: Option<&Path>, adopted: bool) -> Result<FileContents> {
        let status = sys::file::status(&file)?;
        let read = |bytes| Held::Read(Buffer { bytes, path: path.map(Into::into) });
        let source = |file| Source { file, status, adopted };
        let held = match status.kind {
            FileKind::Directory => return Err(Error::new(ErrorKind::IsDirectory, "read")),
            FileKind::Regular if (1..=READ_UP_TO).contains(&status.len) => {
                read(source(&file).read_len(status.len as usize)?)
            }
            FileKind::Regular | FileKind::Block if status.len > 0 => {
                let plan = MapOptions::new().plan(Access::Read);
                let plan = if adopted { plan.of_given() } else { plan };
                let len = plan.len_in(status)?;
                let mut region = Region::unmapped(Some(file), path, status, plan);
                match (region.place(len), region.file()) {
                    (Ok(()), _) => Held::Mapped(Mapping::from_region(region)),
                    (Err(error), Some(file)) if is_refusal(&error) => {
                        // Another region may share the descriptor, and so its position.
                        let source = Source { adopted: true, ..source(file) };
                        read(source.read_to_end(self.read_limit)?)
                    }
                    (Err(error), _) => return Err(error),
                }
            }
            _ => read(source(&file).read_to_end(self.read_limit)?),
        };
        Ok(FileContents { held })
    }
}

/// Returns `true` if the file itself cannot be mapped, as opposed to a lack of address space.
fn is_refusal(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::OutOfAddressSpace | ErrorKind::TooManyMappings | ErrorKind::LockLimit
    )
}

impl Default for FileContentsOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl Backing for Buffer {
    fn base(&self) -> usize {
        self.bytes.as_ptr().expose_provenance()
    }

    fn origin(&self) -> u64 {
        0
    }

    fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    fn recovery(&self) -> Recovery {
        crate::guard::recovery()
    }

    fn available(&self) -> Option<u64> {
        None
    }

    fn shrinking_file(&self) -> Option<SharedFile> {
        None
    }

    fn file_of_bytes(&self, operation: &'static str) -> Result<SharedFile> {
        Err(Error::new(ErrorKind::Unsupported, operation).with_path(self.path()).with_detail(
            "the file was read, not mapped; `FileContents::as_read` returns its bytes",
        ))
    }
}

impl fmt::Debug for FileContents {
    /// Prints the path, the length and whether the file is mapped, never the contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileContents")
            .field("path", &self.path())
            .field("len", &self.len())
            .field("mapped", &self.is_mapped())
            .finish()
    }
}
