//! Descriptions of shared memory objects that mean the same on every system.

use std::fmt;
use std::ops::BitOr;
use std::time::{Duration, SystemTime};

/// A set of restrictions that an anonymous object keeps for ever (`F_ADD_SEALS`). Linux only.
///
/// ```
/// use sharemap::Seals;
///
/// let seals = Seals::SHRINK | Seals::GROW;
/// assert!(seals.contains(Seals::SHRINK) && !seals.contains(Seals::WRITE));
/// ```
#[doc(alias = "memfd")]
#[doc(alias = "F_ADD_SEALS")]
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Seals(u32);

impl Seals {
    /// The empty set.
    pub const NONE: Self = Self(0);
    /// The object never becomes shorter (`F_SEAL_SHRINK`).
    pub const SHRINK: Self = Self(1);
    /// The object never becomes longer (`F_SEAL_GROW`).
    pub const GROW: Self = Self(2);
    /// No process can write to the object any more (`F_SEAL_WRITE`).
    pub const WRITE: Self = Self(4);

    /// Returns `true` if this set contains all seals in `other`.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the bits that stand for the set in messages between processes (FORMAT.md, "Handing
    /// memory on").
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// Returns the set that `bits` stands for; `None` if it has a seal that this version does not
    /// know.
    pub(crate) fn from_bits(bits: u32) -> Option<Self> {
        (bits & !7 == 0).then_some(Self(bits))
    }
}

impl BitOr for Seals {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(Self::SHRINK, "SHRINK"), (Self::GROW, "GROW"), (Self::WRITE, "WRITE")];
        let set = names.iter().filter(|(seal, _)| self.contains(*seal)).map(|(_, name)| name);
        f.debug_set().entries(set).finish()
    }
}

/// The lifetime of a named object.
///
/// ```
/// use sharemap::{ErrorKind, Lifetime, SharedMemoryOptions};
///
/// # fn main() -> sharemap::Result<()> {
/// # let name = format!("doc-lifetime-{}", std::process::id());
/// # let name = name.as_str();
/// match SharedMemoryOptions::new().lifetime(Lifetime::Attached).create_new(name, 4096) {
///     Ok(memory) => drop(memory), // Windows: the name is gone
///     Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Lifetime {
    /// The object keeps its name until it is unlinked or the system stops. Processes that have the
    /// object open when it is unlinked keep it.
    #[default]
    UntilUnlink,
    /// The object exists until the last process closes it. Windows only, as a section of the paging
    /// file; elsewhere creating such an object is an error of kind
    /// [`Unsupported`](crate::ErrorKind::Unsupported).
    Attached,
}

/// The treatment of an object that already has the name of a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// The old object keeps the name, and creating fails with `AlreadyExists`.
    Refused,
    /// The old object loses the name; processes that have it open keep it.
    Replaced,
}

/// The access of other users and sessions to a new object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sharing {
    /// The permissions, to which the umask is not applied.
    pub(crate) mode: u32,
    /// The group of the object; `None` for the default group.
    pub(crate) group: Option<u32>,
    /// The namespace of the object's name.
    pub(crate) scope: Scope,
}

impl Sharing {
    /// Only this user, in this session.
    pub(crate) const PRIVATE: Self = Self { mode: 0o600, group: None, scope: Scope::Session };
}

/// The sessions in which a name refers to the object. Only Windows has a namespace for each session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Scope {
    /// This session (`Local\`).
    #[default]
    Session,
    /// All sessions of the machine (`Global\`).
    Global,
}

/// A request to create an object.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "not every system looks at all of it")]
pub(crate) struct CreateObject<'a> {
    /// A valid name (`shm::name`).
    pub(crate) name: &'a str,
    /// The initial length in bytes.
    pub(crate) len: u64,
    /// The greatest length that the object can grow to; at least `len`. On a system that cannot
    /// change the length later, the object has this length from the beginning.
    pub(crate) max: u64,
    /// Reserves no memory or storage for the object's bytes.
    pub(crate) sparse: bool,
    pub(crate) existing: Existing,
    pub(crate) lifetime: Lifetime,
    pub(crate) sharing: Sharing,
}

/// A request to open an object by its name.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "not every system looks at all of it")]
pub(crate) struct OpenObject<'a> {
    /// A valid name (`shm::name`).
    pub(crate) name: &'a str,
    pub(crate) write: bool,
    /// The accepted owners.
    pub(crate) owner: Owner,
    pub(crate) scope: Scope,
    /// The longest wait for a process that holds a lease, as in an
    /// [`OpenRequest`](super::OpenRequest).
    pub(crate) timeout: Duration,
}

/// The owners that an opening accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This process's effective user.
    #[default]
    Own,
    /// Any user.
    Any,
}

/// The attributes of a named object that the system reports without opening it. `None`: unknown.
#[derive(Clone, Debug)]
pub(crate) struct ObjectStatus {
    pub(crate) name: std::ffi::OsString,
    /// The path of the object's file.
    pub(crate) path: Option<std::path::PathBuf>,
    pub(crate) len: Option<u64>,
    /// The number of bytes that occupy memory or storage.
    pub(crate) allocated: Option<u64>,
    pub(crate) user: Option<u32>,
    pub(crate) mode: Option<u32>,
    pub(crate) created: Option<SystemTime>,
    pub(crate) modified: Option<SystemTime>,
}

/// The role of a file, judged by its directory, name, owner and contents.
///
/// Only Linux distinguishes drafts, companions and moved files; elsewhere, every file is an object.
///
/// ```
/// use sharemap::inspect::{FileRole, ObjectFile};
/// use sharemap::{Location, Mutex, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// # let path = std::env::temp_dir().join(format!("doc-role-{}", std::process::id()));
/// let hits = Shared::create_new(Location::file(&path), || Mutex::new(0_u64))?;
/// assert_eq!(ObjectFile::open(Location::file(&path))?.role(), FileRole::Object);
/// # drop(hits);
/// # let _ = std::fs::remove_file(&path);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileRole {
    /// An object, raw memory, or any other file.
    Object,
    /// A draft: a hidden file of shared memory that has not become an object yet.
    Draft,
    /// A companion: an empty file that carries the liveness locks of an object whose own file system
    /// cannot.
    Companion {
        /// The device number of the object's file.
        device: u64,
        /// The inode number of the object's file.
        file: u64,
    },
    /// A file that a removal, still running or interrupted, has moved into a private directory.
    Moved,
}
