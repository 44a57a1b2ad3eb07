//! Memory-mapped files, safe at the speed of a slice.

mod error;
pub mod guard;
mod layout;
mod mapping;
mod sys;
mod view;

pub use error::{Error, ErrorKind, Result};
pub use layout::{Element, Pod};
pub use mapping::{
    AnonymousMapping, Contents, MapOptions, Mapping, MappingCow, MappingMut, Region, Residency,
    SlidingWindow, page_size,
};
pub use sys::{Advice, AsDescriptor, CacheStatus, HugePages, PageState, Protection};
pub use view::{
    Atomic, AtomicElement, Blocks, Iter, OwnedView, OwnedViewMut, Reader, View, ViewMut, Writer,
};
