//! `SpscSender`: the sending end of an `Spsc`.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::pace;
use super::ring::{self, MESSAGES};
use super::side::{self, Own, Side};
use super::wait;
use crate::channel::role::RoleWord;
use crate::error::{ErrorKind, Result};
use crate::layout::{Element, Shareable};
use crate::peer::{Faults, Opening};

/// The sending end of an [`Spsc`](super::Spsc).
///
/// Dropping it leaves the channel: the receiver gets the messages that are there, and then
/// [`Closed`](ErrorKind::Closed).
///
/// # Examples
/// See [`Spsc`](super::Spsc).
pub struct SpscSender<T> {
    pub(super) side: Side<T>,
}

impl<T: Element + Shareable> SpscSender<T> {
    pub(super) fn claim(opening: &Arc<Opening>, at: u64, capacity: u64) -> Result<Self> {
        let role = (ring::sender(at), Own::Tail);
        Side::claim(opening, (at, capacity), role, wait::sender(at)).map(|side| Self { side })
    }

    /// Sends a message if there is room for it. Returns `false` if the channel is full: the message is not sent then.
    ///
    /// # Errors
    /// - `Closed` - the channel is full, and its receiver was dropped.
    /// - `Unsupported` - this process is a forked child of the sender's.
    /// - `Fault` - the memory could not be accessed. The message is not sent.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let channel = Spsc::create_new(Location::anonymous(), 2)?;
    /// let mut sender = channel.sender()?;
    /// assert!(sender.try_send(&1_u32)? && sender.try_send(&2)?);
    /// assert!(!sender.try_send(&3)?);
    /// # Ok(()) }
    /// ```
    #[inline(always)]
    pub fn try_send(&mut self, value: &T) -> Result<bool> {
        match self.send_at_once(value)? {
            true => Ok(true),
            false => self.require_open().map(|()| false),
        }
    }

    #[inline(always)]
    fn send_at_once(&mut self, value: &T) -> Result<bool> {
        self.side.require_own()?;
        let Side { role, span, cursor, .. } = &mut self.side;
        let (ring, faults) = (side::ring(span), &mut Faults::default());
        let sent = ring.try_send(cursor, value, faults);
        if sent == Some(true) && ring.is_awaited(span.session(), MESSAGES) {
            side::wake(role);
        }
        match sent {
            Some(sent) => Ok(sent),
            None => Err(self.side.fault(faults)),
        }
    }

    /// Fails with `Closed` if the receiver was dropped.
    #[inline(never)]
    pub(super) fn require_open(&self) -> Result<()> {
        match self.is_closed()? {
            true => Err(self.side.error(ErrorKind::Closed)),
            false => Ok(()),
        }
    }

    /// Sends a message, blocking the current thread while the channel is full.
    ///
    /// # Errors
    /// - `Closed` - the channel is full, and its receiver was dropped. If it died, the call waits for the next one.
    /// - `Cancelled` - the call had to block after [`Spsc::cancel`](super::Spsc::cancel).
    ///
    /// Otherwise as for [`try_send`](Self::try_send).
    ///
    /// # Examples
    /// See [`Spsc`](super::Spsc).
    #[inline(always)]
    pub fn send(&mut self, value: &T) -> Result<()> {
        while !self.send_at_once(value)? {
            self.wait(None)?;
        }
        Ok(())
    }

    /// Sends a message like [`send`](Self::send), but blocks for at most `timeout`.
    ///
    /// # Errors
    /// - `Timeout` - the channel stayed full.
    ///
    /// Otherwise as for [`send`](Self::send).
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
    /// let error = sender.send_timeout(&2, Duration::from_millis(10)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Timeout);
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn send_timeout(&mut self, value: &T, timeout: Duration) -> Result<()> {
        match self.send_at_once(value)? {
            true => Ok(()),
            false => self.send_until(value, self.side.after(timeout)),
        }
    }

    #[cold]
    fn send_until(&mut self, value: &T, until: Option<Duration>) -> Result<()> {
        while !self.send_at_once(value)? {
            self.wait(until)?;
        }
        Ok(())
    }

