//! Memory-mapped files, safe at the speed of a slice.

mod error;
pub mod guard;
mod layout;
mod sys;
mod view;

pub use error::{Error, ErrorKind, Result};
pub use layout::{Element, Pod};
pub use sys::{Advice, CacheStatus, HugePages, PageState, Protection};
pub use view::{
    Atomic, AtomicElement, Blocks, Iter, OwnedView, OwnedViewMut, Reader, View, ViewMut, Writer,
};
