//! `Shared<T>`: an open object of locks.

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

/// A lock, or several locks, that processes share through shared memory or a file.
///
/// `T` describes the object: one lock, or a tuple, array or struct of locks (see [`SharedType`]).
/// A `Shared<T>` dereferences to the handles of these locks. Dropping the last value that a process
/// has of an object detaches the process. A named object or a file remains until it is unlinked; see
/// [`Location`] for what holds it on each system.
///
/// A process attaches to an object once, however often and by any of its names it opens the object.
/// All its values share one participant, and each thread has the same lanes in all of them. A
/// thread that locks through one value what it holds through another therefore gets
/// [`Deadlock`](crate::ErrorKind::Deadlock). Read-only and copy-on-write values are separate. Two
/// copies of this crate in one process are two participants.
///
/// # Examples
/// One mutex:
///
/// ```
/// use sharemap::{Mutex, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// # let name = format!("doc-shared-{}", std::process::id());
/// # let name = name.as_str();
/// let hits = Shared::open_or_create(name, || Mutex::new(0_u64))?;
/// *hits.lock_or_recover(|_last| ())? += 1; // after a death, the closure may repair the value
/// let same = Shared::<Mutex<u64>>::open(name)?; // usually in another process
/// assert_eq!(*same.lock()?, 1);
/// # sharemap::SharedMemory::unlink(name)?;
/// # Ok(()) }
/// ```
///
/// Several locks in one object:
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
#[doc(alias = "pthread_mutexattr_setpshared")]
pub struct Shared<T: SharedType> {
    opening: Arc<Opening>,
    handle: T::Handle,
    /// The location at which the object was opened.
    location: Location,
}

impl<T: SharedType> Shared<T> {
    /// Creates an object that does not exist yet, and attaches to it.
    ///
    /// `make` returns the initial state of the locks. The object gets its name only after it is
    /// complete, so a creator that dies leaves no object. (On macOS, named shared memory gets its
    /// name first. If its creator dies, the next creator replaces it.)
    ///
    /// While another process is creating an object at `location`, the call waits for at most the
    /// [`open_timeout`](SharedOptions::open_timeout), by default 5 seconds.
    ///
    /// # Errors
    /// - `AlreadyExists` - an object or another file has the name.
    /// - `NameEmpty`, `NameTooLong`, `NameCharacter` - not every system accepts the name.
    /// - `ZeroLength` - `T` contains no lock, or a lock over elements has none.
    /// - `Invalid` - `T` contains a barrier of no members.
    /// - `OutOfBounds` - the number of [participants](SharedOptions::participants) or
    ///   [lanes](SharedOptions::lanes) is not in 1 to 65535.
    /// - `Overflow` - the object would be larger than any file can be.
    /// - `NoSpace` - the file system or the shared memory is full.
    /// - `TooLarge` - this process may not create a file of that size.
    /// - `OutOfAddressSpace`, `TooManyMappings` - the object cannot be mapped.
    /// - `NotFound` - the directory does not exist.
    /// - `PermissionDenied`, `NotWritable` - this user may not create files in the directory.
    /// - `ForeignOwner` - a symbolic link of another user is on the path.
    /// - `TooManyProcesses`, `Busy` - other processes opened the new object first and occupy it. The
    ///   object exists.
    /// - `Unsupported` - faults are not recovered in place here, the file system cannot carry the
    ///   liveness locks, or the system does not have what an option asks for.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{ErrorKind, Mutex, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// # let name = format!("doc-create-new-{}", std::process::id());
    /// # let name = name.as_str();
    /// let jobs = Shared::create_new(name, || Mutex::new(3_u32))?;
    /// let error = Shared::create_new(name, || Mutex::new(0_u32)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    /// assert_eq!(*jobs.lock()?, 3);
    /// # Shared::<Mutex<u32>>::unlink(name)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "shm_open")]
    pub fn create_new(location: impl Into<Location>, make: impl FnOnce() -> T) -> Result<Self> {
        SharedOptions::new().create_new(location, make)
    }

