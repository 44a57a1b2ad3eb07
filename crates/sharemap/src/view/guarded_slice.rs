//! Owned plain slices of a file. Pages that the file loses become zeros.

#![allow(unsafe_code, reason = "the caller guarantees what a reference needs")]

use std::fmt;
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use super::View;
use crate::error::{Error, ErrorKind, Result};
use crate::guard::{self, SharedFile};
use crate::layout::Pod;
use crate::sys::slice::GuardedSpan;
use crate::sys::{self, FileKind, FileStatus};

/// A plain slice of a file that survives the loss of its pages, returned by [`View::guarded_slice`].
///
/// It dereferences to `[T]`, and is accepted where `T: AsRef<[u8]> + Send + Sync + 'static` is wanted
/// (`bytes::Bytes::from_owner`, `fst::Map`, the owned buffers of tantivy, arrow and object). It has a
/// mapping of its own: the mapping that it was made from may grow, shrink, move or be dropped. The file
/// is shared, not copied. It stays open while the slice lives, which also keeps the lock of an
/// [exclusive](crate::MapOptions::exclusive) mapping. Clones share the mapping, so their bytes have one
/// address, which never changes.
///
/// If the file is cut short or its device fails, the bytes that are lost become zeros, and the process
/// continues. [`check`](Self::check) and [`finish`](Self::finish) tell: **what was computed from the
/// bytes counts only after one of them returned `Ok`**.
///
/// # Examples
/// ```
/// # use sharemap::*;
/// # fn main() -> Result<()> {
/// # let path = std::env::temp_dir().join(format!("doc-guarded-slice-{}", std::process::id()));
/// # std::fs::write(&path, "one\ntwo\n")?;
/// use std::thread;
///
/// let map = Mapping::open(&path)?;
/// // SAFETY: no process writes to the file, and counting lines is sound whatever it reads.
/// match unsafe { map.bytes().guarded_slice() } {
///     Ok(slice) => {
///         drop(map); // the slice has a mapping of its own
///         let shared = slice.clone();
///         let lines = thread::spawn(move || shared.split(|byte| *byte == b'\n').count());
///         let lines = lines.join().unwrap();
///         slice.finish()?; // the file was whole
///         assert_eq!(lines, 3);
///     }
///     Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported), // Windows
/// }
/// # std::fs::remove_file(&path)?;
/// # Ok(()) }
/// ```
pub struct GuardedSlice<T> {
    start: NonNull<T>,
    len: usize,
    shared: Arc<Shared>,
}

/// The mapping and the file of a slice and its clones.
struct Shared {
    /// `None` for a slice of no bytes.
    span: Option<GuardedSpan>,
    file: SharedFile,
    path: Option<Box<Path>>,
    /// The offset in the file of the first byte.
    offset: u64,
    /// The length in bytes.
    bytes: u64,
    /// The time of the file's last change when the slice was created.
    changed: i64,
}

// SAFETY: the slice is a shared reference to elements of `T`, and a share of their mapping.
unsafe impl<T: Send + Sync> Send for GuardedSlice<T> {}
// SAFETY: as for `Send`.
unsafe impl<T: Send + Sync> Sync for GuardedSlice<T> {}

// The slice is read-only, so a panic leaves no broken state in it.
impl<T: RefUnwindSafe> UnwindSafe for GuardedSlice<T> {}
impl<T: RefUnwindSafe> RefUnwindSafe for GuardedSlice<T> {}

const OPERATION: &str = "borrow a guarded slice of";

