//! Shared memory that can be read and written.

use crate::error::Result;
use crate::mapping::MappingMut;
use crate::shm::kinds::object_kind;
use crate::shm::location::named;
use crate::shm::{Location, ReadOnlySharedMemory, SharedMemoryOptions};
use crate::sys::{self, Access, AsDescriptor};

/// Raw bytes that processes share, under a name or without one.
///
/// Stores by one process are visible to all others at once. Use [atomics](crate::Atomic) or a
/// [lock](crate::Shared) to coordinate them. The memory dereferences to [`MappingMut`] and has its
/// methods: views, streams, residency. It is not stored on disk, so there is nothing to flush.
///
/// Shared memory has no header. Objects of other programs can therefore be opened, and nothing
/// records which processes use an object.
///
/// # Examples
/// ```
/// # fn main() -> sharemap::Result<()> {
/// # let name = format!("sharemap-frames-{}", std::process::id());
/// # let name = name.as_str();
/// use sharemap::SharedMemory;
///
/// let writer = SharedMemory::create_new(name, 1 << 20)?;     // process A
/// let reader = SharedMemory::open_read_only(name)?;          // process B
/// writer.view::<u32>()?.set(7, 42)?;
/// assert_eq!(reader.view::<u32>()?.get(7)?, 42);
/// SharedMemory::unlink(name)?;
/// # Ok(()) }
/// ```
///
/// # Lifetime
///
/// A named object exists until it is [unlinked](Self::unlink), whether or not a process uses it. The
/// creator may end before another process opens the object. Memory without a name, and memory that
/// was unlinked, exists until the last process closes and unmaps it.
///
/// | | Linux, macOS | Windows | Windows, [`Lifetime::Attached`](crate::Lifetime::Attached) |
/// |---|---|---|---|
/// | last close | kept | kept | removed |
/// | `unlink` | removes the name at once | removes the name at once; the hidden file is removed by the last close | `Unsupported` |
/// | logout | kept; systemd with `RemoveIPC=yes` removes it (not root's) | kept | removed |
/// | reboot | removed | kept, because it is a file; its contents may be old | removed |
///
/// # Access rights
///
/// Only this user can open an object (mode 0600), unless it was created with another
/// [`mode`](SharedMemoryOptions::mode). Opening a name fails if it belongs to something other than an
/// object of this user: a link, a FIFO, a directory, another user's object.
#[doc(alias = "shm_open")]
#[doc(alias = "memfd_create")]
#[doc(alias = "CreateFileMapping")]
#[doc(alias = "OpenFileMapping")]
#[doc(alias = "MapViewOfFile")]
pub struct SharedMemory {
    map: MappingMut,
    location: Location,
}

impl SharedMemory {
    pub(super) fn new(map: MappingMut, location: Location) -> Self {
        Self { map, location }
    }

