//! An object that is made of locks.

use std::fmt;
use std::fs::File;
use std::ops::Deref;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::peer::{ObjectObserver, Opening};
use crate::shm::{self, Location};
use crate::sync::api::options::SharedOptions;
use crate::sync::api::shared_type::{LayoutReader, SharedType};
use crate::sys::{self, AsDescriptor};

/// A lock, or several, that processes share: in shared memory, or in a file. It derefs to a handle.
///
/// ```
/// use sharemap::{Mutex, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// # let name = format!("doc-shared-{}", std::process::id());
/// # let name = name.as_str();
/// let hits = Shared::open_or_create(name, || Mutex::new(0_u64))?;
/// *hits.lock_or_recover(|_last| ())? += 1; // after a death, the closure may repair the value
/// let same = Shared::<Mutex<u64>>::open(name)?; // in another process, as a rule
/// assert_eq!(*same.lock()?, 1);
/// # sharemap::SharedMemory::unlink(name)?;
/// # Ok(()) }
/// ```
///
/// A process attaches to an object once, however often and by whatever names it opens the object.
/// All its values share one participant and the lanes of each thread. A thread that locks through
/// one value what it holds through another therefore gets [`Deadlock`](crate::ErrorKind::Deadlock).
/// Read-only and copy-on-write values are separate. Two copies of this crate in one process are two
/// participants.
///
/// Several in one object:
///
/// ```
/// use sharemap::{Condvar, Location, Mutex, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let queue = Shared::create_new(Location::anonymous(), || (Mutex::new(0_u32), Condvar::new()))?;
/// let (jobs, changed) = &*queue;
/// *jobs.lock()? += 1;
/// changed.notify_one()?;
/// # Ok(()) }
/// ```
pub struct Shared<T: SharedType> {
    opening: Arc<Opening>,
    handle: T::Handle,
    /// The location at which the object was opened.
    location: Location,
}

impl<T: SharedType> Shared<T> {
    /// A new object, which must not exist yet, as `make` says it is to begin.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists), [`NoSpace`](crate::ErrorKind::NoSpace);
    /// [`NameEmpty`](crate::ErrorKind::NameEmpty), [`NameTooLong`](crate::ErrorKind::NameTooLong) or
    /// [`NameCharacter`](crate::ErrorKind::NameCharacter) if not every system can have the name;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where faults are not recovered in place.
    pub fn create_new(location: impl Into<Location>, make: impl FnOnce() -> T) -> Result<Self> {
        SharedOptions::new().create_new(location, make)
    }

    /// An object that exists.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound); [`ForeignOwner`](crate::ErrorKind::ForeignOwner) if it
    /// belongs to another user, or a link to it does; [`NotAnObject`](crate::ErrorKind::NotAnObject) if it
    /// has several names; [`WrongType`](crate::ErrorKind::WrongType),
    /// [`WrongSize`](crate::ErrorKind::WrongSize) or [`WrongKind`](crate::ErrorKind::WrongKind) if it is something else;
    /// [`Unclean`](crate::ErrorKind::Unclean) if it was in use when the system went down;
    /// [`TooManyProcesses`](crate::ErrorKind::TooManyProcesses) if all its participants stay in use for
    /// [longer](SharedOptions::open_timeout) than the call waits;
    /// [`WrongVersion`](crate::ErrorKind::WrongVersion),
    /// [`Truncated`](crate::ErrorKind::Truncated), [`Malformed`](crate::ErrorKind::Malformed) or
    /// [`Incomplete`](crate::ErrorKind::Incomplete) if its header cannot be used;
    /// [`Busy`](crate::ErrorKind::Busy) if somebody who lives has been making it, or taking it over from an
    /// earlier boot, for [longer](SharedOptions::open_timeout) than one waits for that, or if another thread of
    /// this process has been attaching to it, or detaching from it, for so long. The type, the owner and
    /// what the options ask for are checked each time, also if this process has the object open.
    pub fn open(location: impl Into<Location>) -> Result<Self> {
        SharedOptions::new().open(location)
    }

    /// An object that exists, to look at: it takes no permission to write, and no room of those who
    /// take part, but keeps the object in use. What only reads works ([`EventHandle::is_set`],
    /// [`OnceHandle::is_done`], [`CountingSemaphoreHandle::count`], [`SemaphoreHandle::available`],
    /// [`MutexHandle::is_locked`], [`MutexSliceHandle::view_unlocked`]); all else is
    /// [`NotWritable`](crate::ErrorKind::NotWritable). A value is seen by those who lock only.
    ///
    /// ```
    /// use sharemap::{ErrorKind, Event, Mutex, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// # let name = format!("doc-look-{}", std::process::id());
    /// # let name = name.as_str();
    /// # let state = Shared::create_new(name, || (Event::manual_reset(), Mutex::new(0_u8)))?;
    /// # state.0.set()?;
    /// let state = Shared::<(Event, Mutex<u8>)>::open_read_only(name)?;
    /// assert!(state.0.is_set()?);
    /// let error = state.1.lock().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotWritable);
    /// # sharemap::SharedMemory::unlink(name)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As for [`open`](Self::open), but that an object is not refused for having been in use when the
    /// system went down.
    ///
    /// [`EventHandle::is_set`]: crate::EventHandle::is_set
    /// [`OnceHandle::is_done`]: crate::OnceHandle::is_done
    /// [`CountingSemaphoreHandle::count`]: crate::SignalHandle::count
    /// [`SemaphoreHandle::available`]: crate::PermitsHandle::available
    /// [`MutexHandle::is_locked`]: crate::MutexHandle::is_locked
    /// [`MutexSliceHandle::view_unlocked`]: crate::MutexSliceHandle::peek
    pub fn open_read_only(location: impl Into<Location>) -> Result<Self> {
        SharedOptions::new().open_read_only(location)
    }

