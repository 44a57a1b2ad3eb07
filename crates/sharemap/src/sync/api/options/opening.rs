//! The calls of [`SharedOptions`] that create or open an object.

use std::sync::Arc;
use std::time::Duration;

use super::SharedOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::Layout;
use crate::peer::{
    self, Attachment, ExpectedLayout, Header, Memory, OpenOptions, Opening, Payload,
};
use crate::shm::Location;
use crate::sync::api::options::KIND;
use crate::sync::api::shared::Shared;
use crate::sync::api::shared_type::{LayoutSize, LayoutWriter, SharedType};
use crate::sys::AsDescriptor;

impl SharedOptions {
    /// Creates an object with these options, like [`Shared::create_new`].
    ///
    /// # Errors
    /// As for [`Shared::create_new`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let options = SharedOptions::new().lanes(64);
    /// let jobs = options.create_new(Location::anonymous(), || Mutex::new(3_u32))?;
    /// assert_eq!(*jobs.lock()?, 3);
    /// # Ok(()) }
    /// ```
    pub fn create_new<T: SharedType>(
        &self,
        location: impl Into<Location>,
        make: impl FnOnce() -> T,
    ) -> Result<Shared<T>> {
        let location = location.into();
        Shared::over(self.create(&location, &make(), self.terms.open_timeout)?, location)
    }

