//! `Spsc`: a channel of one sender and one receiver.

mod loan;
mod pace;
mod receiver;
pub(super) mod ring;
mod sender;
mod side;
pub(super) mod wait;

pub use loan::{SpscBorrow, SpscLoan};
pub use receiver::{SpscIter, SpscReceiver};
pub use sender::SpscSender;

use std::fmt;
use std::fs::File;
use std::marker::PhantomData;
use std::sync::Arc;

use self::ring::{CAPACITY, CONTROL, HEAD, RECEIVE_WAITS, SEND_WAITS, TAIL};
use crate::channel::object::{self, Facts, Kind, Opened, PADDING, Size};
use crate::channel::role::{Role, RoleWord};
use crate::channel::stats::ChannelStats;
use crate::error::Result;
use crate::layout::{Element, Layout, Shareable};
use crate::peer::{self, END, KIND_MASK, Machine, OFFSET_MASK, Opening, Session};
use crate::shm::{self, Location};
use crate::sync::SharedOptions;
use crate::sys::AsDescriptor;

/// A channel of one sender and one receiver: the fastest kind.
///
/// An `Spsc` is a handle of the channel, and cheap to clone. [`sender`](Self::sender) and [`receiver`](Self::receiver)
/// make the ends. Of each there is one at a time, in all processes together.
///
/// Messages are values of `T`, any [`Element`] that is [`Shareable`], of any size but 0, copied in and out. For large ones, a
/// [loan](SpscSender::reserve) of slots spares the copies. A channel of bytes, `Spsc<u8>`, is a stream: its ends implement
/// [`Write`](std::io::Write) and [`Read`](std::io::Read).
///
/// [The module](crate::channel) says what happens when a process dies or leaves.
///
/// # Examples
/// ```
/// use sharemap::channel::Spsc;
/// use sharemap::{ErrorKind, Location, UnlinkOnDrop};
///
/// # fn main() -> sharemap::Result<()> {
/// let name = UnlinkOnDrop::new(Location::unique("doc-spsc")?);
/// let mut sender = Spsc::open_or_create(&name, 64)?.sender()?;
/// let mut receiver = Spsc::<u64>::open(&name)?.receiver()?; // usually in another process
/// let thread = std::thread::spawn(move || (0..1000_u64).try_for_each(|number| sender.send(&number)));
/// for number in 0..1000 {
///     assert_eq!(receiver.recv()?, number);
/// }
/// thread.join().unwrap()?;
/// assert_eq!(receiver.recv().unwrap_err().kind(), ErrorKind::Closed); // the sender was dropped
/// # Ok(()) }
/// ```
#[doc(alias = "mpsc")]
#[doc(alias = "pipe")]
#[doc(alias = "ring buffer")]
pub struct Spsc<T> {
    opening: Arc<Opening>,
    /// The offset of the words.
    at: u64,
    capacity: u64,
    message: PhantomData<fn() -> T>,
}

impl<T: Element + Shareable> Kind for Spsc<T> {
    fn facts() -> Facts {
        const {
            assert!(size_of::<T>() > 0, "messages have a size");
            assert!(align_of::<T>() <= 128, "messages have an alignment of at most 128");
        }
        let mut layout = Layout::default();
        layout.push("spsc<");
        T::describe(&mut layout);
        layout.push(">");
        let least = PADDING + CONTROL + size_of::<T>() as u64;
        Facts { kind: peer::SPSC, layout, recover, least }
    }

    fn size(capacity: usize) -> Result<Size> {
        let (capacity, len) = object::ring_of(capacity, size_of::<T>())?;
        Ok(Size { capacity, payload: PADDING + CONTROL + len })
    }

    fn over(Opened(opening): Opened) -> Result<Self> {
        let at = object::words_at(opening.header());
        let capacity = opening.load_64(at + CAPACITY)?;
        let len = capacity.checked_mul(size_of::<T>() as u64);
        let end = len.and_then(|len| len.checked_add(at + CONTROL));
        if !capacity.is_power_of_two() || end.is_none_or(|end| end > opening.payload().1) {
            return Err(object::impossible_capacity(capacity).with_path(opening.path()));
        }
        Ok(Self { opening, at, capacity, message: PhantomData })
    }
}

