//! Objects with a header: participants, their lanes, and the recovery of dead participants.
//!
//! `header` is the format of an object's header, and `memory` the access to its bytes. `create`
//! creates and opens objects, and `attach` waits until they are ready and attaches. The result is
//! a [`Session`](session::Session), which is also a [`Machine`] for the locks; `near` is the same
//! world for a part with known bounds. `registry` keeps the sessions of this process, which all its
//! [openings](Opening) of an object share. `participants` and `lanes` keep the tables, `seat` is a
//! thread's record of its own lane, `mark` tells whether the last participant left cleanly, and
//! `recovery` releases what dead participants held. `polling` waits for changes that no event
//! announces.

mod attach;
mod clean_flag;
mod create;
mod header;
mod identity;
mod inherited;
mod inspect;
mod lanes;
mod machine;
mod memory;
mod near;
mod opening;
mod participants;
mod polling;
mod recovery;
mod registry;
mod seat;
mod session;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use clean_flag::{IN_ORDER, Mark, Others};
pub(crate) use create::{
    OpenOptions, Payload, PowerCuts, Unclean, create_new, from_descriptor, open, open_or,
    open_read_only,
};
pub(crate) use header::{ExpectedLayout, Header};
pub(crate) use inspect::ObjectObserver;
pub use inspect::{ObjectInfo, Participant as AttachedProcess, State};
pub(crate) use machine::{Announced, KIND_MASK, Liveness, Machine, OFFSET_MASK, delegate_world};
pub(crate) use memory::{Attachment, Memory};
pub(crate) use near::{Extent, Near, Span};
pub(crate) use opening::Opening;
pub(crate) use seat::Spot;
pub(crate) use session::Session;
