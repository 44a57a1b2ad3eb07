//! The world as the explorer has it: one process's view of a [`State`].
//!
//! A process is a function that is run again from the start of its current step each time it is to
//! go on: the results of what it did before come from its log, then one more operation is executed,
//! and at the next one it is left by unwinding. Operations that only it can notice (a store into its
//! own buffer, what it knows of itself) are executed along with the one before.

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::time::Duration;

use super::state::{Ghost, LOCK, State, Store, slots, taken};
use super::{Fault, Setup};
use crate::error::Result;
use crate::peer::{Announced, Settled, World};

/// What a process unwinds with when it has had its turn.
pub(super) struct Suspended;

/// More operations than a step of a program has, in any order.
const LONGEST: usize = 600;

/// A moment after every deadline.
const LATE: u64 = 1 << 40;

pub(super) struct Live {
    pub(super) state: State,
    pub(super) cursor: usize,
    /// The turn's operation has been executed.
    pub(super) spent: bool,
    /// Which of the outcomes of the operation to take, and how many there are.
    pub(super) variant: usize,
    pub(super) variants: usize,
    pub(super) violation: Option<String>,
    pub(super) trace: Option<Vec<String>>,
}

pub(super) struct Sim<'a> {
    pub(super) setup: &'a Setup,
    pub(super) me: usize,
    pub(super) live: RefCell<Live>,
}

