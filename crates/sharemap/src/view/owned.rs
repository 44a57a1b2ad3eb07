//! Views that keep their mapping alive.

#![allow(unsafe_code, reason = "views of memory that the backing keeps")]

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::{Backing, View, ViewMut};
use crate::error::Result;
use crate::layout::Element;

macro_rules! owned {
    ($(#[$doc:meta])* $name:ident, $view:ident) => {
        $(#[$doc])*
        pub struct $name<T> {
            backing: Arc<dyn Backing>,
            /// From the backing's base, in bytes.
            start: usize,
            bytes: usize,
            element: PhantomData<*const T>,
        }

        // SAFETY: the view is a reference to a backing that is Send and Sync, and an address in it.
        // As for `View`, elements are copied out on the calling thread.
        unsafe impl<T: Send> Send for $name<T> {}
        // SAFETY: as above.
        unsafe impl<T: Send> Sync for $name<T> {}

        impl<T: Element> $name<T> {
            /// `bytes` bytes from `start` bytes behind the backing's base on.
            ///
            /// # Errors
            /// As for [`View::new`].
            ///
            /// # Safety
            /// As for [`View::new`], for as long as the backing lives.
            pub(crate) unsafe fn new(
                backing: Arc<dyn Backing>,
                start: usize,
                bytes: usize,
            ) -> Result<Self> {
                let owned = Self { backing, start, bytes, element: PhantomData };
                owned.make()?;
                Ok(owned)
            }

            fn make(&self) -> Result<$view<'_, T>> {
                let base = std::ptr::with_exposed_provenance_mut(self.backing.base() + self.start);
                // SAFETY: promised at construction; the backing is borrowed for as long.
                unsafe { $view::new(&*self.backing, base, self.bytes) }
            }

            /// The view itself.
            #[must_use]
            pub fn as_view(&self) -> $view<'_, T> {
                self.make().unwrap_or_else(|error| unreachable!("checked at construction: {error}"))
            }
        }

        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                Self { backing: Arc::clone(&self.backing), element: PhantomData, ..*self }
            }
        }

        impl<T: Element> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.as_view()).finish()
            }
        }
    };
}

owned!(
    /// A [`View`] that owns a share of its mapping, for threads that outlive the place where the
    /// mapping was made.
    OwnedView,
    View
);
owned!(
    /// A [`ViewMut`] that owns a share of its mapping.
    OwnedViewMut,
    ViewMut
);
