//! What a lock can guard, and what is said of it at the beginning.

use std::fmt;

use super::mutex::Mutex;
use super::rwlock::RwLock;
use crate::layout::{Element, Pod, Shareable};

/// What a [`Mutex`] or [`RwLock`] can be of: a value, which a guard owns a copy of and writes back, or
/// a slice, `[T]`, whose elements lie in the object and are seen through views.
///
/// A value comes and goes in one step, whoever dies when, at the price of copying it. That is for
/// what has at most some hundred bytes; large data is better left in its place.
pub trait LockTarget: Sealed {
    /// How it is to begin.
    #[doc(hidden)]
    type First;
}

/// Keeps other crates from implementing a trait.
pub trait Sealed {}

impl<T: Element + Shareable> Sealed for T {}

impl<T: Pod + Shareable> Sealed for [T] {}

impl<T: Element + Shareable> LockTarget for T {
    type First = T;
}

impl<T: Pod + Shareable> LockTarget for [T] {
    type First = Zeros;
}

/// So many elements of zeros.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Zeros(pub(super) u64);

macro_rules! firsts {
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

firsts!(Mutex RwLock);
