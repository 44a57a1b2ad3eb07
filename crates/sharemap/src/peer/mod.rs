//! Objects with a header: participants, their lanes, and the recovery of dead participants.
//!
//! This module implements the first half of FORMAT.md, up to "Locks":
//!
//! - `header` is the format of an object's header, `record` that of a participant's record, and
//!   `memory` the guarded access to their bytes.
//! - `options` says how to open, and `find` opens the file of a location. `create` creates and opens
//!   objects. `attach` waits until an object is ready, adopts it from an earlier boot, and attaches.
//!   `polling` waits for changes that no event announces.
//! - `session` is the result: the attachment of this process to an object, and the [`Machine`] that
//!   the lock algorithms run on. `checked_span` is a `Machine` for a span of known bounds.
//! - `spinning` decides whether a thread spins before it sleeps.
//! - `registry` keeps the sessions of this process. All [openings](Opening) of an object in this
//!   process share one session.
//! - `participants` and `lanes` maintain the tables. What a process knows by itself: `local` is its own
//!   participant, `lane_cache` caches a thread's own lane, `free_lanes` lends a thread others, and `inherited` keeps the lanes that a forked
//!   child must not claim. `owned_lane` is the lane of a handle that moves between threads.
//! - `clean_flag` records whether the last participant detached cleanly, and `recovery` releases what
//!   dead participants held.
//! - `identity` is what records say of this process, and `inspect` observes an object from outside.

mod attach;
mod checked_span;
mod clean_flag;
mod create;
mod faults;
mod find;
mod free_lanes;
mod header;
mod identity;
mod inherited;
mod inspect;
mod lane_cache;
mod lanes;
mod local;
mod machine;
mod memory;
mod opening;
mod options;
mod owned_lane;
mod participants;
mod polling;
mod record;
mod recovery;
mod registry;
mod session;
#[cfg(test)]
mod simulated;
mod slots;
mod spinning;
#[cfg(test)]
mod tests;
mod window;

pub(crate) use checked_span::{CheckedSpan, FixedLen, TypedSpan};
#[cfg(test)]
pub(crate) use clean_flag::{IN_ORDER, Mark, Others};
pub(crate) use create::{create_new, from_descriptor, open, open_as, open_or};
pub(crate) use faults::Faults;
pub(crate) use header::{ExpectedLayout, Header, SEGMENT, SPSC};
pub(crate) use inspect::ObjectObserver;
pub use inspect::{ObjectInfo, Participant as AttachedProcess, State};
pub(crate) use lane_cache::AnnouncementRef;
pub(crate) use machine::{
    ANSWER_TURN, Announced, END, Exchange, KEPT, KIND_MASK, Liveness, Machine, OFFSET_MASK,
    OWNED_TURN, Slot, delegate_world,
};
pub(crate) use memory::{Attachment, Memory};
pub(crate) use opening::Opening;
pub(crate) use options::{OpenOptions, Payload, PowerCuts, Unclean};
pub(crate) use owned_lane::OwnedLane;
pub(crate) use polling::{BRIEFLY, Polling};
pub(crate) use session::{RecoverFn, Session};
#[cfg(test)]
pub(crate) use simulated::{Faulty, Simulated};
pub(crate) use slots::{Copied, RingSpan, Slots};
pub(crate) use window::{Readable, Window, Writable};