    /// Sends as many of `values` as there is room for, in order. Returns their number.
    ///
    /// # Errors
    /// As for [`try_send`](Self::try_send).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let channel = Spsc::create_new(Location::anonymous(), 4)?;
    /// let mut sender = channel.sender()?;
    /// assert_eq!(sender.try_send_many(&[1_u32, 2, 3, 4, 5, 6])?, 4);
    /// # Ok(()) }
    /// ```
    pub fn try_send_many(&mut self, values: &[T]) -> Result<usize> {
        let mut done = 0;
        while done < values.len() {
            match self.send_run(&values[done..]) {
                Ok(0) => break,
                Ok(count) => done += count,
                // The next call reports it.
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        if done == 0 && !values.is_empty() {
            self.require_open()?;
        }
        Ok(done)
    }

    /// Sends all of `values`, in order, blocking the current thread while the channel is full.
    ///
    /// Of an error, [`Error::completed`](crate::Error::completed) is the number of values that were sent before.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let channel = Spsc::create_new(Location::anonymous(), 4)?;
    /// let (mut sender, mut receiver) = (channel.sender()?, channel.receiver()?);
    /// let thread = std::thread::spawn(move || sender.send_many(&[7_u32; 1000]));
    /// assert_eq!(receiver.iter().count(), 1000);
    /// thread.join().unwrap()?;
    /// # Ok(()) }
    /// ```
    pub fn send_many(&mut self, values: &[T]) -> Result<()> {
        self.send_many_until(values, None)
    }

    /// Sends values like [`send_many`](Self::send_many), but blocks for at most `timeout` in all.
    ///
    /// Of an error, [`Error::completed`](crate::Error::completed) is the number of values that were sent before.
    ///
    /// # Errors
    /// - `Timeout` - there was not enough room in time.
    ///
    /// Otherwise as for [`send`](Self::send).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # use std::time::Duration;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let channel = Spsc::create_new(Location::anonymous(), 4)?;
    /// let mut sender = channel.sender()?;
    /// let error = sender.send_many_timeout(&[7_u32; 6], Duration::from_millis(10)).unwrap_err();
    /// assert_eq!((error.kind(), error.completed()), (ErrorKind::Timeout, Some(4)));
    /// # Ok(()) }
    /// ```
    pub fn send_many_timeout(&mut self, values: &[T], timeout: Duration) -> Result<()> {
        let until = self.side.after(timeout);
        self.send_many_until(values, until)
    }

    fn send_many_until(&mut self, values: &[T], until: Option<Duration>) -> Result<()> {
        let mut done = 0;
        while done < values.len() {
            let sent = self.send_run(&values[done..]);
            let count = sent.map_err(|error| error.with_completed(done))?;
            done += count;
            if count == 0 {
                self.wait(until).map_err(|error| error.with_completed(done))?;
            }
        }
        Ok(())
    }

    /// Sends what fits up to the last slot. Returns its number.
    #[inline(always)]
    fn send_run(&mut self, values: &[T]) -> Result<usize> {
        self.side.require_own()?;
        let Side { role, span, cursor, .. } = &mut self.side;
        let (ring, faults) = (side::ring(span), &mut Faults::default());
        let sent = ring.send_run(cursor, values, faults);
        if sent.is_some_and(|count| count > 0) && ring.is_awaited(span.session(), MESSAGES) {
            side::wake(role);
        }
        match sent {
            Some(count) => Ok(count),
            None => Err(self.side.fault(faults)),
        }
    }

    /// Waits for room. Pauses first, so that the receiver makes room for several messages, undisturbed.
    #[cold]
    #[inline(never)]
    pub(super) fn wait(&mut self, until: Option<Duration>) -> Result<()> {
        pace::pause_long();
        self.side.wait(until, |ring, cursor, faults| ring.room(cursor, 1, faults))
    }

    /// Returns `true` if the receiver was dropped, so that messages may stay where they are. If the receiver died, the
    /// channel is open for the next one.
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
    /// let channel = Spsc::<u32>::create_new(Location::anonymous(), 4)?;
    /// let (sender, receiver) = (channel.sender()?, channel.receiver()?);
    /// assert!(!sender.is_closed()?);
    /// drop(receiver);
    /// assert!(sender.is_closed()?);
    /// # Ok(()) }
    /// ```
    pub fn is_closed(&self) -> Result<bool> {
        self.side.other_has(RoleWord::has_left)
    }
}

impl<T> fmt::Debug for SpscSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.side.debug(f, "SpscSender")
    }
}

/// A channel of bytes is a stream.
///
/// [`write`](io::Write::write) blocks while the channel is full, and then writes what fits. `flush` does nothing: what is
/// written can be read at once.
impl io::Write for SpscSender<u8> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let count = self.send_run(bytes)?;
            if count > 0 || bytes.is_empty() {
                return Ok(count);
            }
            self.wait(None)?;
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
