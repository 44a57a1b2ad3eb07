//! The counters of a channel that is inspected, without its type.

use crate::channel::object;
use crate::channel::spsc::{self, ring};
use crate::channel::stats::ChannelStats;
use crate::error::Result;
use crate::peer::SPSC;
use crate::sync::inspect::Inspection;

impl Inspection {
    /// Returns the counters of the object if it is a channel. Returns `None` for other objects.
    ///
    /// # Errors
    /// - `Malformed` - the object contradicts itself.
    /// - `Fault` - the memory could not be accessed; the object may have been truncated.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// use sharemap::channel::Spsc;
    /// use sharemap::inspect::Inspection;
    ///
    /// # fn main() -> Result<()> {
    /// let name = UnlinkOnDrop::new(Location::unique("doc-inspection-channel")?);
    /// let mut sender = Spsc::create_new(&name, 8)?.sender()?;
    /// sender.send(&7_u32)?;
    /// let stats = Inspection::open(&name)?.channel()?.expect("it is a channel");
    /// assert_eq!((stats.sent, stats.senders), (1, 1));
    /// # Ok(()) }
    /// ```
    pub fn channel(&self) -> Result<Option<ChannelStats>> {
        let Some(header) = self.header().filter(|header| header.kind == SPSC) else {
            return Ok(None);
        };
        let (memory, at) = (self.memory(), object::words_at(header));
        let capacity: u64 = memory.load(at + ring::CAPACITY)?;
        // The type is not known, and no message is shorter than a byte.
        let end = at.checked_add(ring::CONTROL).and_then(|slots| slots.checked_add(capacity));
        let payload_end = header.payload_at.saturating_add(header.payload);
        if !capacity.is_power_of_two() || end.is_none_or(|end| end > payload_end) {
            return Err(object::impossible_capacity(capacity).with_path(memory.path()));
        }
        spsc::stats(at, capacity, |at| memory.load(at)).map(Some)
    }
}
