//! Shared memory objects, in the terms that all systems have.

use std::fmt;
use std::ops::BitOr;
use std::time::{Duration, SystemTime};

/// Promises that an object keeps for ever (`F_ADD_SEALS`): Linux, memory without a name.
///
/// ```
/// use sharemap::Seals;
///
/// let seals = Seals::SHRINK | Seals::GROW;
/// assert!(seals.contains(Seals::SHRINK) && !seals.contains(Seals::WRITE));
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Seals(u32);

impl Seals {
    /// None.
    pub const NONE: Self = Self(0);
    /// It never gets shorter (`F_SEAL_SHRINK`).
    pub const SHRINK: Self = Self(1);
    /// It never gets longer (`F_SEAL_GROW`).
    pub const GROW: Self = Self(2);
    /// Nobody writes to it any more (`F_SEAL_WRITE`).
    pub const WRITE: Self = Self(4);

    /// Whether all of `other` are among these.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// As they are written down in messages.
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// `None` if there are seals among them that this version does not know.
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

/// How long a named object lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Lifetime {
    /// Until it is unlinked, or the system ends; whoever is attached then keeps it. On every system.
    #[default]
    UntilUnlink,
    /// Until nobody has it any more (a section of the paging file on Windows).
    Attached,
}

/// What becomes of the object that has the name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It stays, and that is an error.
    Refused,
    /// It loses its name; whoever has it keeps it.
    Replaced,
}

/// Who else may have an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sharing {
    /// Permissions, whatever the umask says.
    pub(crate) mode: u32,
    pub(crate) group: Option<u32>,
    /// For all sessions (`Global\`), where sessions have names of their own.
    pub(crate) scope: Scope,
}

impl Sharing {
    /// With nobody but this user.
    pub(crate) const PRIVATE: Self = Self { mode: 0o600, group: None, scope: Scope::Session };
}

/// Where a name means something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Scope {
    #[default]
    Session,
    /// In all sessions of the machine.
    Global,
}

/// An object to be made.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "not every system looks at all of it")]
pub(crate) struct CreateObject<'a> {
    /// Checked.
    pub(crate) name: &'a str,
    /// Its length to begin with.
    pub(crate) len: u64,
    /// The most that it may grow to; at least `len`. Where a system cannot change an object's length
    /// later it has this one from the beginning.
    pub(crate) max: u64,
    /// No memory is set aside.
    pub(crate) sparse: bool,
    pub(crate) existing: Existing,
    pub(crate) lifetime: Lifetime,
    pub(crate) sharing: Sharing,
}

/// An object to be opened.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "not every system looks at all of it")]
pub(crate) struct OpenObject<'a> {
    /// Checked.
    pub(crate) name: &'a str,
    pub(crate) write: bool,
    /// Whose it may be.
    pub(crate) owner: Owner,
    pub(crate) scope: Scope,
    /// The longest wait for a lease, as in an [`OpenRequest`](super::OpenRequest).
    pub(crate) timeout: Duration,
}

/// Whose objects are opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This user's own.
    #[default]
    Own,
    /// Anybody's.
    Any,
}

/// What the system tells of a named object without opening it. `None`: it does not tell.
#[derive(Clone, Debug)]
pub(crate) struct ObjectStatus {
    pub(crate) name: std::ffi::OsString,
    /// The file that it is.
    pub(crate) path: Option<std::path::PathBuf>,
    pub(crate) len: Option<u64>,
    /// Bytes that take up memory.
    pub(crate) allocated: Option<u64>,
    pub(crate) user: Option<u32>,
    pub(crate) mode: Option<u32>,
    pub(crate) created: Option<SystemTime>,
    pub(crate) modified: Option<SystemTime>,
}

/// The role of a file, judged by its place, name, owner and contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileRole {
    /// The file is an object, raw memory, or anything else.
    Object,
    /// The file is a draft: a hidden file of shared memory that was to become an object.
    Draft,
    /// The file is a companion: it is empty, and carries the liveness locks of an object whose own
    /// file system cannot.
    Companion {
        /// The device of the object's file.
        device: u64,
        /// The number of the object's file on that device.
        file: u64,
    },
    /// A removal that has not finished moved the file into a private directory.
    Moved,
}