    /// Opens an existing object, and attaches to it.
    ///
    /// The type, the owner and the conditions of the options are checked by each call, even if this
    /// process has the object open already.
    ///
    /// The call waits, for at most the [`open_timeout`](SharedOptions::open_timeout) in all, for a
    /// live creator, for a process that adopts the object from an earlier boot, for the holder of a
    /// lease on the file, for another thread of this process that is attaching or detaching, and for
    /// a free participant. An anonymous object is opened by
    /// [`from_descriptor`](Self::from_descriptor).
    ///
    /// # Errors
    /// - `NotFound` - no object has the name, or the location is anonymous.
    /// - `NameEmpty`, `NameTooLong`, `NameCharacter` - not every system accepts the name.
    /// - `ForeignOwner` - the object, or a symbolic link that leads to it, belongs to another user.
    /// - `NotWritable` - this user may only read the object.
    /// - `PermissionDenied` - this user may not open the object, or not its liveness locks.
    /// - `IsDirectory` - the path leads to a directory.
    /// - `NotAnObject` - the file is special, has several names, or does not begin with a header.
    /// - `WrongKind`, `WrongSize`, `WrongType` - the object was created with another type.
    /// - `WrongVersion` - another version of the format created the object.
    /// - `Truncated`, `Malformed`, `Invalid` - the header or a lock's fixed fields are damaged.
    /// - `Incomplete` - the creator died before the object was ready.
    /// - `Unclean` - the object was in use when the system went down, is in use where this process
    ///   cannot see the liveness locks, or was found faulted by a process that used it.
    /// - `TooManyProcesses` - no participant became free within the `open_timeout`.
    /// - `Busy` - one of the other waits did not end within the `open_timeout`.
    /// - `OutOfAddressSpace`, `TooManyMappings` - the object cannot be mapped.
    /// - `Fault` - the memory could not be accessed.
    /// - `Unsupported` - faults are not recovered in place here, or the file system cannot carry the
    ///   liveness locks.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{ErrorKind, Mutex, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// # let name = format!("doc-open-{}", std::process::id());
    /// # let name = name.as_str();
    /// let error = Shared::<Mutex<u32>>::open(name).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotFound);
    /// # let jobs = Shared::create_new(name, || Mutex::new(0_u32))?;
    /// // After another process has created it:
    /// let jobs = Shared::<Mutex<u32>>::open(name)?;
    /// *jobs.lock()? += 1;
    /// # Shared::<Mutex<u32>>::unlink(name)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "shm_open")]
    #[doc(alias = "OpenFileMapping")]
    pub fn open(location: impl Into<Location>) -> Result<Self> {
        SharedOptions::new().open(location)
    }

    /// Opens an existing object for observation, without becoming a participant.
    ///
    /// The call needs no permission to write and uses no participant. While the value exists, the
    /// object counts as in use. Methods that only read work: [`EventHandle::is_set`],
    /// [`OnceHandle::is_done`], [`CountingSemaphoreHandle::count`], [`SemaphoreHandle::available`],
    /// [`MutexHandle::is_locked`], [`MutexSliceHandle::view_unlocked`]. All others fail with
    /// [`NotWritable`](crate::ErrorKind::NotWritable). In particular, the value of a `Mutex<T>` or
    /// `RwLock<T>` cannot be read, because reading it requires the lock.
    ///
    /// # Errors
    /// As for [`open`](Self::open), with these differences: `NotWritable` and `TooManyProcesses` do
    /// not occur, `Unclean` only reports a faulted object, and `Busy` also reports a process that
    /// keeps the lock that read-only attachments share.
    ///
    /// # Examples
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
    /// [`EventHandle::is_set`]: crate::EventHandle::is_set
    /// [`OnceHandle::is_done`]: crate::OnceHandle::is_done
    /// [`CountingSemaphoreHandle::count`]: crate::CountingSemaphoreHandle::count
    /// [`SemaphoreHandle::available`]: crate::SemaphoreHandle::available
    /// [`MutexHandle::is_locked`]: crate::MutexHandle::is_locked
    /// [`MutexSliceHandle::view_unlocked`]: crate::MutexSliceHandle::view_unlocked
    pub fn open_read_only(location: impl Into<Location>) -> Result<Self> {
        SharedOptions::new().open_read_only(location)
    }

