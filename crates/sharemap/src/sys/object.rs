//! Shared memory objects, in the terms that all systems have.

use std::time::SystemTime;

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
    pub(crate) system_wide: bool,
}

impl Sharing {
    /// With nobody but this user.
    pub(crate) const PRIVATE: Self = Self { mode: 0o600, group: None, system_wide: false };
}

/// An object to be made.
#[derive(Clone, Copy, Debug)]
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
pub(crate) struct OpenObject<'a> {
    /// Checked.
    pub(crate) name: &'a str,
    pub(crate) write: bool,
    /// Whose it may be.
    pub(crate) owner: Owner,
    pub(crate) system_wide: bool,
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
    pub(crate) len: Option<u64>,
    /// Bytes that take up memory.
    pub(crate) allocated: Option<u64>,
    pub(crate) user: Option<u32>,
    pub(crate) mode: Option<u32>,
    pub(crate) created: Option<SystemTime>,
    pub(crate) modified: Option<SystemTime>,
}
