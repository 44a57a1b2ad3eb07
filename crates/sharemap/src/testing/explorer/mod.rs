//! The explorer: a model checker that runs the algorithms, as they are written, in every order.
//!
//! Two or three simulated processes share a few bytes. Each event is one operation of the [`Machine`].
//! Stores wait in buffers, and reach memory when the explorer chooses (total store order). A sleeper
//! wakes when it is woken. If no other event is possible, all sleepers time out, which counts as a
//! missed wake-up unless a process died. A process may be killed at any operation, with any number of its
//! buffered stores executed, and a newcomer may replace it. Survivors recover what it held, and may be
//! killed as well.
//!
//! A search visits every state once, and then checks that the end can be reached from each. States are equal
//! if memory, buffers, and the results of each process since its step began are equal. A setup with too
//! many states is walked at random; a walk that fails prints its seed.
//!
//! The short form searches a part of the states, with a bound on preemptions. The long form searches to the
//! end:
//!
//! ```text
//! SHAREMAP_LONG=1 cargo test --release -p sharemap --lib explorer -- --nocapture
//! ```
//!
//! Faults are planted in the machine, not in the algorithms. Each must be found, which shows that the checks
//! are strong enough.
//!
//! [`Machine`]: crate::peer::Machine

pub(crate) mod lanes;
pub(crate) mod machine;
mod memory;
pub(crate) mod search;
pub(crate) mod sim;
pub(crate) mod state;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

pub(crate) use lanes::Lanes;
use memory::Memory;
use sim::{Live, Sim, Suspended};
use state::{Carry, Ghost, MAX_PROCESSES, Process, State, Watch};

/// A planted fault for the explorer to find. Numbers are offsets of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// A store to the word is lost.
    DropStore(u64),
    /// The store to the first word is issued after the store to the second.
    SwapStores(u64, u64),
    /// A fence returns success, but drains no buffer.
    NoFence,
    /// A wake at the word wakes no sleeper.
    NoWake(u64),
    /// Each wake wakes at most one sleeper.
    WakeOne,
    /// Setting bits in the word stores nothing.
    NoRegistration(u64),
    /// The gate is cleared without advancing its sequence.
    NoSequence(u64),
    /// A swap of the word is a load and a store.
    PlainSwap(u64),
    /// A compare-and-exchange of the word is a load and a store.
    Torn(u64),
    /// A compare-and-exchange of the word stores nothing.
    Lost(u64),
    /// A compare-and-exchange of a slot stores nothing, so changes are not witnessed.
    NoWitness,
    /// Announcements are not stored.
    NoAnnouncement,
    /// Announcements that must be exchanges are plain stores.
    PlainAnnouncement,
    /// Announcements are stored after the word is acquired.
    LateAnnouncement,
    /// What is loaded after a word is acquired, or after it admits a reader, is loaded before.
    EarlyLoad,
    /// Recovery clears announcements, but releases nothing.
    NoRecovery,
    /// Two processes may recover the same participant at the same time.
    RecoversUnlocked,
    /// Recovery frees a lane before it releases what the lane announces.
    FreesLaneFirst,
    /// A newcomer does not recover the dead participant that it replaces.
    TakesOverUnrecovered,
    /// A compare-and-exchange of the word clears the poison flag.
    ForgetsPoison(u64),
    /// A store of 8 bytes to the word is split into two of 4.
    SplitStore(u64),
    /// Stores of 8 bytes from the first word to the second leave all but the low 16 bits as they are.
    KeepHigh(u64, u64),
    /// Stores to the word keep only some bits of a counter in it: the bits that are the counter, and those kept.
    Wraps(u64, u64, u64),
    /// The store with the number of this process is lost. Counts stores that change memory, without buffers.
    DropNumber(usize, u32),
    /// The store with the number of this process is issued after the next.
    SwapNumbers(usize, u32),
    /// A process looks only once at the first word until it loads the second.
    LooksOnce(usize, u64, u64),
    /// A process finds a value in the word, whatever it has.
    Constant(usize, u64, u64),
    /// Fences between loads do nothing.
    NoLoadFence,
    /// Fences between stores do nothing.
    NoStoreFence,
}

