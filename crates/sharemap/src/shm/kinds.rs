//! What the two kinds of handles do alike: they are a mapping, of an object that has a place.

macro_rules! object_kind {
    ($name:ident, $map:ident, $view:ident, $owned:ident) => {
        impl $name {
            /// Where it was made or found.
            #[must_use]
            pub fn location(&self) -> &crate::shm::Location {
                &self.location
            }

            /// Shows what others have let it grow to, inside of what was kept for growth here
            /// ([`max`](crate::SharedMemoryOptions::max)); nothing moves. The length now.
            pub fn refresh_len(&self) -> crate::Result<usize> {
                self.map.refresh_len()
            }

            /// What it is sealed against.
            pub fn seals(&self) -> crate::Result<crate::Seals> {
                crate::sys::shm::seals(self.open_file()?)
                    .map_err(|error| crate::shm::options::named(error, &self.location))
            }

            /// All of it as elements, in a form that threads can own.
            pub fn owned_view<T: crate::Element>(
                self: &std::sync::Arc<Self>,
            ) -> crate::Result<crate::view::$view<T>> {
                let len = self.len();
                crate::mapping::$owned(std::sync::Arc::clone(self) as _, len)
            }

            /// Objects always have a file; only memory that no other process gets has none.
            pub(super) fn open_file(&self) -> crate::Result<&std::fs::File> {
                self.map.file().ok_or_else(|| {
                    let error = crate::error::Error::new(
                        crate::ErrorKind::Unsupported,
                        "use the descriptor of",
                    );
                    crate::shm::options::named(error, &self.location)
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
            /// Where it is, and its length; never contents.
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
        }
    };
}

pub(super) use object_kind;
