//! The operations of the simulated [`Machine`]. Each is a turn, which other processes can observe, or an
//! aside, which they cannot.

use std::time::Duration;

use super::sim::{LATE, Sim};
use super::state::{Process, SLOTS, Store, lane_at, slots};
use super::{Fault, Order};
use crate::error::Result;
use crate::peer::{Announced, Exchange, Liveness, Machine, Slot};

/// A slot of the simulated process, at which faults of announcements are planted.
#[derive(Clone, Copy)]
pub(crate) struct SimSlot(pub(crate) Announced);

impl Slot<Sim<'_>> for SimSlot {
    fn named(self) -> u32 {
        self.0.lane + 1
    }

    fn store(self, sim: &Sim<'_>, what: u64) -> Result<()> {
        match sim.setup.fault {
            Fault::NoAnnouncement => Ok(()),
            Fault::LateAnnouncement => {
                sim.late.set(Some((self.0.slot, what)));
                Ok(())
            }
            _ => sim.store_64(self.0.slot, what),
        }
    }

    fn swap(self, sim: &Sim<'_>, what: u64) -> Result<()> {
        match sim.setup.fault {
            Fault::NoAnnouncement => Ok(()),
            Fault::PlainAnnouncement => sim.store_64(self.0.slot, what),
            _ => sim.swap_64(self.0.slot, what).map(drop),
        }
    }

    fn withdraw(self, sim: &Sim<'_>) -> Result<()> {
        Machine::withdraw(sim, self.0)
    }
}

impl Sim<'_> {
    /// Returns an empty slot of a lane of this process.
    pub(crate) fn empty_slot(&self) -> Result<SimSlot> {
        self.claim_lane()?;
        Ok(SimSlot(self.announcing(0)))
    }

    /// Loads in the wrong place, if that fault is planted.
    fn early<T>(&self, load: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        (self.setup.fault == Fault::EarlyLoad).then(load).transpose()
    }

    /// The steps of `acquire_and_load_two`, or of `acquire_and_load`, which loads no word behind the first.
    fn acquire_and_load_all(
        &self,
        word: u64,
        mine: u32,
        two: bool,
        lead: u64,
    ) -> Result<(Exchange, u64, u64)> {
        let load = || {
            let next = if two { self.load_32(word + 4)?.into() } else { 0 };
            Ok((next, self.load_64(word + lead)?))
        };
        let early = self.early(load)?;
        let found = self.compare_exchange_32(word, 0, mine)?;
        if let Some((slot, what)) = self.late.take() {
            self.store_64(slot, what)?;
        }
        let exchange = Exchange::found(found);
        if found != 0 {
            return Ok((exchange, 0, 0));
        }
        let (next, lead) = early.map_or_else(load, Ok)?;
        Ok((exchange, next, lead))
    }
}

