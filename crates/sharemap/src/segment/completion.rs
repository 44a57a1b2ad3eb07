//! Completion: what a lane began is brought to its end, by the lane's own thread after an error, or by the
//! recoverer after a death.
//!
//! Completion acquires no lock and has a bounded number of steps. It may be cut short anywhere and begun again:
//! each step either repeats a store of the same value, or finds that it has been done.

use crate::error::Result;
use crate::peer::Machine;
use crate::segment::lane_area::{LaneArea, Space};
use crate::segment::lock_table::{self, Outcome};

/// Applies the committed record of a lane, if there is one, and releases the locks that the lane owns.
///
/// Called by the lane's thread, or by the recoverer of its participant: no other thread changes the area, or a
/// lock word that names the lane. Fails with `Malformed` if the area is none that this version writes. The record
/// and the locks then stay, and the object must count as faulted.
pub(super) fn complete<M: Machine>(machine: &M, space: &Space, area: LaneArea) -> Result<()> {
    // The record first: until it is cleared, its words must stay under the lane's locks.
    area.apply(machine, space)?;
    for index in 0..area.listed(machine)? {
        for word in area.range(machine, space.locks, index)? {
            // A change by a single store may have happened.
            lock_table::release(machine, word, area.lane, Outcome::Changed)?;
        }
    }
    // After the locks: the list is what leads to them.
    area.clear_list(machine)
}
