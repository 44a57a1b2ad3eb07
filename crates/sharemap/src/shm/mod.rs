//! Memory that processes share, raw: where it lives, who may have it, how it is passed on.

mod location;
mod name;

pub use location::Location;
#[allow(unused_imports, reason = "for the layers to the right")]
pub(crate) use location::Place;
