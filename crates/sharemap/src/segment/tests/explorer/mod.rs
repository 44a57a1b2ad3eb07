//! The segment in the explorer, with store buffers, and with deaths of writers and of recoverers.
//!
//! Where only one process at a time stores anything, beside readers that store nothing, no buffer is simulated: the
//! stores reach memory in order, and only the process itself would know of what is in its buffer.

mod allocator;
mod blocks;
mod changes;
mod faults;
mod pages;
mod removal;
mod scripts;

use super::prefix::Prefix;
use super::small::{area_at, space};
use crate::error::Result;
use crate::peer::Machine;
use crate::segment::completion::complete;
use crate::segment::lane_area::{self, LaneArea};
use crate::testing::explorer::sim::Sim;
use crate::testing::explorer::state::{Carry, SLOTS, State, slots};

/// Announces the area of a lane of the small segment.
fn announce(sim: &Sim<'_>, lane: u32) {
    let area = LaneArea { at: area_at(lane), lane, body: 0 };
    sim.expect(sim.announce(area.announcement()));
}

/// Completes what a lane of the small segment began, which a dead process announced.
fn recover_lane<M: Machine>(machine: &M, what: u64) -> Result<()> {
    let Some(at) = LaneArea::announced(what) else { return Ok(()) };
    // Not the lane of the process, which may have made changes with several.
    let lane = ((at - area_at(0)) / lane_area::HEAD) as u32;
    let space = space();
    complete(machine, &space, LaneArea::load(machine, &space, at, lane)?)
}

fn recover(sim: &Sim<'_>, _: u64, what: u64, _: u32) -> Result<()> {
    recover_lane(sim, what)
}

/// Recovers all processes that are dead in a final state, on a machine with its memory.
fn recover_last(state: &State, machine: &Prefix) -> Result<()> {
    for (process, _) in state.processes.iter().enumerate().filter(|(_, process)| !process.alive) {
        for slot in 0..SLOTS {
            recover_lane(machine, machine.load_64(slots(process) + 8 * slot)?)?;
        }
    }
    Ok(())
}

/// Probes process 0, and recovers it if it is dead.
fn recovers(sim: &Sim<'_>, _: u32, _: &mut Carry) -> bool {
    sim.expect(sim.probe_liveness(0));
    false
}
