//! Where a shared object lives.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::shm::name;

/// Where a shared object lives: said, not guessed.
///
/// A plain `&str` is a name.
///
/// ```
/// use sharemap::Location;
///
/// assert_eq!(Location::from("jobs"), Location::name("jobs"));
/// assert_eq!(Location::file("/data/prices.seg").to_string(), "/data/prices.seg");
/// assert_eq!(Location::anonymous().to_string(), "(anonymous)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location(Place);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Name(String),
    File(PathBuf),
    Anonymous,
}

impl Location {
    /// Shared memory of this name: 1 to 200 of the characters `A`–`Z`, `a`–`z`, `0`–`9`, `.`, `_`
    /// and `-`, the first not a dot. What is wrong with a name is said when it is used.
    ///
    /// The systems' own names for `jobs` are `/jobs` (Linux, in `/dev/shm`, and macOS, which
    /// shortens names of more than 30 bytes: the first 13, `~`, and 16 hexadecimal digits), and on
    /// Windows a file in `%LOCALAPPDATA%\sharemap\shm`, or `Local\jobs` if its
    /// [`Lifetime`](crate::Lifetime) is `Attached`.
    pub fn name(name: impl Into<String>) -> Self {
        Self(Place::Name(name.into()))
    }

    /// A file, which outlives the system.
    ///
    /// On Unix, symbolic links on the path are followed if they belong to root or to this user; see
    /// [`SharedOptions::any_owner`](crate::SharedOptions::any_owner).
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Place::File(path.into()))
    }

    /// Memory without a name, which others get as a descriptor.
    #[must_use]
    pub fn anonymous() -> Self {
        Self(Place::Anonymous)
    }

    /// The place, its name checked.
    pub(crate) fn checked(&self) -> Result<&Place> {
        if let Place::Name(name) = &self.0 {
            name::checked(name)?;
        }
        Ok(&self.0)
    }

    /// What errors call it.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.0 {
            Place::Name(name) => Some(Path::new(name)),
            Place::File(path) => Some(path),
            Place::Anonymous => None,
        }
    }
}

impl From<&str> for Location {
    /// A name.
    fn from(name: &str) -> Self {
        Self::name(name)
    }
}

impl From<&Location> for Location {
    fn from(location: &Location) -> Self {
        location.clone()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Name(name) => f.write_str(name),
            Place::File(path) => path.display().fmt(f),
            Place::Anonymous => f.write_str("(anonymous)"),
        }
    }
}
