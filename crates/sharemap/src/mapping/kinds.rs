//! The methods and traits that the three kinds of file mappings share: each owns a region, which backs
//! its views.

macro_rules! region_kind {
    ($name:ident) => {
        impl $name {
            pub(crate) fn from_region(region: crate::mapping::Region) -> Self {
                Self { region }
            }

            /// Unmaps the mapping, as dropping does, and returns the error that dropping ignores.
            ///
            /// Nothing is flushed.
            ///
            /// # Errors
            /// An error reports a failed system call.
            #[doc(alias = "munmap")]
            #[doc(alias = "UnmapViewOfFile")]
            pub fn close(self) -> crate::Result<()> {
                self.region.close()
            }
        }

        impl std::ops::Deref for $name {
            type Target = crate::mapping::Region;

            fn deref(&self) -> &Self::Target {
                &self.region
            }
        }

        impl std::fmt::Debug for $name {
            /// Prints the path, the offset, the length and the access, never the contents.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.region.debug(f, stringify!($name))
            }
        }

        impl crate::view::Backing for $name {
            fn base(&self) -> usize {
                crate::view::Backing::base(&self.region)
            }

            fn origin(&self) -> u64 {
                self.region.origin()
            }

            fn path(&self) -> Option<&std::path::Path> {
                self.region.path()
            }

            fn recovery(&self) -> crate::guard::Recovery {
                self.region.recovery()
            }

            fn available(&self) -> Option<u64> {
                self.region.available()
            }

            fn shrinking_file(&self) -> Option<crate::guard::SharedFile> {
                self.region.shrinking_file()
            }

            fn file_of_bytes(
                &self,
                operation: &'static str,
            ) -> crate::error::Result<crate::guard::SharedFile> {
                crate::view::Backing::file_of_bytes(&self.region, operation)
            }
        }
    };
}

pub(super) use region_kind;
