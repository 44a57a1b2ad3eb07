//! Where a shared object lives.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::shm::name;
use crate::sys;

/// The suffix of generated names.
const TEMPORARY: &str = ".tmp";

/// Where a shared object lives: said, not guessed.
///
/// Text is a name: `&str`, `String`. A path is a file: `&Path`, `PathBuf`.
///
/// ```
/// use std::path::Path;
///
/// use sharemap::Location;
///
/// assert_eq!(Location::from("jobs"), Location::name("jobs"));
/// assert_eq!(Location::from(format!("jobs-{}", 7)), Location::name("jobs-7"));
/// assert_eq!(Location::from(Path::new("jobs")), Location::file("jobs"));
/// assert_eq!(Location::file("/data/prices.seg").to_string(), "/data/prices.seg");
/// assert_eq!(Location::anonymous().to_string(), "(anonymous)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location(LocationKind);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LocationKind {
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
        Self(LocationKind::Name(name.into()))
    }

    /// A file, which outlives the system.
    ///
    /// On Unix, symbolic links on the path are followed if they belong to root or to this user; see
    /// [`SharedOptions::allow_any_owner`](crate::SharedOptions::allow_any_owner).
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(LocationKind::File(path.into()))
    }

    /// Memory without a name, which others get as a descriptor.
    #[must_use]
    pub fn anonymous() -> Self {
        Self(LocationKind::Anonymous)
    }

    /// Returns a generated name that begins with `prefix`, for a temporary object.
    ///
    /// The name is `PREFIX-RANDOM.tmp`, with 16 random hexadecimal digits, so no other object has
    /// it. A process opens such an object only if another process passed it the name. Without a
    /// process that has it open, for instance after a kill, the object is garbage, which
    /// [`is_temporary`](Self::is_temporary) recognises and `sharemap gc --apply` removes: keep the
    /// object open for as long as it is wanted. A `prefix` may have at most 179 characters.
    ///
    /// # Errors
    /// - `NameEmpty`, `NameTooLong`, `NameCharacter` - no name can begin with `prefix`.
    /// - `Io` - the system gave no random number.
    ///
    /// ```
    /// use sharemap::{Location, Mutex, Shared, UnlinkOnDrop};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let name = UnlinkOnDrop::new(Location::unique("jobs")?);
    /// let jobs = Shared::create_new(&name, || Mutex::new(0_u64))?;
    /// let command = format!("worker {}", name.location()); // the worker opens this name
    /// # drop((jobs, command));
    /// # Ok(()) }
    /// ```
    pub fn unique(prefix: &str) -> Result<Self> {
        name::checked(prefix)?;
        let random = sys::process::random_id()?;
        let random = u64::from_ne_bytes(std::array::from_fn(|index| random[index]));
        let location = Self(LocationKind::Name(format!("{prefix}-{random:016x}{TEMPORARY}")));
        location.checked()?;
        Ok(location)
    }

    /// Returns `true` if this is a name of the form that [`unique`](Self::unique) generates.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        let LocationKind::Name(name) = &self.0 else { return false };
        let Some(name) = name.strip_suffix(TEMPORARY) else { return false };
        let is_digit = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        name.rsplit_once('-').is_some_and(|(prefix, random)| {
            name::checked(prefix).is_ok() && random.len() == 16 && random.bytes().all(is_digit)
        })
    }

    /// The place, its name checked.
    pub(crate) fn checked(&self) -> Result<&LocationKind> {
        if let LocationKind::Name(name) = &self.0 {
            name::checked(name)?;
        }
        Ok(&self.0)
    }

    /// What errors call it.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.0 {
            LocationKind::Name(name) => Some(Path::new(name)),
            LocationKind::File(path) => Some(path),
            LocationKind::Anonymous => None,
        }
    }
}

impl From<&str> for Location {
    /// A name.
    fn from(name: &str) -> Self {
        Self::name(name)
    }
}

impl From<String> for Location {
    /// A name.
    fn from(name: String) -> Self {
        Self::name(name)
    }
}

impl From<&String> for Location {
    /// A name.
    fn from(name: &String) -> Self {
        Self::name(name)
    }
}

impl From<&Path> for Location {
    /// A file.
    fn from(path: &Path) -> Self {
        Self::file(path)
    }
}

impl From<PathBuf> for Location {
    /// A file.
    fn from(path: PathBuf) -> Self {
        Self::file(path)
    }
}

impl From<&PathBuf> for Location {
    /// A file.
    fn from(path: &PathBuf) -> Self {
        Self::file(path)
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
            LocationKind::Name(name) => f.write_str(name),
            LocationKind::File(path) => path.display().fmt(f),
            LocationKind::Anonymous => f.write_str("(anonymous)"),
        }
    }
}