impl<T: Element + Shareable> Spsc<T> {
    /// Creates a channel that does not exist yet, with room for `capacity` messages or more: the next power of two.
    ///
    /// # Errors
    /// - `ZeroLength` - the capacity is 0.
    /// - `Overflow` - no object is long enough for so many messages.
    ///
    /// Otherwise as for [`Shared::create_new`](crate::Shared::create_new).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let channel = Spsc::<u32>::create_new(Location::anonymous(), 100)?;
    /// assert_eq!(channel.capacity(), 128);
    /// # Ok(()) }
    /// ```
    pub fn create_new(location: impl Into<Location>, capacity: usize) -> Result<Self> {
        SharedOptions::new().create_new_channel(location, capacity)
    }

    /// Opens an existing channel.
    ///
    /// # Errors
    /// - `WrongKind` - the object is no `Spsc`.
    /// - `WrongType` - the messages are of another type.
    ///
    /// Otherwise as for [`Shared::open`](crate::Shared::open).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let name = UnlinkOnDrop::new(Location::unique("doc-spsc-open")?);
    /// let channel = Spsc::<u32>::create_new(&name, 8)?;
    /// let error = Spsc::<f32>::open(&name).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::WrongType);
    /// # Ok(()) }
    /// ```
    pub fn open(location: impl Into<Location>) -> Result<Self> {
        SharedOptions::new().open_channel(location)
    }

    /// Opens the channel at `location`, or creates it if there is none. An existing channel keeps its capacity.
    ///
    /// # Errors
    /// As for [`open`](Self::open), except `NotFound` and `Incomplete`, and as for [`create_new`](Self::create_new).
    ///
    /// # Examples
    /// See the [type](Self).
    pub fn open_or_create(location: impl Into<Location>, capacity: usize) -> Result<Self> {
        SharedOptions::new().open_or_create_channel(location, capacity)
    }

    /// Opens an existing channel for reading its [counters](Self::stats). The call needs no permission to write.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let name = UnlinkOnDrop::new(Location::unique("doc-spsc-read")?);
    /// let mut sender = Spsc::create_new(&name, 8)?.sender()?;
    /// sender.send(&7_u32)?;
    /// let observed = Spsc::<u32>::open_read_only(&name)?;
    /// assert_eq!(observed.stats()?.depth, 1);
    /// assert_eq!(observed.receiver().unwrap_err().kind(), ErrorKind::NotWritable);
    /// # Ok(()) }
    /// ```
    pub fn open_read_only(location: impl Into<Location>) -> Result<Self> {
        SharedOptions::new().open_channel_read_only(location)
    }