    /// Opens an object with these options, like [`Shared::open`].
    ///
    /// # Errors
    /// As for [`Shared::open`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let name = format!("doc-options-open-{}", std::process::id());
    /// # let name = name.as_str();
    /// let jobs = Shared::create_new(name, || Mutex::new(3_u32))?;
    /// let same = SharedOptions::new().allow_any_owner().open::<Mutex<u32>>(name)?;
    /// *same.lock()? += 1;
    /// assert_eq!(*jobs.lock()?, 4);
    /// # drop((jobs, same));
    /// # unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn open<T: SharedType>(&self, location: impl Into<Location>) -> Result<Shared<T>> {
        let (location, terms) = (location.into(), self.terms_for::<T>());
        let shape = self.shape::<T>(T::ROOM.least());
        Shared::over(peer::open(&location, &shape, &terms, crate::sync::recover)?, location)
    }

    /// Opens an object for observation with these options, like [`Shared::open_read_only`].
    ///
    /// # Errors
    /// As for [`Shared::open_read_only`].
    pub fn open_read_only<T: SharedType>(
        &self,
        location: impl Into<Location>,
    ) -> Result<Shared<T>> {
        self.look(location.into(), Attachment::ReadOnly)
    }

    /// Opens an object for observation like [`open_read_only`](Self::open_read_only), as a private
    /// copy-on-write mapping.
    ///
    /// The elements of locks over slices can then be edited privately, by
    /// [`private_view_mut`](crate::MutexSliceHandle::private_view_mut). A page is copied when it is
    /// first written, and until then shows the changes of other processes.
    ///
    /// # Errors
    /// As for [`Shared::open_read_only`].
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Mutex, Shared, SharedOptions};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// # let name = format!("doc-copy-on-write-{}", std::process::id());
    /// # let name = name.as_str();
    /// let table = Shared::create_new(name, || Mutex::<[u32]>::zeroed(8))?;
    /// let copy: Shared<Mutex<[u32]>> = SharedOptions::new().open_copy_on_write(name)?;
    /// copy.private_view_mut()?.set(0, 7)?;
    /// assert_eq!(table.lock()?.view().get(0)?, 0);
    /// # sharemap::unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn open_copy_on_write<T: SharedType>(
        &self,
        location: impl Into<Location>,
    ) -> Result<Shared<T>> {
        self.look(location.into(), Attachment::CopyOnWrite)
    }

    /// Opens an object without becoming a participant.
    fn look<T: SharedType>(&self, location: Location, attachment: Attachment) -> Result<Shared<T>> {
        let (shape, terms) = (self.shape::<T>(T::ROOM.least()), self.terms_for::<T>());
        let session = peer::open_as(&location, &shape, &terms, attachment, crate::sync::recover);
        Shared::over(session?, location)
    }

    /// Opens the object at `location` with these options, or creates it, like
    /// [`Shared::open_or_create`].
    ///
    /// # Errors
    /// As for [`Shared::open_or_create`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let name = format!("doc-options-or-create-{}", std::process::id());
    /// # let name = name.as_str();
    /// let options = SharedOptions::new().participants(64);
    /// let jobs = options.open_or_create(name, || Mutex::new(3_u32))?;
    /// assert_eq!(*jobs.lock()?, 3);
    /// # drop(jobs);
    /// # unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn open_or_create<T: SharedType>(
        &self,
        location: impl Into<Location>,
        make: impl FnOnce() -> T,
    ) -> Result<Shared<T>> {
        let (location, terms) = (location.into(), self.terms_for::<T>());
        let shape = self.shape::<T>(T::ROOM.least());
        // Creation may be retried, but `make` is called at most once.
        let (mut make, mut first) = (Some(make), None);
        let mut create = |terms: &OpenOptions| {
            if let Some(make) = make.take() {
                first = Some(make());
            }
            self.create(&location, first.as_ref().expect("made once"), terms.open_timeout)
        };
        let session = peer::open_or(&location, &shape, &terms, crate::sync::recover, &mut create)?;
        Shared::over(session, location)
    }

    /// Opens an object that was passed as a descriptor or handle with these options, like
    /// [`Shared::from_descriptor`].
    ///
    /// # Errors
    /// As for [`Shared::from_descriptor`].
    pub fn from_descriptor<T: SharedType>(
        &self,
        descriptor: impl AsDescriptor,
    ) -> Result<Shared<T>> {
        let (file, terms) = (descriptor.duplicate_descriptor()?, self.terms_for::<T>());
        let shape = self.shape::<T>(T::ROOM.least());
        let session = peer::from_descriptor(&file, &shape, &terms, crate::sync::recover)?;
        Shared::over(session, Location::anonymous())
    }

    /// Creates an object with the initial state `first`, blocking for at most `open_timeout`.
    fn create<T: SharedType>(
        &self,
        location: &Location,
        first: &T,
        open_timeout: Duration,
    ) -> Result<Arc<Opening>> {
        let named = |error: Error| error.with_path(location.path());
        let bytes = LayoutWriter::measure(first).map_err(named)?;
        if bytes == 0 {
            return Err(named(Error::new(ErrorKind::ZeroLength, "create"))
                .with_detail("the type contains no lock; share at least one"));
        }
        let fill = &mut |memory: &Memory, header: &Header| {
            first.fill(&mut LayoutWriter::payload(memory, header))
        };
        let shape = self.shape::<T>(bytes);
        let terms = OpenOptions { open_timeout, ..self.terms };
        peer::create_new(location, &shape, &terms, crate::sync::recover, fill)
    }

    /// Returns the layout that an object of type `T` has, with a payload of `bytes` bytes.
    fn shape<T: SharedType>(&self, bytes: u64) -> ExpectedLayout {
        let mut layout = Layout::default();
        T::describe(&mut layout);
        let shape = ExpectedLayout::new(KIND, layout.fingerprint(), bytes);
        ExpectedLayout { participants: self.participants, lanes: self.lanes, ..shape }
    }

    /// Returns the options for opening an existing object. If `T` contains a lock over elements, only
    /// the object itself tells the length of its payload.
    fn terms_for<T: SharedType>(&self) -> OpenOptions {
        let payload = match T::ROOM {
            LayoutSize::Exactly(_) => Payload::Exactly,
            LayoutSize::AtLeast(_) => Payload::AtLeast,
        };
        OpenOptions { payload, ..self.terms }
    }
}
