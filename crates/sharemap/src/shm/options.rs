//! The options for creating and opening shared memory.

use crate::sys::{HugePages, Lifetime, Owner, Scope, Seals, Sharing};

/// Options for creating or opening shared memory: reservation, lifetime, huge pages, access rights.
///
/// # Examples
/// ```
/// # fn main() -> sharemap::Result<()> {
/// # let name = format!("sharemap-options-{}", std::process::id());
/// # let name = name.as_str();
/// use sharemap::SharedMemory;
///
/// let frames = SharedMemory::options().max(1 << 20).create_new(name, 4096)?;
/// frames.grow(100_000)?;                              // in place: views stay valid
/// assert_eq!(frames.len(), 100_000);
/// SharedMemory::unlink(name)?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SharedMemoryOptions {
    max: u64,
    lifetime: Lifetime,
    huge: HugePages,
    sparse: bool,
    populate: bool,
    owner: Owner,
    sharing: Sharing,
    pub(super) required: Seals,
}

impl Default for SharedMemoryOptions {
    fn default() -> Self {
        Self {
            max: 0,
            lifetime: Lifetime::default(),
            huge: HugePages::default(),
            sparse: false,
            populate: false,
            owner: Owner::default(),
            sharing: Sharing::PRIVATE,
            required: Seals::NONE,
        }
    }
}

impl SharedMemoryOptions {
    /// Returns the default options: memory of a fixed length, which only this user can open and which
    /// exists until it is unlinked.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let name = format!("doc-shm-options-{}", std::process::id());
    /// # let name = name.as_str();
    /// let block = SharedMemoryOptions::new().max(1 << 20).create_new(name, 4096)?;
    /// block.grow(8192)?;
    /// # unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the length up to which the memory may [grow](crate::SharedMemory::grow), and reserves address
    /// space for it. The default is the length of the object.
    ///
    /// A process that opens the object sets its own `max` to follow the growth. Where the system
    /// cannot change the length of an object (macOS; [`Lifetime::Attached`] on Windows), the object
    /// has the length `max` from the beginning, and a process that opens it sees all of it.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let name = format!("doc-shm-max-{}", std::process::id());
    /// # let name = name.as_str();
    /// let options = SharedMemory::options().max(1 << 20);
    /// let block = options.create_new(name, 4096)?;
    /// let early = block.bytes();
    /// block.grow(1 << 16)?;
    /// assert_eq!(early.as_ptr(), block.bytes().as_ptr()); // it has not moved
    /// let error = block.grow(1 << 21).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::ExceedsReservation);
    /// # unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn max(mut self, max: u64) -> Self {
        self.max = max;
        self
    }

    /// Sets the lifetime of a named object. [`Lifetime::Attached`] exists on Windows only.
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Requests huge pages: transparent ones for any object, reserved ones (`MFD_HUGETLB`) for
    /// anonymous memory.
    ///
    /// Reserved huge pages are allocated at once, up to [`max`](Self::max).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let options = SharedMemory::options().huge_pages(HugePages::Transparent);
    /// let block = options.create_new(Location::anonymous(), 4 << 20)?;
    /// assert_eq!(block.len(), 4 << 20);
    /// # Ok(()) }
    /// ```
    pub fn huge_pages(mut self, huge: HugePages) -> Self {
        self.huge = huge;
        self
    }

    /// Allocates no memory in advance. If none is left when the memory is written to, the store is an
    /// error of kind [`Fault`](crate::ErrorKind::Fault).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let name = format!("doc-shm-sparse-{}", std::process::id());
    /// # let name = name.as_str();
    /// let block = SharedMemory::options().sparse().create_new(name, 1 << 30)?;
    /// block.bytes().set(1 << 29, 1)?; // takes memory only now
    /// # unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn sparse(mut self) -> Self {
        self.sparse = true;
        self
    }

    /// Populates the whole mapping before the call returns, like
    /// [`Region::populate`](crate::Region::populate).
    #[doc(alias = "MAP_POPULATE")]
    pub fn populate(mut self) -> Self {
        self.populate = true;
        self
    }

    /// Sets the permission bits of a new object. The default is `0o600`: only this user can open it.
    ///
    /// On Linux the umask does not matter. On macOS a mode that the umask would change is
    /// `Unsupported`. On Windows only the last digit can grant more rights, and only with
    /// [`Lifetime::Attached`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let name = format!("doc-shm-mode-{}", std::process::id());
    /// # let name = name.as_str();
    /// match SharedMemory::options().mode(0o640).create_new(name, 4096) {
    ///     Ok(block) => println!("readable by the group: {} bytes", block.len()),
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported), // Windows
    /// }
    /// # let _ = unlink(name);
    /// # Ok(()) }
    /// ```
    pub fn mode(mut self, mode: u32) -> Self {
        self.sharing.mode = mode & 0o777;
        self
    }

    /// Sets the group of a new object, by its id. This is `Unsupported` except on Linux.
    pub fn group(mut self, group: u32) -> Self {
        self.sharing.group = Some(group);
        self
    }

    /// Makes the name visible in all sessions of the machine: `Global\` on Windows, with
    /// [`Lifetime::Attached`]. On Linux and macOS names always are.
    pub fn global(mut self) -> Self {
        self.sharing.scope = Scope::Global;
        self
    }

    /// Permits opening objects of other users. Without this option, another user's object is an
    /// error of kind [`ForeignOwner`](crate::ErrorKind::ForeignOwner).
    ///
    /// On Linux, an owner that this user namespace does not map counts as another user.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let options = SharedMemory::options().allow_any_owner();
    /// let error = options.open("doc-no-such-object").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotFound); // `ForeignOwner` cannot occur
    /// # Ok(()) }
    /// ```
    pub fn allow_any_owner(mut self) -> Self {
        self.owner = Owner::Any;
        self
    }

    /// Sets the seals that received memory must have at least. See [`receive`](Self::receive).
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Seals, SharedMemory};
    ///
    /// // The sender cannot cut the memory short after it was received.
    /// let options = SharedMemory::options().require_seals(Seals::SHRINK);
    /// # drop(options);
    /// ```
    pub fn require_seals(mut self, seals: Seals) -> Self {
        self.required = seals;
        self
    }
}

// Last, so that the documentation of the type begins with the methods above.
mod opening;