impl<T: Pod> View<'_, T> {
    /// Returns the elements as an owned plain slice. Pages that the file loses become zeros instead of ending
    /// the process.
    ///
    /// Most parsers, indices and search functions take a `&[u8]`. [`GuardedSlice`] is one of the whole
    /// view, at the speed of a slice, with a mapping of its own: the file is shared, and later changes of
    /// the view's mapping have no effect on it. A read of a page that is gone raises `SIGBUS`. This
    /// crate's handler then maps zeros over all pages from the present end of the file to the end of the
    /// slice (over those from the fault on, if the file has the page and its device failed), and records
    /// the first lost byte. [`GuardedSlice::check`] and [`GuardedSlice::finish`] report it.
    ///
    /// Memory that no process can change or cut short needs no such contract:
    /// [`Mapping::frozen`](crate::Mapping::frozen) is safe. Where a copy serves,
    /// [`for_each_chunk`](View::for_each_chunk) is safe and nearly as fast.
    ///
    /// # Safety
    /// While the slice or a clone of it lives:
    /// 1. No thread or process changes the bytes: neither by writing, nor by cutting the file short and
    ///    letting it grow again.
    /// 2. The file may be cut short, and its device may fail. Bytes then become zeros, each once, at any
    ///    time, also between two reads of the same byte. The code that reads the slice must stay in bounds
    ///    and sound whatever it reads. Unsuitable is code that checks bytes once and then trusts them:
    ///    `str::from_utf8_unchecked`, and a `&str` that outlives the check; validated archives; references
    ///    to types of which zero is not a value.
    /// 3. Results count only after [`check`](GuardedSlice::check) or [`finish`](GuardedSlice::finish),
    ///    called after the last read, returned `Ok`. Nothing irrevocable depends on them before.
    ///
    /// # Exceptions
    /// - A system call that is given lost bytes, such as `write`, fails with `EFAULT` and replaces nothing.
    /// - A thread that blocks `SIGBUS` dies when it reads a lost page. So does a process in which a
    ///   later handler for `SIGBUS` does not pass faults on. Both are queried when the slice is created, and
    ///   not later. A sandbox must allow `fstat`, `mmap`, `munmap` and `munlock`.
    /// - A forked child has the slice, and faults of its own: neither process learns of the other's.
    ///   `check` in each process tells about the file.
    /// - If the process has as many mappings as the system allows (`vm.max_map_count`), the handler gives
    ///   up spare ones, which are enough for 16 slices that lose pages. After that, a fault ends the
    ///   process. The next slice that is created replenishes them.
    ///
    /// # Errors
    /// - `Unsupported` - the memory is anonymous or copy-on-write; the contents were read, not mapped; the
    ///   mapping [closed](crate::MapOptions::close_file) its file; faults do not reach this crate's
    ///   handler, or this thread blocks `SIGBUS`; the system is Windows. The text gives the reason.
    /// - `Fault` - the file is shorter than the view.
    /// - `Alignment` - the elements need a larger alignment than a page has.
    /// - `OutOfAddressSpace` - there is no address space, or not enough memory, for the mapping.
    /// - `TooManyMappings` - the process has as many mappings as the system allows, or about two million
    ///   guarded slices.
    /// - `LockLimit` - all memory is locked (`mlockall`), and the mapping would exceed the limit.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-guarded-{}", std::process::id()));
    /// let page = page_size();
    /// std::fs::write(&path, vec![7; 4 * page])?;
    /// let map = Mapping::open(&path)?;
    /// // SAFETY: no process writes to the file, and a sum is sound whatever it reads.
    /// match unsafe { map.bytes().guarded_slice() } {
    ///     Ok(slice) => {
    ///         // Usually in another process.
    ///         std::fs::File::options().write(true).open(&path)?.set_len(page as u64)?;
    ///         let sum: usize = slice.iter().map(|byte| usize::from(*byte)).sum();
    ///         assert_eq!(sum, 7 * page); // the rest are zeros
    ///         let error = slice.check().unwrap_err();
    ///         assert_eq!((error.kind(), error.offset()), (ErrorKind::Fault, Some(page as u64)));
    ///     }
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported), // Windows
    /// }
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "as_slice")]
    #[doc(alias = "SIGBUS")]
    pub unsafe fn guarded_slice(&self) -> Result<GuardedSlice<T>> {
        let (offset, bytes) = (self.offset(), self.size_bytes());
        let named = |error: Error| error.with_path(self.backing.path());
        let file = self.backing.file_of_bytes(OPERATION)?;
        let status = sys::file::status((*file).as_ref()).map_err(named)?;
        let mut shared = Shared {
            span: None,
            file,
            path: self.backing.path().map(Into::into),
            offset,
            bytes: bytes as u64,
            changed: status.changed,
        };
        if let Some(error) = shared.loss(status) {
            return Err(error);
        }
        let mut start = NonNull::dangling();
        if bytes > 0 {
            let file = (*shared.file).as_ref();
            let span = GuardedSpan::map(file, status, offset, bytes).map_err(named)?;
            let base = span.base().cast::<T>();
            if !base.is_aligned() {
                return Err(named(Error::new(ErrorKind::Alignment, OPERATION)).with_offset(offset));
            }
            start = NonNull::new(base.cast_mut())
                .unwrap_or_else(|| unreachable!("no mapping begins at address 0"));
            shared.span = Some(span);
        }
        Ok(GuardedSlice { start, len: self.len(), shared: Arc::new(shared) })
    }
}

impl Shared {
    /// Returns the error of the bytes from `offset` of the file on, which are lost.
    #[cold]
    fn lost(&self, offset: u64) -> Error {
        let error = Error::new(ErrorKind::Fault, "read a guarded slice of")
            .with_path(self.path.as_deref())
            .with_offset(offset);
        guard::with_cause(error, Some(Arc::clone(&self.file)), offset, guard::REMAP)
    }

    /// Returns an error if the file is shorter than the slice.
    fn loss(&self, status: FileStatus) -> Option<Error> {
        let is_short =
            status.kind == FileKind::Regular && status.len < self.offset.saturating_add(self.bytes);
        is_short.then(|| self.lost(status.len.max(self.offset)))
    }
}

