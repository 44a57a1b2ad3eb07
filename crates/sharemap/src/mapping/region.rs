//! The owner of a mapping's address space.

#![allow(unsafe_code, reason = "owns address space")]

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::guard::{self, SharedFile};
use crate::mapping::backing_file::BackingFile;
use crate::mapping::flush_state::FlushState;
use crate::mapping::plan::{self, Plan};
use crate::sys::{self, FileKind, FileStatus, MapRequest, Protection, Recovery, Span};
use crate::view::Backing;

/// The address space of a mapping, with its file: the methods that all mappings have.
///
/// [`Mapping`](crate::Mapping), [`MappingMut`](crate::MappingMut) and
/// [`MappingCow`](crate::MappingCow) dereference to it.
///
/// A region keeps its file open, unless the options [close](crate::MapOptions::close_file) it;
/// mappings of one file share a descriptor where possible. Dropping a region unmaps it and closes the
/// file. It does not flush (the system writes changes to disk some time later), and it never panics.
///
/// # Examples
/// ```
/// # fn main() -> sharemap::Result<()> {
/// # let path = std::env::temp_dir().join(format!("sharemap-region-{}", std::process::id()));
/// # std::fs::write(&path, [7; 10_000]).unwrap();
/// use sharemap::MapOptions;
///
/// let map = MapOptions::new().offset(4099).open(&path)?;
/// assert_eq!((map.len(), map.file_offset()), (5901, 4099));
/// assert_eq!(map.path(), Some(&*path));
/// assert!(map.is_current()?);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok(()) }
/// ```
pub struct Region {
    pub(super) plan: Plan,
    pub(super) backing_file: BackingFile,
    path: Option<Box<Path>>,
    /// The first byte of the user's range; dangling while `reserved` is 0.
    base: AtomicPtr<u8>,
    /// The length of the user's range. It is stored, with `Release`, after the bytes are accessible.
    len: AtomicUsize,
    /// The length of the address space, which begins `slack` bytes before `base`; 0 if nothing is
    /// mapped.
    reserved: AtomicUsize,
    /// The committed length, from the beginning of the address space: at least `slack + len`.
    mapped: AtomicUsize,
    /// The length of the file when this mapping last queried or changed it.
    file_len: AtomicU64,
    pub(super) flush_state: FlushState,
    /// Serialises growing, protecting and freezing.
    changes: Mutex<Changes>,
    recovery: Recovery,
}

#[derive(Default)]
pub(super) struct Changes {
    /// `true` once `frozen` returned a plain slice: the protection must not change any more.
    pub(super) frozen: bool,
}

impl Region {
    /// Maps the part of a file that `plan` describes, which must exist.
    pub(super) fn of_file(file: File, path: Option<&Path>, plan: Plan) -> Result<Self> {
        let status = plan::measure(&file).map_err(|error| error.with_path(path))?;
        Self::of_file_as(file, path, status, plan)
    }

    /// Maps the part of a file that `plan` describes. The file's status is known.
    pub(super) fn of_file_as(
        file: File,
        path: Option<&Path>,
        status: FileStatus,
        plan: Plan,
    ) -> Result<Self> {
        let len = plan.len_in(status).map_err(|error| error.with_path(path))?;
        let region = Self::unmapped(Some(file), path, status, plan);
        region.adopt(region.map_span(len)?, len);
        Ok(region)
    }

    /// Maps `len` bytes of anonymous memory.
    pub(super) fn anonymous(len: usize, plan: Plan) -> Result<Self> {
        if len == 0 {
            return Err(Error::new(ErrorKind::ZeroLength, "map anonymous memory"));
        }
        let status = FileStatus::new(FileKind::Special, 0);
        let region = Self::unmapped(None, None, status, plan);
        region.adopt(region.map_span(len)?, len);
        Ok(region)
    }

    /// Returns a region of no bytes, for [`place`](Self::place).
    #[inline(always)] // A call would move the region once more.
    pub(super) fn unmapped(
        file: Option<File>,
        path: Option<&Path>,
        status: FileStatus,
        plan: Plan,
    ) -> Self {
        Self {
            plan,
            backing_file: BackingFile::new(file, status, plan),
            path: path.map(Into::into),
            base: AtomicPtr::new(ptr::null_mut()),
            len: AtomicUsize::new(0),
            reserved: AtomicUsize::new(0),
            mapped: AtomicUsize::new(0),
            file_len: AtomicU64::new(status.len),
            flush_state: FlushState::default(),
            changes: Mutex::default(),
            recovery: guard::recovery(),
        }
    }

