//! How an object of locks is made or found.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::Layout;
use crate::peer::{
    self, Attachment, ExpectedLayout, Header, Memory, OpenOptions, Opening, Payload, PowerCuts,
    Unclean,
};
use crate::shm::Location;
use crate::sync::api::shared::Shared;
use crate::sync::api::shared_type::{LayoutSize, LayoutWriter, SharedType};
use crate::sys::{AsDescriptor, Lifetime, Owner, Scope};

/// The header's kind of objects made here.
const KIND: u32 = 1;

/// How a [`Shared`] object is made or found: for how many, for whom, for how long.
///
/// ```
/// use sharemap::{Location, Mutex, Shared, SharedOptions};
///
/// # fn main() -> sharemap::Result<()> {
/// let small: Shared<Mutex<u32>> = SharedOptions::new()
///     .participants(4)
///     .lanes(16)
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
    /// For 64 processes and 256 threads of this user alone, until it is unlinked.
    pub fn new() -> Self {
        Self::default()
    }

    /// Room for so many processes at a time, 1 to 65535, in a new object. Opening it waits, within the
    /// [`open_timeout`](Self::open_timeout), while that many are attached.
    pub fn participants(mut self, count: u32) -> Self {
        self.participants = count;
        self
    }

    /// Room for so many threads at a time, 1 to 65535, in a new object. Who holds more than seven
    /// locks of it counts twice.
    pub fn lanes(mut self, count: u32) -> Self {
        self.lanes = count;
        self
    }

    /// How long a new object with a name lives.
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.terms.lifetime = lifetime;
        self
    }

    /// The permissions of a new object with a name, whatever the umask says; by default `0o600`.
    pub fn mode(mut self, mode: u32) -> Self {
        self.terms.sharing.mode = mode & 0o777;
        self
    }

    /// The group that a new object with a name belongs to, by its number. Linux.
    pub fn group(mut self, group: u32) -> Self {
        self.terms.sharing.group = Some(group);
        self
    }

    /// Names it for all sessions of the machine: `Global\` on Windows, with
    /// [`Lifetime::Attached`]. Elsewhere names are so anyway.
    pub fn global(mut self) -> Self {
        self.terms.sharing.scope = Scope::Global;
        self
    }

    /// Opens objects of any owner, who is trusted to follow the protocol; without it, another user's
    /// object, by name or in a file, is a [`ForeignOwner`](crate::ErrorKind::ForeignOwner).
    ///
    /// On Unix, symbolic links on the path of a file are followed if they belong to root or to this user;
    /// with any owner, also if they belong to the owner of the object. On Linux, an owner that this user
    /// namespace does not map is unknown, and counts as another user.
    pub fn allow_any_owner(mut self) -> Self {
        self.terms.owner = Owner::Any;
        self
    }

    /// Opens an object that was in use when the system went down: those who used it count as dead,
    /// and what they held is recovered. Its values are what reached the disk.
    pub fn accept_unclean(mut self) -> Self {
        self.terms.unclean = Unclean::Accepted;
        self
    }

    /// Makes sure that an object in a file tells, after a power cut, that it was in use: the first to
    /// attach and the last to leave wait for the disk. If this process already has the object open
    /// without this option, the opening waits for the disk, and all openings of this process detect
    /// power cuts from then on.
    pub fn detect_unclean(mut self) -> Self {
        self.terms.power_cuts = PowerCuts::Told;
        self
    }

    /// Sets the longest wait, in all, for a live process that creates the object, takes it over
    /// from an earlier boot, or holds a lease on its file, and for a process to detach from an object
    /// whose [participants](Self::participants) are all in use; 5 seconds by default.
    /// [`Duration::ZERO`] waits for none of these, [`Duration::MAX`] without limit.
    ///
    /// Waiting processes look again about every 5 ms, in no order: the first that looks after a process
    /// has detached gets the participant. A forked child that attaches by using an inherited handle waits
    /// for about 100 ms whatever `open_timeout` is, and so does a thread for a [lane](Self::lanes).
    pub fn open_timeout(mut self, open_timeout: Duration) -> Self {
        self.terms.open_timeout = open_timeout;
        self
    }

    /// See [`Shared::create_new`].
    ///
    /// # Errors
    /// As there.
    pub fn create_new<T: SharedType>(
        &self,
        location: impl Into<Location>,
        make: impl FnOnce() -> T,
    ) -> Result<Shared<T>> {
        let location = location.into();
        Shared::over(self.create(&location, &make())?, location)
    }

    /// See [`Shared::open`].
    ///
    /// # Errors
    /// As there.
    pub fn open<T: SharedType>(&self, location: impl Into<Location>) -> Result<Shared<T>> {
        let (location, terms) = (location.into(), self.terms_for::<T>());
        let shape = self.shape::<T>(T::ROOM.least());
        Shared::over(peer::open(&location, &shape, &terms, crate::sync::recover)?, location)
    }

    /// See [`Shared::open_read_only`].
    ///
    /// # Errors
    /// As there.
    pub fn open_read_only<T: SharedType>(
        &self,
        location: impl Into<Location>,
    ) -> Result<Shared<T>> {
        self.look(location.into(), Attachment::ReadOnly)
    }

    /// The same in a private copy, made of each page when it is first written: for elements of which
    /// one wants a [draft](crate::MutexSliceHandle::private_view_mut).
    ///
    /// # Errors
    /// As for [`Shared::open_read_only`].
    pub fn open_copy_on_write<T: SharedType>(
        &self,
        location: impl Into<Location>,
    ) -> Result<Shared<T>> {
        self.look(location.into(), Attachment::CopyOnWrite)
    }

    fn look<T: SharedType>(&self, location: Location, attachment: Attachment) -> Result<Shared<T>> {
        let (shape, terms) = (self.shape::<T>(T::ROOM.least()), self.terms_for::<T>());
        let session =
            peer::open_read_only(&location, &shape, &terms, attachment, crate::sync::recover);
        Shared::over(session?, location)
    }

    /// See [`Shared::open_or_create`].
    ///
    /// # Errors
    /// As there.
    pub fn open_or_create<T: SharedType>(
        &self,
        location: impl Into<Location>,
        make: impl FnOnce() -> T,
    ) -> Result<Shared<T>> {
        let (location, terms) = (location.into(), self.terms_for::<T>());
        let shape = self.shape::<T>(T::ROOM.least());
        // How it is to begin is asked for once, and only if it is needed.
        let (mut make, mut first) = (Some(make), None);
        let mut create = || {
            if let Some(make) = make.take() {
                first = Some(make());
            }
            self.create(&location, first.as_ref().expect("made once"))
        };
        let session = peer::open_or(&location, &shape, &terms, crate::sync::recover, &mut create)?;
        Shared::over(session, location)
    }

    /// See [`Shared::from_descriptor`].
    ///
    /// # Errors
    /// As there.
    pub fn from_descriptor<T: SharedType>(
        &self,
        descriptor: impl AsDescriptor,
    ) -> Result<Shared<T>> {
        let (file, terms) = (descriptor.duplicate_descriptor()?, self.terms_for::<T>());
        let shape = self.shape::<T>(T::ROOM.least());
        let session = peer::from_descriptor(&file, &shape, &terms, crate::sync::recover)?;
        Shared::over(session, Location::anonymous())
    }

    /// A new object that begins as `first`.
    fn create<T: SharedType>(&self, location: &Location, first: &T) -> Result<Arc<Opening>> {
        let named = |error: Error| error.with_path(location.path());
        let bytes = LayoutWriter::measure(first).map_err(named)?;
        if bytes == 0 {
            return Err(named(Error::new(ErrorKind::ZeroLength, "create"))
                .with_detail("there is not one lock in it"));
        }
        let fill = &mut |memory: &Memory, header: &Header| {
            first.fill(&mut LayoutWriter::payload(memory, header))
        };
        let shape = self.shape::<T>(bytes);
        peer::create_new(location, &shape, &self.terms, crate::sync::recover, fill)
    }

    fn shape<T: SharedType>(&self, bytes: u64) -> ExpectedLayout {
        let mut layout = Layout::default();
        T::describe(&mut layout);
        let shape = ExpectedLayout::new(KIND, layout.fingerprint(), bytes);
        ExpectedLayout { participants: self.participants, lanes: self.lanes, ..shape }
    }

    /// Of an object that exists: how much it holds, it may have to tell itself.
    fn terms_for<T: SharedType>(&self) -> OpenOptions {
        let payload = match T::ROOM {
            LayoutSize::Exactly(_) => Payload::Exactly,
            LayoutSize::AtLeast(_) => Payload::AtLeast,
        };
        OpenOptions { payload, ..self.terms }
    }
}
