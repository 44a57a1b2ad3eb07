//! Read-only mappings.

use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::layout::Element;
use crate::mapping::kinds::region_kind;
use crate::mapping::{MapOptions, Region, views};
use crate::sys::AsDescriptor;
use crate::view::{OwnedView, Reader, View};

/// A file in memory, read-only.
///
/// What others write to the file shows at once. If the file shrinks, what is gone is an error of
/// kind [`Fault`](crate::ErrorKind::Fault); [`remap`](Self::remap) follows the file.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("sharemap-mapping-{}", std::process::id()));
/// # std::fs::write(&path, "GATTACA\nCAT\n")?;
/// use std::io::BufRead;
/// use sharemap::Mapping;
///
/// let map = Mapping::open(&path)?;
/// assert_eq!(map.bytes().get(0)?, b'G');
/// for line in map.reader().lines() {
///     println!("{}", line?);
/// }
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
pub struct Mapping {
    pub(super) region: Region,
}

region_kind!(Mapping);

impl Mapping {
    /// Opens a file and maps it whole.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        MapOptions::new().open(path)
    }

    /// Maps what an open descriptor refers to. The descriptor may be closed at once.
    pub fn map(file: impl AsDescriptor) -> Result<Self> {
        MapOptions::new().map(file)
    }

    /// Offset, length, huge pages, population, …: [`MapOptions::open`] makes it.
    pub fn options() -> MapOptions {
        MapOptions::new()
    }

    /// All bytes.
    #[must_use]
    pub fn bytes(&self) -> View<'_, u8> {
        self.region.view().unwrap_or_else(|error| unreachable!("bytes fit anywhere: {error}"))
    }

    /// All of it as elements; its size and alignment must be right for them.
    pub fn view<T: Element>(&self) -> Result<View<'_, T>> {
        self.region.view()
    }

    /// `count` elements from byte `offset` of the mapping on.
    pub fn view_at<T: Element>(&self, offset: usize, count: usize) -> Result<View<'_, T>> {
        self.region.view_at(offset, count)
    }

    /// All of it as elements, in a form that threads can own.
    pub fn owned_view<T: Element>(self: &Arc<Self>) -> Result<OwnedView<T>> {
        let len = self.len();
        views::owned(Arc::clone(self) as _, len)
    }

    /// A stream of its bytes: `Read`, `BufRead` and `Seek`.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        self.bytes().reader()
    }

    /// Maps what the file has now: after a fault, or when it is no longer
    /// [current](Region::is_current).
    ///
    /// The mapping never exceeds a length set in its options. After an error the mapping is
    /// unchanged.
    pub fn remap(&mut self) -> Result<()> {
        self.region.follow()
    }
}
