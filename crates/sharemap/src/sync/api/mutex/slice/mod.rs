//! `Mutex<[T]>`: one owner at a time, with a view of the elements in place.

// Rustdoc lists the methods of a type in the order of these modules.
mod handle;

mod guard;
mod repair;

pub use guard::MutexSliceGuard;
pub use handle::MutexSliceHandle;
