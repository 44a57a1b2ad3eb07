//! Channels as objects: creating, opening and describing them.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::Layout;
use crate::peer::{
    self, Attachment, ExpectedLayout, Header, Memory, OpenOptions, Opening, Payload, RecoverFn,
};
use crate::shm::Location;
use crate::sync::SharedOptions;
use crate::sys::AsDescriptor;

/// What is particular to the objects of one kind of channel.
///
/// Other crates cannot name this trait, and so cannot implement [`Channel`].
pub trait Kind: Sized {
    /// The facts that the object's header and its creation need.
    #[doc(hidden)]
    fn facts() -> Facts;

    /// Returns the capacity of a channel that is created with room for `capacity` messages, and the length of its
    /// payload.
    #[doc(hidden)]
    fn size(capacity: usize) -> Result<Size>;

    /// Returns a handle of an open channel. Checks what the object says of itself.
    #[doc(hidden)]
    fn over(opened: Opened) -> Result<Self>;
}

/// See [`Kind::facts`].
#[derive(Debug)]
pub struct Facts {
    pub(super) kind: u32,
    pub(super) layout: Layout,
    pub(super) recover: RecoverFn,
    /// The length of the shortest payload.
    pub(super) least: u64,
}

/// See [`Kind::size`].
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub(super) capacity: u64,
    pub(super) payload: u64,
}

/// See [`Kind::over`].
#[derive(Debug)]
pub struct Opened(pub(super) Arc<Opening>);

/// The alignment of the words of a channel: two cache lines, which processors fetch together.
const ALIGNMENT: u64 = 128;

/// The most that the words of a channel can lie behind the beginning of the payload.
pub(super) const PADDING: u64 = ALIGNMENT - 1;

/// Returns the offset of the words of a channel: the first multiple of 128 in the payload.
pub(super) fn words_at(header: &Header) -> u64 {
    header.payload_at.next_multiple_of(ALIGNMENT)
}

/// A kind of channel, such as [`Spsc`](super::Spsc).
///
/// This trait is sealed: other crates cannot implement it. It is what [`SharedOptions::create_new_channel`] and the
/// methods like it create and open.
pub trait Channel: Kind {}

impl<C: Kind> Channel for C {}

impl SharedOptions {
    /// Creates a channel that does not exist yet, with room for `capacity` messages.
    ///
    /// # Errors
    /// As for the kind of channel, such as [`Spsc::create_new`](super::Spsc::create_new).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let options = SharedOptions::new().participants(2).lanes(4);
    /// let prices: Spsc<f64> = options.create_new_channel(Location::anonymous(), 64)?;
    /// # Ok(()) }
    /// ```
    pub fn create_new_channel<C: Channel>(
        &self,
        location: impl Into<Location>,
        capacity: usize,
    ) -> Result<C> {
        C::over(Opened(self.create_channel_at::<C>(&location.into(), capacity, self.terms())?))
    }

    /// Opens an existing channel.
    ///
    /// # Errors
    /// As for the kind of channel, such as [`Spsc::open`](super::Spsc::open).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let error = SharedOptions::new().open_channel::<Spsc<f64>>("doc-no-such-channel").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotFound);
    /// # Ok(()) }
    /// ```
    pub fn open_channel<C: Channel>(&self, location: impl Into<Location>) -> Result<C> {
        self.open_channel_as(&location.into(), Attachment::Participant)
    }

    /// Opens an existing channel for reading its counters. The call needs no permission to write.
    ///
    /// # Errors
    /// As for the kind of channel, such as [`Spsc::open_read_only`](super::Spsc::open_read_only).
    ///
    /// # Examples
    /// See [`Spsc::open_read_only`](super::Spsc::open_read_only).
    pub fn open_channel_read_only<C: Channel>(&self, location: impl Into<Location>) -> Result<C> {
        self.open_channel_as(&location.into(), Attachment::ReadOnly)
    }

    fn open_channel_as<C: Channel>(
        &self,
        location: &Location,
        attachment: Attachment,
    ) -> Result<C> {
        let Facts { recover, least, .. } = C::facts();
        let (layout, terms) = (self.channel_layout::<C>(least), self.channel_terms());
        C::over(Opened(peer::open_as(location, &layout, &terms, attachment, recover)?))
    }

