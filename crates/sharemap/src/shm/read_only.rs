//! Read-only shared memory.

use crate::error::Result;
use crate::mapping::Mapping;
use crate::shm::kinds::object_kind;
use crate::shm::{Location, SharedMemoryOptions};
use crate::sys::AsDescriptor;

/// Shared memory that this process can read but not write.
///
/// Stores by other processes are visible at once. The memory dereferences to [`Mapping`] and has its
/// methods. [`frozen`](Mapping::frozen) returns a plain `&[u8]` of memory that was
/// [frozen](crate::SharedMemory::freeze).
///
/// # Examples
/// ```
/// # fn main() -> sharemap::Result<()> {
/// # let name = format!("sharemap-read-only-{}", std::process::id());
/// # let name = name.as_str();
/// use sharemap::{ReadOnlySharedMemory, SharedMemory};
///
/// let writer = SharedMemory::create_new(name, 4096)?;
/// let reader: ReadOnlySharedMemory = SharedMemory::open_read_only(name)?; // in another process
/// writer.bytes().set(0, 7)?;
/// assert_eq!(reader.bytes().get(0)?, 7);
/// # SharedMemory::unlink(name)?;
/// # Ok(()) }
/// ```
pub struct ReadOnlySharedMemory {
    map: Mapping,
    location: Location,
}

impl ReadOnlySharedMemory {
    pub(super) fn new(map: Mapping, location: Location) -> Self {
        Self { map, location }
    }

    /// Maps the shared memory of an open descriptor. The caller may close the descriptor afterwards.
    ///
    /// # Errors
    /// - `ZeroLength` - the memory has no length yet, or the descriptor refers to something without
    ///   one.
    ///
    /// Otherwise as for [`MapOptions::map`](crate::MapOptions::map).
    pub fn from_descriptor(descriptor: impl AsDescriptor) -> Result<Self> {
        let file = descriptor.duplicate_descriptor()?;
        SharedMemoryOptions::new().map_read_only(file, Location::anonymous())
    }
}

object_kind!(ReadOnlySharedMemory, Mapping, OwnedView, owned);
