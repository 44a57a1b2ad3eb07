//! Shared memory for reading.

use crate::error::Result;
use crate::mapping::Mapping;
use crate::shm::kinds::object_kind;
use crate::shm::{Location, SharedMemoryOptions};
use crate::sys::AsDescriptor;

/// Shared memory that this process cannot write to.
///
/// What others write shows at once. It has what a [`Mapping`] has, also [`frozen`](Mapping::frozen),
/// which gives a plain `&[u8]` where seals prove that the bytes never change:
/// [`SharedMemory::freeze`](crate::SharedMemory::freeze).
pub struct ReadOnlySharedMemory {
    map: Mapping,
    location: Location,
}

object_kind!(ReadOnlySharedMemory, Mapping, OwnedView, owned);

impl ReadOnlySharedMemory {
    pub(super) fn new(map: Mapping, location: Location) -> Self {
        Self { map, location }
    }

    /// Maps what an open descriptor refers to. The descriptor may be closed at once.
    pub fn from_descriptor(descriptor: impl AsDescriptor) -> Result<Self> {
        let file = descriptor.duplicate_descriptor()?;
        SharedMemoryOptions::new().map_read_only(file, Location::anonymous())
    }
}
