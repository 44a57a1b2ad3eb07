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
//!   the lock algorithms run on. `near` is a `Machine` for a span of known bounds.
//! - `registry` keeps the sessions of this process. All [openings](Opening) of an object in this
//!   process share one session.
//! - `participants` and `lanes` maintain the tables. What a process knows by itself: `local` is its own
//!   participant, `seat` caches a thread's own lane, and `inherited` keeps the lanes that a forked
//!   child must not claim.
//! - `clean_flag` records whether the last participant detached cleanly, and `recovery` releases what
//!   dead participants held.
//! - `identity` is what records say of this process, and `inspect` observes an object from outside.

mod attach;
mod clean_flag;
mod create;
mod find;
mod header;
mod identity;
mod inherited;
mod inspect;
mod lanes;
mod local;
mod machine;
mod memory;
mod near;
mod opening;
mod options;
mod participants;
mod polling;
mod record;
mod recovery;
mod registry;
mod seat;
mod session;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use clean_flag::{IN_ORDER, Mark, Others};
pub(crate) use create::{create_new, from_descriptor, open, open_as, open_or};
pub(crate) use header::{ExpectedLayout, Header};
pub(crate) use inspect::ObjectObserver;
pub use inspect::{ObjectInfo, Participant as AttachedProcess, State};
pub(crate) use machine::{Announced, KIND_MASK, Liveness, Machine, OFFSET_MASK, delegate_world};
pub(crate) use memory::{Attachment, Memory};
pub(crate) use near::{Extent, Near, Span};
pub(crate) use opening::Opening;
pub(crate) use options::{OpenOptions, Payload, PowerCuts, Unclean};
pub(crate) use seat::Spot;
pub(crate) use session::Session;
