//! Simulated lanes and participants, as in `peer`: announcements, recovery, and lanes that are claimed and
//! released by threads.

use super::Fault;
use super::sim::Sim;
use super::state::{SLOTS, lane_at, record, slots, taken};
use crate::error::Result;
use crate::peer::{Announced, Liveness, Machine};

/// How processes get lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lanes {
    /// Each process always has the lane of its own number.
    Fixed,
    /// A process claims the lowest free lane when it needs one, and may release it.
    Pooled,
}

impl Sim<'_> {
    fn own_lane(&self) -> Option<usize> {
        if self.setup.lanes == Lanes::Fixed {
            return Some(self.me);
        }
        let lane = self.aside("own lane", 0, |live| {
            live.state.processes[self.me].lane.map_or(0, |lane| u64::from(lane) + 1)
        });
        (lane as usize).checked_sub(1)
    }

    pub(crate) fn has_lane(&self, lane: usize) -> bool {
        self.own_lane() == Some(lane)
    }

    /// Claims the lowest free lane, unless this process has a lane.
    pub(crate) fn claim_lane(&self) -> Result<()> {
        if self.own_lane().is_some() {
            return Ok(());
        }
        loop {
            for lane in 0..self.lanes() as usize {
                if self.load_32(taken(lane))? == 0 && self.try_claim(lane) {
                    return Ok(());
                }
            }
            // Reclaims the lanes of dead participants before retrying.
            for lane in 0..self.lanes() {
                self.probe_liveness(lane)?;
            }
        }
    }

    /// Claims `lane` if it is free. A free lane must announce nothing.
    fn try_claim(&self, lane: usize) -> bool {
        let (watch, me) = (self.setup.watch, self.me);
        let claimed = self.turn("claim", lane as u64, |live| {
            live.state.drain(watch, me);
            if live.state.peek_32(taken(lane)) != 0 {
                return Some(0);
            }
            live.state.set_32(taken(lane), me as u32 + 1);
            live.state.processes[me].lane = Some(lane as u8);
            if (0..SLOTS).any(|index| live.state.peek_64(slots(lane) + 8 * index) != 0) {
                let what = format!("lane {lane} was free, and announced something");
                live.violation.get_or_insert(what);
            }
            Some(1)
        });
        claimed != 0
    }

    /// Releases the lane of an ending thread, which announces nothing.
    pub(crate) fn release_lane(&self) -> Result<()> {
        let Some(lane) = self.own_lane() else { return Ok(()) };
        self.store_32(taken(lane), 0)?;
        self.aside("no lane", lane as u64, |live| {
            assert_eq!(live.state.processes[self.me].slots, 0, "something is announced");
            live.state.processes[self.me].lane = None;
            0
        });
        Ok(())
    }

    /// Returns a free slot of this process's lane for an announcement.
    pub(crate) fn announcing(&self, what: u64) -> Announced {
        let slot = self.aside("take a slot", what, |live| {
            let process = &mut live.state.processes[self.me];
            let lane = process.lane.map_or(self.me, usize::from);
            let index = process.slots.trailing_ones();
            assert!(u64::from(index) < SLOTS, "no slot left");
            process.slots |= 1 << index;
            slots(lane) + 8 * u64::from(index)
        });
        Announced { lane: lane_at(slot) as u32, slot }
    }

    /// Probes the lane's participant, and recovers it if it is dead.
    pub(crate) fn probe_lane(&self, lane: u32) -> Result<Liveness> {
        let participant = match self.setup.lanes {
            Lanes::Fixed => lane as usize,
            Lanes::Pooled => match self.load_32(taken(lane as usize))?.checked_sub(1) {
                Some(participant) => participant as usize,
                None => return Ok(Liveness::Recovered),
            },
        };
        let watch = self.setup.watch;
        let won = self.turn("probe", participant as u64, |live| {
            live.state.drain(watch, self.me);
            if live.state.locks[participant] != 0 {
                return Some(0);
            }
            if self.setup.fault != Fault::RecoversUnlocked {
                live.state.locks[participant] = self.me as u8 + 1;
            }
            Some(1)
        });
        if won == 0 {
            return Ok(Liveness::Alive);
        }
        self.recover(participant)?;
        self.turn("unlock the slot", participant as u64, |live| {
            live.state.drain(watch, self.me);
            if live.state.locks[participant] == self.me as u8 + 1 {
                live.state.locks[participant] = 0;
            }
            Some(0)
        });
        Ok(Liveness::Recovered)
    }

    /// Recovers a dead participant. This process holds the kernel lock of the participant's slot.
    fn recover(&self, participant: usize) -> Result<()> {
        if self.load_32(record(participant))? == 0 {
            return Ok(());
        }
        match self.setup.lanes {
            Lanes::Fixed => self.recover_lane(participant)?,
            Lanes::Pooled => {
                for lane in 0..self.lanes() as usize {
                    if self.load_32(taken(lane))? != participant as u32 + 1 {
                        continue;
                    }
                    if self.setup.fault == Fault::FreesLaneFirst {
                        self.store_32(taken(lane), 0)?;
                    }
                    self.recover_lane(lane)?;
                    self.store_32(taken(lane), 0)?;
                }
            }
        }
        self.store_32(record(participant), 0)
    }

    /// Releases everything that a lane announces, and clears the announcements.
    fn recover_lane(&self, lane: usize) -> Result<()> {
        for index in 0..SLOTS {
            let slot = slots(lane) + 8 * index;
            let announcement = self.load_64(slot)?;
            if announcement == 0 {
                continue;
            }
            if self.setup.fault != Fault::NoRecovery {
                (self.setup.recover)(self, slot, announcement, lane as u32)?;
            }
            self.store_64(slot, 0)?;
        }
        Ok(())
    }

    /// Attaches a newcomer, which holds the kernel lock of its slot, and recovers the previous owner.
    pub(crate) fn attach(&self) {
        if self.setup.fault != Fault::TakesOverUnrecovered {
            self.expect(self.recover(self.me));
        }
        self.expect(self.swap_32(record(self.me), 1));
    }
}