    /// The object that is there, or else a new one as `make` says it is to begin.
    ///
    /// # Errors
    /// As for [`open`](Self::open) and [`create_new`](Self::create_new).
    pub fn open_or_create(location: impl Into<Location>, make: impl FnOnce() -> T) -> Result<Self> {
        SharedOptions::new().open_or_create(location, make)
    }

    /// An object that was passed to this process, as a descriptor or handle.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn from_descriptor(descriptor: impl AsDescriptor) -> Result<Self> {
        SharedOptions::new().from_descriptor(descriptor)
    }

    /// Unlinks an object, as [`unlink`](crate::unlink()) does. Attached processes stay attached; the
    /// memory is freed with the last of them.
    ///
    /// # Errors
    /// As for [`unlink`](crate::unlink()).
    pub fn unlink(location: impl Into<Location>) -> Result<()> {
        shm::unlink(location)
    }

    // The names of methods with `self` are no names for fields of structs of locks: the derive knows them.

    /// The open object, to be passed on; `None` where the system has no file for it.
    #[must_use]
    pub fn file(&self) -> Option<&File> {
        self.opening.file()
    }

    /// Returns `true` if the location by which this object was opened still leads to it.
    ///
    /// Any process of the user may unlink a name: `sharemap rm`, cleaners of temporary files,
    /// systemd at the user's last logout, a program that replaces the object. Attached processes
    /// then keep sharing the old object, while the next process creates a new object of that name.
    /// Two threads can hold "the" lock at once. If processes agree on the name, check it after
    /// acquiring, and open the object again if the name has changed:
    ///
    /// ```
    /// use sharemap::{Mutex, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// # let name = format!("doc-linked-{}", std::process::id());
    /// # let name = name.as_str();
    /// loop {
    ///     let jobs = Shared::open_or_create(name, || Mutex::new(0_u64))?;
    ///     let mut count = jobs.lock()?;
    ///     if jobs.is_linked()? {
    ///         *count += 1; // the lock that the name leads to is held
    ///         break;
    ///     }
    /// }
    /// # sharemap::SharedMemory::unlink(name)?;
    /// # Ok(()) }
    /// ```
    ///
    /// The answer describes the moment of the call. The name may still be unlinked while the lock
    /// is held, and a process that opens the name then does not wait for this one. Mutual exclusion
    /// is certain only among programs that never unlink the name. A relative path is resolved in
    /// the current directory at the time of the call.
    ///
    /// Python's `multiprocessing.shared_memory` registers every object that it creates or opens
    /// with a resource tracker, which unlinks the name when the Python process ends. Pass
    /// `track=False` there (Python 3.13).
    ///
    /// Linux and macOS compare device and inode, Windows volume and file index. Objects of `shm_open`
    /// (macOS) have no such numbers: there the ids in their headers are compared. A section (Windows)
    /// keeps its name while it is attached.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if the object was not opened by a name or path;
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied) if the path cannot be looked up.
    pub fn is_linked(&self) -> Result<bool> {
        let named = |error: Error| error.with_path(self.location.path());
        let unnamed =
            |detail| Err(named(Error::new(ErrorKind::Unsupported, "look up").with_detail(detail)));
        let Some(file) = self.opening.file() else {
            return unnamed("the object has no file here to compare with");
        };
        match self.location.checked().map_err(named)? {
            shm::LocationKind::File(path) => sys::file::is_linked(path, file).map_err(named),
            shm::LocationKind::Name(name) => {
                match sys::shm::is_linked(name, file).map_err(named)? {
                    Some(linked) => Ok(linked),
                    None => match ObjectObserver::open(&self.location) {
                        Ok(look) => Ok(look
                            .facts()
                            .is_some_and(|facts| facts.id == self.opening.header().id)),
                        Err(error) => match error.kind() {
                            // The name was unlinked meanwhile, or refers to another thing.
                            ErrorKind::NotFound
                            | ErrorKind::NotAnObject
                            | ErrorKind::ZeroLength => Ok(false),
                            _ => Err(error),
                        },
                    },
                }
            }
            shm::LocationKind::Anonymous => {
                unnamed("the object was opened by a descriptor, not by a name or path")
            }
        }
    }

    pub(in crate::sync) fn over(opening: Arc<Opening>, location: Location) -> Result<Self> {
        let mut found = LayoutReader::payload(Arc::clone(&opening));
        let handle = T::handle(&mut found)?;
        found.finish()?;
        Ok(Self { opening, handle, location })
    }

    /// Ends all waits through this value and its handles within a tenth of a second, with an error
    /// of kind [`Cancelled`](crate::ErrorKind::Cancelled). Refuses further waits until
    /// [`resume`](Self::resume). Waits through other values of the same object continue.
    pub fn cancel(&self) {
        self.opening.cancel(true);
    }

    /// Lets wait again.
    pub fn resume(&self) {
        self.opening.cancel(false);
    }
}

impl<T: SharedType> Deref for Shared<T> {
    type Target = T::Handle;

    #[inline]
    fn deref(&self) -> &T::Handle {
        &self.handle
    }
}

impl<T: SharedType> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("object", &self.opening.path()).finish_non_exhaustive()
    }
}
