//! `SpscLoan` and `SpscBorrow`: slots that are written and read in place.

use std::fmt;
use std::time::Duration;

use super::ring::{CONTROL, Cursor, MESSAGES, ROOM, Ring};
use super::side::{self, Side};
use super::{SpscReceiver, SpscSender};
use crate::channel::role::OwnedRole;
use crate::error::{ErrorKind, Result};
use crate::layout::{Element, Shareable};
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
    count: usize,
}

impl<'a, T: Element> Lent<'a, T> {
    /// Returns at most `count` slots from a side's position on, of which the side has seen that `there` are its own. Also
    /// returns the position.
    fn of(side: &'a mut Side<T>, count: usize, there: u64) -> (Self, u64) {
        let Side { role, span, cursor, wait } = side;
        let count = count.min(usize::try_from(there).unwrap_or(usize::MAX));
        let (own, count) = (cursor.own, side::ring(span).slots.run(cursor.own, count));
        (Self { role, span, cursor, operation: wait.operation, count }, own)
    }

    /// Returns the number of slots; 0 in a child that has them from a fork.
    fn len(&self) -> usize {
        if self.role.lane.is_own() { self.count } else { 0 }
    }

    /// Moves the side past the first `count` slots by `advance`, or past all if there are fewer. Wakes the other side, which
    /// sleeps at a gate.
    fn finish(
        self,
        count: usize,
        gate: u64,
        advance: impl FnOnce(Ring<'_, T>, &mut Cursor, u64, &mut Faults) -> Option<bool>,
    ) -> Result<()> {
        self.role.lane.require_own(self.operation)?;
        let (ring, faults) = (side::ring(self.span), &mut Faults::default());
        let count = count.min(self.count) as u64;
        if advance(ring, self.cursor, count, faults).is_none() {
            return Err(self.span.fault(faults, self.operation));
        }
        if ring.is_awaited(self.span.session(), gate) {
            side::wake(self.role);
        }
        Ok(())
    }
}

impl<T: Element + Shareable> SpscSender<T> {
    /// Lends free slots, at least one and at most `count`, blocking the current thread while the channel is full.
    ///
    /// Messages are written in the slots, and sent by [`publish`](SpscLoan::publish), without a copy. There are fewer than
    /// `count` slots if there is no more room, or if the last slot of the channel is among them.
    ///
    /// # Errors
    /// - `ZeroLength` - `count` is 0.
    ///
    /// Otherwise as for [`send`](Self::send).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let channel = Spsc::<[u8; 4096]>::create_new(Location::anonymous(), 4)?;
    /// let (mut sender, mut receiver) = (channel.sender()?, channel.receiver()?);
    /// let page = sender.reserve(1)?;
    /// page.view().cast::<u8>()?.write_at(0, b"header")?;
    /// page.publish()?;
    /// assert_eq!(&receiver.recv()?[..6], b"header");
    /// # Ok(()) }
    /// ```
    pub fn reserve(&mut self, count: usize) -> Result<SpscLoan<'_, T>> {
        loop {
            match self.room(count)? {
                0 => self.wait(None)?,
                room => return SpscLoan::of(&mut self.side, count, room),
            }
        }
    }

    /// Lends free slots like [`reserve`](Self::reserve), but blocks for at most `timeout`.
    ///
    /// # Errors
    /// - `Timeout` - the channel stayed full.
    ///
    /// Otherwise as for [`reserve`](Self::reserve).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # use std::time::Duration;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let channel = Spsc::create_new(Location::anonymous(), 1)?;
    /// let mut sender = channel.sender()?;
    /// sender.send(&1_u32)?;
    /// let error = sender.reserve_timeout(1, Duration::from_millis(10)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Timeout);
    /// # Ok(()) }
    /// ```
    pub fn reserve_timeout(&mut self, count: usize, timeout: Duration) -> Result<SpscLoan<'_, T>> {
        let mut until = None;
        loop {
            match self.room(count)? {
                0 => self.wait(*until.get_or_insert_with(|| self.side.after(timeout)))?,
                room => return SpscLoan::of(&mut self.side, count, room),
            }
        }
    }

    /// Lends free slots like [`reserve`](Self::reserve), if there are any. Returns `None` if the channel is full.
    ///
    /// # Errors
    /// - `ZeroLength` - `count` is 0.
    ///
    /// Otherwise as for [`try_send`](Self::try_send).
    ///
    /// # Examples
    /// See [`reserve`](Self::reserve).
    pub fn try_reserve(&mut self, count: usize) -> Result<Option<SpscLoan<'_, T>>> {
        match self.room(count)? {
            0 => self.require_open().map(|()| None),
            room => SpscLoan::of(&mut self.side, count, room).map(Some),
        }
    }

    /// Returns the number of free slots. Fails with `ZeroLength` if none is wanted.
    fn room(&mut self, wanted: usize) -> Result<u64> {
        self.side.count(wanted, |ring, cursor, wanted, faults| ring.room(cursor, wanted, faults))
    }
}

