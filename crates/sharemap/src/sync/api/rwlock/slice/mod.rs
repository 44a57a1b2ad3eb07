//! `RwLock<[T]>`: many readers or one writer, with views of the elements in place.

// Rustdoc lists the methods of a type in the order of these modules.
mod handle;

mod upgradable;

mod guards;
mod repair;

pub use guards::{RwLockSliceReadGuard, RwLockSliceUpgradableGuard, RwLockSliceWriteGuard};
pub use handle::RwLockSliceHandle;
