//! An object that is made of locks.

use std::fmt;
use std::fs::File;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::options::SharedOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::Layout;
use crate::peer::{Header, Memory, Session, World};
use crate::shm::{self, Location, SharedMemory};
use crate::sys::AsDescriptor;

/// What [`Shared`] is made of: [`Mutex`](crate::Mutex), [`RwLock`](crate::RwLock),
/// [`Condvar`](crate::Condvar), [`Permits`](crate::Permits), [`Signal`](crate::Signal),
/// [`Barrier`](crate::Barrier), [`Event`](crate::Event), [`Once`](crate::Once), and tuples and
/// arrays of them.
///
/// A value of such a type says how it is to begin; used it is through its handle, which
/// [`Shared`] derefs to.
pub trait Anchored: Sized {
    /// What it is used by.
    type Handle;

    /// Bytes in the object, a multiple of 16.
    #[doc(hidden)]
    const SIZE: u64;

    /// Writes what it is, as FORMAT.md says.
    #[doc(hidden)]
    fn describe(layout: &mut Layout);

    /// Writes its first bytes; they are zeros so far.
    #[doc(hidden)]
    fn fill(&self, blank: &Blank<'_>) -> Result<()>;

    /// A handle to one that is there.
    #[doc(hidden)]
    fn handle(place: Place) -> Result<Self::Handle>;
}

/// Where something is to be made.
#[doc(hidden)]
#[derive(Debug)]
pub struct Blank<'a> {
    memory: &'a Memory,
    at: u64,
}

impl<'a> Blank<'a> {
    pub(super) fn new(memory: &'a Memory, header: &Header) -> Self {
        Self { memory, at: header.payload_at }
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.memory.write(self.at + offset, bytes)
    }

    fn part(&self, offset: u64) -> Blank<'_> {
        Blank { memory: self.memory, at: self.at + offset }
    }
}

/// Where something is.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Place {
    pub(super) session: Arc<Session>,
    pub(super) at: u64,
}

impl Place {
    fn part(&self, offset: u64) -> Self {
        Self { session: Arc::clone(&self.session), at: self.at + offset }
    }

    /// The moment when a wait of so long is over; `None` if that is not to be expected.
    pub(super) fn after(&self, timeout: Duration) -> Option<Duration> {
        self.session.now().checked_add(timeout)
    }

    /// Names the object.
    #[cold]
    pub(super) fn named(&self, error: Error) -> Error {
        error.with_path(self.session.path())
    }

    #[cold]
    pub(super) fn error(&self, kind: ErrorKind, operation: &'static str) -> Error {
        self.named(Error::new(kind, operation).with_offset(self.at))
    }

    /// Whether both are in the same object, seen through the same attachment.
    pub(super) fn is_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.session, &other.session)
    }
}

/// A lock, or several, that processes share: in shared memory, or in a file. It derefs to a handle.
///
/// ```
/// use sharemap::{LockError, Mutex, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// # let name = format!("doc-shared-{}", std::process::id());
/// # let name = name.as_str();
/// let hits = Shared::open_or_create(name, || Mutex::new(0_u64))?;
/// match hits.lock() {
///     Ok(mut n) => *n += 1,
///     Err(LockError::OwnerDied(dead)) => *dead.accept() += 1, // the last whole value
///     Err(LockError::Failed(error)) => return Err(error),
/// }
/// let same = Shared::<Mutex<u64>>::open(name)?; // in another process, as a rule
/// assert_eq!(*same.lock()?, 1);
/// # sharemap::SharedMemory::unlink(name)?;
/// # Ok(()) }
/// ```
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
    session: Arc<Session>,
    handle: T::Handle,
}

impl<T: Anchored> Shared<T> {
    /// A new object, which must not exist yet, as `make` says it is to begin.
    ///
    /// # Errors
    /// [`AlreadyExists`](ErrorKind::AlreadyExists), [`NoSpace`](ErrorKind::NoSpace), and what is
    /// wrong with a name.
    pub fn create_new(location: impl Into<Location>, make: impl FnOnce() -> T) -> Result<Self> {
        SharedOptions::new().create_new(location, make)
    }

