//! `SharedOptions`: how an object of locks is created or opened.

use std::time::Duration;

use crate::peer::{OpenOptions, PowerCuts, Unclean};
use crate::sys::{HugePages, Lifetime, Owner, Scope};

/// The kind in the header of an object of locks (FORMAT.md, "Locks").
pub(in crate::sync) const KIND: u32 = 1;

/// Options for creating and opening [`Shared`](crate::Shared) objects and [segments](crate::Segment).
///
/// By default, a new object has room for 64 processes and 256 threads, only this user may open it,
/// and it lives until it is unlinked. The options end with a call such as
/// [`open_or_create`](Self::open_or_create), and can be used for several objects.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use sharemap::{Location, Mutex, Shared, SharedOptions};
///
/// # fn main() -> sharemap::Result<()> {
/// let small: Shared<Mutex<u32>> = SharedOptions::new()
///     .participants(4)
///     .lanes(16)
///     .open_timeout(Duration::from_millis(200))
///     .create_new(Location::anonymous(), || Mutex::new(1))?;
/// # assert_eq!(*small.lock()?, 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SharedOptions {
    participants: u32,
    lanes: u32,
    terms: OpenOptions,
}

impl Default for SharedOptions {
    fn default() -> Self {
        Self { participants: 64, lanes: 256, terms: OpenOptions::default() }
    }
}

impl SharedOptions {
    /// Creates the default options.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let name = format!("doc-options-new-{}", std::process::id());
    /// # let name = name.as_str();
    /// let jobs = SharedOptions::new().lanes(16).create_new(name, || Mutex::new(0_u64))?;
    /// assert_eq!(*jobs.lock()?, 0);
    /// # drop(jobs);
    /// # unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many processes can be attached to a new object at the same time: 1 to 65535, by
    /// default 64.
    ///
    /// While all participants are in use, opening the object waits for a process to detach or die, for
    /// at most the [`open_timeout`](Self::open_timeout). An existing object keeps its number.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// use sharemap::inspect::Inspection;
    ///
    /// let name = UnlinkOnDrop::new(Location::unique("doc-participants")?);
    /// let options = SharedOptions::new().participants(8).lanes(32);
    /// let jobs = options.create_new(&name, || Mutex::new(0_u64))?;
    /// println!("{:?}", Inspection::open(name.location())?.facts());
    /// # drop(jobs);
    /// # Ok(()) }
    /// ```
    pub fn participants(mut self, count: u32) -> Self {
        self.participants = count;
        self
    }

    /// Sets how many threads, of all processes, can use a new object at the same time: 1 to 65535, by
    /// default 256.
    ///
    /// A thread claims a lane when it first locks or waits, and releases it when it ends. A lane has
    /// room for seven locks, so a thread that holds more of them needs another lane. An existing
    /// object keeps its number.
    pub fn lanes(mut self, count: u32) -> Self {
        self.lanes = count;
        self
    }

    /// Asks the system to use transparent huge pages where it can (`MADV_HUGEPAGE`), like
    /// [`HugePages::Transparent`].
    ///
    /// A large segment then has fewer entries in the processor's address translation, and lookups that miss all
    /// caches are faster. Its memory is allocated in units of a huge page, 2 MiB on most systems. The request is
    /// this process's. For shared memory, Linux follows it only if `/sys/kernel/mm/transparent_hugepage/shmem_enabled`
    /// is `advise` or more. Other systems ignore it.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let options = SharedOptions::new().transparent_huge_pages();
    /// let segment = options.create_new_segment(Location::anonymous(), 64 << 20, 1 << 30)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "hugetlb")]
    pub fn transparent_huge_pages(mut self) -> Self {
        self.terms.huge = HugePages::Transparent;
        self
    }