    /// Creates an object of `len` zero bytes, which must not exist yet, and maps it.
    ///
    /// Memory for all of it is allocated at once on Linux and Windows, so a lack of memory (a small
    /// `/dev/shm` in a container, for instance) is an error here and not a fault later. After an
    /// error the object does not exist. Other processes can open it only once it has its length; on
    /// macOS they may get `ZeroLength` before that.
    ///
    /// # Errors
    /// As for [`SharedMemoryOptions::create_new`].
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let name = format!("sharemap-create-new-{}", std::process::id());
    /// # let name = name.as_str();
    /// use sharemap::{ErrorKind, SharedMemory};
    ///
    /// let frames = SharedMemory::create_new(name, 4096)?;
    /// let error = SharedMemory::create_new(name, 4096).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    /// # SharedMemory::unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn create_new(location: impl Into<Location>, len: u64) -> Result<Self> {
        SharedMemoryOptions::new().create_new(location, len)
    }

    /// Opens an existing object for reading and writing, and maps all of it.
    ///
    /// # Errors
    /// As for [`SharedMemoryOptions::open`].
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let name = format!("sharemap-open-{}", std::process::id());
    /// # let name = name.as_str();
    /// # let created = sharemap::SharedMemory::create_new(name, 4096)?;
    /// use sharemap::SharedMemory;
    ///
    /// let frames = SharedMemory::open(name)?;
    /// frames.bytes().write_at(0, b"hello")?;
    /// # SharedMemory::unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn open(location: impl Into<Location>) -> Result<Self> {
        SharedMemoryOptions::new().open(location)
    }

    /// Opens an existing object for reading, and maps all of it.
    ///
    /// # Errors
    /// As for [`SharedMemoryOptions::open_read_only`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let name = format!("doc-shm-ro-{}", std::process::id());
    /// # let name = name.as_str();
    /// let block = SharedMemory::create_new(name, 4096)?;
    /// let same = SharedMemory::open_read_only(name)?;
    /// block.bytes().set(0, 7)?;
    /// assert_eq!(same.bytes().get(0)?, 7);
    /// # unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn open_read_only(location: impl Into<Location>) -> Result<ReadOnlySharedMemory> {
        SharedMemoryOptions::new().open_read_only(location)
    }

    /// Opens the object, or creates it with `len` zero bytes if it does not exist.
    ///
    /// An object that exists must have at least `len` bytes. A longer one is mapped whole.
    ///
    /// # Errors
    /// As for [`SharedMemoryOptions::open_or_create`].
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let name = format!("sharemap-or-create-{}", std::process::id());
    /// # let name = name.as_str();
    /// use sharemap::SharedMemory;
    ///
    /// let first = SharedMemory::open_or_create(name, 4096)?;  // creates it
    /// let second = SharedMemory::open_or_create(name, 4096)?; // opens it
    /// first.bytes().set(0, 7)?;
    /// assert_eq!(second.bytes().get(0)?, 7);
    /// # SharedMemory::unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn open_or_create(location: impl Into<Location>, len: u64) -> Result<Self> {
        SharedMemoryOptions::new().open_or_create(location, len)
    }

    /// Creates an object of `len` zero bytes and gives it the name, replacing an object that has it.
    ///
    /// Processes that use the replaced object keep it. On Linux the name refers to one of the two
    /// objects at every moment; on macOS and Windows the old name is unlinked first.
    ///
    /// # Errors
    /// As for [`SharedMemoryOptions::replace`].
    pub fn replace(location: impl Into<Location>, len: u64) -> Result<Self> {
        SharedMemoryOptions::new().replace(location, len)
    }

    /// Creates shared memory of `len` zero bytes without a name: a memfd on Linux, an unnamed section
    /// on Windows, an object that is unlinked at once on macOS.
    ///
    /// Other processes get the memory by [`send`](Self::send), [`pass_to`](Self::pass_to) or
    /// [`duplicate_into`](Self::duplicate_into).
    ///
    /// # Errors
    /// As for [`SharedMemoryOptions::create_new`].
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// use sharemap::SharedMemory;
    ///
    /// let block = SharedMemory::anonymous(4096)?;
    /// block.view::<u64>()?.set(0, 7)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "memfd_create")]
    pub fn anonymous(len: u64) -> Result<Self> {
        SharedMemoryOptions::new().create_new(Location::anonymous(), len)
    }

    /// Maps the shared memory of an open descriptor, for instance opened by other code. The
    /// caller may close the descriptor afterwards.
    ///
    /// # Errors
    /// - `ZeroLength` - the memory has no length yet, or the descriptor refers to something without
    ///   one.
    ///
    /// Otherwise as for [`MapOptions::map_mut`](crate::MapOptions::map_mut).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let block = SharedMemory::anonymous(4096)?;
    /// if let Some(file) = block.file() {
    ///     let same = SharedMemory::from_descriptor(file)?;
    ///     block.bytes().set(0, 7)?;
    ///     assert_eq!(same.bytes().get(0)?, 7);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn from_descriptor(descriptor: impl AsDescriptor) -> Result<Self> {
        let file = descriptor.duplicate_descriptor()?;
        SharedMemoryOptions::new().map(file, Location::anonymous(), None)
    }

    /// Unlinks an object, like the function [`unlink`](crate::unlink()). Processes that have it mapped
    /// keep it.
    ///
    /// # Errors
    /// As for [`unlink`](crate::unlink()).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let name = Location::unique("doc-unlink")?;
    /// let block = SharedMemory::create_new(&name, 4096)?;
    /// SharedMemory::unlink(&name)?;
    /// assert_eq!(SharedMemory::open(&name).unwrap_err().kind(), ErrorKind::NotFound);
    /// block.bytes().set(0, 7)?; // the mapping stays
    /// # Ok(()) }
    /// ```
    #[doc(alias = "shm_unlink")]
    pub fn unlink(location: impl Into<Location>) -> Result<()> {
        super::unlink(location)
    }

    /// Returns options for creating or opening shared memory: reservation, lifetime, huge pages,
    /// access rights.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let name = format!("doc-shm-options-of-{}", std::process::id());
    /// # let name = name.as_str();
    /// let block = SharedMemory::options().max(1 << 20).create_new(name, 4096)?;
    /// assert_eq!(block.reserved(), 1 << 20);
    /// # unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn options() -> SharedMemoryOptions {
        SharedMemoryOptions::new()
    }

    /// Grows the memory in place to `new_len` bytes, within the reservation that
    /// [`max`](SharedMemoryOptions::max) made.
    ///
    /// Existing views and pointers stay valid, and views created afterwards show the new bytes.
    /// Memory for them is allocated unless the options are [`sparse`](SharedMemoryOptions::sparse).
    /// Other processes follow by [`refresh_len`](Self::refresh_len). A `new_len` of at most the
    /// current length changes nothing.
    ///
    /// # Errors
    /// As for [`MappingMut::grow`].
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// use sharemap::{Location, SharedMemory};
    ///
    /// let block = SharedMemory::options().max(1 << 20).create_new(Location::anonymous(), 4096)?;
    /// block.grow(100_000)?;
    /// block.bytes().set(99_999, 1)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "ftruncate")]
    pub fn grow(&self, new_len: usize) -> Result<()> {
        let grown = self.map.grow(new_len);
        grown.map_err(|error| match self.map.file() {
            Some(file) => sys::shm::no_room(file, error),
            None => error,
        })
    }

    /// Returns a read-only handle of this memory. Its descriptor does not permit writing.
    ///
    /// # Errors
    /// - `Unsupported` - on macOS; open the object by its name instead.
    /// - `NotFound` - on Linux, if `/proc` is not mounted.
    /// - `PermissionDenied` - this user may not open the object.
    ///
    /// Otherwise as for [`MapOptions::map`](crate::MapOptions::map).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let name = format!("doc-shm-read-only-{}", std::process::id());
    /// # let name = name.as_str();
    /// let block = SharedMemory::create_new(name, 4096)?;
    /// let reader = block.read_only()?; // give this one to code that must not write
    /// block.bytes().set(0, 7)?;
    /// assert_eq!(reader.bytes().get(0)?, 7);
    /// # unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn read_only(&self) -> Result<ReadOnlySharedMemory> {
        let file = self.descriptor(Access::Read)?;
        SharedMemoryOptions::new().map_read_only(file, self.location.clone())
    }

    /// Opens the memory again. On Linux the new descriptor has an open file description of its
    /// own.
    pub(super) fn descriptor(&self, access: Access) -> Result<std::fs::File> {
        sys::shm::reopen(self.open_file()?, access).map_err(|error| named(error, &self.location))
    }

    pub(super) fn into_parts(self) -> (MappingMut, Location) {
        (self.map, self.location)
    }
}

object_kind!(SharedMemory, MappingMut, OwnedViewMut, owned_mut);
