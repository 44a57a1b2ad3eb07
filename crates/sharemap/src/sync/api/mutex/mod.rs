//! `Mutex<T>`: one owner at a time, with a local copy of the value, or a view of the elements in place.

// Rustdoc lists the methods of a type in the order of these modules.
mod handle;

mod guard;
mod repair;
mod slice;

pub use guard::MutexGuard;
pub use handle::{Mutex, MutexHandle};
pub use slice::{MutexSliceGuard, MutexSliceHandle};
