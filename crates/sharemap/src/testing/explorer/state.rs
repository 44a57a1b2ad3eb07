//! The state of the simulated system at one moment.

use std::collections::VecDeque;

use super::memory::Memory;
use crate::sync::core::word::{DIED, LANE as LANE_MASK, POISONED, UPGRADABLE, owner};

/// The length of the shared object, unless a setup says more: lanes, then locks, then participants.
pub(crate) const MEMORY: usize = 272;
/// The offset of the lock under test.
pub(crate) const LOCK: u64 = 128;
/// The offset of the participants' records: a word each, which is 1 while the record is in use.
const RECORDS: u64 = 256;
pub(crate) const MAX_PROCESSES: usize = 3;
/// The number of slots in a lane.
pub(crate) const SLOTS: u64 = 3;
/// The length of a lane: the slots, and the number of the owning participant + 1.
const LANE: u64 = 32;
const TAKEN: u64 = 24;
/// The largest number of stores in a processor's buffer, unless a setup says otherwise.
pub(crate) const BUFFER: usize = 8;

/// Returns the offset of a lane's first slot.
pub(crate) fn slots(lane: usize) -> u64 {
    lane as u64 * LANE
}

/// Returns the offset of a lane's owner.
pub(crate) fn taken(lane: usize) -> u64 {
    lane as u64 * LANE + TAKEN
}

/// Returns the lane of a slot.
pub(crate) fn lane_at(slot: u64) -> usize {
    (slot / LANE) as usize
}

/// Returns `true` if `at` is the offset of a slot.
pub(crate) fn is_slot(at: u64) -> bool {
    at < LOCK && at % LANE != TAKEN
}

/// Returns the offset of a participant's record.
pub(crate) fn record(participant: usize) -> u64 {
    RECORDS + 4 * participant as u64
}

/// A store of 4 or 8 bytes; of none: a fence between stores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Store {
    pub(crate) at: u64,
    pub(crate) size: u8,
    pub(crate) value: u64,
    /// Not a release store: it may reach memory before the stores before it.
    pub(crate) plain: bool,
}

impl Store {
    /// A fence between stores.
    pub(crate) const FENCE: Self = Self { at: 0, size: 0, value: 0, plain: false };

    /// Returns a release store.
    pub(crate) fn new(at: u64, size: u8, value: u64) -> Self {
        Self { at, size, value, plain: false }
    }

    /// Returns `true` if this store has a byte in common with the `size` bytes at `at`.
    fn meets(self, at: u64, size: u8) -> bool {
        self.at < at + u64::from(size) && at < self.at + u64::from(self.size)
    }
}

/// The values that a program keeps from one of its steps to the next.
pub(crate) type Carry = [u64; 4];

/// A simulated process.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) alive: bool,
    pub(crate) done: bool,
    /// The process replaces a killed one, and has not attached yet.
    pub(crate) newcomer: bool,
    pub(crate) step: u32,
    pub(crate) carry: Carry,
    /// The results of the operations of the current step, which a repeated run of the step gets again.
    pub(crate) log: Vec<u64>,
    pub(crate) buffer: VecDeque<Store>,
    /// A store that is delayed until after another one, by a planted fault.
    pub(crate) delayed: Option<Store>,
    /// The number of stores that changed memory, in setups without buffers.
    pub(crate) stores: u32,
    /// The offset of the last of them.
    pub(crate) stored: u64,
    /// The memory as it was when a copy out of it began, with no fence between loads since. Loads since may have been
    /// made then.
    pub(crate) early: Option<Memory>,
    pub(crate) asleep: Option<u64>,
    /// The sleep is so short that it may end by its timeout.
    pub(crate) is_brief: bool,
    /// The word whose change ends the sleep.
    pub(crate) watched: Option<u64>,
    /// The lane that the process owns.
    pub(crate) lane: Option<u8>,
    /// The slots that the process itself has noted as used, as bits.
    pub(crate) slots: u8,
}

impl Process {
    pub(crate) fn new() -> Self {
        Self {
            alive: true,
            done: false,
            newcomer: false,
            step: 0,
            carry: [0; 4],
            log: Vec::new(),
            buffer: VecDeque::new(),
            delayed: None,
            stores: 0,
            stored: 0,
            early: None,
            asleep: None,
            is_brief: false,
            watched: None,
            lane: None,
            slots: 0,
        }
    }