    /// Opens a channel, or creates it if there is none. An existing channel keeps its capacity.
    ///
    /// # Errors
    /// As for the kind of channel, such as [`Spsc::open_or_create`](super::Spsc::open_or_create).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// use sharemap::channel::Spsc;
    ///
    /// # fn main() -> Result<()> {
    /// let name = UnlinkOnDrop::new(Location::unique("doc-channel-either")?);
    /// let prices: Spsc<f64> = SharedOptions::new().lanes(4).open_or_create_channel(&name, 64)?;
    /// assert_eq!(prices.capacity(), 64);
    /// # Ok(()) }
    /// ```
    pub fn open_or_create_channel<C: Channel>(
        &self,
        location: impl Into<Location>,
        capacity: usize,
    ) -> Result<C> {
        let location = location.into();
        let Facts { recover, least, .. } = C::facts();
        let (layout, terms) = (self.channel_layout::<C>(least), self.channel_terms());
        let mut create =
            |terms: &OpenOptions| self.create_channel_at::<C>(&location, capacity, terms);
        C::over(Opened(peer::open_or(&location, &layout, &terms, recover, &mut create)?))
    }

    /// Opens a channel that another process passed to this one as a descriptor or handle.
    ///
    /// # Errors
    /// As for [`Shared::from_descriptor`](crate::Shared::from_descriptor).
    ///
    /// # Examples
    /// See [`Spsc::from_descriptor`](super::Spsc::from_descriptor).
    pub fn channel_from_descriptor<C: Channel>(&self, descriptor: impl AsDescriptor) -> Result<C> {
        let file = descriptor.duplicate_descriptor()?;
        let Facts { recover, least, .. } = C::facts();
        let (layout, terms) = (self.channel_layout::<C>(least), self.channel_terms());
        C::over(Opened(peer::from_descriptor(&file, &layout, &terms, recover)?))
    }

    fn create_channel_at<C: Channel>(
        &self,
        location: &Location,
        capacity: usize,
        terms: &OpenOptions,
    ) -> Result<Arc<Opening>> {
        let size = C::size(capacity).map_err(|error| error.with_path(location.path()))?;
        let layout = self.channel_layout::<C>(size.payload);
        // All words but the capacity are zeros.
        let fill =
            &mut |memory: &Memory, header: &Header| memory.store(words_at(header), size.capacity);
        peer::create_new(location, &layout, terms, C::facts().recover, fill)
    }

    fn channel_layout<C: Channel>(&self, payload: u64) -> ExpectedLayout {
        let Facts { kind, layout, .. } = C::facts();
        let (participants, lanes) = self.tables();
        let layout = ExpectedLayout::new(kind, layout.fingerprint(), payload);
        ExpectedLayout { participants, lanes, ..layout }
    }

    fn channel_terms(&self) -> OpenOptions {
        OpenOptions { payload: Payload::AtLeast, ..*self.terms() }
    }
}

/// Returns the capacity of a ring for `capacity` messages of `size` bytes: the next power of two. Also returns the length
/// of all its slots.
pub(super) fn ring_of(capacity: usize, size: usize) -> Result<(u64, u64)> {
    let error = |kind| Error::new(kind, "create").with_length(capacity as u64);
    if capacity == 0 {
        return Err(
            error(ErrorKind::ZeroLength).with_detail("a channel has room for at least one message")
        );
    }
    // The last power of two that a file can have bytes.
    const MOST: u64 = 1 << 62;
    let slots = (capacity as u64).checked_next_power_of_two();
    let len = slots.and_then(|slots| slots.checked_mul(size as u64)).filter(|&len| len <= MOST);
    match slots.zip(len) {
        Some(ring) => Ok(ring),
        None => Err(error(ErrorKind::Overflow)
            .with_detail(format!("so many messages of {size} bytes are more than any object has"))),
    }
}

/// Returns the error for a channel that says of itself that it has so many slots.
#[cold]
pub(super) fn impossible_capacity(capacity: u64) -> Error {
    Error::new(ErrorKind::Malformed, "open").with_length(capacity).with_detail(
        "its number of slots is no power of two, or they do not fit into it; create it again",
    )
}
