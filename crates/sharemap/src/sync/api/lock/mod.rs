//! What the handles of `Mutex` and `RwLock` have in common, over values and over elements.
//!
//! `R` is the lock's algorithm. `T` is the value, of which guards hold a copy, or the slice, which guards access in
//! place ([`Storage`]). `acquire` acquires the lock exclusively; `owned_guard` releases it.

mod acquire;
mod owned_guard;

use std::fmt;
use std::marker::PhantomData;

pub(super) use owned_guard::{OwnedGuard, reclaim_owned, told};

use zerocopy::IntoBytes;

use super::deferred_error::DeferredError;
use super::elements::Elements;
use super::lock_target::LockTarget;
use super::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef};
use crate::error::{Error, Result};
use crate::layout::{Pod, Shareable};
use crate::peer::{AnnouncementRef, FixedLen, Session, TypedSpan};
use crate::sync::algorithms::exclusive::Exclusive;
use crate::sync::core::double_buffer::DoubleBuffer;
use crate::view::{View, ViewMut};

/// The words of a lock and the copies of its value. The elements of a slice follow it.
pub(super) struct Whole<R, T: ?Sized>(PhantomData<R>, PhantomData<T>);

impl<R: Exclusive, T: ?Sized + LockTarget> FixedLen for Whole<R, T> {
    const LEN: u64 = R::VALUE + DoubleBuffer::size(size_of::<T::Copied>() as u32);
}

/// A lock in an open object.
pub(super) struct Lock<R, T: ?Sized> {
    pub(super) place: LockRef,
    pub(super) span: TypedSpan<Whole<R, T>>,
    /// The elements of a slice. A value has none.
    elements: Elements,
    deferred: DeferredError,
}

impl<R: Exclusive, T: ?Sized + LockTarget> Lock<R, T> {
    /// The length of the lock without the elements.
    const WHOLE: LayoutSize = LayoutSize::exactly(Whole::<R, T>::LEN);

    /// The length of the lock in an object, as far as the type determines it.
    pub(super) const ROOM: LayoutSize = Self::WHOLE.then(T::ELEMENTS);

    /// Writes the initial value of the next lock of a new object.
    pub(super) fn fill(first: &T::First, blank: &mut LayoutWriter<'_>) -> Result<()> {
        let lock = blank.take(Self::WHOLE)?;
        lock.write(R::VALUE, T::copied(first).as_bytes())?;
        match T::fill_elements(first, blank)? {
            0 => Ok(()),
            len => lock.write(R::SELECTOR, &len.to_le_bytes()),
        }
    }

    /// Takes the next lock of an object.
    pub(super) fn find(found: &mut LayoutReader) -> Result<Self> {
        let place = found.take(Self::WHOLE)?;
        let elements = T::find_elements(found, place.at, place.at + R::SELECTOR)?;
        let span = place.span()?;
        Ok(Self { place, span, elements, deferred: DeferredError::default() })
    }

    pub(super) fn raw(&self) -> R {
        raw_at::<R, T>(self.place.at)
    }

    /// Returns the error that dropping an earlier guard deferred to this call.
    pub(super) fn take_deferred(&self) -> Result<()> {
        self.deferred.take_and_enable(&self.span)
    }

    /// Defers `error` to the next call of the handle, because `drop` cannot return it.
    pub(super) fn defer(&self, error: Error) {
        self.deferred.keep_and_disable(error, &self.span);
    }

    /// Returns `error` with the path of the object.
    pub(super) fn named(&self, error: Error) -> Error {
        self.place.with_object_path(error)
    }

    pub(super) fn session(&self) -> &Session {
        self.place.session()
    }
}

/// Describes the lock at offset `at`.
#[inline(always)]
pub(super) fn raw_at<R: Exclusive, T: ?Sized + LockTarget>(at: u64) -> R {
    R::new(at, size_of::<T::Copied>() as u32)
}

impl<R: Exclusive, T: Pod + Shareable> Lock<R, [T]> {
    /// Returns the number of elements.
    pub(super) fn len(&self) -> usize {
        self.elements.len()
    }

    /// Returns a view of the elements, which may be in use by an owner.
    pub(super) fn view_unlocked(&self) -> View<'_, T> {
        self.elements.view(&self.place)
    }

    /// Returns a view of the elements that changes this process's private copy.
    pub(super) fn private_view_mut(&self) -> Result<ViewMut<'_, T>> {
        self.elements.private_view_mut(&self.place)
    }

    /// Returns a view of the elements for a guard with this slot.
    pub(super) fn view(&self, slot: AnnouncementRef<'_>) -> View<'_, T> {
        self.shown(slot).view(&self.place)
    }

    /// Returns a mutable view of the elements for a guard with this slot.
    pub(super) fn view_mut(&self, slot: AnnouncementRef<'_>) -> ViewMut<'_, T> {
        self.shown(slot).view_mut(&self.place)
    }

    /// Returns the elements, or none in a forked child: the parent holds the lock.
    fn shown(&self, slot: AnnouncementRef<'_>) -> Elements {
        if self.session().is_mine(slot) { self.elements } else { self.elements.none() }
    }
}

impl<R, T: ?Sized> Lock<R, T> {
    /// Formats a handle of the type `name`: its offset, and the number of elements of a slice.
    pub(super) fn fmt_as(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut handle = f.debug_struct(name);
        handle.field("at", &self.place.at);
        if self.elements.len() > 0 {
            handle.field("len", &self.elements.len());
        }
        handle.finish_non_exhaustive()
    }
}
