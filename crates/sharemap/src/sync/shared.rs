//! An object that is made of locks.

use std::fmt;
use std::fs::File;
use std::ops::Deref;
use std::sync::Arc;

use super::anchor::{Anchored, Found};
use super::options::SharedOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::peer::{Look, Opening};
use crate::shm::{self, Location};
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
/// *hits.lock_or_recover(|_last| ())? += 1; // after a death: the last whole value, to be repaired
/// let same = Shared::<Mutex<u64>>::open(name)?; // in another process, as a rule
/// assert_eq!(*same.lock()?, 1);
/// # sharemap::SharedMemory::unlink(name)?;
/// # Ok(()) }
/// ```
///
/// A process takes part in an object once, however many values of this type it has of it, and by
/// whichever names it opened them: they share one place among the participants and the lanes of each
/// thread, so that a thread that locks through one value what it holds through another gets
/// [`Deadlock`](crate::ErrorKind::Deadlock). Values that only look, or have a private copy, are apart from
/// these. Two copies of this crate in one process are two participants.
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
pub struct Shared<T: Anchored> {
    opening: Arc<Opening>,
    handle: T::Handle,
    /// Where it was opened.
    location: Location,
}

impl<T: Anchored> Shared<T> {
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
    /// [`Size`](crate::ErrorKind::Size) or [`WrongKind`](crate::ErrorKind::WrongKind) if it is something else;
    /// [`NeedsCheck`](crate::ErrorKind::NeedsCheck) if it was in use when the system went down;
    /// [`NoParticipant`](crate::ErrorKind::NoParticipant) if as many processes as it has room for are
    /// attached; [`WrongVersion`](crate::ErrorKind::WrongVersion),
    /// [`Truncated`](crate::ErrorKind::Truncated), [`Malformed`](crate::ErrorKind::Malformed) or
    /// [`Unready`](crate::ErrorKind::Unready) if its header cannot be used;
    /// [`Busy`](crate::ErrorKind::Busy) if somebody who lives has been making it, or taking it over from an
    /// earlier boot, for [longer](SharedOptions::patience) than one waits for that, or if another thread of
    /// this process has been attaching to it, or detaching from it, for so long. The type, the owner and
    /// what the options ask for are checked each time, also if this process has the object open.
    pub fn open(location: impl Into<Location>) -> Result<Self> {
        SharedOptions::new().open(location)
    }

    /// An object that exists, to look at: it takes no permission to write, and no room of those who
    /// take part, but keeps the object in use. What only reads works ([`EventHandle::is_set`],
    /// [`OnceHandle::is_done`], [`SignalHandle::count`], [`PermitsHandle::available`],
    /// [`MutexHandle::is_locked`], [`MutexSliceHandle::peek`]); all else is
    /// [`NotWritable`](crate::ErrorKind::NotWritable). A value is seen by those who lock only.
    ///
    /// ```
    /// use sharemap::{ErrorKind, Event, Mutex, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// # let name = format!("doc-look-{}", std::process::id());
    /// # let name = name.as_str();
    /// # let state = Shared::create_new(name, || (Event::manual(), Mutex::new(0_u8)))?;
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
    /// [`SignalHandle::count`]: crate::SignalHandle::count
    /// [`PermitsHandle::available`]: crate::PermitsHandle::available
    /// [`MutexHandle::is_locked`]: crate::MutexHandle::is_locked
    /// [`MutexSliceHandle::peek`]: crate::MutexSliceHandle::peek
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
    pub fn adopt(descriptor: impl AsDescriptor) -> Result<Self> {
        SharedOptions::new().adopt(descriptor)
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
    /// Every process may unlink the object of a name: `sharemap rm`, cleaners of temporary files,
    /// systemd at a user's last logout, a program that replaces it. The processes that are attached go
    /// on sharing the old object, and the next one to come makes a new object of that name, so that
    /// two threads hold "the" lock at once. Where the name is the agreement, check it after acquiring,
    /// and open the object anew if it has changed:
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
    /// The answer is true of the moment of the call. The name of an object may still be unlinked while
    /// its lock is held, and then a process that opens the name does not wait for this one: only
    /// programs that leave the name alone exclude each other for certain. A relative path is looked up
    /// in the current directory of the moment.
    ///
    /// Python's `multiprocessing.shared_memory` registers each object that it opens, not only those
    /// that it creates, with a resource tracker, which unlinks the name when that process ends. Pass
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
            shm::Place::File(path) => sys::file::is_linked(path, file).map_err(named),
            shm::Place::Name(name) => match sys::shm::is_linked(name, file).map_err(named)? {
                Some(linked) => Ok(linked),
                None => match Look::open(&self.location) {
                    Ok(look) => {
                        Ok(look.facts().is_some_and(|facts| facts.id == self.opening.header().id))
                    }
                    Err(error) => match error.kind() {
                        // It was unlinked a moment ago, or is another's.
                        ErrorKind::NotFound | ErrorKind::NotAnObject | ErrorKind::ZeroLength => {
                            Ok(false)
                        }
                        _ => Err(error),
                    },
                },
            },
            shm::Place::Anonymous => {
                unnamed("the object was opened by a descriptor, not by a name or path")
            }
        }
    }

    pub(super) fn over(opening: Arc<Opening>, location: Location) -> Result<Self> {
        let mut found = Found::payload(Arc::clone(&opening));
        let handle = T::handle(&mut found)?;
        found.finish()?;
        Ok(Self { opening, handle, location })
    }

    /// Ends all waits through this value and its handles with an error of kind
    /// [`Cancelled`](crate::ErrorKind::Cancelled), within a tenth of a second, and refuses more until
    /// [`resume`](Self::resume). Other values of the same object go on waiting.
    pub fn cancel(&self) {
        self.opening.cancel(true);
    }

    /// Lets wait again.
    pub fn resume(&self) {
        self.opening.cancel(false);
    }
}

impl<T: Anchored> Deref for Shared<T> {
    type Target = T::Handle;

    #[inline]
    fn deref(&self) -> &T::Handle {
        &self.handle
    }
}

impl<T: Anchored> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("object", &self.opening.path()).finish_non_exhaustive()
    }
}