/// The order in which other processes see the operations of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Loads are made in order, and stores reach memory in order.
    Total,
    /// Copies of bytes are neither acquire loads nor release stores: later loads may be made before a copy out of
    /// memory ends, and a copy into memory may be seen before earlier stores, unless a fence is between them.
    Weak,
}

/// One step of a process; returns `false` after the last. Only the carry survives from step to step.
pub(crate) type Program = fn(&Sim<'_>, u32, &mut Carry) -> bool;

/// Recovers the announcement of a dead lane in a slot: the slot, the announcement, the lane.
pub(crate) type Recover = for<'a> fn(&Sim<'a>, u64, u64, u32) -> crate::error::Result<()>;

/// What the explorer runs: programs, planted fault, deaths, bounds and checks.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) programs: Vec<Program>,
    pub(crate) watch: Watch,
    /// Which processes release locks by plain stores.
    pub(crate) registered: [bool; MAX_PROCESSES],
    /// Which processes can fence.
    pub(crate) fences: [bool; MAX_PROCESSES],
    pub(crate) fault: Fault,
    pub(crate) lanes: Lanes,
    /// How many processes may be killed.
    pub(crate) kills: u8,
    /// How many processes, the first ones, are dead from the beginning: after the first operation of each.
    pub(crate) dead: usize,
    /// How many killed processes may be replaced.
    pub(crate) newcomers: u8,
    /// How often a deadline may be found to have passed.
    pub(crate) expiries: u8,
    /// The milliseconds that seem to pass between two queries of the clock.
    pub(crate) pace: u32,
    /// How often all processes may have to wait for a timeout without a death.
    pub(crate) stalls: u8,
    /// Sleeps of at most this may end by their timeouts, at any moment: an algorithm lets them miss their wakes. By
    /// default, none may.
    pub(crate) brief: Duration,
    /// How often a process that can continue may be preempted by another; `None` for no bound.
    pub(crate) preemptions: Option<u8>,
    /// A smaller bound on preemptions for the long form than that of [`Setup::long`].
    pub(crate) long: Option<u8>,
    /// Which processes may be killed.
    pub(crate) killable: [bool; MAX_PROCESSES],
    /// The slots that each process uses from the beginning, as bits.
    pub(crate) slots: u8,
    /// Initial words.
    pub(crate) words: Vec<(u64, u32)>,
    /// The check of each final state.
    pub(crate) last: fn(&State) -> Result<(), String>,
    /// The length of the shared memory.
    pub(crate) memory: usize,
    /// The shared memory at the beginning; `None`: zeros. A slot of a process or a lane in it is not looked at.
    pub(crate) image: Option<Rc<[u8]>>,
    /// The largest number of stores in each processor's buffer.
    pub(crate) buffer: usize,
    pub(crate) order: Order,
    /// Returns `true` if no other process stores the word at an offset while a process lives. It may then load the word
    /// at any moment.
    pub(crate) private: fn(usize, u64) -> bool,
    /// Releases what a dead lane announces in a slot.
    pub(crate) recover: Recover,
}

impl Setup {
    pub(crate) fn new(programs: &[Program]) -> Self {
        Self {
            programs: programs.to_vec(),
            watch: Watch::default(),
            registered: [true; MAX_PROCESSES],
            fences: [true; MAX_PROCESSES],
            fault: Fault::None,
            lanes: Lanes::Fixed,
            kills: 0,
            dead: 0,
            newcomers: 0,
            expiries: 0,
            pace: 0,
            stalls: 0,
            brief: Duration::ZERO,
            preemptions: None,
            long: None,
            killable: [true; MAX_PROCESSES],
            slots: 0,
            words: Vec::new(),
            last: |_| Ok(()),
            memory: state::MEMORY,
            image: None,
            buffer: state::BUFFER,
            order: Order::Total,
            private: |_, _| false,
            recover: |sim, slot, what, lane| crate::sync::recover_lock(sim, slot, what, lane),
        }
    }

