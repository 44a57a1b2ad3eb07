//! Address space that is owned: mapped once, unmapped once.

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
use crate::mapping::flush::FlushState;
use crate::mapping::plan::{self, Plan};
use crate::sys::{self, FileKind, FileStatus, MapRequest, Protection, Recovery, Span};
use crate::view::Backing;

/// What all kinds of mappings have in common; they dereference to it.
///
/// It keeps the file open for as long as it lives, unless it is to
/// [close](crate::MapOptions::close_file) it; mappings of one file share a descriptor where they can.
/// Dropping it unmaps and closes: it does not flush (the system writes what was changed some time
/// later), and it never panics.
pub struct Region {
    pub(super) plan: Plan,
    pub(super) backing_file: BackingFile,
    path: Option<Box<Path>>,
    /// The first byte that the user sees; dangling while `reserved` is 0.
    base: AtomicPtr<u8>,
    /// Bytes that the user sees; grows after the bytes are there (`Release`).
    len: AtomicUsize,
    /// The address space, from `slack` bytes before `base`; 0: nothing is mapped.
    reserved: AtomicUsize,
    /// How much of the address space has been made accessible, from its beginning; never less than
    /// `slack + len`.
    mapped: AtomicUsize,
    /// The file's length when this mapping last looked or changed it.
    file_len: AtomicU64,
    pub(super) flush_state: FlushState,
    /// One at a time grows, protects or freezes.
    changes: Mutex<Changes>,
    recovery: Recovery,
}

#[derive(Default)]
pub(super) struct Changes {
    /// A plain slice of it has been handed out: its protection stays.
    pub(super) frozen: bool,
}

impl Region {
    /// Maps a part of a file, which must have it.
    pub(super) fn of_file(file: File, path: Option<&Path>, plan: Plan) -> Result<Self> {
        let named = |error: Error| error.with_path(path);
        let status = plan::measure(&file).map_err(named)?;
        let len = plan.len_in(status).map_err(named)?;
        let region = Self::unmapped(Some(file), path, status, plan);
        region.adopt(region.map_span(len)?, len);
        Ok(region)
    }

    /// Maps memory without a file.
    pub(super) fn anonymous(len: usize, plan: Plan) -> Result<Self> {
        if len == 0 {
            return Err(Error::new(ErrorKind::ZeroLength, "map anonymous memory"));
        }
        let status = FileStatus::new(FileKind::Special, 0);
        let region = Self::unmapped(None, None, status, plan);
        region.adopt(region.map_span(len)?, len);
        Ok(region)
    }

    /// A region of no bytes, to be placed.
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

    /// Maps `len` bytes as planned, and only then gives the old addresses up.
    pub(super) fn place(&mut self, len: usize) -> Result<()> {
        let span = self.map_span(len)?;
        let old = self.take_span();
        self.adopt(span, len);
        self.unmap(old)
    }

    /// The same for another part of the file. After an error it is as it was.
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
            // Address space is found when there is something to map.
            return Ok(None);
        }
        let request = self.request(len)?;
        sys::map::map(&request).map(Some).map_err(|error| self.named(error))
    }

    /// The request that maps `len` bytes of this region, from a granule on.
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

    /// Takes a span over, of which the user sees `len` bytes; the old one has been taken before.
    pub(super) fn adopt(&self, span: Option<Span>, len: usize) {
        if let Some(span) = span {
            self.base.store(span.base.wrapping_add(self.slack()), Ordering::Relaxed);
            self.reserved.store(span.reserved, Ordering::Relaxed);
            self.mapped.store(0, Ordering::Relaxed);
        }
        // Whoever is here is alone: it holds the lock for changes, or the region itself.
        if self.slack() + len > self.mapped() {
            self.mapped.store(self.slack() + len, Ordering::Relaxed);
        }
        self.len.store(len, Ordering::Release);
    }

    pub(super) fn mapped(&self) -> usize {
        self.mapped.load(Ordering::Relaxed)
    }

    /// Leaves the region without address space; whoever has the span unmaps it.
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
        // SAFETY: the span was this region's own and has been taken from it; views borrow the
        // region, and it was borrowed exclusively for the taking.
        unsafe { sys::map::unmap(&span) }.map_err(|error| self.named(error))
    }

    /// Unmaps, and says whether that went well.
    pub(super) fn close(mut self) -> Result<()> {
        let span = self.take_span();
        self.unmap(span)
    }

    /// The current address space, without giving it up.
    pub(super) fn span(&self) -> Option<Span> {
        match self.reserved.load(Ordering::Relaxed) {
            0 => None,
            reserved => Some(Span { base: self.span_base(), reserved }),
        }
    }

    /// Bytes between the beginning of the address space and the first that the user sees.
    pub(super) fn slack(&self) -> usize {
        self.plan.slack()
    }

    pub(super) fn span_base(&self) -> *mut u8 {
        self.base.load(Ordering::Relaxed).wrapping_sub(self.slack())
    }

    /// The first byte that the user sees; where nothing is mapped, an address as aligned as if.
    pub(crate) fn base(&self) -> *mut u8 {
        if self.reserved.load(Ordering::Relaxed) == 0 {
            return ptr::without_provenance_mut(sys::map::granularity());
        }
        self.base.load(Ordering::Relaxed)
    }

    pub(super) fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error with this region's path.
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

    /// Bytes mapped.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Whether no bytes are mapped: the file, or the part of it, is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The path it was opened by; `None` for adopted descriptors and anonymous memory.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The offset in the file of the first byte mapped.
    #[must_use]
    pub fn file_offset(&self) -> u64 {
        self.plan.offset
    }

    /// Bytes that this mapping can grow to without moving. Where nothing is mapped, nothing is
    /// reserved.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.reserved.load(Ordering::Relaxed).saturating_sub(self.slack())
    }

    /// How guarded accesses to this mapping are made.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// Changes what may be done with the pages of a range (`mprotect`, `VirtualProtect`).
    ///
    /// Whole pages change: those that hold the range. What is not allowed afterwards is an error of
    /// kind [`Fault`](ErrorKind::Fault) where it is tried. A mapping of which a
    /// [`frozen`](crate::Mapping::frozen) slice was given keeps its protection.
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
                .with_detail("a frozen slice of it was given out, which may be in use"));
        }
        let Some((_, pages)) = self.pages(range, OPERATION)? else {
            return Ok(());
        };
        // SAFETY: the pages are in this region's span; all accesses are guarded, and the only
        // references there can be are those excluded above.
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
}

impl Drop for Region {
    fn drop(&mut self) {
        let span = self.take_span();
        // Nobody is left to tell.
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
    /// Path, place and access; never contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.debug(f, "Region")
    }
}
