//! Raw memory that processes share: its location, its access rights and lifetime, and ways to pass it
//! to other processes.

// Rustdoc lists the methods of a type in the order of these modules: the basic ones come first.
mod read_only;
mod shared_memory;

mod kinds;
mod list;
mod location;
mod name;
mod options;
mod pass;
mod seals;
mod unlink;

pub use list::NamedObject;
pub use location::Location;
#[allow(unused_imports, reason = "for the layers above")]
pub(crate) use location::LocationKind;
pub use options::SharedMemoryOptions;
pub use pass::InheritableHandle;
pub use read_only::ReadOnlySharedMemory;
pub use shared_memory::SharedMemory;
pub use unlink::{UnlinkOnDrop, unlink};
