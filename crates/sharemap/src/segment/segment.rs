//! `Segment`: an open segment.

use std::fmt;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::peer::{Machine, Memory, Opening, Session};
use crate::segment::allocator::Allocator;
use crate::segment::at_once::AtOnce;
use crate::segment::map::{Form, Map, Shape};
use crate::segment::offset::Tag;
use crate::segment::plan::{GREATEST, Plan};
use crate::shm::{self, Location};
use crate::sync::SharedOptions;
use crate::sys::AsDescriptor;

/// A heap in shared memory or a file, with named objects and containers, that processes use together.
///
/// A segment grows while it is in use, up to the limit that its creator sets; addresses and [offsets](crate::Offset)
/// stay the same. Any process may be killed at any instruction: what it was changing is completed by the next that
/// needs it, so that nothing is lost, leaked or left locked. Values are copied in and out, and no reference into the
/// segment exists.
///
/// A `Segment` is a handle, and cheap to clone. Dropping the last one that a process has detaches the process. A named
/// segment or a file remains until it is unlinked; see [`Location`].
///
/// # Opening for reading
///
/// | | [`open`](Self::open) | [`open_read_only`](Self::open_read_only), [`open_copy_on_write`](Self::open_copy_on_write) |
/// |---|---|---|
/// | [`value`](Self::value), [`objects`](Self::objects), [`read`](Self::read) | yes | yes |
/// | [`HashMap::get`](crate::containers::HashMap::get), [`iter`](crate::containers::HashMap::iter), [`len`](crate::containers::HashMap::len) | yes | yes |
/// | [`stats`](Self::stats), [`check`](Self::check) | yes | yes; `check` cannot stop the writers |
/// | everything that changes the segment | yes | [`NotWritable`](ErrorKind::NotWritable) |
///
/// # Durability
/// Changes of a segment in a file are in the file for every process at once, and survive the death of all processes.
/// They survive a power cut after [`flush`](Self::flush) only. After a power cut during use, opening the segment fails
/// with [`Unclean`](ErrorKind::Unclean), reliably with [`SharedOptions::detect_unclean`]. With
/// [`SharedOptions::accept_unclean`] it opens, and [`check`](Self::check) proves that its structure is whole; that values
/// are of one moment, nothing can prove.
///
/// # Platforms
/// On Linux, growth by one process is visible in all others at once. On Windows and macOS, a process notices it at its
/// first access to the new part, which faults, and is made again after the part has been mapped.
///
/// # Examples
/// ```
/// use sharemap::{Location, Segment};
///
/// # fn main() -> sharemap::Result<()> {
/// # let path = std::env::temp_dir().join(format!("doc-segment-{}", std::process::id()));
/// let segment = Segment::open_or_create(Location::file(&path), 1 << 20, 1 << 26)?;
/// let prices = segment.hash_map::<u64, f64>("prices")?;
/// prices.insert(&7, &101.5)?;
/// segment.set_value("source", "exchange")?;
///
/// let again = Segment::open(Location::file(&path))?; // usually in another process
/// assert_eq!(again.hash_map::<u64, f64>("prices")?.get(&7)?, Some(101.5));
/// assert_eq!(again.value::<str>("source")?.as_deref(), Some("exchange"));
/// # drop((segment, prices, again));
/// # std::fs::remove_file(&path)?;
/// # Ok(()) }
/// ```
#[doc(alias = "managed_shared_memory")]
#[doc(alias = "managed_mapped_file")]
#[derive(Clone)]
pub struct Segment {
    pub(super) inner: Arc<Inner>,
    /// How long changes wait for locks; `None`: without a limit.
    timeout: Option<Duration>,
}

/// What all handles of an opening share.
pub(super) struct Inner {
    pub(super) opening: Arc<Opening>,
    pub(super) plan: Plan,
    pub(super) tag: Tag,
    /// The map of named objects.
    pub(super) names: Shape,
    /// The names' directory, as this process saw it last.
    pub(super) directory: AtomicU64,
}

impl Segment {
    /// Creates a segment that does not exist yet, of `size` bytes, which may grow to `max` bytes.
    ///
    /// A `size` that is less than a segment needs, about 320 KiB, is raised to that. `max` bytes of address space are
    /// reserved by every process that opens the segment.
    ///
    /// # Errors
    /// - `OutOfBounds` - `max` is less than `size` or than a segment needs, or more than 1 TiB.
    ///
    /// Otherwise as for [`Shared::create_new`](crate::Shared::create_new).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let name = UnlinkOnDrop::new(Location::unique("doc-segment-new")?);
    /// let segment = Segment::create_new(&name, 1 << 20, 1 << 26)?;
    /// let error = Segment::create_new(&name, 1 << 20, 1 << 26).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    /// # Ok(()) }
    /// ```
    pub fn create_new(location: impl Into<Location>, size: u64, max: u64) -> Result<Self> {
        SharedOptions::new().create_new_segment(location, size, max)
    }

