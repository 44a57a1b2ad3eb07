//! `SpscReceiver`: the receiving end of an `Spsc`.

use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::sync::Arc;
use std::time::Duration;

use super::pace::{Pace, Watch};
use super::ring::{self, ROOM};
use super::side::{self, Own, Side};
use super::wait;
use crate::channel::role::RoleWord;
use crate::error::{ErrorKind, Result};
use crate::layout::{Element, Pod, Shareable};
use crate::peer::{Copied, Faults, Machine, Opening};

/// The receiving end of an [`Spsc`](super::Spsc).
///
/// Dropping it leaves the channel. Messages that are there stay, for the next receiver.
///
/// # Examples
/// See [`Spsc`](super::Spsc).
pub struct SpscReceiver<T> {
    pub(super) side: Side<T>,
    pace: Pace,
    watch: Watch,
}

impl<T: Element + Shareable> SpscReceiver<T> {
    pub(super) fn claim(opening: &Arc<Opening>, at: u64, capacity: u64) -> Result<Self> {
        let role = (ring::receiver(at), Own::Head);
        Side::claim(opening, (at, capacity), role, wait::receiver(at)).map(|side| Self {
            side,
            pace: Pace::default(),
            watch: Watch::default(),
        })
    }

    /// Receives a message if there is one. Returns `None` if the channel is empty.
    ///
    /// # Errors
    /// - `Closed` - the channel is empty, and its sender was dropped or died.
    /// - `Invalid` - the bytes are not a valid value of `T`. The message is released.
    /// - `Unsupported` - this process is a forked child of the receiver's.
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let channel = Spsc::create_new(Location::anonymous(), 2)?;
    /// let (mut sender, mut receiver) = (channel.sender()?, channel.receiver()?);
    /// assert_eq!(receiver.try_recv()?, None);
    /// sender.send(&7_u32)?;
    /// assert_eq!(receiver.try_recv()?, Some(7));
    /// # Ok(()) }
    /// ```
    #[inline(always)]
    pub fn try_recv(&mut self) -> Result<Option<T>> {
        let mut value = Copied::none();
        match self.receive_at_once(&mut value)? || self.receive_when_empty(&mut value)? {
            true => self.value(&value).map(Some),
            false => Ok(None),
        }
    }

    /// Receives a message if there is one. Returns `false` if the channel is empty.
    #[inline(always)]
    fn receive_at_once(&mut self, into: &mut Copied<T>) -> Result<bool> {
        self.side.require_own()?;
        let Side { role, span, cursor, .. } = &mut self.side;
        let (ring, faults) = (side::ring(span), &mut Faults::default());
        let received = ring.try_receive(cursor, into, faults);
        if received == Some(true) && ring.is_awaited(span.session(), ROOM) {
            side::wake(role);
        }
        match received {
            Some(received) => Ok(received),
            None => Err(self.side.fault(faults)),
        }
    }

    /// Returns a message that was received.
    #[inline(always)]
    fn value(&self, message: &Copied<T>) -> Result<T> {
        match message.value() {
            Some(value) => Ok(*value),
            None => Err(self.side.error(ErrorKind::Invalid)),
        }
    }

    /// Fails with `Closed` if there is no sender any more, and no message.
    #[inline(never)]
    fn receive_when_empty(&mut self, into: &mut Copied<T>) -> Result<bool> {
        if !self.is_sender_gone()? {
            return Ok(false);
        }
        // Once more: what the sender sent before it left is visible now.
        match self.receive_at_once(into)? {
            true => Ok(true),
            false => Err(self.side.error(ErrorKind::Closed)),
        }
    }

    /// Receives a message, blocking the current thread while the channel is empty.
    ///
    /// The message is returned by value. A long one is better received by [`recv_many`](Self::recv_many), or read
    /// [in place](Self::borrow).
    ///
    /// # Errors
    /// - `Closed` - the channel is empty, and its sender was dropped or died. It is open again once there is another one.
    /// - `Cancelled` - the call had to block after [`Spsc::cancel`](super::Spsc::cancel).
    ///
    /// Otherwise as for [`try_recv`](Self::try_recv).
    ///
    /// # Examples
    /// See [`Spsc`](super::Spsc).
    #[inline(always)]
    pub fn recv(&mut self) -> Result<T> {
        let mut value = Copied::none();
        while !self.receive_at_once(&mut value)? {
            self.pause_or_wait(None)?;
        }
        self.pace.note_found();
        self.value(&value)
    }

