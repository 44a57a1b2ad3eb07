//! The types that an object of locks can have: locks, and tuples, arrays and structs of them.
//!
//! An object is laid out by a walk over its type: each lock takes the next bytes of the payload, on a
//! multiple of 16. [`LayoutWriter`] makes this walk to measure and to write a new object, and
//! [`LayoutReader`] to find the locks of an existing one. No offsets are stored. A lock over elements
//! stores its own length, and the next lock follows it (FORMAT.md, "Locks").

use std::sync::Arc;
use std::time::Duration;

const OPEN: &str = "open the locks";

use crate::error::{Error, ErrorKind, Result};
use crate::layout::Layout;
use crate::peer::{
    Announced, FixedLen, Header, Liveness, Machine, Memory, Opening, Session, TypedSpan,
    delegate_world,
};

/// The alignment of locks. The low four bits of an announcement are its kind.
const GRAIN: u64 = 16;

/// A type of which a [`Shared`](crate::Shared) object can be: a lock, or a composition of locks.
///
/// Implemented for the locks ([`Mutex`](crate::Mutex), [`RwLock`](crate::RwLock),
/// [`Condvar`](crate::Condvar), [`Semaphore`](crate::Semaphore),
/// [`CountingSemaphore`](crate::CountingSemaphore), [`Barrier`](crate::Barrier),
/// [`Event`](crate::Event), [`Once`](crate::Once)), for arrays of them, for tuples of up to six, and for
/// structs that derive [`SharedType`](derive@crate::SharedType). All of these can be nested.
///
/// A value of such a type is the initial state of a new object. The locks of an object are accessed
/// through the type's [`Handle`](Self::Handle), to which [`Shared`](crate::Shared) dereferences.
///
/// Programs can share an object if their types list the same locks in the same order. The object
/// records a fingerprint of that list, and opening it with another type fails.
///
/// # Examples
/// ```
/// use sharemap::{Event, Location, Mutex, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// // The type of an object: four counters and an event.
/// type Counters = ([Mutex<u64>; 4], Event);
///
/// let initial = || ([0, 1, 2, 3].map(Mutex::new), Event::manual_reset());
/// let object: Shared<Counters> = Shared::create_new(Location::anonymous(), initial)?;
/// let (counters, ready) = &*object; // the handles
/// *counters[3].lock()? += 1;
/// ready.set()?;
/// # assert_eq!(*counters[3].lock()?, 4);
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a lock, nor made of locks",
    note = "a struct of locks derives `SharedType`; its fields are locks, or tuples, arrays and \
            structs of them",
    note = "a value that a lock guards derives `Shareable` with `#[repr(C)]`, and zerocopy's traits"
)]
pub trait SharedType: Sized {
    /// The type that gives access to the locks of an open object.
    type Handle;

    /// The length of the locks, including padding.
    #[doc(hidden)]
    const ROOM: LayoutSize;

    /// Writes the canonical description of the type (FORMAT.md, "Locks").
    #[doc(hidden)]
    fn describe(layout: &mut Layout);

    /// Takes the next bytes of a new object, and writes the initial state into them.
    #[doc(hidden)]
    fn fill(&self, writer: &mut LayoutWriter<'_>) -> Result<()>;

    /// Takes the next bytes of an existing object, and returns a handle to the locks there.
    #[doc(hidden)]
    fn handle(reader: &mut LayoutReader) -> Result<Self::Handle>;
}

/// The length of a type's locks in an object, as far as the type determines it.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutSize {
    /// Exactly this many bytes, a multiple of 16.
    Exactly(u64),
    /// At least this many bytes. The object stores the lengths of locks over elements.
    AtLeast(u64),
}

impl LayoutSize {
    /// No bytes: the size before the first lock.
    #[doc(hidden)]
    pub const NONE: Self = Self::Exactly(0);

    /// Returns the size of a lock of `bytes` bytes, padded to the alignment.
    pub(in crate::sync) const fn exactly(bytes: u64) -> Self {
        Self::Exactly(bytes.next_multiple_of(GRAIN))
    }

    /// Returns the smallest possible length.
    pub(in crate::sync) const fn least(self) -> u64 {
        match self {
            Self::Exactly(bytes) | Self::AtLeast(bytes) => bytes,
        }
    }

    /// Returns the size of `self` followed by `next`.
    #[doc(hidden)]
    #[must_use]
    pub const fn then(self, next: Self) -> Self {
        let bytes = self.least() + next.least();
        match (self, next) {
            (Self::Exactly(_), Self::Exactly(_)) => Self::Exactly(bytes),
            _ => Self::AtLeast(bytes),
        }
    }