    pub(crate) fn is_asleep(&self) -> bool {
        self.asleep.is_some() || self.watched.is_some()
    }

    pub(crate) fn can_step(&self) -> bool {
        self.alive && !self.done && !self.is_asleep()
    }
}

/// The knowledge of the checks, which processes cannot see.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ghost {
    /// How each process holds the lock; 0: it does not.
    pub(crate) inside: [u8; MAX_PROCESSES],
    /// An owner died, and no owner that was told has released the word since.
    pub(crate) owed: bool,
    /// The last release of the word poisoned the value.
    pub(crate) poisoned: bool,
    /// The number of values that were made current.
    pub(crate) commits: u32,
    /// Counters of the test.
    pub(crate) count: [u32; 4],
}

#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) memory: Memory,
    pub(crate) processes: Vec<Process>,
    /// The kernel locks on the participants' slots: the holding process + 1.
    pub(crate) locks: [u8; MAX_PROCESSES],
    pub(crate) ghost: Ghost,
    pub(crate) stalls: u8,
    pub(crate) deaths: u8,
    pub(crate) kills: u8,
    pub(crate) newcomers: u8,
    pub(crate) expiries: u8,
    /// The process that made the last step.
    pub(crate) last: u8,
    /// How often a process that could continue was preempted.
    pub(crate) preemptions: u8,
    /// The largest number of stores in each buffer. Constant.
    pub(crate) most_buffered: usize,
}

/// The words that the checks follow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watch {
    /// A lock word. The death of an owner that it names must be reported to the next owner.
    pub(crate) word: Option<u64>,
    /// A selector. Each store to it makes a value current.
    pub(crate) selector: Option<u64>,
}