    /// Opens a channel that another process passed to this one as a descriptor or handle.
    ///
    /// # Errors
    /// As for [`Shared::from_descriptor`](crate::Shared::from_descriptor).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let channel = Spsc::create_new(Location::anonymous(), 8)?;
    /// channel.sender()?.send(&7_u32)?;
    /// if let Some(file) = channel.file() {
    ///     let same = Spsc::<u32>::from_descriptor(file)?; // usually in a child process
    ///     assert_eq!(same.receiver()?.recv()?, 7);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn from_descriptor(descriptor: impl AsDescriptor) -> Result<Self> {
        SharedOptions::new().channel_from_descriptor(descriptor)
    }

    /// Unlinks the channel at `location`, like the function [`unlink`](crate::unlink()).
    ///
    /// Its ends go on. The memory is freed when the last process detaches.
    ///
    /// # Errors
    /// As for [`unlink`](crate::unlink()).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let name = Location::unique("doc-spsc-unlink")?;
    /// let channel = Spsc::<u32>::create_new(&name, 8)?;
    /// Spsc::<u32>::unlink(&name)?;
    /// assert_eq!(Spsc::<u32>::open(&name).unwrap_err().kind(), ErrorKind::NotFound);
    /// # Ok(()) }
    /// ```
    pub fn unlink(location: impl Into<Location>) -> Result<()> {
        shm::unlink(location)
    }

    /// Returns the open file of the channel, for passing it to another process. `None` if the system has no file for it.
    ///
    /// # Examples
    /// See [`from_descriptor`](Self::from_descriptor).
    #[must_use]
    pub fn file(&self) -> Option<&File> {
        self.opening.file()
    }

    /// Makes this process the channel's sender. It continues where the last one stopped.
    ///
    /// Each end needs a [lane](SharedOptions::lanes) of its own. A forked child cannot use those that its parent had at the
    /// fork.
    ///
    /// # Errors
    /// - `Busy` - a living process has the sender, and kept it for about 100 ms.
    /// - `NotWritable` - the channel is open for reading only.
    /// - `TooManyThreads` - no [lane](SharedOptions::lanes) became free within about 100 ms.
    /// - `TooManyProcesses` - a forked child could not attach.
    /// - `Malformed` - the positions contradict each other.
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let channel = Spsc::<u32>::create_new(Location::anonymous(), 8)?;
    /// let sender = channel.sender()?;
    /// assert_eq!(channel.sender().unwrap_err().kind(), ErrorKind::Busy);
    /// drop(sender);
    /// channel.sender()?.send(&7)?;
    /// # Ok(()) }
    /// ```
    pub fn sender(&self) -> Result<SpscSender<T>> {
        SpscSender::claim(&self.opening, self.at, self.capacity)
    }

    /// Makes this process the channel's receiver. The first message that it gets is the oldest that is not released.
    ///
    /// # Errors
    /// As for [`sender`](Self::sender).
    ///
    /// # Examples
    /// See the [type](Self).
    pub fn receiver(&self) -> Result<SpscReceiver<T>> {
        SpscReceiver::claim(&self.opening, self.at, self.capacity)
    }

    /// Returns the number of messages that the channel has room for.
    ///
    /// # Examples
    /// See [`create_new`](Self::create_new).
    #[must_use]
    pub fn capacity(&self) -> usize {
        // All slots are mapped.
        self.capacity as usize
    }

    /// Returns the counters of the channel.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// See [`ChannelStats`].
    pub fn stats(&self) -> Result<ChannelStats> {
        stats(self.at, self.capacity, |at| self.opening.load_64(at))
    }

    /// Makes all blocking calls of ends that were made by this handle and its clones fail with
    /// [`Cancelled`](crate::ErrorKind::Cancelled), those that block already within 100 ms.
    ///
    /// Calls that need not block succeed. [`uncancel`](Self::uncancel) ends this.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let channel = Spsc::<u32>::create_new(Location::anonymous(), 8)?;
    /// let mut receiver = channel.receiver()?;
    /// let thread = std::thread::spawn(move || receiver.recv());
    /// channel.cancel();
    /// assert_eq!(thread.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    /// channel.uncancel();
    /// # Ok(()) }
    /// ```
    pub fn cancel(&self) {
        self.opening.cancel(true);
    }

    /// Lets calls block again, after [`cancel`](Self::cancel).
    ///
    /// # Examples
    /// See [`cancel`](Self::cancel).
    pub fn uncancel(&self) {
        self.opening.cancel(false);
    }
}

#[cfg(test)]
impl<T> Spsc<T> {
    pub(super) fn session(&self) -> &Session {
        self.opening.session()
    }
}

impl<T> Clone for Spsc<T> {
    fn clone(&self) -> Self {
        Self { opening: Arc::clone(&self.opening), ..*self }
    }
}

impl<T> fmt::Debug for Spsc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spsc")
            .field("object", &self.opening.path())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// Returns the counters of the channel whose words lie at an offset.
pub(super) fn stats(
    at: u64,
    capacity: u64,
    load: impl Fn(u64) -> Result<u64>,
) -> Result<ChannelStats> {
    // The tail is never behind the head that was loaded before it.
    let received = load(at + HEAD)?;
    let sent = load(at + TAIL)?;
    let owners = |role: Role| load(role.at).map(|word| u32::from(RoleWord(word).owner().is_some()));
    Ok(ChannelStats {
        capacity,
        sent,
        received,
        depth: sent.wrapping_sub(received).min(capacity),
        send_waits: load(at + SEND_WAITS)?,
        receive_waits: load(at + RECEIVE_WAITS)?,
        senders: owners(ring::sender(at))?,
        receivers: owners(ring::receiver(at))?,
    })
}

/// Releases the role that a dead lane announces.
///
/// What it sent or released last is a single store, which was made or not. So nothing else is to be repaired.
fn recover(session: &Session, _slot: u64, announcement: u64, lane: u32) -> Result<()> {
    recover_at(session, object::words_at(session.header()), announcement, lane)
}

/// Recovers a lane of a channel whose words lie at an offset.
pub(super) fn recover_at<M: Machine>(
    machine: &M,
    words: u64,
    announcement: u64,
    lane: u32,
) -> Result<()> {
    if announcement & KIND_MASK != END {
        return Ok(());
    }
    let at = announcement & OFFSET_MASK;
    let role = [ring::sender(words), ring::receiver(words)].into_iter().find(|role| role.at == at);
    // This version announces nothing else. A misbehaving peer did, and holds nothing by it.
    role.map_or(Ok(()), |role| role.recover(machine, lane))
}