    /// Returns the size of `count` consecutive items of this size.
    const fn times(self, count: u64) -> Self {
        match self {
            Self::Exactly(bytes) => Self::Exactly(bytes * count),
            Self::AtLeast(bytes) => Self::AtLeast(bytes * count),
        }
    }
}

/// A walk over a new object: the next lock is created at `at`. The payload is all zeros before.
#[doc(hidden)]
#[derive(Debug)]
pub struct LayoutWriter<'a> {
    /// `None` if the walk only measures.
    memory: Option<&'a Memory>,
    at: u64,
    end: u64,
}

/// The bytes of one lock in a new object.
pub(in crate::sync) struct Part<'a> {
    memory: Option<&'a Memory>,
    at: u64,
}

impl<'a> LayoutWriter<'a> {
    /// Begins a walk over the payload of an object.
    pub(in crate::sync) fn payload(memory: &'a Memory, header: &Header) -> Self {
        let end = header.payload_at + header.payload;
        Self { memory: Some(memory), at: header.payload_at, end }
    }

    /// Begins a walk over the part of an object from `at`, a multiple of 16, to `end`.
    #[cfg(test)]
    fn within(memory: &'a Memory, at: u64, end: u64) -> Self {
        debug_assert!(at % GRAIN == 0);
        Self { memory: Some(memory), at, end }
    }

    /// Returns the length of the payload that `first` needs.
    pub(in crate::sync) fn measure(first: &impl SharedType) -> Result<u64> {
        let mut writer = LayoutWriter { memory: None, at: 0, end: u64::MAX };
        first.fill(&mut writer)?;
        Ok(writer.at)
    }

    /// Takes the next bytes for a lock, and skips the padding after them.
    pub(in crate::sync) fn take(&mut self, room: LayoutSize) -> Result<Part<'a>> {
        let (at, bytes) = (self.at, room.least());
        self.at = padded_end(at, bytes, self.end)
            .ok_or_else(|| Error::new(ErrorKind::Overflow, "create").with_length(bytes))?;
        Ok(Part { memory: self.memory, at })
    }
}

impl Part<'_> {
    /// Writes `bytes` at `offset` in the lock; writes nothing if the walk only measures.
    pub(in crate::sync) fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.memory.map_or(Ok(()), |memory| memory.write(self.at + offset, bytes))
    }
}

/// A walk over an existing object: the next lock is at `at`.
#[doc(hidden)]
#[derive(Debug)]
pub struct LayoutReader {
    opening: Arc<Opening>,
    at: u64,
    end: u64,
}

impl LayoutReader {
    /// Begins a walk over the payload of an object.
    pub(in crate::sync) fn payload(opening: Arc<Opening>) -> Self {
        let (at, end) = opening.payload();
        Self { opening, at, end }
    }

    /// Begins a walk over the part of an object from `at`, a multiple of 16, to `end`.
    #[cfg(test)]
    fn within(opening: Arc<Opening>, at: u64, end: u64) -> Self {
        debug_assert!(at % GRAIN == 0);
        Self { opening, at, end }
    }

    /// Returns the next lock, and skips the least number of bytes that `room` gives, with the padding after them.
    ///
    /// Fails with `WrongSize`, and skips nothing, if the lock does not fit in the rest of the payload.
    pub(in crate::sync) fn take(&mut self, room: LayoutSize) -> Result<LockRef> {
        let place = self.next();
        self.at = padded_end(place.at, room.least(), self.end).ok_or_else(|| {
            place.error(ErrorKind::WrongSize, OPEN).with_length(room.least()).with_detail(format!(
                "a lock at offset {} exceeds the payload, which ends at {}; use the type with \
                     which the object was created",
                self.at, self.end
            ))
        })?;
        Ok(place)
    }

    /// Returns the next lock without taking its bytes.
    pub(in crate::sync) fn next(&self) -> LockRef {
        let session = Arc::clone(self.opening.session());
        LockRef { session, opening: Arc::clone(&self.opening), at: self.at }
    }

    /// Ends the walk. Fails if the payload has bytes after the last lock.
    pub(in crate::sync) fn finish(self) -> Result<()> {
        if self.at == self.end {
            return Ok(());
        }
        let error = self.next().error(ErrorKind::WrongSize, OPEN);
        Err(error.with_detail(format!(
            "the type's locks end at offset {}, and the payload ends at {}; use the type with which the \
             object was created",
            self.at, self.end
        )))
    }
}

