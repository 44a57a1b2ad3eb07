//! Shared memory for reading and writing.

use crate::error::Result;
use crate::mapping::MappingMut;
use crate::shm::kinds::object_kind;
use crate::shm::options::named;
use crate::shm::{Location, ReadOnlySharedMemory, SharedMemoryOptions};
use crate::sys::{self, Access, AsDescriptor};

/// Memory that processes share: raw bytes, under a name or without one.
///
/// What one writes, all others see at once. It has what a [`MappingMut`] has: views, streams,
/// [`grow`](Self::grow), residency; nothing is there to be flushed, as it is memory. It has no
/// header, so that objects of other programs open too, and nothing in it tells who is attached.
///
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
/// # How long it lives
///
/// A named object lives until it is [unlinked](Self::unlink); then, as memory without a name,
/// until nobody has it mapped or open. The process that made it may end before another opens it.
///
/// | | Linux, macOS | Windows | Windows, [`Lifetime::Attached`](crate::Lifetime::Attached) |
/// |---|---|---|---|
/// | last close | stays | stays | goes |
/// | `unlink` | the name goes at once | the name goes at once; a file stays hidden until the last one closes | `Unsupported` |
/// | logout | stays; systemd with `RemoveIPC=yes` removes it (not root's) | stays | goes |
/// | reboot | goes | stays, as it is a file; its contents may be old | goes |
///
/// # Who may have it
///
/// This user alone (mode 0600), unless [`mode`](SharedMemoryOptions::mode) says otherwise. What has
/// the name but is no object of this user (a link, a FIFO, a directory, another user's object) is
/// refused.
pub struct SharedMemory {
    map: MappingMut,
    location: Location,
}

object_kind!(SharedMemory, MappingMut, OwnedViewMut, owned_mut);

impl SharedMemory {
    pub(super) fn new(map: MappingMut, location: Location) -> Self {
        Self { map, location }
    }

    /// Makes an object of `len` zero bytes that must not exist yet.
    ///
    /// Memory is set aside for all of it: too little of it, as in containers with a small `/dev/shm`, is
    /// [`NoSpace`](crate::ErrorKind::NoSpace) here, and after an error there is no object. No
    /// process can open it before it has its length (on macOS: see
    /// [`ErrorKind::ZeroLength`](crate::ErrorKind::ZeroLength)).
    pub fn create_new(location: impl Into<Location>, len: u64) -> Result<Self> {
        SharedMemoryOptions::new().create_new(location, len)
    }

    /// Opens an object, which must exist, and maps all of it.
    pub fn open(location: impl Into<Location>) -> Result<Self> {
        SharedMemoryOptions::new().open(location)
    }

    /// Opens an object for reading only.
    pub fn open_read_only(location: impl Into<Location>) -> Result<ReadOnlySharedMemory> {
        SharedMemoryOptions::new().open_read_only(location)
    }

    /// Opens the object if it exists, which must have at least `len` bytes (else
    /// [`WrongSize`](crate::ErrorKind::WrongSize)); or makes it.
    pub fn open_or_create(location: impl Into<Location>, len: u64) -> Result<Self> {
        SharedMemoryOptions::new().open_or_create(location, len)
    }

    /// Makes an object of `len` zero bytes in place of the one that has the name, if any; whoever
    /// has that one keeps it. On Linux the name is at no moment without an object.
    pub fn replace(location: impl Into<Location>, len: u64) -> Result<Self> {
        SharedMemoryOptions::new().replace(location, len)
    }

    /// Makes memory without a name: a memfd, an unnamed section, an unlinked object.
    pub fn anonymous(len: u64) -> Result<Self> {
        SharedMemoryOptions::new().create_new(Location::anonymous(), len)
    }

    /// Maps what an open descriptor refers to, such as an object that other code has opened. The
    /// descriptor may be closed at once.
    pub fn from_descriptor(descriptor: impl AsDescriptor) -> Result<Self> {
        let file = descriptor.duplicate_descriptor()?;
        SharedMemoryOptions::new().map(file, Location::anonymous(), None)
    }

    /// Unlinks an object, as [`unlink`](crate::unlink()) does. Processes that have it mapped keep it.
    ///
    /// # Errors
    /// As for [`unlink`](crate::unlink()).
    pub fn unlink(location: impl Into<Location>) -> Result<()> {
        super::unlink(location)
    }

    /// Room to grow, lifetime, huge pages, who else may have it, …:
    /// [`SharedMemoryOptions::create_new`] and others make it.
    pub fn options() -> SharedMemoryOptions {
        SharedMemoryOptions::new()
    }

    /// Grows it to `new_len` bytes, inside of what was kept for growth ([`max`]).
    ///
    /// Nothing moves: views and pointers stay valid, and views made afterwards see the new bytes.
    /// Memory is set aside for them unless it is [`sparse`]. Others see them after
    /// [`refresh_len`](Self::refresh_len). Beyond [`max`] it is
    /// [`ExceedsReservation`](crate::ErrorKind::ExceedsReservation); a length that is not more than the
    /// current one changes nothing.
    ///
    /// [`max`]: SharedMemoryOptions::max
    /// [`sparse`]: SharedMemoryOptions::sparse
    pub fn grow(&self, new_len: usize) -> Result<()> {
        let grown = self.map.grow(new_len);
        grown.map_err(|error| match self.map.file() {
            Some(file) => sys::shm::no_room(file, error),
            None => error,
        })
    }

    /// The same object for reading, with a descriptor that cannot write.
    pub fn read_only(&self) -> Result<ReadOnlySharedMemory> {
        let file = self.descriptor(Access::Read)?;
        SharedMemoryOptions::new().map_read_only(file, self.location.clone())
    }

    /// A descriptor of its own, with a description of its own where the system can make one.
    pub(super) fn descriptor(&self, access: Access) -> Result<std::fs::File> {
        sys::shm::reopen(self.open_file()?, access).map_err(|error| named(error, &self.location))
    }

    pub(super) fn into_parts(self) -> (MappingMut, Location) {
        (self.map, self.location)
    }
}
