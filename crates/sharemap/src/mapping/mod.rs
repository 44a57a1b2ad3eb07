//! Mappings: files and anonymous memory in the address space, and what can be asked of them.
//!
//! [`Region`] is the address space itself, owned, with its file; the other types say what it may be
//! used for. Everything is in bytes, from any offset; whole pages are made of them in `range`.

mod advice;
mod anonymous;
mod backing_file;
mod create;
mod descriptors;
mod discard;
mod extents;
mod file_contents;
mod flush;
mod frozen;
mod kinds;
#[allow(clippy::module_inception, reason = "the noun that the layer is named after")]
mod mapping;
mod mapping_cow;
mod mapping_mut;
mod options;
mod plan;
mod populate;
mod range;
mod read;
mod region;
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

/// The size of a page of memory, in bytes: what the system protects, fetches and evicts.
#[must_use]
pub fn page_size() -> usize {
    crate::sys::map::page_size()
}
