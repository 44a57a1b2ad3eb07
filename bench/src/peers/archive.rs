//! rkyv: an archived map, which is read in place, unchecked, and cannot change.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use memmap2::Mmap;
use rkyv::collections::swiss_table::ArchivedHashMap;
use rkyv::rancor::Error;
use rkyv::rend::u64_le;

use crate::reason::{Reason, why};

/// A mapped file with an archived map.
pub struct Archive(Mmap);

/// Creates a file at `path` with all entries.
pub fn create(path: &Path, entries: &[(u64, u64)]) -> Result<(), Reason> {
    let map: HashMap<u64, u64> = entries.iter().copied().collect();
    let bytes = rkyv::to_bytes::<Error>(&map).map_err(why)?;
    std::fs::write(path, bytes).map_err(why)
}

impl Archive {
    pub fn open(path: &Path) -> Result<Self, Reason> {
        let file = File::open(path).map_err(why)?;
        // SAFETY: the file does not change while it is mapped.
        unsafe { Mmap::map(&file) }.map(Self).map_err(why)
    }

    #[inline]
    pub fn get(&self, key: u64) -> Option<u64> {
        // SAFETY: `create` wrote the file, which begins at a page.
        let map = unsafe { rkyv::access_unchecked::<ArchivedHashMap<u64_le, u64_le>>(&self.0) };
        map.get(&u64_le::from_native(key)).map(|value| value.to_native())
    }
}