/// Returns the offset after `bytes` bytes at `at` and their padding; `None` if it is past `end`.
fn padded_end(at: u64, bytes: u64, end: u64) -> Option<u64> {
    let bytes = bytes.checked_next_multiple_of(GRAIN)?;
    at.checked_add(bytes).filter(|&next| next <= end)
}

/// A lock in an object: the session, the offset, and the opening that may cancel waits.
///
/// As a [`Machine`], it delegates to the session, but its waits fail after the opening is cancelled.
/// Operations that may block run on the `LockRef`. All others run on [`session`](Self::session), which
/// has no such check.
#[derive(Clone, Debug)]
pub(in crate::sync) struct LockRef {
    session: Arc<Session>,
    opening: Arc<Opening>,
    pub(in crate::sync) at: u64,
}

impl Machine for LockRef {
    delegate_world!(session: words lanes waits others notes);

    fn is_cancelled(&self) -> bool {
        self.opening.is_cancelled()
    }
}

impl LockRef {
    /// Returns the session, on which operations that never block run.
    #[inline(always)]
    pub(in crate::sync) fn session(&self) -> &Session {
        &self.session
    }

    /// Returns the bytes of the lock as a span of constant length. Its bounds are checked here, once.
    pub(in crate::sync) fn span<E: FixedLen>(&self) -> Result<TypedSpan<E>> {
        TypedSpan::new(&self.session, self.at)
    }

    /// Returns the deadline of a wait that lasts at most `timeout`; `None` if it cannot be expressed.
    pub(in crate::sync) fn after(&self, timeout: Duration) -> Option<Duration> {
        self.session.now().checked_add(timeout)
    }

    /// Fails with `NotWritable` if the attachment is no participant.
    ///
    /// Operations that announce the lock first need no such check: announcing fails in the same way.
    #[inline]
    pub(in crate::sync) fn require_writable(&self, operation: &'static str) -> Result<()> {
        self.session.require_writable(operation).map_err(|error| error.with_lock_offset(self.at))
    }

    /// Adds the path of the object to an error.
    #[cold]
    pub(in crate::sync) fn with_object_path(&self, error: Error) -> Error {
        error.with_path(self.session.path())
    }

    /// Returns an error about this lock.
    #[cold]
    pub(in crate::sync) fn error(&self, kind: ErrorKind, operation: &'static str) -> Error {
        self.with_object_path(Error::new(kind, operation).with_lock_offset(self.at))
    }

    /// Returns what an attempt acquired. Fails with `WouldBlock` if it acquired nothing, and otherwise with
    /// its error, with the object's path.
    #[inline]
    pub(in crate::sync) fn attempted<T>(
        &self,
        attempt: Result<Option<T>>,
        operation: &'static str,
    ) -> Result<T> {
        match attempt {
            Ok(Some(acquired)) => Ok(acquired),
            Ok(None) => Err(self.error(ErrorKind::WouldBlock, operation)),
            Err(error) => Err(self.with_object_path(error)),
        }
    }

    /// Returns `true` if both locks are in the same object, attached through the same session.
    pub(in crate::sync) fn is_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.session, &other.session)
    }
}

macro_rules! tuples {
    ($($($name:ident $index:tt),+;)*) => { $(
        impl<$($name: SharedType),+> SharedType for ($($name,)+) {
            type Handle = ($($name::Handle,)+);
            const ROOM: LayoutSize = LayoutSize::NONE $(.then($name::ROOM))+;

            fn describe(layout: &mut Layout) {
                layout.push("(");
                $(
                    $name::describe(layout);
                    layout.push(",");
                )+
                layout.push(")");
            }

            fn fill(&self, writer: &mut LayoutWriter<'_>) -> Result<()> {
                $( self.$index.fill(writer)?; )+
                Ok(())
            }

            fn handle(reader: &mut LayoutReader) -> Result<Self::Handle> {
                Ok(($($name::handle(reader)?,)+))
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

impl<T: SharedType, const N: usize> SharedType for [T; N] {
    type Handle = Vec<T::Handle>;
    const ROOM: LayoutSize = T::ROOM.times(N as u64);

    fn describe(layout: &mut Layout) {
        layout.array(T::describe, N);
    }

    fn fill(&self, writer: &mut LayoutWriter<'_>) -> Result<()> {
        self.iter().try_for_each(|each| each.fill(writer))
    }

    fn handle(reader: &mut LayoutReader) -> Result<Self::Handle> {
        (0..N).map(|_| T::handle(reader)).collect()
    }
}

#[cfg(test)]
mod tests;
