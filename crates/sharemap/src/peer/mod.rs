//! Who shares an object: participants, their lanes, and what is done for those who die.
//!
//! `header` is the format of what every object begins with, `memory` the way to an object's bytes,
//! `create` makes and opens objects, `arrival` waits until they are ready; a
//! [`Session`](session::Session) is the result, and a [`World`] for the locks; `near` is the same one
//! for a part whose bounds are known. `registry` keeps the sessions of this process, which all its
//! [openings](Opening) of an object share. `participants` and `lanes` say who is there, `seat` what a
//! thread knows of its own lane, `mark` whether all left in order, `recovery` does what is left to do
//! for those who are not any more, and `polling` waits for what no event announces.

mod arrival;
mod create;
mod header;
mod identity;
mod inherited;
mod inspect;
mod lanes;
mod mark;
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
mod world;

pub(crate) use create::{
    Payload, PowerCuts, Terms, Unclean, adopt, create_new, open, open_or, open_read_only,
};
pub(crate) use header::{Header, Shape};
pub(crate) use inspect::Look;
pub use inspect::{Facts, Participant as AttachedProcess, State};
#[cfg(test)]
pub(crate) use mark::{IN_ORDER, Mark, Others};
pub(crate) use memory::{Attachment, Memory};
pub(crate) use near::{Extent, Near, Span};
pub(crate) use opening::Opening;
pub(crate) use seat::Spot;
pub(crate) use session::Session;
pub(crate) use world::{Announced, KIND_MASK, OFFSET_MASK, Settled, World, delegate_world};