    /// Returns this setup without a bound on preemptions.
    pub(crate) fn free(&self) -> Self {
        Self { preemptions: None, ..self.clone() }
    }

    /// Returns this setup for the long form: without a bound on preemptions for two processes that are
    /// not replaced, and with a bound for three processes or newcomers.
    fn long(&self) -> Self {
        let bound = match (self.programs.len(), self.newcomers) {
            (0..=2, 0) => None,
            (_, 0) => Some(3),
            _ => Some(2),
        };
        Self { preemptions: bound.into_iter().chain(self.long).min(), ..self.clone() }
    }

    /// Returns the lane that a process has from the beginning.
    fn first_lane(&self, process: usize) -> Option<u8> {
        (self.lanes == Lanes::Fixed).then_some(process as u8)
    }

    /// Returns the state before any event: each process is about to make its first operation.
    fn initial(&self) -> State {
        let mut state = State {
            memory: Memory::new(match &self.image {
                Some(image) => image.clone(),
                None => vec![0; self.memory].into(),
            }),
            processes: self.programs.iter().map(|_| Process::new()).collect(),
            locks: [0; MAX_PROCESSES],
            ghost: Ghost::default(),
            stalls: 0,
            deaths: 0,
            kills: self.kills,
            newcomers: self.newcomers,
            expiries: self.expiries,
            last: u8::MAX,
            preemptions: 0,
            most_buffered: self.buffer,
        };
        for (index, _) in self.programs.iter().enumerate() {
            state.locks[index] = index as u8 + 1;
            state.set_32(state::record(index), 1);
            state.processes[index].lane = self.first_lane(index);
            if self.lanes == Lanes::Fixed {
                state.set_32(state::taken(index), index as u32 + 1);
            }
        }
        for process in &mut state.processes {
            process.slots = self.slots;
        }
        for &(at, value) in &self.words {
            state.set_32(at, value);
        }
        for index in 0..self.programs.len() {
            let (next, _, violation) = self.step(state, index, 0, true, &mut None);
            assert_eq!(violation, None);
            state = next;
        }
        for index in 0..self.dead {
            let retired = state.processes[index].buffer.len();
            state.kills += 1;
            state.kill(self.watch, index, retired);
        }
        state
    }

    /// Runs a process for one operation, and for the operations after it that are visible only to itself.
    /// Returns the next state, the number of possible outcomes, and the violation, if any.
    fn step(
        &self,
        state: State,
        process: usize,
        variant: usize,
        spent: bool,
        trace: &mut Option<Vec<String>>,
    ) -> (State, usize, Option<String>) {
        let live = Live {
            state,
            cursor: 0,
            spent,
            variant,
            variants: 1,
            violation: None,
            trace: trace.take(),
        };
        let sim = Sim {
            setup: self,
            me: process,
            live: RefCell::new(live),
            passed: Cell::new(0),
            late: Cell::new(None),
            owed: Cell::new(false),
            looked: Cell::new(None),
        };
        loop {
            let (newcomer, step, mut carry) = {
                let mut live = sim.live.borrow_mut();
                live.cursor = 0;
                let process = &live.state.processes[process];
                (process.newcomer, process.step, process.carry)
            };
            let run = catch_unwind(AssertUnwindSafe(|| {
                if newcomer {
                    sim.attach();
                    return true;
                }
                (self.programs[process])(&sim, step, &mut carry)
            }));
            let mut live = sim.live.borrow_mut();
            let process = &mut live.state.processes[process];
            match run {
                Ok(more) => {
                    process.log.clear();
                    process.carry = carry;
                    if newcomer {
                        process.newcomer = false;
                    } else {
                        process.step += 1;
                    }
                    process.done = !more;
                    if more {
                        continue;
                    }
                }
                Err(left) if left.is::<Suspended>() => {}
                Err(panic) => {
                    let text = panic
                        .downcast_ref::<String>()
                        .cloned()
                        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                    live.violation = Some(text.unwrap_or_else(|| "a panic".to_owned()));
                }
            }
            break;
        }
        let live = sim.live.into_inner();
        *trace = live.trace;
        (live.state, live.variants, live.violation)
    }
}