impl Sim<'_> {
    /// An operation that others notice, or that notices others.
    fn turn(&self, name: &str, at: u64, operation: impl FnOnce(&mut Live) -> Option<u64>) -> u64 {
        let mut live = self.live.borrow_mut();
        if let Some(known) = self.logged(&mut live) {
            return known;
        }
        if live.spent {
            drop(live);
            resume_unwind(Box::new(Suspended));
        }
        live.spent = true;
        let result = operation(&mut live);
        if let Some(trace) = &mut live.trace {
            let result = result.map_or("asleep".to_owned(), |value| format!("{value:#x}"));
            trace.push(format!("process {}: {name} at {at}: {result}", self.me));
        }
        match result {
            Some(value) => self.log(&mut live, value),
            None => {
                drop(live);
                resume_unwind(Box::new(Suspended));
            }
        }
    }

    /// An operation that only this process notices.
    fn aside(&self, name: &str, at: u64, operation: impl FnOnce(&mut Live) -> u64) -> u64 {
        let mut live = self.live.borrow_mut();
        if let Some(known) = self.logged(&mut live) {
            return known;
        }
        let value = operation(&mut live);
        if let Some(trace) = &mut live.trace {
            trace.push(format!("process {}:   {name} at {at}: {value:#x}", self.me));
        }
        self.log(&mut live, value)
    }

    fn logged(&self, live: &mut Live) -> Option<u64> {
        let known = live.state.processes[self.me].log.get(live.cursor).copied();
        live.cursor += usize::from(known.is_some());
        known
    }

    fn log(&self, live: &mut Live, value: u64) -> u64 {
        let log = &mut live.state.processes[self.me].log;
        log.push(value);
        if log.len() > LONGEST {
            live.violation.get_or_insert("an operation does not end".to_owned());
        }
        live.cursor += 1;
        value
    }

    fn load(&self, at: u64, size: u8) -> u64 {
        let watch = self.setup.watch;
        self.turn("load", at, |live| Some(live.state.load(watch, self.me, at, size)))
    }

    fn store(&self, store: Store) {
        self.aside("store", store.at, |live| {
            let watch = self.setup.watch;
            let state = &mut live.state;
            match self.setup.fault {
                Fault::DropStore(at) if at == store.at => {}
                Fault::SwapStores(first, _) if first == store.at => {
                    state.processes[self.me].delayed = Some(store);
                }
                Fault::SwapStores(_, second) if second == store.at => {
                    state.buffer(watch, self.me, store);
                    if let Some(first) = state.processes[self.me].delayed.take() {
                        state.buffer(watch, self.me, first);
                    }
                }
                _ => state.buffer(watch, self.me, store),
            }
            store.value
        });
    }

    /// Everything that is one locked instruction: the buffer is empty before it.
    fn atomically(&self, name: &str, at: u64, size: u8, new: impl Fn(u64) -> Option<u64>) -> u64 {
        let watch = self.setup.watch;
        self.turn(name, at, |live| {
            live.state.drain(watch, self.me);
            let found = live.state.load(watch, self.me, at, size);
            if let Some(mut value) = new(found) {
                if self.setup.fault == Fault::NoSequence(at) && value & 1 == 0 {
                    value = found & !1;
                }
                live.state.commit(watch, Store { at, size, value });
            }
            Some(found)
        })
    }

    fn swap(&self, at: u64, size: u8, value: u64) -> u64 {
        match self.setup.fault {
            Fault::PlainSwap(plain) if plain == at => {
                let found = self.load(at, size);
                self.store(Store { at, size, value });
                found
            }
            Fault::DropStore(dropped) if dropped == at => self.load(at, size),
            _ => self.atomically("swap", at, size, |_| Some(value)),
        }
    }

    fn compare_exchange(&self, at: u64, size: u8, current: u64, new: u64) -> u64 {
        let name = if self.live.borrow().trace.is_some() {
            format!("compare_exchange {current:#x} by {new:#x}")
        } else {
            String::new()
        };
        match self.setup.fault {
            Fault::Torn(torn) if torn == at => {
                let found = self.load(at, size);
                if found == current {
                    self.store(Store { at, size, value: new });
                }
                found
            }
            Fault::Lost(lost) if lost == at => self.load(at, size),
            Fault::NoWitness if at < LOCK => self.load(at, size),
            _ => self.atomically(&name, at, size, |found| (found == current).then_some(new)),
        }
    }

    /// A look at, or a change of, what the checks know; at the very moment of the operation before.
    pub(super) fn ghost(&self, look: impl FnOnce(&mut Ghost) -> std::result::Result<(), String>) {
        self.aside("ghost", 0, |live| {
            if let Err(violation) = look(&mut live.state.ghost) {
                live.violation.get_or_insert(violation);
            }
            0
        });
    }

    /// The result of an operation that cannot fail here.
    pub(super) fn expect<T>(&self, result: Result<T>) -> T {
        match result {
            Ok(value) => value,
            Err(error) => {
                self.live.borrow_mut().violation.get_or_insert(error.to_string());
                resume_unwind(Box::new(Suspended));
            }
        }
    }

    /// How many died so far.
    pub(super) fn deaths(&self) -> u64 {
        self.aside("deaths", 0, |live| live.state.deaths.into())
    }

    /// What the dead lane announced, by who holds its slot's kernel lock.
    fn recover(&self, lane: usize) -> Result<()> {
        if self.load_32(taken(lane))? != 0 {
            for index in 0..Self::SLOTS {
                let slot = slots(lane) + 8 * index;
                let announcement = self.load_64(slot)?;
                if announcement != 0 {
                    if self.setup.fault != Fault::NoRecovery {
                        crate::sync::recover(self, slot, announcement, lane as u32)?;
                    }
                    self.store_64(slot, 0)?;
                }
            }
            self.store_32(taken(lane), 0)?;
        }
        Ok(())
    }

    /// What a newcomer does first; it has the kernel lock of its slot.
    pub(super) fn attach(&self) {
        self.expect(self.recover(self.me));
        self.expect(self.swap_32(taken(self.me), 1));
    }

    fn announcing(&self, what: u64) -> Announced {
        let slot = self.aside("take a slot", what, |live| {
            let used = &mut live.state.processes[self.me].slots;
            let index = used.trailing_ones();
            assert!(u64::from(index) < Self::SLOTS, "no slot left");
            *used |= 1 << index;
            slots(self.me) + 8 * u64::from(index)
        });
        Announced { lane: self.me as u32, slot }
    }
}

