//! What an object of locks is made of: locks, and tuples, arrays and structs of them, each behind the
//! one before.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::Layout;
use crate::peer::{
    Announced, Extent, Header, Liveness, Machine, Memory, Opening, Session, Span, delegate_world,
};

/// Locks lie on multiples of this.
const GRAIN: u64 = 16;

/// What [`Shared`](crate::Shared) is made of: [`Mutex`](crate::Mutex), [`RwLock`](crate::RwLock),
/// [`Condvar`](crate::Condvar), [`Semaphore`](crate::Semaphore), [`CountingSemaphore`](crate::CountingSemaphore),
/// [`Barrier`](crate::Barrier), [`Event`](crate::Event), [`Once`](crate::Once); tuples and arrays of
/// them; and structs of them that derive [`Shareable`](derive@crate::Shareable).
///
/// A value of such a type says how it is to begin; used it is through its handle, which
/// [`Shared`](crate::Shared) derefs to.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a lock, nor made of locks",
    note = "a struct of locks has fields that are locks, or tuples, arrays and structs of them",
    note = "a value that a lock guards derives `Shareable` with `#[repr(C)]`, and zerocopy's traits"
)]
pub trait SharedType: Sized {
    /// What it is used by.
    type Handle;

    /// The bytes that it takes.
    #[doc(hidden)]
    const ROOM: LayoutSize;

    /// Writes what it is, as FORMAT.md says.
    #[doc(hidden)]
    fn describe(layout: &mut Layout);

    /// Writes its first bytes, and takes so many as it takes.
    #[doc(hidden)]
    fn fill(&self, blank: &mut LayoutWriter<'_>) -> Result<()>;

    /// A handle to one that is there.
    #[doc(hidden)]
    fn handle(found: &mut LayoutReader) -> Result<Self::Handle>;
}

/// How many bytes something takes, as far as its type tells.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutSize {
    /// So many, a multiple of 16.
    Exactly(u64),
    /// So many, and more that it says itself.
    AtLeast(u64),
}

impl LayoutSize {
    #[doc(hidden)]
    pub const NONE: Self = Self::Exactly(0);

    pub(in crate::sync) const fn exactly(bytes: u64) -> Self {
        Self::Exactly(bytes.next_multiple_of(GRAIN))
    }

    pub(in crate::sync) const fn least(self) -> u64 {
        match self {
            Self::Exactly(bytes) | Self::AtLeast(bytes) => bytes,
        }
    }

    /// Both, one behind the other.
    #[doc(hidden)]
    #[must_use]
    pub const fn then(self, next: Self) -> Self {
        let bytes = self.least() + next.least();
        match (self, next) {
            (Self::Exactly(_), Self::Exactly(_)) => Self::Exactly(bytes),
            _ => Self::AtLeast(bytes),
        }
    }

    const fn times(self, count: u64) -> Self {
        match self {
            Self::Exactly(bytes) => Self::Exactly(bytes * count),
            Self::AtLeast(bytes) => Self::AtLeast(bytes * count),
        }
    }
}

/// Where the next thing is to be made, in memory that is all zeros so far.
#[doc(hidden)]
#[derive(Debug)]
pub struct LayoutWriter<'a> {
    /// `None`: to find out how much it will take.
    memory: Option<&'a Memory>,
    at: u64,
    end: u64,
}

/// A part of it.
pub(in crate::sync) struct Part<'a> {
    memory: Option<&'a Memory>,
    at: u64,
}

impl<'a> LayoutWriter<'a> {
    /// All of an object's payload.
    pub(in crate::sync) fn payload(memory: &'a Memory, header: &Header) -> Self {
        let end = header.payload_at + header.payload;
        Self { memory: Some(memory), at: header.payload_at, end }
    }

    /// Some of a larger object, from `at`, a multiple of 16, to `end`: for locks that belong to it.
    #[allow(dead_code, reason = "the layers above are to come")]
    pub(crate) fn within(memory: &'a Memory, at: u64, end: u64) -> Self {
        debug_assert!(at % GRAIN == 0);
        Self { memory: Some(memory), at, end }
    }

    /// Bytes that something takes.
    pub(in crate::sync) fn measure(first: &impl SharedType) -> Result<u64> {
        let mut blank = LayoutWriter { memory: None, at: 0, end: u64::MAX };
        first.fill(&mut blank)?;
        Ok(blank.at)
    }

    /// The next bytes.
    pub(in crate::sync) fn take(&mut self, room: LayoutSize) -> Result<Part<'a>> {
        let (at, bytes) = (self.at, room.least());
        self.at = behind(at, bytes, self.end)
            .ok_or_else(|| Error::new(ErrorKind::Overflow, "create").with_length(bytes))?;
        Ok(Part { memory: self.memory, at })
    }
}