    /// Sets how long a new named object lives, by default [`Lifetime::UntilUnlink`].
    ///
    /// Only Windows has [`Lifetime::Attached`]. Elsewhere, creating the object fails with
    /// [`Unsupported`](crate::ErrorKind::Unsupported). Objects in files ignore this option.
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.terms.lifetime = lifetime;
        self
    }

    /// Sets the permissions of a new named object, independent of the umask, by default `0o600`.
    ///
    /// Creating the object fails with [`Unsupported`](crate::ErrorKind::Unsupported) where a system
    /// cannot express `mode`. On macOS, the umask must permit it. On Windows, only the last digit may
    /// grant access, and only with [`Lifetime::Attached`]. Objects in files ignore this option; on
    /// Unix, their mode is `0o600`.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let name = format!("doc-options-mode-{}", std::process::id());
    /// # let name = name.as_str();
    /// match SharedOptions::new().mode(0o660).create_new(name, || Mutex::new(0_u64)) {
    ///     Ok(jobs) => *jobs.lock()? += 1, // the group can attach, too
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported), // Windows
    /// }
    /// # let _ = unlink(name);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "chmod")]
    pub fn mode(mut self, mode: u32) -> Self {
        self.terms.sharing.mode = mode & 0o777;
        self
    }

    /// Sets the group, by its number, that owns a new named object on Linux.
    ///
    /// The user must be a member of the group. Elsewhere, creating the object fails with
    /// [`Unsupported`](crate::ErrorKind::Unsupported). Objects in files ignore this option.
    #[doc(alias = "chown")]
    pub fn group(mut self, group: u32) -> Self {
        self.terms.sharing.group = Some(group);
        self
    }

    /// Makes the name valid in all sessions of the machine: `Global\` on Windows, which requires
    /// [`Lifetime::Attached`].
    ///
    /// Elsewhere, names are always valid in the whole system.
    pub fn global(mut self) -> Self {
        self.terms.sharing.scope = Scope::Global;
        self
    }

    /// Allows objects that belong to any user.
    ///
    /// The owner must be trusted to follow the protocol. Without this option, opening another user's
    /// object by a name or path fails with [`ForeignOwner`](crate::ErrorKind::ForeignOwner).
    ///
    /// On Unix, symbolic links on the path of a file are followed if they belong to root or to this
    /// user. With this option, links of the object's owner are followed, too. On Linux, an owner that
    /// this user namespace does not map is unknown, and counts as another user.
    pub fn allow_any_owner(mut self) -> Self {
        self.terms.owner = Owner::Any;
        self
    }

    /// Allows opening an object that was in use when the system went down.
    ///
    /// Without this option, opening such an object fails with
    /// [`Unclean`](crate::ErrorKind::Unclean). With it, the processes that used the object count as
    /// dead, and what they held is recovered before the opening returns. The values are those that
    /// reached the disk, which may stem from different moments.
    ///
    /// The option also opens an object that is in use in another mount or container, where this
    /// process cannot see the liveness locks. Its users are then treated as dead although they live.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-options-accept-{}", std::process::id()));
    /// let make = || Mutex::new(0_u64);
    /// let jobs = match Shared::open_or_create(&path, make) {
    ///     Err(error) if error.kind() == ErrorKind::Unclean => {
    ///         let jobs = SharedOptions::new().accept_unclean().open_or_create(&path, make)?;
    ///         *jobs.lock_or_recover(|_| ())? = 0; // a value that is valid in any case
    ///         jobs
    ///     }
    ///     jobs => jobs?,
    /// };
    /// # drop(jobs);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn accept_unclean(mut self) -> Self {
        self.terms.unclean = Unclean::Accepted;
        self
    }

    /// Makes sure that an object in a file is found unclean after a power cut during its use.
    ///
    /// The first process that attaches and the last that detaches wait for the disk. Without this
    /// option, the system writes the file back in any order, and the object may look clean although
    /// it was in use.
    ///
    /// If this process has the object open without this option, the call waits for the disk, and all
    /// openings of this process detect power cuts from then on.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-options-unclean-{}", std::process::id()));
    /// let options = SharedOptions::new().detect_unclean();
    /// let jobs = options.open_or_create(&path, || Mutex::new(0_u64))?;
    /// *jobs.lock()? += 1;
    /// # drop(jobs);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn detect_unclean(mut self) -> Self {
        self.terms.power_cuts = PowerCuts::Told;
        self
    }

    /// Sets the longest time that an opening call waits in all, by default 5 seconds.
    ///
    /// The call may wait for a live process that creates the object, adopts it from an earlier boot, or
    /// holds a lease on its file; and, while all [participants](Self::participants) are in use, for
    /// a process to detach. [`Duration::ZERO`] does not wait, and [`Duration::MAX`] waits without
    /// limit.
    ///
    /// Waiting processes look again about every 5 ms, in no order: the first that looks after a process
    /// has detached gets the participant. Two waits do not depend on `open_timeout`, and
    /// last about 100 ms: a forked child waits so long to attach when it first uses an inherited handle,
    /// and a thread to claim a [lane](Self::lanes).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// use std::time::Duration;
    ///
    /// let options = SharedOptions::new().open_timeout(Duration::from_millis(100));
    /// let error = options.open::<Mutex<u64>>("doc-no-such-lock").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotFound); // at once: there is nothing to wait for
    /// # Ok(()) }
    /// ```
    pub fn open_timeout(mut self, open_timeout: Duration) -> Self {
        self.terms.open_timeout = open_timeout;
        self
    }

    /// Returns the numbers of participants and lanes of a new object.
    pub(crate) fn tables(&self) -> (u32, u32) {
        (self.participants, self.lanes)
    }

    /// Returns how an object is opened.
    pub(crate) fn terms(&self) -> &OpenOptions {
        &self.terms
    }
}

// Last, so that the documentation of the type begins with the methods above.
mod opening;
