//! Options for opening and creating objects.

use std::time::{Duration, Instant};

use crate::sys::{HugePages, Lifetime, Owner, Sharing};

/// The treatment of an object that was in use when the system went down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Unclean {
    /// Attaching fails with [`ErrorKind::Unclean`].
    #[default]
    Refused,
    /// The processes that used it count as dead, and what they held is recovered.
    Accepted,
}

/// The reliability with which an object in a file shows, at the next boot, that it was in use at a power
/// cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PowerCuts {
    /// Not reliably: the system may write the clean flag back before or after the contents.
    #[default]
    Overlooked,
    /// Reliably: the first participant to attach and the last to detach wait until the contents and
    /// the flag are on the disk.
    Told,
}

/// The payload lengths of an existing object that are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Payload {
    /// Only the expected length.
    #[default]
    Exactly,
    /// At least the expected length. The payload itself contains its number of elements.
    AtLeast,
}

/// The sharing of a session between openings of an object by this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Attachments {
    /// All openings share one session, and so one participant.
    #[default]
    Shared,
    /// The opening gets a session of its own, like another process.
    #[cfg_attr(not(test), allow(dead_code, reason = "for tests that act as several processes"))]
    Separate,
}

/// Options for opening and creating objects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenOptions {
    pub(crate) unclean: Unclean,
    pub(crate) power_cuts: PowerCuts,
    pub(crate) payload: Payload,
    pub(crate) lifetime: Lifetime,
    pub(crate) sharing: Sharing,
    pub(crate) owner: Owner,
    /// The longest wait of one opening: for a live creator or adopter, for the holder of a lease, for
    /// another thread of this process that attaches or detaches, and for a free participant, together.
    pub(crate) open_timeout: Duration,
    pub(crate) attachments: Attachments,
    /// The pages that the mapping asks for; never reserved ones.
    pub(crate) huge: HugePages,
}

impl OpenOptions {
    /// Returns these options with what is left of an `open_timeout` that began at `start`.
    pub(super) fn since(&self, start: Instant) -> Self {
        Self { open_timeout: self.open_timeout.saturating_sub(start.elapsed()), ..*self }
    }
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            unclean: Unclean::default(),
            power_cuts: PowerCuts::default(),
            payload: Payload::default(),
            lifetime: Lifetime::default(),
            sharing: Sharing::PRIVATE,
            owner: Owner::default(),
            open_timeout: Duration::from_secs(5),
            attachments: Attachments::default(),
            huge: HugePages::default(),
        }
    }
}

#[cfg(test)]
impl OpenOptions {
    /// Returns options for tests in which this process acts as several.
    pub(crate) fn separate() -> Self {
        Self { attachments: Attachments::Separate, ..Self::default() }
    }
}
