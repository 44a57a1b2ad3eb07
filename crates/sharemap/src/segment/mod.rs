//! The managed segment: changes that survive the death of their thread at any instruction.
//!
//! A change of a segment takes these steps:
//!
//! 1. lock the words of the lock table that protect what it changes, in ascending order;
//! 2. fill memory that nothing refers to yet;
//! 3. make the change visible: by one aligned store, or by one redo record that is committed and then applied;
//! 4. release the locks, with their sequence advanced.
//!
//! What a lane is doing lies in its area: the locks that it holds or requests, and its redo record. A survivor
//! completes the change of a dead lane in the lane's name. It applies a committed record, clears it, and releases
//! the locks. Nothing is ever undone.
//!
//! - `lock_table` is the locks: words of `{lane, sequence}`, apart from the memory that they protect.
//! - `lane_area` is the format of an area, and the validation of what it says.
//! - `change` is one change by a living thread, `at_once` the usual case of a single word under a single lock, and
//!   `completion` what completes one.
//! - `plan` says where the parts of a segment lie. `segment` opens one, by the calls in `options`, and `own_area` finds the
//!   area of a thread in it.
//! - `directory` is the named objects: each `named_value`, each `named_map`, and the `listing` of both. `object` is what
//!   an `offset` refers to, and `stored` the types of all values.
//!   `map` is the hash map, of the names and of containers. `report` counts and checks.
//! - `heap` is the format of the heap: chunks of spans, and spans of blocks of a `size_class`. `allocator` takes
//!   blocks and gives them back, by the lane's own stacks, and `attach` does so together with the word that refers to a
//!   block. `class_spans` fills and empties the stacks, and `spans` takes whole spans. `census` counts each block once.
//!
//! All of it is written over a [`Machine`](crate::peer::Machine): guarded memory in a program, and in tests a
//! machine that ends an operation after each store, or the explorer, which schedules every step.

mod allocator;
mod at_once;
mod attach;
mod census;
mod change;
mod class_spans;
mod completion;
mod directory;
mod heap;
mod lane_area;
mod listing;
mod lock_table;
pub(crate) mod map;
mod named_map;
mod named_value;
mod object;
mod offset;
mod options;
mod own_area;
mod plan;
mod report;
#[allow(clippy::module_inception, reason = "the noun of the layer")]
mod segment;
mod size_class;
mod spans;
mod stored;
#[cfg(test)]
mod tests;

pub use directory::NamedKind;
pub use listing::SegmentObject;
pub use offset::Offset;
pub use report::{BlockStats, CheckReport, Damage, SegmentStats};
pub use segment::Segment;
pub use stored::Stored;
pub(crate) use stored::{copy_out, copy_out_at_once, description, fits_word, word_of};
