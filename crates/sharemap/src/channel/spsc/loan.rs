//! `SpscLoan` and `SpscBorrow`: slots that are written and read in place.

use std::fmt;

use super::ring::{CONTROL, Cursor, MESSAGES, ROOM};
use super::side::{self, Side};
use crate::channel::role::OwnedRole;
use crate::error::Result;
use crate::layout::Element;
use crate::peer::{Faults, RingSpan};
use crate::view::{View, ViewMut};

/// Free slots that a sender writes in place, through a [view](Self::view), and then publishes.
///
/// What the slots contain at first are old messages. Dropping the loan sends nothing.
///
/// # Examples
/// See [`SpscSender::reserve`](super::SpscSender::reserve).
#[must_use = "what is written in the slots is sent by `publish`"]
pub struct SpscLoan<'a, T: Element> {
    view: ViewMut<'a, T>,
    lent: Lent<'a, T>,
}

/// Messages that a receiver reads in place, through a [view](Self::view), and then releases.
///
/// A sender cannot write to them meanwhile, except by misbehaving. Dropping the borrow releases nothing: the receiver gets
/// the messages again.
///
/// # Examples
/// See [`SpscReceiver::borrow`](super::SpscReceiver::borrow).
#[must_use = "the messages stay in the channel until `release`"]
pub struct SpscBorrow<'a, T: Element> {
    view: View<'a, T>,
    lent: Lent<'a, T>,
}

/// What moves the position of a side past the slots.
struct Lent<'a, T> {
    role: &'a OwnedRole,
    span: &'a RingSpan<T, CONTROL>,
    cursor: &'a mut Cursor,
    operation: &'static str,
}

impl<'a, T: Element> Lent<'a, T> {
    /// Returns the slots of a side's position, and how many there are of `count`, of which the side has seen at least one.
    fn of(side: &'a mut Side<T>, count: usize, there: u64) -> (Self, u64, usize) {
        let Side { role, span, cursor, wait } = side;
        let count = count.min(usize::try_from(there).unwrap_or(usize::MAX));
        let (own, count) = (cursor.own, side::ring(span).slots.run(cursor.own, count));
        (Self { role, span, cursor, operation: wait.operation }, own, count)
    }

    /// Wakes the other side after the position was stored; returns the error if it was not.
    fn finish(&self, stored: Option<bool>, gate: u64, faults: &Faults) -> Result<()> {
        if stored.is_none() {
            return Err(self.span.fault(faults, self.operation));
        }
        if side::ring(self.span).is_awaited(self.span.session(), gate) {
            side::wake(self.role);
        }
        Ok(())
    }
}

impl<'a, T: Element> SpscLoan<'a, T> {
    /// Lends at most `count` slots. The sender has seen that there is room.
    pub(super) fn of(side: &'a mut Side<T>, count: usize) -> Result<Self> {
        let faults = &mut Faults::default();
        let there = side::ring(&side.span).room(&mut side.cursor, 1, faults);
        let (lent, position, count) = Lent::of(side, count, there);
        let view = lent.span.view_mut(position, count)?;
        Ok(Self { view, lent })
    }

    /// Returns a view of the slots; an empty one in a child that has the loan from a fork.
    ///
    /// # Examples
    /// See [`SpscSender::reserve`](super::SpscSender::reserve).
    #[must_use]
    pub fn view(&self) -> ViewMut<'_, T> {
        self.view.subview(..self.len()).unwrap_or(self.view)
    }

    /// Returns the number of slots, which is 0 only in a child that has the loan from a fork.
    #[must_use]
    pub fn len(&self) -> usize {
        if self.lent.role.lane.is_own() { self.view.len() } else { 0 }
    }

    /// Returns `true` in a child that has the loan from a fork.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends the messages in all slots.
    ///
    /// # Errors
    /// - `Unsupported` - this process was forked from the one that has the sender.
    /// - `Fault` - the memory could not be accessed. No message is sent.
    ///
    /// # Examples
    /// See [`SpscSender::reserve`](super::SpscSender::reserve).
    pub fn publish(self) -> Result<()> {
        let count = self.view.len();
        self.publish_first(count)
    }

    /// Sends the messages in the first `count` slots; in all of them if there are fewer.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let channel = Spsc::create_new(Location::anonymous(), 8)?;
    /// let mut sender = channel.sender()?;
    /// let slots = sender.reserve(8)?;
    /// slots.view().write_at(0, &[1_u32, 2, 3])?;
    /// slots.publish_first(3)?;
    /// assert_eq!(channel.stats()?.depth, 3);
    /// # Ok(()) }
    /// ```
    pub fn publish_first(self, count: usize) -> Result<()> {
        self.lent.role.lane.require_own(self.lent.operation)?;
        let (count, faults) = (count.min(self.view.len()), &mut Faults::default());
        let ring = side::ring(self.lent.span);
        let stored = ring.publish(self.lent.cursor, count as u64, faults);
        self.lent.finish(stored, MESSAGES, faults)
    }
}

impl<'a, T: Element> SpscBorrow<'a, T> {
    /// Lends at most `count` messages. The receiver has seen that there are some.
    pub(super) fn of(side: &'a mut Side<T>, count: usize) -> Result<Self> {
        let faults = &mut Faults::default();
        let there = side::ring(&side.span).messages(&mut side.cursor, 1, faults);
        let (lent, position, count) = Lent::of(side, count, there);
        let view = lent.span.view(position, count)?;
        Ok(Self { view, lent })
    }

    /// Returns a view of the messages; an empty one in a child that has the borrow from a fork.
    ///
    /// # Examples
    /// See [`SpscReceiver::borrow`](super::SpscReceiver::borrow).
    #[must_use]
    pub fn view(&self) -> View<'_, T> {
        self.view.subview(..self.len()).unwrap_or(self.view)
    }

    /// Returns the number of messages, which is 0 only in a child that has the borrow from a fork.
    #[must_use]
    pub fn len(&self) -> usize {
        if self.lent.role.lane.is_own() { self.view.len() } else { 0 }
    }

    /// Returns `true` in a child that has the borrow from a fork.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Releases all messages: the sender may use their slots again.
    ///
    /// # Errors
    /// - `Unsupported` - this process was forked from the one that has the receiver.
    /// - `Fault` - the memory could not be accessed. No message is released.
    ///
    /// # Examples
    /// See [`SpscReceiver::borrow`](super::SpscReceiver::borrow).
    pub fn release(self) -> Result<()> {
        let count = self.view.len();
        self.release_first(count)
    }

    /// Releases the first `count` messages; all of them if there are fewer. The receiver gets the others again.
    ///
    /// # Errors
    /// As for [`release`](Self::release).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let channel = Spsc::create_new(Location::anonymous(), 8)?;
    /// let (mut sender, mut receiver) = (channel.sender()?, channel.receiver()?);
    /// sender.send_many(&[1_u32, 2, 3])?;
    /// receiver.borrow(3)?.release_first(2)?;
    /// assert_eq!(receiver.recv()?, 3);
    /// # Ok(()) }
    /// ```
    pub fn release_first(self, count: usize) -> Result<()> {
        self.lent.role.lane.require_own(self.lent.operation)?;
        let (count, faults) = (count.min(self.view.len()), &mut Faults::default());
        let ring = side::ring(self.lent.span);
        let stored = ring.release(self.lent.cursor, count as u64, faults);
        self.lent.finish(stored, ROOM, faults)
    }
}

impl<T: Element> fmt::Debug for SpscLoan<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpscLoan").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<T: Element> fmt::Debug for SpscBorrow<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpscBorrow").field("len", &self.len()).finish_non_exhaustive()
    }
}
