//! The location of an object: a name, a file, or none.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::shm::name;
use crate::sys;

/// The suffix of names that [`Location::unique`] generates.
const TEMPORARY: &str = ".tmp";

/// The name of anonymous memory in messages.
pub(super) const ANONYMOUS: &str = "(anonymous)";

/// The location of shared memory or of an object: a name, a file, or none (anonymous).
///
/// Functions accept `impl Into<Location>`. Text (`&str`, `String`) converts into a name, a path
/// (`&Path`, `PathBuf`) into a file. Nothing is guessed from the contents of the text.
///
/// # Examples
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
    /// Returns the location of shared memory under `name`.
    ///
    /// A name has 1 to 200 of the characters `A`–`Z`, `a`–`z`, `0`–`9`, `.`, `_` and `-`, and does not
    /// begin with a dot. It is checked when it is used.
    ///
    /// The name `jobs` stands for
    ///
    /// - `/dev/shm/jobs` on Linux,
    /// - the object `/jobs` of `shm_open` on macOS, where a name of more than 30 bytes is shortened to
    ///   its first 13, `~`, and a hash of 16 hexadecimal digits,
    /// - a file in `%LOCALAPPDATA%\sharemap\shm` on Windows, or the section `Local\jobs` if the
    ///   [`Lifetime`](crate::Lifetime) is `Attached`.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let name = format!("doc-location-name-{}", std::process::id());
    /// # let name = name.as_str();
    /// let block = SharedMemory::create_new(Location::name(name), 4096)?;
    /// let same = SharedMemory::open(name)?; // text is a name, too
    /// block.bytes().set(0, 7)?;
    /// assert_eq!(same.bytes().get(0)?, 7);
    /// # unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn name(name: impl Into<String>) -> Self {
        Self(LocationKind::Name(name.into()))
    }

    /// Returns the location of an object in a file, which survives a reboot.
    ///
    /// On Unix, symbolic links on the path are followed if they belong to root or to this user. See
    /// [`SharedOptions::allow_any_owner`](crate::SharedOptions::allow_any_owner).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-location-file-{}", std::process::id()));
    /// let jobs = Shared::create_new(Location::file(&path), || Mutex::new(0_u64))?;
    /// *jobs.lock()? += 1;
    /// # drop(jobs);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(LocationKind::File(path.into()))
    }

    /// Returns the location of memory without a name, which other processes get as a descriptor.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let block = SharedMemory::create_new(Location::anonymous(), 4096)?;
    /// assert_eq!(block.len(), 4096);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn anonymous() -> Self {
        Self(LocationKind::Anonymous)
    }

    /// Returns a generated name that begins with `prefix`, for a temporary object.
    ///
    /// The name is `PREFIX-RANDOM.tmp`, with 16 random hexadecimal digits, so no other object has
    /// it. A `prefix` has at most 179 characters. Pass the name to the processes that are to open the
    /// object.
    ///
    /// Keep the object open for as long as it is needed. An object with such a name that no process
    /// has open, for instance after a kill, is garbage: [`is_temporary`](Self::is_temporary)
    /// recognises the name, and `sharemap gc --apply` removes the object.
    ///
    /// # Errors
    /// - `NameEmpty` - `prefix` is empty.
    /// - `NameTooLong` - `prefix` has more than 179 characters.
    /// - `NameCharacter` - `prefix` contains a character that names cannot contain.
    /// - `Io` - the system returned no random number.
    ///
    /// # Examples
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
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// assert!(Location::unique("cache")?.is_temporary());
    /// assert!(!Location::name("cache").is_temporary());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        let LocationKind::Name(name) = &self.0 else { return false };
        let Some(name) = name.strip_suffix(TEMPORARY) else { return false };
        let is_digit = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        name.rsplit_once('-').is_some_and(|(prefix, random)| {
            name::checked(prefix).is_ok() && random.len() == 16 && random.bytes().all(is_digit)
        })
    }

    /// Returns the kind of the location, after checking the name.
    pub(crate) fn checked(&self) -> Result<&LocationKind> {
        if let LocationKind::Name(name) = &self.0 {
            name::checked(name)?;
        }
        Ok(&self.0)
    }

    /// Returns the name or path for messages; `None` for anonymous memory.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.0 {
            LocationKind::Name(name) => Some(Path::new(name)),
            LocationKind::File(path) => Some(path),
            LocationKind::Anonymous => None,
        }
    }
}

impl From<&str> for Location {
    /// Returns the location of that name.
    fn from(name: &str) -> Self {
        Self::name(name)
    }
}

impl From<String> for Location {
    /// Returns the location of that name.
    fn from(name: String) -> Self {
        Self::name(name)
    }
}

impl From<&String> for Location {
    /// Returns the location of that name.
    fn from(name: &String) -> Self {
        Self::name(name)
    }
}

impl From<&Path> for Location {
    /// Returns the location of that file.
    fn from(path: &Path) -> Self {
        Self::file(path)
    }
}

impl From<PathBuf> for Location {
    /// Returns the location of that file.
    fn from(path: PathBuf) -> Self {
        Self::file(path)
    }
}

impl From<&PathBuf> for Location {
    /// Returns the location of that file.
    fn from(path: &PathBuf) -> Self {
        Self::file(path)
    }
}

impl From<&Location> for Location {
    /// Returns a copy of the location.
    fn from(location: &Location) -> Self {
        location.clone()
    }
}

impl fmt::Display for Location {
    /// Prints the name, the path, or `(anonymous)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            LocationKind::Name(name) => f.write_str(name),
            LocationKind::File(path) => path.display().fmt(f),
            LocationKind::Anonymous => f.write_str(ANONYMOUS),
        }
    }
}

/// Adds the name or path of the location to the error.
pub(super) fn named(error: Error, location: &Location) -> Error {
    error.with_path(location.path().or(Some(Path::new(ANONYMOUS))))
}
