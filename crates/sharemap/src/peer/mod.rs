//! Who shares an object: participants, their lanes, and what is done for those who die.

mod world;

#[allow(unused_imports, reason = "what the locks are written against")]
pub(crate) use world::{Announced, KIND_MASK, OFFSET_MASK, SLOTS, Settled, World};