impl World for Sim<'_> {
    const SLOTS: u64 = 3;

    fn load_32(&self, at: u64) -> Result<u32> {
        Ok(self.load(at, 4) as u32)
    }

    fn store_32(&self, at: u64, value: u32) -> Result<()> {
        self.store(Store { at, size: 4, value: value.into() });
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

    fn store_64(&self, at: u64, value: u64) -> Result<()> {
        self.store(Store { at, size: 8, value });
        Ok(())
    }

    fn swap_64(&self, at: u64, value: u64) -> Result<u64> {
        Ok(self.swap(at, 8, value))
    }

    fn compare_exchange_64(&self, at: u64, current: u64, new: u64) -> Result<u64> {
        Ok(self.compare_exchange(at, 8, current, new))
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        for (index, word) in into.chunks_mut(4).enumerate() {
            let value = self.load_32(at + 4 * index as u64)?.to_le_bytes();
            word.copy_from_slice(&value[..word.len()]);
        }
        Ok(())
    }

    fn write(&self, at: u64, from: &[u8]) -> Result<()> {
        for (index, word) in from.chunks(4).enumerate() {
            let mut value = [0; 4];
            value[..word.len()].copy_from_slice(word);
            self.store_32(at + 4 * index as u64, u32::from_le_bytes(value))?;
        }
        Ok(())
    }

    fn lanes(&self) -> u32 {
        self.setup.programs.len() as u32
    }

    fn slots(&self, lane: u32) -> u64 {
        slots(lane as usize)
    }

    fn is_own(&self, lane: u32) -> bool {
        lane as usize == self.me
    }

    fn announce(&self, what: u64) -> Result<Announced> {
        let announced = self.announcing(what);
        if self.setup.fault != Fault::NoAnnouncement {
            self.store_64(announced.slot, what)?;
        }
        Ok(announced)
    }

    fn announce_first(&self, what: u64) -> Result<Announced> {
        let announced = self.announcing(what);
        if self.setup.fault == Fault::PlainAnnouncement {
            self.store_64(announced.slot, what)?;
        } else if self.setup.fault != Fault::NoAnnouncement {
            self.swap_64(announced.slot, what)?;
        }
        Ok(announced)
    }

    fn announced(&self, what: u64) -> Result<Option<Announced>> {
        let slot = self.aside("own slots", what, |live| {
            for index in 0..Self::SLOTS {
                let slot = slots(self.me) + 8 * index;
                let used = live.state.processes[self.me].slots >> index & 1 != 0;
                if used && live.state.load(self.setup.watch, self.me, slot, 8) == what {
                    return slot + 1;
                }
            }
            0
        });
        Ok((slot != 0).then(|| Announced { lane: self.me as u32, slot: slot - 1 }))
    }

    fn withdraw(&self, announced: Announced) -> Result<()> {
        self.store_64(announced.slot, 0)?;
        self.aside("free a slot", announced.slot, |live| {
            let index = (announced.slot - slots(self.me)) / 8;
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
        // Not at one moment: each processor in turn, and only those that held something back.
        let mut waiting = self.turn("fence", 0, |live| {
            live.state.drain(watch, self.me);
            let full = |process: &super::state::Process| !process.buffer.is_empty();
            let each = live.state.processes.iter().map(full);
            Some(each.enumerate().map(|(index, full)| u64::from(full) << index).sum())
        });
        while waiting != 0 {
            let other = waiting.trailing_zeros() as usize;
            self.turn("fence", other as u64, |live| {
                live.state.drain(watch, other);
                Some(0)
            });
            waiting &= waiting - 1;
        }
        true
    }

    fn wait(&self, at: u64, expected: u32, _at_most: Duration) -> Result<()> {
        let watch = self.setup.watch;
        self.turn("wait", at, |live| {
            live.state.drain(watch, self.me);
            if live.state.peek_32(at) == expected {
                live.state.processes[self.me].asleep = Some(at);
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
            let asleep = |process: &super::state::Process| process.asleep == Some(at);
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

    fn spin(&self, _turn: u32) -> bool {
        false
    }

    fn settle(&self, lane: u32) -> Result<Settled> {
        let (watch, lane) = (self.setup.watch, lane as usize);
        let won = self.turn("probe", lane as u64, |live| {
            live.state.drain(watch, self.me);
            if live.state.locks[lane] != 0 {
                return Some(0);
            }
            live.state.locks[lane] = self.me as u8 + 1;
            Some(1)
        });
        if won == 0 {
            return Ok(Settled::Alive);
        }
        self.recover(lane)?;
        self.turn("let go", lane as u64, |live| {
            live.state.drain(watch, self.me);
            live.state.locks[lane] = 0;
            Some(0)
        });
        Ok(Settled::Recovered)
    }

    fn settle_rarely(&self, lane: u32) -> Result<Settled> {
        self.settle(lane)
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