    /// Opens an existing segment.
    ///
    /// # Errors
    /// As for [`Shared::open`](crate::Shared::open); `WrongKind` if the object is not a segment.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let error = Segment::open("doc-no-such-segment").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotFound);
    /// # Ok(()) }
    /// ```
    pub fn open(location: impl Into<Location>) -> Result<Self> {
        SharedOptions::new().open_segment(location)
    }

    /// Opens the segment at `location`, or creates it if there is none.
    ///
    /// An existing segment keeps its size and limit.
    ///
    /// # Errors
    /// As for [`open`](Self::open), except `NotFound` and `Incomplete`, and as for [`create_new`](Self::create_new).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let name = UnlinkOnDrop::new(Location::unique("doc-segment-or")?);
    /// let segment = Segment::open_or_create(&name, 1 << 20, 1 << 26)?;
    /// segment.set_value("answer", &42_u32)?;
    /// let same = Segment::open_or_create(&name, 1 << 20, 1 << 26)?;
    /// assert_eq!(same.value::<u32>("answer")?, Some(42));
    /// # Ok(()) }
    /// ```
    pub fn open_or_create(location: impl Into<Location>, size: u64, max: u64) -> Result<Self> {
        SharedOptions::new().open_or_create_segment(location, size, max)
    }

    /// Opens an existing segment for reading. The call needs no permission to write.
    ///
    /// The table [above](Self#opening-for-reading) says what works.
    ///
    /// # Errors
    /// As for [`Shared::open_read_only`](crate::Shared::open_read_only).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let name = UnlinkOnDrop::new(Location::unique("doc-segment-read")?);
    /// let segment = Segment::create_new(&name, 1 << 20, 1 << 26)?;
    /// segment.set_value("answer", &42_u32)?;
    /// let reader = Segment::open_read_only(&name)?;
    /// assert_eq!(reader.value::<u32>("answer")?, Some(42));
    /// assert_eq!(reader.set_value("answer", &43_u32).unwrap_err().kind(), ErrorKind::NotWritable);
    /// # Ok(()) }
    /// ```
    pub fn open_read_only(location: impl Into<Location>) -> Result<Self> {
        SharedOptions::new().open_segment_read_only(location)
    }

    /// Opens an existing segment for reading, as private copies of its pages.
    ///
    /// What others change is seen until this process first writes to the same page by
    /// [`write`](Self::write); everything else works as with [`open_read_only`](Self::open_read_only).
    ///
    /// # Errors
    /// As for [`open_read_only`](Self::open_read_only).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let name = UnlinkOnDrop::new(Location::unique("doc-segment-copy")?);
    /// let segment = Segment::create_new(&name, 1 << 20, 1 << 26)?;
    /// let hits = segment.allocate(&1_u64)?;
    /// let copy = Segment::open_copy_on_write(&name)?;
    /// copy.write(hits, &2)?;
    /// assert_eq!((segment.read(hits)?, copy.read(hits)?), (1, 2));
    /// # Ok(()) }
    /// ```
    pub fn open_copy_on_write(location: impl Into<Location>) -> Result<Self> {
        SharedOptions::new().open_segment_copy_on_write(location)
    }

    /// Opens a segment that another process passed to this one as a descriptor or handle.
    ///
    /// # Errors
    /// As for [`Shared::from_descriptor`](crate::Shared::from_descriptor).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// segment.set_value("answer", &42_u32)?;
    /// if let Some(file) = segment.file() {
    ///     let same = Segment::from_descriptor(file)?; // usually in a child process
    ///     assert_eq!(same.value::<u32>("answer")?, Some(42));
    /// }
    /// # Ok(()) }
    /// ```
    pub fn from_descriptor(descriptor: impl AsDescriptor) -> Result<Self> {
        SharedOptions::new().segment_from_descriptor(descriptor)
    }

    /// Unlinks the segment at `location`, like the function [`unlink`](crate::unlink()).
    ///
    /// Attached processes stay attached. The memory is freed when the last of them detaches.
    ///
    /// # Errors
    /// As for [`unlink`](crate::unlink()).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let name = Location::unique("doc-segment-unlink")?;
    /// Segment::create_new(&name, 1 << 20, 1 << 26)?;
    /// Segment::unlink(&name)?;
    /// assert_eq!(Segment::open(&name).unwrap_err().kind(), ErrorKind::NotFound);
    /// # Ok(()) }
    /// ```
    pub fn unlink(location: impl Into<Location>) -> Result<()> {
        shm::unlink(location)
    }