    /// Opens the object at `location`, or creates it if there is none.
    ///
    /// `make` returns the initial state of the locks. It is called at most once, and only if an
    /// object must be created. An object that its creator left incomplete is replaced. With an
    /// anonymous location, the call always creates a new object.
    ///
    /// # Errors
    /// As for [`open`](Self::open), except `NotFound` and `Incomplete`, and as for
    /// [`create_new`](Self::create_new).
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Mutex, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// # let name = format!("doc-open-or-create-{}", std::process::id());
    /// # let name = name.as_str();
    /// let jobs = Shared::open_or_create(name, || Mutex::new(3_u32))?;
    /// let same = Shared::open_or_create(name, || Mutex::new(0_u32))?;
    /// assert_eq!(*same.lock()?, 3);
    /// # Shared::<Mutex<u32>>::unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn open_or_create(location: impl Into<Location>, make: impl FnOnce() -> T) -> Result<Self> {
        SharedOptions::new().open_or_create(location, make)
    }

    /// Opens an object that another process passed to this one as a descriptor or handle.
    ///
    /// The call duplicates `descriptor`, which may be closed afterwards. The owner of the object is
    /// not checked.
    ///
    /// # Errors
    /// As for [`open`](Self::open), except `NotFound`, `ForeignOwner` and the errors about names, and
    ///
    /// - `NoSize` - the descriptor is that of a special file.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{Location, Mutex, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let jobs = Shared::create_new(Location::anonymous(), || Mutex::new(3_u32))?;
    /// if let Some(file) = jobs.file() {
    ///     let same = Shared::<Mutex<u32>>::from_descriptor(file)?; // usually in a child process
    ///     assert_eq!(*same.lock()?, 3);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn from_descriptor(descriptor: impl AsDescriptor) -> Result<Self> {
        SharedOptions::new().from_descriptor(descriptor)
    }

    /// Unlinks the object at `location`, like the function [`unlink`](crate::unlink()).
    ///
    /// Attached processes stay attached. The memory is freed when the last of them detaches.
    ///
    /// # Errors
    /// As for [`unlink`](crate::unlink()).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let name = Location::unique("doc-shared-unlink")?;
    /// let jobs = Shared::create_new(&name, || Mutex::new(0_u64))?;
    /// Shared::<Mutex<u64>>::unlink(&name)?;
    /// *jobs.lock()? += 1; // still attached
    /// assert_eq!(Shared::<Mutex<u64>>::open(&name).unwrap_err().kind(), ErrorKind::NotFound);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "shm_unlink")]
    pub fn unlink(location: impl Into<Location>) -> Result<()> {
        shm::unlink(location)
    }

    // The derive of `SharedType` refuses fields with the names of these methods: `Shared` dereferences
    // to the handle, and its own method would be called instead.

    /// Returns the open file of the object, for passing the object to another process.
    ///
    /// Returns `None` if the system has no file for the object.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let jobs = Shared::create_new(Location::anonymous(), || Mutex::new(0_u64))?;
    /// if let Some(file) = jobs.file() {
    ///     // The descriptor goes to another process, which attaches by it.
    ///     let same = Shared::<Mutex<u64>>::from_descriptor(file)?;
    /// }
    /// # Ok(()) }
    /// ```
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
    /// (macOS) have no such numbers, so the ids in their headers are compared. A section (Windows)
    /// keeps its name while it is attached.
    ///
    /// # Errors
    /// - `Unsupported` - the object was not opened by a name or path.
    /// - `PermissionDenied` - the path cannot be looked up.
    ///
    /// Other kinds report a failed system call.
    pub fn is_linked(&self) -> Result<bool> {
        let named = |error: Error| error.with_path(self.location.path());
        let unnamed =
            |detail| Err(named(Error::new(ErrorKind::Unsupported, "look up").with_detail(detail)));
        let Some(file) = self.opening.file() else {
            return unnamed("the system has no file for the object to compare with the name");
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
                            // The name was unlinked meanwhile, or leads to something else.
                            ErrorKind::NotFound
                            | ErrorKind::NotAnObject
                            | ErrorKind::ZeroLength => Ok(false),
                            _ => Err(error),
                        },
                    },
                }
            }
            shm::LocationKind::Anonymous => {
                unnamed("the object was not opened by a name or path; open it by one")
            }
        }
    }

    /// Returns a value for an opening, after checking that its payload has the layout of `T`.
    pub(in crate::sync) fn over(opening: Arc<Opening>, location: Location) -> Result<Self> {
        let mut found = LayoutReader::payload(Arc::clone(&opening));
        let handle = T::handle(&mut found)?;
        found.finish()?;
        Ok(Self { opening, handle, location })
    }

    /// Cancels the waits through this value and its handles.
    ///
    /// Blocked threads return within 100 ms, with an error of kind
    /// [`Cancelled`](crate::ErrorKind::Cancelled). Until [`resume`](Self::resume), calls that would
    /// block fail in the same way, and calls that need not block succeed. Waits through other values
    /// of the object continue.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{ErrorKind, Event, Location, Shared};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let ready = Shared::create_new(Location::anonymous(), Event::manual_reset)?;
    /// std::thread::scope(|scope| {
    ///     let waiter = scope.spawn(|| ready.wait());
    ///     ready.cancel(); // for instance from a handler that shuts the program down
    ///     let error = waiter.join().unwrap().unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::Cancelled);
    /// });
    /// # Ok(()) }
    /// ```
    pub fn cancel(&self) {
        self.opening.cancel(true);
    }

    /// Allows blocking operations again after [`cancel`](Self::cancel).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let work = Shared::create_new(Location::anonymous(), || CountingSemaphore::new(0))?;
    /// work.cancel();
    /// assert_eq!(work.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    /// work.resume();
    /// work.post()?;
    /// work.wait()?;
    /// # Ok(()) }
    /// ```
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