    /// Maps `len` bytes as planned at new addresses, then unmaps the old ones. After an error of the
    /// first step the region is unchanged.
    pub(super) fn place(&mut self, len: usize) -> Result<()> {
        let span = self.map_span(len)?;
        let old = self.take_span();
        self.adopt(span, len);
        self.unmap(old)
    }

    /// Maps `len` bytes from `offset` of the file on, like [`place`](Self::place).
    pub(super) fn place_at(&mut self, offset: u64, len: usize) -> Result<()> {
        let before = std::mem::replace(&mut self.plan.offset, offset);
        let span = self.map_span(len);
        self.plan.offset = before;
        let span = span?;
        let old = self.take_span();
        self.plan.offset = offset;
        self.adopt(span, len);
        self.unmap(old)
    }

    fn map_span(&self, len: usize) -> Result<Option<Span>> {
        if len == 0 {
            // A mapping of no bytes holds no address space: systems refuse a length of zero.
            return Ok(None);
        }
        let request = self.request(len)?;
        sys::map::map(&request).map(Some).map_err(|error| self.named(error))
    }

    /// Returns the request that maps `len` bytes of this region, extended downwards to a multiple of
    /// the granularity.
    #[inline]
    pub(super) fn request(&self, len: usize) -> Result<MapRequest<'_>> {
        let slack = self.slack();
        let total = |len: usize| {
            len.checked_add(slack).filter(|&sum| isize::try_from(sum).is_ok()).ok_or_else(|| {
                self.named(Error::new(ErrorKind::OutOfAddressSpace, "map")).with_length(len as u64)
            })
        };
        let mapped = total(len)?;
        Ok(MapRequest {
            file: self.file(),
            offset: self.plan.offset - slack as u64,
            len: mapped,
            reserve: total(self.plan.reserve)?.max(mapped),
            access: self.plan.access,
            executable: self.plan.executable,
            huge: self.plan.huge,
        })
    }

    /// Sets the user's length to `len`, and takes ownership of `span`, if given. The previous span
    /// must have been taken before.
    pub(super) fn adopt(&self, span: Option<Span>, len: usize) {
        if let Some(span) = span {
            self.base.store(span.base.wrapping_add(self.slack()), Ordering::Relaxed);
            self.reserved.store(span.reserved, Ordering::Relaxed);
            self.mapped.store(0, Ordering::Relaxed);
        }
        // Relaxed is enough: the caller holds the lock `changes`, or the region exclusively.
        if self.slack() + len > self.mapped() {
            self.mapped.store(self.slack() + len, Ordering::Relaxed);
        }
        self.len.store(len, Ordering::Release);
    }

    pub(super) fn mapped(&self) -> usize {
        self.mapped.load(Ordering::Relaxed)
    }

    /// Takes the span out of the region, which is then empty. The caller unmaps the span.
    pub(super) fn take_span(&mut self) -> Option<Span> {
        let base = self.span_base();
        *self.len.get_mut() = 0;
        match std::mem::take(self.reserved.get_mut()) {
            0 => None,
            reserved => Some(Span { base, reserved }),
        }
    }

    pub(super) fn unmap(&self, span: Option<Span>) -> Result<()> {
        let Some(span) = span else { return Ok(()) };
        // SAFETY: the span was this region's own and was taken from it. Views borrow the region, and
        // taking borrowed it exclusively, so no view of the span exists.
        unsafe { sys::map::unmap(&span) }.map_err(|error| self.named(error))
    }

    /// Unmaps the region and returns the error of the system, if any.
    #[inline]
    pub(super) fn close(mut self) -> Result<()> {
        let span = self.take_span();
        self.unmap(span)
    }

    /// Returns the region's address space; `None` if nothing is mapped. The region keeps it.
    pub(super) fn span(&self) -> Option<Span> {
        match self.reserved.load(Ordering::Relaxed) {
            0 => None,
            reserved => Some(Span { base: self.span_base(), reserved }),
        }
    }

    /// Returns the bytes between the beginning of the address space and the user's first byte.
    pub(super) fn slack(&self) -> usize {
        self.plan.slack()
    }

    pub(super) fn span_base(&self) -> *mut u8 {
        self.base.load(Ordering::Relaxed).wrapping_sub(self.slack())
    }

    /// Returns the address of the user's first byte. If nothing is mapped, the address is dangling and
    /// aligned like a mapped one.
    pub(crate) fn base(&self) -> *mut u8 {
        if self.reserved.load(Ordering::Relaxed) == 0 {
            return ptr::without_provenance_mut(sys::map::granularity());
        }
        self.base.load(Ordering::Relaxed)
    }

    pub(super) fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds this region's path to the error.
    #[cold]
    pub(super) fn named(&self, error: Error) -> Error {
        error.with_path(self.path())
    }

    pub(super) fn file_len(&self) -> u64 {
        self.file_len.load(Ordering::Relaxed)
    }

    pub(super) fn set_file_len(&self, len: u64) {
        self.file_len.store(len, Ordering::Relaxed);
    }

    /// Returns the length of the mapping in bytes.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-region-len-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let map = MapOptions::new().offset(40).open(&path)?;
    /// assert_eq!(map.len(), 60);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Returns `true` if no bytes are mapped, because the file or the mapped part of it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the path by which the file was opened; `None` for a descriptor and for anonymous
    /// memory.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-region-path-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let map = Mapping::open(&path)?;
    /// assert_eq!(map.path(), Some(path.as_path()));
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Returns the offset in the file of the first mapped byte.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-region-offset-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let map = MapOptions::new().offset(40).open(&path)?;
    /// assert_eq!(map.file_offset(), 40);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn file_offset(&self) -> u64 {
        self.plan.offset
    }

    /// Returns the length in bytes up to which the mapping can grow without moving: its
    /// [reservation](crate::MapOptions::reserve), rounded up to whole pages. An empty mapping has no
    /// reservation.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-region-reserved-{}", std::process::id()));
    /// let map = MapOptions::new().reserve(1 << 20).create(&path, 4096)?;
    /// assert!(map.grow(map.reserved()).is_ok());
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.reserved.load(Ordering::Relaxed).saturating_sub(self.slack())
    }

    /// Returns whether guarded accesses to this mapping are made in place or by system calls.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MappingMut::anonymous(4096)?;
    /// match map.recovery() {
    ///     guard::Recovery::InPlace => println!("an access is one instruction"),
    ///     _ => println!("an access is a system call"),
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// Changes the protection of the pages that contain a range (`mprotect`, `VirtualProtect`).
    ///
    /// An access that the protection forbids is then an error of kind [`Fault`](ErrorKind::Fault).
    ///
    /// # Errors
    /// - `OutOfBounds`, `Overflow` - the range does not lie in the mapping.
    /// - `Busy` - [`frozen`](crate::Mapping::frozen) returned a slice of this mapping, which may be in
    ///   use.
    /// - `NotWritable` - the protection permits writing, but the file was not opened for writing.
    /// - `PermissionDenied` - the system forbids execution of this memory.
    /// - `OutOfAddressSpace` - there is not enough memory.
    /// - `TooManyMappings` - the change would split a mapping, and the process has as many mappings as
    ///   the system allows.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// use sharemap::{ErrorKind, MappingMut, Protection};
    ///
    /// let map = MappingMut::anonymous(1 << 16)?;
    /// map.protect(.., Protection::Read)?;
    /// assert_eq!(map.bytes().set(0, 1).unwrap_err().kind(), ErrorKind::Fault);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "mprotect")]
    #[doc(alias = "VirtualProtect")]
    pub fn protect(
        &self,
        range: impl std::ops::RangeBounds<usize>,
        protection: Protection,
    ) -> Result<()> {
        const OPERATION: &str = "change the protection of";
        let changes = self.changes();
        if changes.frozen {
            return Err(self
                .named(Error::new(ErrorKind::Busy, OPERATION))
                .with_detail("`frozen` returned a slice of it, which may be in use"));
        }
        let Some((_, pages)) = self.pages(range, OPERATION)? else {
            return Ok(());
        };
        // SAFETY: the pages are in this region's span. All accesses are guarded; the only references
        // into it are slices of `frozen`, which were excluded above.
        unsafe { sys::map::protect(pages.base, pages.len, protection) }
            .map_err(|error| self.named(error))
    }
}

impl Backing for Region {
    fn base(&self) -> usize {
        self.base().expose_provenance()
    }

    fn origin(&self) -> u64 {
        self.plan.offset
    }

    fn path(&self) -> Option<&Path> {
        self.path()
    }

    fn recovery(&self) -> Recovery {
        self.recovery
    }

    fn available(&self) -> Option<u64> {
        self.bytes_left()
    }

    fn shrinking_file(&self) -> Option<SharedFile> {
        self.shrinking_file()
    }

    fn file_of_bytes(&self, operation: &'static str) -> Result<SharedFile> {
        self.file_of_bytes(operation)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let span = self.take_span();
        // Drop cannot return the error; `close` does.
        let _ = self.unmap(span);
    }
}

impl Region {
    pub(super) fn debug(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        f.debug_struct(name)
            .field("path", &self.path())
            .field("offset", &self.file_offset())
            .field("len", &self.len())
            .field("access", &self.plan.access)
            .finish()
    }
}

impl fmt::Debug for Region {
    /// Prints the path, the offset, the length and the access, never the contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.debug(f, "Region")
    }
}
