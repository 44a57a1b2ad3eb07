//! `ChannelStats`: the counters of a channel.

/// The counters of a channel, as anybody may read them.
///
/// Each is loaded at a moment of its own.
///
/// # Examples
/// ```
/// # use sharemap::*;
/// use sharemap::channel::Spsc;
///
/// # fn main() -> Result<()> {
/// let channel = Spsc::create_new(Location::anonymous(), 8)?;
/// let (mut sender, mut receiver) = (channel.sender()?, channel.receiver()?);
/// sender.send(&1_u64)?;
/// sender.send(&2)?;
/// receiver.recv()?;
/// let stats = channel.stats()?;
/// assert_eq!((stats.sent, stats.received, stats.depth), (2, 1, 1));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelStats {
    /// The number of messages that the channel has room for.
    pub capacity: u64,
    /// The number of messages that were sent since the channel was created.
    pub sent: u64,
    /// The number of messages that were received and released.
    pub received: u64,
    /// The number of messages in the channel.
    pub depth: u64,
    /// How often a sender has slept, because the channel was full.
    pub send_waits: u64,
    /// How often a receiver has slept, because the channel was empty.
    pub receive_waits: u64,
    /// The number of senders. One that died counts until it is noticed.
    pub senders: u32,
    /// The number of receivers, like `senders`.
    pub receivers: u32,
}
