//! Containers in a [`Segment`](crate::Segment), which processes share.
//!
//! A container is a named object of its segment. Its handle is cheap to clone, can be used by all threads, and keeps the
//! segment attached. Values are copied in and out. Each change of a key is one step for all other threads and processes,
//! also if the calling process is killed in it: the container is as before the change, or as after it.

mod change;
mod hash_map;
mod iter;
mod lookup;

pub use hash_map::HashMap;
pub use iter::Iter;