impl<T> GuardedSlice<T> {
    /// Returns the offset in the file, in bytes, of the first byte that a fault has shown to be lost.
    ///
    /// `None` does not prove that the bytes were whole: the rest of the last page of a file that was cut
    /// short becomes zeros without a fault, and so does a page that is there again. Only
    /// [`check`](Self::check) and [`finish`](Self::finish) notice this. The call costs a load.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-guarded-fault-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let map = Mapping::open(&path)?;
    /// // SAFETY: no process writes to the file, and a sum is sound whatever it reads.
    /// if let Ok(slice) = unsafe { map.bytes().guarded_slice() } {
    ///     let sum: u32 = slice.iter().map(|byte| u32::from(*byte)).sum();
    ///     assert_eq!((sum, slice.fault()), (700, None));
    /// }
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn fault(&self) -> Option<u64> {
        // The reads before this call happened before the load of the record.
        fence(Ordering::Acquire);
        let lost = self.shared.span.as_ref()?.lost()?;
        Some(self.shared.offset + lost)
    }

    /// Succeeds if all that was read from the slice so far, by any thread that has finished reading, were
    /// bytes of the file.
    ///
    /// Three things must hold: no page of the slice was lost, the file is not shorter than the slice, and
    /// the time of its last change is that at the creation of the slice. Each alone misses losses: a cut
    /// within a page causes no fault, and a file that was cut and grew again has its length.
    ///
    /// The time changes with the file's metadata, too: renaming, unlinking and `chmod` count as changes.
    /// A change within the same tick of the kernel's clock (up to 10 ms) as the last change before the
    /// slice was created may go unnoticed; not on Linux 6.13 and later with ext4, XFS, btrfs and tmpfs.
    /// A device has no such time.
    ///
    /// Call it where the slice is owned, not in a function that has a reference into it as an argument:
    /// the compiler may delay that function's reads past the call.
    ///
    /// # Errors
    /// - `Fault` - the file was cut short or its device failed. [`Error::offset`] returns the first lost
    ///   byte.
    /// - `Changed` - the file was changed since the slice was created.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-guarded-check-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let map = Mapping::open(&path)?;
    /// // SAFETY: no process writes to the file, and a search is sound whatever it reads.
    /// if let Ok(slice) = unsafe { map.bytes().guarded_slice() } {
    ///     let found = slice.iter().position(|byte| *byte == 8);
    ///     slice.check()?;
    ///     assert_eq!(found, None); // it counts only now
    /// }
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn check(&self) -> Result<()> {
        if let Some(offset) = self.fault() {
            return Err(self.shared.lost(offset));
        }
        let shared = &*self.shared;
        let named = |error: Error| error.with_path(shared.path.as_deref());
        let status = sys::file::status((*shared.file).as_ref()).map_err(named)?;
        if let Some(error) = shared.loss(status) {
            return Err(error);
        }
        if status.kind == FileKind::Regular && status.changed != shared.changed {
            return Err(named(Error::new(ErrorKind::Changed, "read a guarded slice of"))
                .with_detail("what was read may be of either state; read it again"));
        }
        Ok(())
    }

    /// Ends the use of this handle, and succeeds like [`check`](Self::check).
    ///
    /// The mapping ends with the last clone.
    ///
    /// # Errors
    /// As for [`check`](Self::check).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-guarded-finish-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let map = Mapping::open(&path)?;
    /// // SAFETY: no process writes to the file, and a sum is sound whatever it reads.
    /// if let Ok(slice) = unsafe { map.bytes().guarded_slice() } {
    ///     let sum: u32 = slice.iter().map(|byte| u32::from(*byte)).sum();
    ///     slice.finish()?;
    ///     println!("{sum}");
    /// }
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn finish(self) -> Result<()> {
        self.check()
    }
}

impl<T> Clone for GuardedSlice<T> {
    fn clone(&self) -> Self {
        Self { start: self.start, len: self.len, shared: Arc::clone(&self.shared) }
    }
}

impl<T> Deref for GuardedSlice<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: created from a view of `Pod` elements: aligned, of `len` elements that lie in the
        // mapping, which `shared` keeps; any bytes are values. The handler keeps all of it readable. The
        // caller of `guarded_slice` promises that the bytes do not change, except to zeros, of which
        // SAFETY.md says why no reader may rely on the contrary ("Guarded slices").
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> AsRef<[T]> for GuardedSlice<T> {
    #[inline]
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T> fmt::Debug for GuardedSlice<T> {
    /// Prints the element's type, the length, the offset, the path and the fault, never the contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedSlice")
            .field("element", &std::any::type_name::<T>())
            .field("len", &self.len)
            .field("offset", &self.shared.offset)
            .field("path", &self.shared.path)
            .field("fault", &self.fault())
            .finish()
    }
}