    /// Receives a message like [`recv`](Self::recv), but blocks for at most `timeout`.
    ///
    /// # Errors
    /// - `Timeout` - the channel stayed empty.
    ///
    /// Otherwise as for [`recv`](Self::recv).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # use std::time::Duration;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let channel = Spsc::<u32>::create_new(Location::anonymous(), 2)?;
    /// let (sender, mut receiver) = (channel.sender()?, channel.receiver()?);
    /// let error = receiver.recv_timeout(Duration::from_millis(10)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Timeout);
    /// # Ok(()) }
    /// ```
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T> {
        let (mut value, mut until) = (Copied::none(), None);
        while !self.receive_at_once(&mut value)? {
            let until = *until.get_or_insert_with(|| self.side.after(timeout));
            self.pause_or_wait(until)?;
        }
        self.pace.note_found();
        self.value(&value)
    }

    /// Receives as many messages as there are, at most as many as `into` has room for. Returns their number, which is 0 if
    /// the channel is empty.
    ///
    /// # Errors
    /// As for [`try_recv`](Self::try_recv).
    ///
    /// # Examples
    /// See [`recv_many`](Self::recv_many).
    pub fn try_recv_many(&mut self, into: &mut [T]) -> Result<usize>
    where
        T: Pod,
    {
        let count = self.receive_runs(into)?;
        if count > 0 || into.is_empty() || !self.is_sender_gone()? {
            return Ok(count);
        }
        // As for a single message.
        match self.receive_runs(into)? {
            0 => Err(self.side.error(ErrorKind::Closed)),
            count => Ok(count),
        }
    }

    /// Receives at least one message and at most as many as `into` has room for, blocking the current thread while the
    /// channel is empty. Returns their number.
    ///
    /// For a long message, `recv_many(std::slice::from_mut(&mut message))` spares the copies of returning it by value.
    ///
    /// # Errors
    /// As for [`recv`](Self::recv).
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
    /// let mut numbers = [0; 8];
    /// let count = receiver.recv_many(&mut numbers)?;
    /// assert_eq!(numbers[..count], [1, 2, 3]);
    /// # Ok(()) }
    /// ```
    pub fn recv_many(&mut self, into: &mut [T]) -> Result<usize>
    where
        T: Pod,
    {
        self.recv_many_until(into, |_| None)
    }

    /// Receives messages like [`recv_many`](Self::recv_many), but blocks for at most `timeout`.
    ///
    /// # Errors
    /// - `Timeout` - the channel stayed empty.
    ///
    /// Otherwise as for [`recv`](Self::recv).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # use std::time::Duration;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let channel = Spsc::create_new(Location::anonymous(), 8)?;
    /// let (mut sender, mut receiver) = (channel.sender()?, channel.receiver()?);
    /// sender.send_many(&[1_u32, 2, 3])?;
    /// assert_eq!(receiver.recv_many_timeout(&mut [0; 8], Duration::from_secs(1))?, 3);
    /// # Ok(()) }
    /// ```
    pub fn recv_many_timeout(&mut self, into: &mut [T], timeout: Duration) -> Result<usize>
    where
        T: Pod,
    {
        self.recv_many_until(into, |side| side.after(timeout))
    }

    fn recv_many_until(
        &mut self,
        into: &mut [T],
        until: impl Fn(&Side<T>) -> Option<Duration>,
    ) -> Result<usize>
    where
        T: Pod,
    {
        let mut end = None;
        loop {
            let count = self.receive_runs(into)?;
            if count > 0 || into.is_empty() {
                return Ok(count);
            }
            let end = *end.get_or_insert_with(|| until(&self.side));
            self.pause_or_wait(end)?;
        }
    }