impl<T: Element + Shareable> SpscReceiver<T> {
    /// Lends messages, at least one and at most `count`, in place, blocking the current thread while the channel is empty.
    ///
    /// They stay in the channel until [`release`](SpscBorrow::release): if this process dies before, the next receiver gets
    /// them. There are fewer than `count` if there are no more, or if the last slot of the channel is among them.
    ///
    /// # Errors
    /// - `ZeroLength` - `count` is 0.
    ///
    /// Otherwise as for [`recv`](Self::recv).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let channel = Spsc::create_new(Location::anonymous(), 8)?;
    /// let (mut sender, mut receiver) = (channel.sender()?, channel.receiver()?);
    /// sender.send(&7_u32)?;
    /// let job = receiver.borrow(1)?;
    /// assert_eq!(job.view().get(0)?, 7); // do it
    /// job.release()?;
    /// # Ok(()) }
    /// ```
    pub fn borrow(&mut self, count: usize) -> Result<SpscBorrow<'_, T>> {
        loop {
            match self.messages(count)? {
                0 => self.pause_or_wait(None)?,
                messages => return SpscBorrow::of(&mut self.side, count, messages),
            }
        }
    }

    /// Lends messages like [`borrow`](Self::borrow), but blocks for at most `timeout`.
    ///
    /// # Errors
    /// - `Timeout` - the channel stayed empty.
    ///
    /// Otherwise as for [`borrow`](Self::borrow).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # use std::time::Duration;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let channel = Spsc::<u32>::create_new(Location::anonymous(), 8)?;
    /// let (sender, mut receiver) = (channel.sender()?, channel.receiver()?);
    /// let error = receiver.borrow_timeout(1, Duration::from_millis(10)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Timeout);
    /// # Ok(()) }
    /// ```
    pub fn borrow_timeout(&mut self, count: usize, timeout: Duration) -> Result<SpscBorrow<'_, T>> {
        let mut until = None;
        loop {
            match self.messages(count)? {
                0 => self.pause_or_wait(*until.get_or_insert_with(|| self.side.after(timeout)))?,
                messages => return SpscBorrow::of(&mut self.side, count, messages),
            }
        }
    }

    /// Lends messages like [`borrow`](Self::borrow), if there are any. Returns `None` if the channel is empty.
    ///
    /// # Errors
    /// - `ZeroLength` - `count` is 0.
    ///
    /// Otherwise as for [`try_recv`](Self::try_recv).
    ///
    /// # Examples
    /// See [`borrow`](Self::borrow).
    pub fn try_borrow(&mut self, count: usize) -> Result<Option<SpscBorrow<'_, T>>> {
        let mut messages = self.messages(count)?;
        if messages == 0 {
            if !self.is_sender_gone()? {
                return Ok(None);
            }
            // As for a single message.
            messages = self.messages(count)?;
        }
        match messages {
            0 => Err(self.side.error(ErrorKind::Closed)),
            messages => SpscBorrow::of(&mut self.side, count, messages).map(Some),
        }
    }

    /// Returns the number of messages that are there. Fails with `ZeroLength` if none is wanted.
    fn messages(&mut self, wanted: usize) -> Result<u64> {
        self.side
            .count(wanted, |ring, cursor, wanted, faults| ring.messages(cursor, wanted, faults))
    }
}

impl<T: Element> Side<T> {
    /// Returns the number of slots that are the side's own, as `count` finds it. Fails with `ZeroLength` if none is wanted.
    fn count(
        &mut self,
        wanted: usize,
        count: impl FnOnce(Ring<'_, T>, &mut Cursor, u64, &mut Faults) -> u64,
    ) -> Result<u64> {
        self.require_own()?;
        if wanted == 0 {
            return Err(self.error(ErrorKind::ZeroLength));
        }
        let Self { span, cursor, .. } = self;
        let faults = &mut Faults::default();
        let found = count(side::ring(span), cursor, wanted as u64, faults);
        if faults.is_empty() { Ok(found) } else { Err(self.fault(faults)) }
    }
}

impl<'a, T: Element> SpscLoan<'a, T> {
    /// Lends at most `count` of the slots that are free.
    fn of(side: &'a mut Side<T>, count: usize, room: u64) -> Result<Self> {
        let (lent, position) = Lent::of(side, count, room);
        let view = lent.span.view_mut(position, lent.count)?;
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
        self.lent.len()
    }

    /// Returns `true` in a child that has the loan from a fork.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends the messages in all slots.
    ///
    /// # Errors
    /// - `Unsupported` - this process is a forked child of the sender's.
    /// - `Fault` - the memory could not be accessed. No message is sent.
    ///
    /// # Examples
    /// See [`SpscSender::reserve`](super::SpscSender::reserve).
    pub fn publish(self) -> Result<()> {
        self.publish_first(usize::MAX)
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
        self.lent.finish(count, MESSAGES, |ring, cursor, count, faults| {
            ring.publish(cursor, count, faults)
        })
    }
}

impl<'a, T: Element> SpscBorrow<'a, T> {
    /// Lends at most `count` of the messages that are there.
    fn of(side: &'a mut Side<T>, count: usize, messages: u64) -> Result<Self> {
        let (lent, position) = Lent::of(side, count, messages);
        let view = lent.span.view(position, lent.count)?;
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
        self.lent.len()
    }

    /// Returns `true` in a child that has the borrow from a fork.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Releases all messages: the sender may use their slots again.
    ///
    /// # Errors
    /// - `Unsupported` - this process is a forked child of the receiver's.
    /// - `Fault` - the memory could not be accessed. No message is released.
    ///
    /// # Examples
    /// See [`SpscReceiver::borrow`](super::SpscReceiver::borrow).
    pub fn release(self) -> Result<()> {
        self.release_first(usize::MAX)
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
        self.lent
            .finish(count, ROOM, |ring, cursor, count, faults| ring.release(cursor, count, faults))
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
