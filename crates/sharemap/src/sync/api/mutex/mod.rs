//! `Mutex<T>`: one owner at a time, with a local copy of the value.

// Rustdoc lists the methods of a type in the order of these modules.
mod handle;

mod guard;
mod repair;
mod slice;

pub use guard::MutexGuard;
pub use handle::{Mutex, MutexHandle};
pub use slice::{MutexSliceGuard, MutexSliceHandle};

const LOCK: &str = "lock the mutex";
