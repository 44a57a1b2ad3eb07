//! `RwLock<T>`: many readers or one writer, each with a local copy of the value, or a view of the elements in
//! place.

// Rustdoc lists the methods of a type in the order of these modules.
mod handle;
mod reading;
mod writing;

mod upgradable;

mod guards;
mod repair;
mod slice;

pub use guards::{RwLockReadGuard, RwLockUpgradableGuard, RwLockWriteGuard};
pub use handle::{RwLock, RwLockHandle};
pub use slice::{
    RwLockSliceHandle, RwLockSliceReadGuard, RwLockSliceUpgradableGuard, RwLockSliceWriteGuard,
};

const READ: &str = "lock for reading";
