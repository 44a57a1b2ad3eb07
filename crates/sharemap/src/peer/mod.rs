//! Who shares an object: participants, their lanes, and what is done for those who die.
//!
//! `header` is the format of what every object begins with, `memory` the way to an object's bytes,
//! `create` makes and opens objects; a [`Session`](session::Session) is the result, and a
//! [`World`] for the locks; `near` is the same one for a part whose bounds are known. `participants` and `lanes` say who is there, `recovery` does what is
//! left to do for those who are not any more.

mod create;
mod header;
mod identity;
mod inherited;
mod inspect;
mod lanes;
mod memory;
mod near;
mod participants;
mod recovery;
mod seat;
mod session;
#[cfg(test)]
mod tests;
mod world;

#[allow(unused_imports, reason = "what the locks are written against")]
pub(crate) use create::{
    Fill, Payload, PowerCuts, Terms, Unclean, adopt, attach_as, create_new, open, open_or,
    open_or_create, open_read_only,
};
#[allow(unused_imports, reason = "what the locks are written against")]
pub(crate) use header::{Header, Shape};
pub(crate) use inspect::Look;
pub use inspect::{Facts, Participant as AttachedProcess, State};
#[allow(unused_imports, reason = "what the locks are written against")]
pub(crate) use memory::{Attachment, Memory};
pub(crate) use near::{Extent, Near, Span};
#[allow(unused_imports, reason = "what the locks are written against")]
pub(crate) use participants::Participant;
pub(crate) use seat::Spot;
#[allow(unused_imports, reason = "what the locks are written against")]
pub(crate) use session::{Release, Session};
#[allow(unused_imports, reason = "what the locks are written against")]
pub(crate) use world::{Announced, KIND_MASK, OFFSET_MASK, SLOTS, Settled, World};