impl State {
    /// Returns two hashes of the whole state. Different states hardly ever have equal hashes.
    pub(crate) fn fingerprint(&self) -> u128 {
        let mut hash = (0x9e37_79b9_7f4a_7c15_u64, 0xc2b2_ae3d_27d4_eb4f_u64);
        let mut number = |n: u64| {
            hash.0 = (hash.0 ^ n).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29);
            hash.1 = (hash.1.rotate_left(31) ^ n).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        };
        let (first, second) = self.memory.hash();
        number(first);
        number(second);
        for process in &self.processes {
            number(
                u64::from(process.alive)
                    | u64::from(process.done) << 1
                    | u64::from(process.newcomer) << 2
                    | u64::from(process.delayed.is_some()) << 3
                    | u64::from(process.is_brief) << 12
                    | u64::from(process.lane.map_or(0, |lane| lane + 1)) << 4
                    | u64::from(process.slots) << 8
                    | u64::from(process.step) << 16,
            );
            process.carry.iter().for_each(|&n| number(n));
            number(process.log.len() as u64);
            process.log.iter().for_each(|&n| number(n));
            number(process.buffer.len() as u64);
            for store in process.buffer.iter().chain(&process.delayed) {
                number(store.at << 8 | u64::from(store.size) | u64::from(store.plain) << 4);
                number(store.value);
            }
            number(process.stores.into());
            number(process.early.as_ref().map_or(1, |memory| memory.hash().0));
            number(process.asleep.or(process.watched).map_or(0, |at| at + 1));
        }
        let bytes = |bytes: &[u8]| bytes.iter().fold(0, |all, &byte| all << 8 | u64::from(byte));
        number(bytes(&self.locks));
        number(
            bytes(&self.ghost.inside) << 8
                | u64::from(self.ghost.owed)
                | u64::from(self.ghost.poisoned) << 1,
        );
        number(self.ghost.commits.into());
        self.ghost.count.iter().for_each(|&n| number(n.into()));
        number(bytes(&[self.stalls, self.deaths, self.kills, self.newcomers, self.expiries]));
        number(bytes(&[self.last, self.preemptions]));
        u128::from(hash.0 ^ hash.0 >> 32) | u128::from(hash.1 ^ hash.1 >> 29) << 64
    }

    fn peek(&self, at: u64, size: u8) -> u64 {
        self.memory.load(at, size)
    }

    /// Returns the word in memory. Buffered stores are ignored.
    pub(crate) fn peek_32(&self, at: u64) -> u32 {
        self.peek(at, 4) as u32
    }

    pub(crate) fn peek_64(&self, at: u64) -> u64 {
        self.peek(at, 8)
    }

    pub(crate) fn set_32(&mut self, at: u64, value: u32) {
        self.memory.store(at, 4, value.into());
    }

    /// Returns the live process that, according to memory, owns the lane that the word names.
    fn owner(&self, word: u32) -> Option<usize> {
        let lane = owner(word)?;
        let process = self.peek_32(taken(lane as usize)).checked_sub(1)? as usize;
        let each = &self.processes[process];
        (each.alive && !each.newcomer).then_some(process)
    }

    /// Executes a store in memory, and updates the knowledge of the checks.
    pub(crate) fn commit(&mut self, watch: Watch, store: Store) {
        if store.size == 0 {
            return;
        }
        if watch.word == Some(store.at) {
            let new = store.value as u32;
            if new & (LANE_MASK | DIED) == 0 {
                self.ghost.owed = false;
            }
            if new & LANE_MASK == 0 && self.owner(self.peek_32(store.at)).is_some() {
                self.ghost.poisoned = new & POISONED != 0;
            }
        }
        if watch.selector == Some(store.at) {
            self.ghost.commits += 1;
        }
        self.memory.store(store.at, store.size, store.value);
        for process in &mut self.processes {
            if process.watched == Some(store.at) {
                process.watched = None;
                process.log.push(0);
            }
        }
    }

    /// Executes the oldest buffered store of a process.
    pub(crate) fn drain_one(&mut self, watch: Watch, process: usize) {
        if let Some(store) = self.processes[process].buffer.pop_front() {
            self.commit(watch, store);
        }
    }

    /// Returns the positions in a process's buffer of the stores that may reach memory next: the oldest, and each
    /// plain one that no fence and no store of the same bytes precedes.
    pub(crate) fn drainable(&self, process: usize) -> impl Iterator<Item = u8> + '_ {
        let buffer = &self.processes[process].buffer;
        (0..buffer.len())
            .filter(|&index| {
                let store = buffer[index];
                let holds = |before: &Store| before.size == 0 || before.meets(store.at, store.size);
                index == 0 || store.plain && !buffer.range(..index).any(holds)
            })
            .map(|index| index as u8)
    }

    /// Executes the buffered store at a position in the buffer of a process.
    pub(crate) fn drain_at(&mut self, watch: Watch, process: usize, index: usize) {
        if let Some(store) = self.processes[process].buffer.remove(index) {
            self.commit(watch, store);
        }
    }

    /// Executes all buffered stores of a process.
    pub(crate) fn drain(&mut self, watch: Watch, process: usize) {
        while !self.processes[process].buffer.is_empty() {
            self.drain_one(watch, process);
        }
    }

    /// Adds a plain store to the buffer of a process.
    pub(crate) fn buffer(&mut self, watch: Watch, process: usize, store: Store) {
        if self.most_buffered == 0 {
            self.drain(watch, process);
            return self.commit(watch, store);
        }
        if self.processes[process].buffer.len() == self.most_buffered {
            self.drain_one(watch, process);
        }
        self.processes[process].buffer.push_back(store);
    }

    /// Returns what the process loads: its own last buffered store, or memory.
    pub(crate) fn load(&mut self, watch: Watch, process: usize, at: u64, size: u8) -> u64 {
        let each = &self.processes[process];
        for store in each.delayed.iter().chain(each.buffer.iter().rev()) {
            if store.at == at && store.size == size {
                return store.value;
            }
            if store.meets(at, size) {
                // A store of another size is not forwarded: the processor waits for its buffer.
                self.drain(watch, process);
                break;
            }
        }
        self.peek(at, size)
    }

    /// Kills the process after `retired` of its buffered stores have been executed.
    pub(crate) fn kill(&mut self, watch: Watch, process: usize, retired: usize) {
        for _ in 0..retired {
            self.drain_one(watch, process);
        }
        if let Some(at) = watch.word {
            let word = self.peek_32(at);
            if self.owner(word) == Some(process) && word & UPGRADABLE == 0 {
                self.ghost.owed = true;
            }
        }
        self.processes[process] = Process { alive: false, ..Process::new() };
        self.ghost.inside[process] = 0;
        for lock in &mut self.locks {
            if *lock == process as u8 + 1 {
                *lock = 0;
            }
        }
        self.deaths += 1;
        self.kills -= 1;
    }
}