impl Machine for Sim<'_> {
    const SLOTS: u64 = SLOTS;

    fn load_32(&self, at: u64) -> Result<u32> {
        Ok(self.load(at, 4) as u32)
    }

    fn store_32(&self, at: u64, value: u32) -> Result<()> {
        self.store(Store::new(at, 4, value.into()));
        Ok(())
    }

    fn swap_32(&self, at: u64, value: u32) -> Result<u32> {
        Ok(self.swap(at, 4, value.into()) as u32)
    }

    fn compare_exchange_32(&self, at: u64, current: u32, new: u32) -> Result<u32> {
        Ok(self.compare_exchange(at, 4, current.into(), new.into()) as u32)
    }

    fn load_64(&self, at: u64) -> Result<u64> {
        Ok(self.load(at, 8))
    }

    fn acquire_and_load<const LEAD: u64>(&self, word: u64, mine: u32) -> Result<(Exchange, u64)> {
        let (exchange, _, lead) = self.acquire_and_load_all(word, mine, false, LEAD)?;
        Ok((exchange, lead))
    }

    fn acquire_and_load_two<const LEAD: u64>(
        &self,
        word: u64,
        mine: u32,
    ) -> Result<(Exchange, u64, u64)> {
        self.acquire_and_load_all(word, mine, true, LEAD)
    }

    fn load_two<const LEAD: u64>(&self, at: u64) -> Result<(u64, u64)> {
        let early = self.early(|| self.load_64(at + LEAD))?;
        let first = self.load_64(at)?;
        let owed = self.aside("owed", at, |live| live.state.ghost.owed.into());
        self.owed.set(owed != 0);
        Ok((first, early.map_or_else(|| self.load_64(at + LEAD), Ok)?))
    }

    fn store_64(&self, at: u64, value: u64) -> Result<()> {
        self.store(Store::new(at, 8, value));
        Ok(())
    }

    fn swap_64(&self, at: u64, value: u64) -> Result<u64> {
        Ok(self.swap(at, 8, value))
    }

    fn compare_exchange_64(&self, at: u64, current: u64, new: u64) -> Result<u64> {
        Ok(self.compare_exchange(at, 8, current, new))
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        if self.setup.order == Order::Weak {
            // Begins as soon as this, and may end later: loads after it overtake it.
            self.aside("copy", at, |live| {
                let memory = live.state.memory.clone();
                live.state.processes[self.me].early.get_or_insert(memory);
                0
            });
        }
        for (index, word) in into.chunks_mut(4).enumerate() {
            let at = at + 4 * index as u64;
            let value = self
                .turn("copy", at, |live| Some(live.state.load(self.setup.watch, self.me, at, 4)));
            let value = (value as u32).to_le_bytes();
            word.copy_from_slice(&value[..word.len()]);
        }
        Ok(())
    }

    fn write(&self, at: u64, from: &[u8]) -> Result<()> {
        for (index, word) in from.chunks(4).enumerate() {
            let mut value = [0; 4];
            value[..word.len()].copy_from_slice(word);
            let value = u32::from_le_bytes(value).into();
            let plain = self.setup.order == Order::Weak;
            self.store(Store { plain, ..Store::new(at + 4 * index as u64, 4, value) });
        }
        Ok(())
    }

    fn fence_loads(&self) {
        if self.setup.order == Order::Weak && self.setup.fault != Fault::NoLoadFence {
            self.aside("fence loads", 0, |live| {
                live.state.processes[self.me].early = None;
                0
            });
        }
    }

    fn fence_stores(&self) {
        if self.setup.order == Order::Weak && self.setup.fault != Fault::NoStoreFence {
            self.store(Store::FENCE);
        }
    }

    fn lanes(&self) -> u32 {
        self.setup.programs.len() as u32
    }

    fn slots(&self, lane: u32) -> u64 {
        slots(lane as usize)
    }

    fn is_own(&self, lane: u32) -> bool {
        self.has_lane(lane as usize)
    }

    fn announce(&self, what: u64) -> Result<Announced> {
        let slot = self.empty_slot()?;
        slot.store(self, what)?;
        Ok(slot.0)
    }

    fn announce_seq_cst(&self, what: u64) -> Result<Announced> {
        let slot = self.empty_slot()?;
        slot.swap(self, what)?;
        Ok(slot.0)
    }

    fn announced(&self, what: u64) -> Result<Option<Announced>> {
        let slot = self.aside("own slots", what, |live| {
            let lane = live.state.processes[self.me].lane.map_or(self.me, usize::from);
            for index in 0..SLOTS {
                let slot = slots(lane) + 8 * index;
                let used = live.state.processes[self.me].slots >> index & 1 != 0;
                if used && live.state.load(self.setup.watch, self.me, slot, 8) == what {
                    return slot + 1;
                }
            }
            0
        });
        Ok(slot.checked_sub(1).map(|slot| Announced { lane: lane_at(slot) as u32, slot }))
    }

    fn withdraw(&self, announced: Announced) -> Result<()> {
        self.store_64(announced.slot, 0)?;
        self.aside("free a slot", announced.slot, |live| {
            let index = (announced.slot - slots(announced.lane as usize)) / 8;
            live.state.processes[self.me].slots &= !(1 << index);
            0
        });
        Ok(())
    }

    fn stores_release(&self) -> bool {
        self.setup.registered[self.me]
    }

    fn fence_all(&self) -> bool {
        let watch = self.setup.watch;
        if !self.setup.fences[self.me] {
            return false;
        }
        if self.setup.fault == Fault::NoFence {
            return true;
        }
        // A real fence does not reach all processors at the same moment, so each non-empty buffer is drained
        // by an event of its own. A copy that has begun ends with it, too.
        let mut waiting = self.turn("fence", 0, |live| {
            live.state.drain(watch, self.me);
            live.state.processes[self.me].early = None;
            let full = |process: &Process| !process.buffer.is_empty() || process.early.is_some();
            let each = live.state.processes.iter().map(full);
            Some(each.enumerate().map(|(index, full)| u64::from(full) << index).sum())
        });
        while waiting != 0 {
            let other = waiting.trailing_zeros() as usize;
            self.turn("fence", other as u64, |live| {
                live.state.drain(watch, other);
                live.state.processes[other].early = None;
                Some(0)
            });
            waiting &= waiting - 1;
        }
        true
    }

    fn wait(&self, at: u64, expected: u32, at_most: Duration) -> Result<()> {
        let watch = self.setup.watch;
        self.turn("wait", at, |live| {
            live.state.drain(watch, self.me);
            if live.state.peek_32(at) == expected {
                live.state.processes[self.me].asleep = Some(at);
                live.state.processes[self.me].is_brief =
                    at_most <= self.setup.brief && !self.setup.brief.is_zero();
                None
            } else {
                Some(0)
            }
        });
        Ok(())
    }

    fn wake(&self, at: u64, how_many: u32) -> Result<u32> {
        let watch = self.setup.watch;
        let woken = self.turn("wake", at, |live| {
            live.state.drain(watch, self.me);
            if self.setup.fault == Fault::NoWake(at) {
                return Some(0);
            }
            let asleep = |process: &Process| process.asleep == Some(at);
            let mut sleepers: Vec<usize> = (0..live.state.processes.len())
                .filter(|&process| asleep(&live.state.processes[process]))
                .collect();
            if (how_many == 1 || self.setup.fault == Fault::WakeOne) && sleepers.len() > 1 {
                live.variants = sleepers.len();
                sleepers = vec![sleepers[live.variant]];
            }
            for &process in &sleepers {
                live.state.processes[process].asleep = None;
                live.state.processes[process].log.push(0);
            }
            Some(sleepers.len() as u64)
        });
        Ok(woken as u32)
    }

    fn nap(&self, _time: Duration) {
        self.turn("nap", 0, |_| Some(0));
    }

    fn nap_while(&self, at: u64, word: u64, _time: Duration) -> Result<()> {
        let watch = self.setup.watch;
        self.turn("nap while", at, |live| {
            live.state.drain(watch, self.me);
            if live.state.peek_64(at) == word {
                live.state.processes[self.me].watched = Some(at);
                None
            } else {
                Some(0)
            }
        });
        Ok(())
    }

    fn spin(&self, _turn: u32) -> Option<u32> {
        None
    }

    fn probe_liveness(&self, lane: u32) -> Result<Liveness> {
        self.probe_lane(lane)
    }

    fn probe_throttled(&self, lane: u32) -> Result<Liveness> {
        self.probe_liveness(lane)
    }

    fn now(&self) -> Duration {
        let may_expire = self.aside("may expire", 0, |live| live.state.expiries.into());
        if may_expire == 0 {
            return Duration::ZERO;
        }
        let now = self.turn("now", 0, |live| {
            live.variants = 2;
            if live.variant == 1 {
                live.state.expiries -= 1;
                Some(LATE)
            } else {
                Some(0)
            }
        });
        Duration::from_secs(now)
    }

    fn milliseconds(&self) -> u32 {
        self.passed.set(self.passed.get() + self.setup.pace);
        1 + self.passed.get()
    }

    fn note_wait(&self, _since: u32) {}

    fn is_cancelled(&self) -> bool {
        false
    }

    fn fetch_or_32(&self, at: u64, bits: u32) -> Result<u32> {
        if self.setup.fault == Fault::NoRegistration(at) {
            return self.load_32(at);
        }
        Ok(self.atomically("or", at, 4, |found| Some(found | u64::from(bits))) as u32)
    }

    fn fetch_or_64(&self, at: u64, bits: u64) -> Result<u64> {
        if self.setup.fault == Fault::NoRegistration(at) {
            return self.load_64(at);
        }
        Ok(self.atomically("or", at, 8, |found| Some(found | bits)))
    }
}