impl Part<'_> {
    pub(in crate::sync) fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.memory.map_or(Ok(()), |memory| memory.write(self.at + offset, bytes))
    }
}

/// What was found in an object, from the next thing on.
#[doc(hidden)]
#[derive(Debug)]
pub struct LayoutReader {
    opening: Arc<Opening>,
    at: u64,
    end: u64,
}

impl LayoutReader {
    /// All of an object's payload.
    pub(in crate::sync) fn payload(opening: Arc<Opening>) -> Self {
        let (at, end) = opening.payload();
        Self { opening, at, end }
    }

    /// Some of a larger object, from `at`, a multiple of 16, to `end`: locks that belong to it.
    #[allow(dead_code, reason = "the layers above are to come")]
    pub(crate) fn within(opening: Arc<Opening>, at: u64, end: u64) -> Self {
        debug_assert!(at % GRAIN == 0);
        Self { opening, at, end }
    }

    /// The next thing, of so many bytes.
    pub(in crate::sync) fn take(&mut self, room: LayoutSize) -> Result<LockRef> {
        let place = self.next();
        self.at = behind(place.at, room.least(), self.end).ok_or_else(|| {
            place
                .error(ErrorKind::WrongSize, "open")
                .with_length(room.least())
                .with_detail(format!("its payload ends at {}", self.end))
        })?;
        Ok(place)
    }

    /// Where the next thing is, to be looked at before it is taken.
    pub(in crate::sync) fn next(&self) -> LockRef {
        let session = Arc::clone(self.opening.session());
        LockRef { session, opening: Arc::clone(&self.opening), at: self.at }
    }

    /// Nothing is left.
    pub(in crate::sync) fn finish(self) -> Result<()> {
        if self.at == self.end {
            return Ok(());
        }
        let error = self.next().error(ErrorKind::WrongSize, "open");
        Err(error.with_detail(format!("its locks end there, and its payload at {}", self.end)))
    }
}

fn behind(at: u64, bytes: u64, end: u64) -> Option<u64> {
    let bytes = bytes.checked_next_multiple_of(GRAIN)?;
    at.checked_add(bytes).filter(|&next| next <= end)
}

/// The place of a lock in an object. As a world, a place behaves like its session, but its waits
/// end when the opening is cancelled. Operations that may block run on the place; all others run on
/// [`session`](Self::session), which has no such check.
#[derive(Clone, Debug)]
pub(in crate::sync) struct LockRef {
    session: Arc<Session>,
    opening: Arc<Opening>,
    pub(in crate::sync) at: u64,
}

impl Machine for LockRef {
    delegate_world!(session: words lanes waits others);

    fn is_cancelled(&self) -> bool {
        self.opening.is_cancelled()
    }
}

impl LockRef {
    #[inline(always)]
    pub(in crate::sync) fn session(&self) -> &Session {
        &self.session
    }

    /// Returns the span that begins at this place.
    pub(in crate::sync) fn span<E: Extent>(&self) -> Result<Span<E>> {
        Span::new(&self.session, self.at)
    }

    /// The moment when a wait of so long is over; `None` if that is not to be expected.
    pub(in crate::sync) fn after(&self, timeout: Duration) -> Option<Duration> {
        self.session.now().checked_add(timeout)
    }

    /// An error of this operation if the attachment only looks: for what does not announce anything
    /// before it writes.
    #[inline]
    pub(in crate::sync) fn require_writable(&self, operation: &'static str) -> Result<()> {
        self.session.require_writable(operation).map_err(|error| error.with_offset(self.at))
    }

    /// Names the object.
    #[cold]
    pub(in crate::sync) fn with_object_path(&self, error: Error) -> Error {
        error.with_path(self.session.path())
    }

    #[cold]
    pub(in crate::sync) fn error(&self, kind: ErrorKind, operation: &'static str) -> Error {
        self.with_object_path(Error::new(kind, operation).with_offset(self.at))
    }

    /// Returns `true` if both places are in the same object, attached through the same session.
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

            fn fill(&self, blank: &mut LayoutWriter<'_>) -> Result<()> {
                $( self.$index.fill(blank)?; )+
                Ok(())
            }

            fn handle(found: &mut LayoutReader) -> Result<Self::Handle> {
                Ok(($($name::handle(found)?,)+))
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

    fn fill(&self, blank: &mut LayoutWriter<'_>) -> Result<()> {
        self.iter().try_for_each(|each| each.fill(blank))
    }

    fn handle(found: &mut LayoutReader) -> Result<Self::Handle> {
        (0..N).map(|_| T::handle(found)).collect()
    }
}

#[cfg(test)]
mod tests;
