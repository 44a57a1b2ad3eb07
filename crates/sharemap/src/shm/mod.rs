//! Memory that processes share, raw: where it lives, who may have it, how it is passed on.

mod kinds;
mod list;
mod location;
mod name;
mod options;
mod pass;
mod read_only;
mod seals;
mod shared_memory;
mod unlink;

pub use list::NamedObject;
pub use location::Location;
#[allow(unused_imports, reason = "for the layers to the right")]
pub(crate) use location::LocationKind;
pub use options::SharedMemoryOptions;
pub use pass::InheritableHandle;
pub use read_only::ReadOnlySharedMemory;
pub use shared_memory::SharedMemory;
pub use unlink::{UnlinkOnDrop, unlink};
