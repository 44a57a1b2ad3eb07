//! The methods and traits that `SharedMemory` and `ReadOnlySharedMemory` share: each is a mapping
//! with a location.

macro_rules! object_kind {
    ($name:ident, $map:ident, $view:ident, $owned:ident) => {
        impl $name {
            /// Returns the location by which the memory was created or opened.
            ///
            /// Memory that was received, inherited or opened from a descriptor is
            /// [anonymous](crate::Location::anonymous).
            #[must_use]
            pub fn location(&self) -> &crate::shm::Location {
                &self.location
            }

            /// Follows the growth of the object by another process, and returns the new length.
            ///
            /// The mapping grows in place, within the reservation that
            /// [`max`](crate::SharedMemoryOptions::max) made when this process opened the object.
            /// Existing views and pointers stay valid. The length never decreases.
            ///
            /// # Errors
            /// An error reports a failed system call, for instance of kind `OutOfAddressSpace`.
            ///
            /// # Examples
            /// ```
            /// # fn main() -> sharemap::Result<()> {
            /// # let name = format!("sharemap-refresh-{}", std::process::id());
            /// # let name = name.as_str();
            /// use sharemap::SharedMemory;
            ///
            /// let writer = SharedMemory::options().max(1 << 16).create_new(name, 4096)?;
            /// let reader = SharedMemory::options().max(1 << 16).open_read_only(name)?; // process B
            /// writer.grow(8192)?;
            /// assert_eq!(reader.refresh_len()?, reader.len());
            /// assert!(reader.len() >= 8192);
            /// # SharedMemory::unlink(name)?;
            /// # Ok(()) }
            /// ```
            pub fn refresh_len(&self) -> crate::Result<usize> {
                self.map.refresh_len()
            }

            /// Returns the seals of the memory: the changes that the kernel will never permit.
            ///
            /// Memory under a name has no seals, and neither has any memory on macOS and Windows.
            ///
            /// # Errors
            /// An error reports a failed system call.
            pub fn seals(&self) -> crate::Result<crate::Seals> {
                crate::sys::shm::seals(self.open_file()?)
                    .map_err(|error| crate::shm::location::named(error, &self.location))
            }

            /// Returns a view of the whole memory that keeps it mapped, for threads that outlive
            /// this handle's scope.
            ///
            /// # Errors
            /// - `WrongSize` - the length is not a multiple of the element's size.
            /// - `Alignment` - the memory is not aligned for the element.
            pub fn owned_view<T: crate::Element>(
                self: &std::sync::Arc<Self>,
            ) -> crate::Result<crate::view::$view<T>> {
                let len = self.len();
                crate::mapping::$owned(std::sync::Arc::clone(self) as _, len)
            }

            /// Returns the open file. A shared object always has one.
            pub(super) fn open_file(&self) -> crate::Result<&std::fs::File> {
                self.map.file().ok_or_else(|| {
                    let error = crate::error::Error::new(
                        crate::ErrorKind::Unsupported,
                        "use the descriptor of",
                    );
                    crate::shm::location::named(error, &self.location)
                })
            }
        }

        impl std::ops::Deref for $name {
            type Target = $map;

            fn deref(&self) -> &$map {
                &self.map
            }
        }

        impl std::fmt::Debug for $name {
            /// Prints the location and the length, never the contents.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("location", &self.location)
                    .field("len", &self.len())
                    .finish()
            }
        }

        impl crate::view::Backing for $name {
            fn base(&self) -> usize {
                crate::view::Backing::base(&self.map)
            }

            fn origin(&self) -> u64 {
                self.map.origin()
            }

            fn path(&self) -> Option<&std::path::Path> {
                crate::view::Backing::path(&self.map)
            }

            fn recovery(&self) -> crate::guard::Recovery {
                crate::view::Backing::recovery(&self.map)
            }

            fn available(&self) -> Option<u64> {
                self.map.available()
            }

            fn shrinking_file(&self) -> Option<crate::guard::SharedFile> {
                self.map.shrinking_file()
            }

            fn file_of_bytes(
                &self,
                operation: &'static str,
            ) -> crate::error::Result<crate::guard::SharedFile> {
                crate::view::Backing::file_of_bytes(&self.map, operation)
            }
        }
    };
}

pub(super) use object_kind;