    /// An object that exists.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound); [`WrongType`](ErrorKind::WrongType),
    /// [`Size`](ErrorKind::Size) or [`WrongKind`](ErrorKind::WrongKind) if it is something else;
    /// [`NeedsCheck`](ErrorKind::NeedsCheck) if it was in use when the system went down.
    pub fn open(location: impl Into<Location>) -> Result<Self> {
        SharedOptions::new().open(location)
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

    /// Takes the object's name, or its file, away. Who is attached stays so; the memory goes with the
    /// last of them.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound), [`PermissionDenied`](ErrorKind::PermissionDenied).
    pub fn unlink(location: impl Into<Location>) -> Result<()> {
        let location = location.into();
        match location.checked()? {
            shm::Place::File(path) => std::fs::remove_file(path)
                .map_err(|error| Error::from(error).with_path(location.path())),
            _ => SharedMemory::unlink(location),
        }
    }

    /// The open object, to be passed on; `None` where the system has no file for it.
    #[must_use]
    pub fn file(&self) -> Option<&File> {
        self.session.file()
    }

    pub(super) fn over(session: Arc<Session>) -> Result<Self> {
        let place = Place { at: session.payload_at(), session: Arc::clone(&session) };
        Ok(Self { handle: T::handle(place)?, session })
    }

    /// Makes all that wait here, through this value and its handles, give up with an error of kind
    /// [`Cancelled`](ErrorKind::Cancelled), within a tenth of a second; until [`resume`](Self::resume), nobody
    /// waits.
    pub fn cancel(&self) {
        self.session.cancel(true);
    }

    /// Lets wait again.
    pub fn resume(&self) {
        self.session.cancel(false);
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
        f.debug_struct("Shared").field("object", &self.session.path()).finish_non_exhaustive()
    }
}

macro_rules! tuples {
    ($($($name:ident $index:tt),+;)*) => { $(
        impl<$($name: Anchored),+> Anchored for ($($name,)+) {
            type Handle = ($($name::Handle,)+);
            const SIZE: u64 = 0 $(+ $name::SIZE)+;

            fn describe(layout: &mut Layout) {
                layout.push("(");
                $(
                    $name::describe(layout);
                    layout.push(",");
                )+
                layout.push(")");
            }

            #[allow(unused_assignments, reason = "after the last")]
            fn fill(&self, blank: &Blank<'_>) -> Result<()> {
                let mut offset = 0;
                $(
                    self.$index.fill(&blank.part(offset))?;
                    offset += $name::SIZE;
                )+
                Ok(())
            }

            #[allow(unused_assignments, reason = "after the last")]
            fn handle(place: Place) -> Result<Self::Handle> {
                let mut offset = 0;
                Ok(($({
                    let handle = $name::handle(place.part(offset))?;
                    offset += $name::SIZE;
                    handle
                },)+))
            }
        }
    )* };
}

tuples! {
    A 0;
    A 0, B 1;
    A 0, B 1, C 2;
    A 0, B 1, C 2, D 3;
    A 0, B 1, C 2, D 3, E 4;
    A 0, B 1, C 2, D 3, E 4, F 5;
}

impl<T: Anchored, const N: usize> Anchored for [T; N] {
    type Handle = Vec<T::Handle>;
    const SIZE: u64 = N as u64 * T::SIZE;

    fn describe(layout: &mut Layout) {
        layout.push("[");
        T::describe(layout);
        layout.push(";");
        layout.number(N as u64);
        layout.push("]");
    }

    fn fill(&self, blank: &Blank<'_>) -> Result<()> {
        self.iter().zip(0..).try_for_each(|(each, index)| each.fill(&blank.part(index * T::SIZE)))
    }

    fn handle(place: Place) -> Result<Self::Handle> {
        (0..N as u64).map(|index| T::handle(place.part(index * T::SIZE))).collect()
    }
}