    /// Receives what is there, run by run.
    fn receive_runs(&mut self, into: &mut [T]) -> Result<usize>
    where
        T: Pod,
    {
        let mut done = 0;
        while done < into.len() {
            match self.receive_run(&mut into[done..]) {
                Ok(0) => break,
                Ok(count) => done += count,
                // What was received is released. The next call reports the error.
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    #[inline(always)]
    fn receive_run(&mut self, into: &mut [T]) -> Result<usize>
    where
        T: Pod,
    {
        self.side.require_own()?;
        let Side { role, span, cursor, .. } = &mut self.side;
        let (ring, faults) = (side::ring(span), &mut Faults::default());
        let received = ring.receive_run(cursor, into, faults);
        if received.is_some_and(|count| count > 0) && ring.is_awaited(span.session(), ROOM) {
            side::wake(role);
        }
        match received {
            Some(count) => Ok(count),
            None => Err(self.side.fault(faults)),
        }
    }

    /// Returns an iterator over the messages, each of which it waits for. It ends when the channel is closed. After any
    /// other error it goes on, and may return that error again.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let channel = Spsc::create_new(Location::anonymous(), 8)?;
    /// let mut receiver = channel.receiver()?;
    /// channel.sender()?.send_many(&[1_u32, 2, 3])?;
    /// let sum: u32 = receiver.iter().sum::<Result<_>>()?;
    /// assert_eq!(sum, 6);
    /// # Ok(()) }
    /// ```
    pub fn iter(&mut self) -> SpscIter<'_, T> {
        SpscIter { receiver: Some(self) }
    }

    /// Pauses until there is a message, or waits for one.
    #[cold]
    #[inline(never)]
    pub(super) fn pause_or_wait(&mut self, until: Option<Duration>) -> Result<()> {
        let Self { side: Side { span, cursor, .. }, pace, .. } = self;
        // Faults end the pauses, and the next look reports them.
        match pace.pause(|| side::ring(span).messages(cursor, 1, &mut Faults::default()) > 0) {
            true => Ok(()),
            false => self.side.wait(until, |ring, cursor, faults| ring.messages(cursor, 1, faults)),
        }
    }

    /// Returns `true` if there is no sender any more. Notices a death, but looks for one at most about once a millisecond.
    pub(super) fn is_sender_gone(&mut self) -> Result<bool> {
        let Self { side, watch, .. } = self;
        let Some(owner) = side.other()?.owner() else { return side.other_has(RoleWord::is_over) };
        let lane = &side.role.lane;
        if !watch.is_due(|| lane.now()) {
            return Ok(false);
        }
        lane.probe_liveness(owner)?;
        side.other_has(RoleWord::is_over)
    }

    /// Returns `true` if the channel is empty, and its sender was dropped or died.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let channel = Spsc::create_new(Location::anonymous(), 8)?;
    /// let mut receiver = channel.receiver()?;
    /// channel.sender()?.send(&1_u32)?;
    /// assert!(!receiver.is_closed()?);
    /// receiver.recv()?;
    /// assert!(receiver.is_closed()?);
    /// # Ok(()) }
    /// ```
    pub fn is_closed(&self) -> Result<bool> {
        let side = &self.side;
        if let Some(owner) = side.other()?.owner() {
            side.role.lane.probe_throttled(owner)?;
        }
        // Last, the messages: what the sender sent before it left is visible then.
        let (faults, mut cursor) = (&mut Faults::default(), side.cursor);
        let is_gone = side.other_has(RoleWord::is_over)?;
        let messages = side::ring(&side.span).messages(&mut cursor, 1, faults);
        match faults.is_empty() {
            true => Ok(is_gone && messages == 0),
            false => Err(side.fault(faults)),
        }
    }

    /// Returns how many receivers in turn died while the message that this one gets next was the oldest in the channel.
    ///
    /// A message that ends each receiver is noticed by this, and can be set aside. But a receiver that died before the
    /// message was sent counts as well, if no other one came in between, and so does a process that ended without dropping
    /// its receiver.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let channel = Spsc::<u32>::create_new(Location::anonymous(), 8)?;
    /// assert_eq!(channel.receiver()?.failed_deliveries()?, 0);
    /// # Ok(()) }
    /// ```
    pub fn failed_deliveries(&self) -> Result<u64> {
        self.side.failures(self.side.cursor.own)
    }
}

impl<T> fmt::Debug for SpscReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.side.debug(f, "SpscReceiver")
    }
}

/// A channel of bytes is a stream.
///
/// [`read`](io::Read::read) blocks while the channel is empty. It returns 0, as at the end of a file, when the channel is
/// closed.
impl io::Read for SpscReceiver<u8> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.recv_many(into) {
            Err(error) if error.kind() == ErrorKind::Closed => Ok(0),
            result => result.map_err(io::Error::from),
        }
    }
}

/// An iterator over the messages of an [`SpscReceiver`].
///
/// # Examples
/// See [`SpscReceiver::iter`].
#[derive(Debug)]
#[must_use = "iterators are lazy"]
pub struct SpscIter<'a, T> {
    /// `None` after the end.
    receiver: Option<&'a mut SpscReceiver<T>>,
}

impl<T: Element + Shareable> Iterator for SpscIter<'_, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        match self.receiver.as_mut()?.recv() {
            Err(error) if error.kind() == ErrorKind::Closed => {
                self.receiver = None;
                None
            }
            result => Some(result),
        }
    }
}

impl<T: Element + Shareable> FusedIterator for SpscIter<'_, T> {}
