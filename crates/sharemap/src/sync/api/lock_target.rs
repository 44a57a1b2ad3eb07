//! `LockTarget`: the types that a lock can guard, and their initial values.

use std::fmt;

use super::mutex::Mutex;
use super::rwlock::RwLock;
use super::storage::Storage;
use crate::layout::{Element, Pod, Shareable};

/// A type that a [`Mutex`] or [`RwLock`] can guard: a value `T`, or a slice `[T]`.
///
/// The guard of a value holds a local copy, which is written back in one step. A death at any moment
/// leaves the old value or the new one, at the price of copying the value twice. Use it for values of
/// up to some hundred bytes.
///
/// The elements of a slice stay in the object. Guards give views of them, and a death may leave them
/// half-written. Use it for large data.
///
/// This trait is sealed: other crates cannot implement it.
///
/// # Examples
/// ```
/// use sharemap::{Location, Mutex, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let value = Shared::create_new(Location::anonymous(), || Mutex::new([0_u32; 4]))?;
/// value.lock()?[3] = 7;
/// let slice = Shared::create_new(Location::anonymous(), || Mutex::<[u32]>::zeroed(1 << 20))?;
/// slice.lock()?.view().set(3, 7)?;
/// # Ok(()) }
/// ```
pub trait LockTarget: Storage {}

impl<T: Element + Shareable> LockTarget for T {}

impl<T: Pod + Shareable> LockTarget for [T] {}

/// Implements the traits of initial values as derives would, with bounds on `T::First` and not on `T`.
macro_rules! initial_values {
    ($($lock:ident)*) => { $(
        impl<T: ?Sized + LockTarget> Clone for $lock<T>
        where
            T::First: Clone,
        {
            fn clone(&self) -> Self {
                Self(self.0.clone())
            }
        }

        impl<T: ?Sized + LockTarget> Copy for $lock<T> where T::First: Copy {}

        impl<T: ?Sized + LockTarget> Default for $lock<T>
        where
            T::First: Default,
        {
            fn default() -> Self {
                Self(T::First::default())
            }
        }

        impl<T: ?Sized + LockTarget> fmt::Debug for $lock<T>
        where
            T::First: fmt::Debug,
        {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($lock)).field(&self.0).finish()
            }
        }
    )* };
}

initial_values!(Mutex RwLock);
