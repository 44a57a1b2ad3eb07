//! Mappings: files and anonymous memory in the address space.
//!
//! [`Region`] owns the address space and the file; the other types determine how it is accessed. All
//! offsets and lengths are in bytes, with any alignment; `range` converts them into whole pages.

// Rustdoc lists the methods of a type in the order of these modules: the basic ones come first.
#[allow(clippy::module_inception, reason = "the layer is named after its main type")]
mod mapping;
mod mapping_cow;
mod mapping_mut;
mod region;

mod advice;
mod anonymous;
mod backing_file;
mod create;
mod descriptors;
mod discard;
mod extents;
mod file_contents;
mod flush;
mod flush_state;
mod frozen;
mod kinds;
mod options;
mod plan;
mod populate;
mod range;
mod read;
mod residency;
mod resize;
mod views;
mod window;

pub use anonymous::AnonymousMapping;
pub use file_contents::{FileContents, FileContentsOptions};
pub use mapping::Mapping;
pub use mapping_cow::MappingCow;
pub use mapping_mut::MappingMut;
pub use options::MapOptions;
pub use region::Region;
pub use residency::Residency;
pub(crate) use views::{owned, owned_mut};
pub use window::SlidingWindow;

/// Returns the size of a page of memory in bytes, the unit in which the system protects, fetches and
/// evicts memory.
///
/// # Examples
/// ```
/// assert!(sharemap::page_size().is_power_of_two());
/// ```
#[doc(alias = "sysconf")]
#[doc(alias = "GetSystemInfo")]
#[must_use]
pub fn page_size() -> usize {
    crate::sys::map::page_size()
}
