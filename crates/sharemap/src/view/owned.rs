//! Views that own a share of their mapping.

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
            /// The offset of the view from the backing's base, in bytes.
            start: usize,
            bytes: usize,
            element: PhantomData<*const T>,
        }

        // SAFETY: the view is a reference to a backing that is Send and Sync, and an address in it.
        // As for `View`, elements are copied out on the calling thread.
        unsafe impl<T: Send> Send for $name<T> {}
        // SAFETY: as for `Send`.
        unsafe impl<T: Send> Sync for $name<T> {}

        impl<T: Element> $name<T> {
            /// Creates a view of `bytes` bytes that begins `start` bytes after the backing's base.
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

            /// Returns the view.
            fn make(&self) -> Result<$view<'_, T>> {
                let base = std::ptr::with_exposed_provenance_mut(self.backing.base() + self.start);
                // SAFETY: promised at construction; the backing is borrowed for as long.
                unsafe { $view::new(&*self.backing, base, self.bytes) }
            }

            /// Returns the view, which borrows this handle.
            ///
            /// # Examples
            /// ```
            /// # use sharemap::*;
            /// # fn main() -> Result<()> {
            /// let map = std::sync::Arc::new(MappingMut::anonymous(4096)?);
            /// let numbers = map.owned_view::<u32>()?;
            /// drop(map); // the view keeps the memory mapped
            /// assert_eq!(numbers.as_view().get(0)?, 0);
            /// # Ok(()) }
            /// ```
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
    /// A [`View`] that owns a share of its mapping, for threads that outlive the scope of the mapping.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("sharemap-ov-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100]).unwrap();
    /// use std::sync::Arc;
    ///
    /// use sharemap::{Mapping, OwnedView};
    ///
    /// let bytes: OwnedView<u8> = Arc::new(Mapping::open(&path)?).owned_view()?;
    /// let thread = std::thread::spawn(move || bytes.as_view().get(0));
    /// assert_eq!(thread.join().unwrap()?, 7);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok(()) }
    /// ```
    OwnedView,
    View
);
owned!(
    /// A [`ViewMut`] that owns a share of its mapping, for threads that outlive the scope of the
    /// mapping.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// use std::sync::Arc;
    ///
    /// use sharemap::{MappingMut, OwnedViewMut};
    ///
    /// let map = Arc::new(MappingMut::anonymous(4096)?);
    /// let bytes: OwnedViewMut<u8> = map.owned_view()?;
    /// let thread = std::thread::spawn(move || bytes.as_view().set(0, 7));
    /// thread.join().unwrap()?;
    /// assert_eq!(map.bytes().get(0)?, 7);
    /// # Ok(()) }
    /// ```
    OwnedViewMut,
    ViewMut
);
