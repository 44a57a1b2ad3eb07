//! Mappings whose changes stay private.

use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::layout::Element;
use crate::mapping::kinds::region_kind;
use crate::mapping::{MapOptions, Region, views};
use crate::sys::AsDescriptor;
use crate::view::{OwnedViewMut, Reader, ViewMut};

/// A file in memory, for edits that nobody else sees: the file stays as it was.
///
/// A page that is written to is copied; the others are the file's. There is nothing to flush.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("sharemap-cow-{}", std::process::id()));
/// # std::fs::write(&path, "on disk")?;
/// use sharemap::MappingCow;
///
/// let map = MappingCow::open(&path)?;
/// map.bytes().write_at(0, b"in memory".split_at(7).0)?;
/// assert_eq!(std::fs::read(&path)?, b"on disk");
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
pub struct MappingCow {
    pub(super) region: Region,
}

region_kind!(MappingCow);

impl MappingCow {
    /// Opens a file for reading and maps it whole.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        MapOptions::new().open_cow(path)
    }

    /// Maps what an open descriptor refers to. The descriptor may be closed at once.
    pub fn map(file: impl AsDescriptor) -> Result<Self> {
        MapOptions::new().map_cow(file)
    }

    /// Offset, length, …: [`MapOptions::open_cow`] makes it.
    pub fn options() -> MapOptions {
        MapOptions::new()
    }

    /// All bytes.
    #[must_use]
    pub fn bytes(&self) -> ViewMut<'_, u8> {
        self.region.view_mut().unwrap_or_else(|error| unreachable!("bytes fit anywhere: {error}"))
    }

    /// All of it as elements; its size and alignment must be right for them.
    pub fn view<T: Element>(&self) -> Result<ViewMut<'_, T>> {
        self.region.view_mut()
    }

    /// `count` elements from byte `offset` of the mapping on.
    pub fn view_at<T: Element>(&self, offset: usize, count: usize) -> Result<ViewMut<'_, T>> {
        self.region.view_mut_at(offset, count)
    }

    /// All of it as elements, in a form that threads can own.
    pub fn owned_view<T: Element>(self: &Arc<Self>) -> Result<OwnedViewMut<T>> {
        let len = self.len();
        views::owned_mut(Arc::clone(self) as _, len)
    }

    /// A stream of its bytes: `Read`, `BufRead` and `Seek`.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        self.bytes().reader()
    }

    /// Drops the edits of exactly this range: it reads as the file again.
    ///
    /// What another thread writes meanwhile to the pages at the ends of the range may be lost.
    pub fn discard(&self, range: impl RangeBounds<usize>) -> Result<()> {
        self.region.forget(range)
    }

    /// Maps what the file has now, without the edits. After an error it is as it was.
    pub fn remap(&mut self) -> Result<()> {
        self.region.follow()
    }
}