    /// Returns a handle of which changes wait at most `timeout` for the locks they need. Without this, they wait until
    /// the owner of a lock releases it or dies.
    ///
    /// Owners hold locks for a few stores only. Long waits mean that an owner is stopped, by a debugger for instance, or
    /// starved. A change that waits longer fails with [`Timeout`](ErrorKind::Timeout), and the segment is as before.
    /// Containers that are created or opened by this handle have the same limit.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # use std::time::Duration;
    /// # fn main() -> Result<()> {
    /// let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// let patient = segment.with_timeout(Duration::from_millis(100));
    /// let prices = patient.hash_map::<u64, f64>("prices")?;
    /// prices.insert(&7, &101.5)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { inner: Arc::clone(&self.inner), timeout: Some(timeout) }
    }

    /// Returns the open file of the segment, for passing it to another process.
    ///
    /// Returns `None` if the system has no file for it.
    ///
    /// # Examples
    /// See [`from_descriptor`](Self::from_descriptor).
    #[must_use]
    pub fn file(&self) -> Option<&File> {
        self.session().file()
    }

    /// Makes all changes durable that were complete before the call (`msync`, `fdatasync`).
    ///
    /// Shared memory has no storage; for it the call does nothing.
    ///
    /// # Errors
    /// As for [`MappingMut::flush`](crate::MappingMut::flush).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-segment-flush-{}", std::process::id()));
    /// let segment = Segment::create_new(Location::file(&path), 1 << 20, 1 << 26)?;
    /// segment.set_value("answer", &42_u32)?;
    /// segment.flush()?; // survives a power cut
    /// # drop(segment);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "msync")]
    pub fn flush(&self) -> Result<()> {
        self.session().memory().flush()
    }

    /// Returns a segment over an opening.
    pub(super) fn over(opening: Arc<Opening>) -> Result<Self> {
        let max = opening.header().max;
        let named = |error: Error| error.with_path(opening.path());
        // Before the plan, whose offsets do not overflow up to this limit.
        let plan = (max <= GREATEST).then(|| Plan::of(opening.header()));
        let Some(plan) = plan.filter(|plan| plan.least() <= max) else {
            return Err(named(Error::new(ErrorKind::Malformed, "open"))
                .with_length(max)
                .with_detail("no segment has such a limit"));
        };
        let tag = Tag::of(opening.header().id);
        let root = plan.directory();
        let session: &Session = &opening;
        let names = Shape::load(session, root, plan.map_locks(root))
            .and_then(|names| names.require_form(Form::Keys))
            .map_err(named)?;
        let inner = Inner { opening, plan, tag, names, directory: AtomicU64::new(0) };
        Ok(Self { inner: Arc::new(inner), timeout: None })
    }

    #[inline]
    pub(crate) fn session(&self) -> &Session {
        self.inner.opening.session()
    }

    /// Calls `use_it` with the allocator of this thread. Adds the segment's name to an error.
    ///
    /// Fails with `NotWritable` if the segment is open for reading only.
    ///
    /// If it fails with `NoSpace`, puts back the free blocks that no thread can use, and calls it again.
    #[inline(always)]
    pub(crate) fn with<R>(
        &self,
        mut use_it: impl FnMut(&Allocator<'_, Session>) -> Result<R>,
    ) -> Result<R> {
        let mut is_first = true;
        let until = self.timeout.map(|timeout| self.session().now().saturating_add(timeout));
        // In a loop, so that there is one call of `use_it`, which can be inlined.
        loop {
            let result = match self.inner.area(until) {
                Ok(area) => use_it(&self.inner.allocator(area, until)),
                Err(error) => Err(error),
            };
            match result {
                Ok(value) => return Ok(value),
                Err(error) if is_first && self.has_made_space(&error, until) => is_first = false,
                Err(error) => return Err(self.named(error)),
            }
        }
    }

    /// Makes a change by straight code, if this thread has made one before. Returns `None` if nothing has changed.
    #[inline(always)]
    pub(crate) fn at_once<R>(
        &self,
        make: impl FnOnce(&Allocator<'_, Session>, AtOnce<'_, Memory>) -> Option<Result<R>>,
    ) -> Option<Result<R>> {
        let (area, access) = self.inner.known_area()?;
        // It waits for nothing.
        let made = make(&self.inner.allocator(area, None), access)?;
        Some(made.map_err(|error| self.named(error)))
    }

    /// After an error of kind `NoSpace`, puts back the free blocks that no thread can use. Returns `true` if there were
    /// any.
    #[cold]
    fn has_made_space(&self, error: &Error, until: Option<Duration>) -> bool {
        // If that fails, what the caller needs to know is that the segment is full.
        error.kind() == ErrorKind::NoSpace
            && self.inner.put_back_kept(until).is_ok_and(|put| put > 0)
    }

    /// Adds the segment's name to an error.
    #[cold]
    pub(crate) fn named(&self, error: Error) -> Error {
        error.with_path(self.session().path())
    }

    /// Returns the map with this shape. `directory` is what this process saw last of its directory.
    #[inline]
    pub(crate) fn map<'a>(
        &'a self,
        shape: &'a Shape,
        directory: &'a AtomicU64,
    ) -> Map<'a, Session> {
        Map { machine: self.session(), space: &self.inner.plan.space, shape, directory }
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment").field("object", &self.session().path()).finish_non_exhaustive()
    }
}