/// A possible transition from one state to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Step { process: u8, variant: u8 },
    Drain { process: u8, index: u8 },
    Kill { process: u8, retired: u8 },
    Newcomer { process: u8 },
    Timeouts,
}

impl Setup {
    /// Applies one event. Returns the next state, the number of possible outcomes, and the violation, if any.
    fn apply(
        &self,
        from: &State,
        event: Event,
        trace: &mut Option<Vec<String>>,
    ) -> (State, usize, Option<String>) {
        let mut state = from.clone();
        match event {
            Event::Step { process, variant } => {
                if self.preemptions.is_some() {
                    let last = usize::from(state.last);
                    let could = state.processes.get(last).is_some_and(Process::can_step);
                    state.preemptions += u8::from(could && state.last != process);
                    state.last = process;
                }
                return self.step(state, process.into(), variant.into(), false, trace);
            }
            Event::Drain { process, index } => {
                state.drain_at(self.watch, process.into(), index.into());
            }
            Event::Kill { process, retired } => {
                state.kill(self.watch, process.into(), retired.into());
            }
            Event::Newcomer { process } => {
                state.newcomers -= 1;
                let index = usize::from(process);
                state.locks[index] = process + 1;
                state.processes[index] =
                    Process { newcomer: true, lane: self.first_lane(index), ..Process::new() };
                return self.step(state, index, 0, true, trace);
            }
            Event::Timeouts => {
                let is_brief = |process: &Process| process.asleep.is_some() && process.is_brief;
                let some_are = state.processes.iter().any(is_brief);
                state.stalls += u8::from(!some_are);
                for process in &mut state.processes {
                    if some_are && !is_brief(process) {
                        continue;
                    }
                    if process.asleep.take().or(process.watched.take()).is_some() {
                        process.log.push(0);
                    }
                }
                if state.stalls > self.stalls + 4 * state.deaths {
                    let missed = "a wake-up was missed: all processes sleep".to_owned();
                    return (state, 1, Some(missed));
                }
            }
        }
        if let Some(trace) = trace {
            trace.push(format!("{event:?}"));
        }
        (state, 1, None)
    }

    /// Returns the possible events, each with its first outcome.
    fn events(&self, state: &State) -> Vec<Event> {
        let mut events = Vec::new();
        let bound = self.preemptions.is_some_and(|most| state.preemptions >= most);
        let last = state.processes.get(usize::from(state.last));
        let stay = bound && last.is_some_and(Process::can_step);
        for (process, each) in (0..).zip(&state.processes) {
            if each.can_step() && (!stay || state.last == process) {
                events.push(Event::Step { process, variant: 0 });
            }
            let drainable = state.drainable(process.into());
            events.extend(drainable.map(|index| Event::Drain { process, index }));
        }
        // Brief sleeps may end at any moment, others if nothing else can happen.
        let is_asleep = |process: &Process| process.is_asleep();
        let brief = state.processes.iter().any(|process| is_asleep(process) && process.is_brief);
        if brief || events.is_empty() && state.processes.iter().any(is_asleep) {
            events.push(Event::Timeouts);
        }
        for (process, each) in (0..).zip(&state.processes) {
            let index = usize::from(process);
            if state.kills > 0 && self.killable[index] && each.alive && !each.done {
                for retired in 0..=each.buffer.len() as u8 {
                    events.push(Event::Kill { process, retired });
                }
            }
            if state.newcomers > 0 && !each.alive && state.locks[index] == 0 {
                events.push(Event::Newcomer { process });
            }
        }
        events
    }

    /// Returns `true` if all processes are done or dead, and all stores have reached memory.
    fn is_end(&self, state: &State) -> bool {
        state.processes.iter().all(|each| (each.done || !each.alive) && each.buffer.is_empty())
    }
}
