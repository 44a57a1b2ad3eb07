//! Runs the algorithms as they are written, in every order.
//!
//! Two or three simulated processes share a few bytes. Each step is one operation of the world; stores
//! wait in buffers and reach memory when the explorer says so (total store order); a sleeper wakes
//! when it is woken, or when nothing else can happen at all, which is a missed wake-up unless somebody
//! died. A process may be killed at any step, with any number of its buffered stores executed, and a
//! newcomer may take its place; what it leaves is recovered by survivors, who may be killed as well.
//!
//! A search visits every state once (equal states: same memory, buffers, and results of what each
//! process did since its step began), and then asks whether the end can be reached from each. What is
//! too large for that is walked at random; a walk that fails prints its seed.
//!
//! The short form searches a part, within a bound on preemptions; the long form to the end:
//!
//! ```text
//! SHAREMAP_LONG=1 cargo test --release -p sharemap --lib sync::explorer -- --nocapture
//! ```
//!
//! Nothing in the algorithms knows of it: planted faults are the world's.

mod barrier;
mod clean_flag;
mod condvar;
mod counting_semaphore;
mod event;
mod lanes;
mod machine;
mod mutex;
mod once;
mod poison;
mod rwlock;
mod search;
mod semaphore;
mod sim;
mod state;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

use lanes::Lanes;
use sim::{Live, Sim, Suspended};
use state::{Carry, Ghost, MAX_PROCESSES, Process, State, Watch};

/// A bug for the explorer to find. Numbers are offsets of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    DropStore(u64),
    /// The first is issued after the second.
    SwapStores(u64, u64),
    NoFence,
    NoWake(u64),
    WakeOne,
    NoRegistration(u64),
    /// A gate is cleared without advancing.
    NoSequence(u64),
    /// An exchange is a load and a store.
    PlainSwap(u64),
    /// An exchange on condition is a load and a store.
    Torn(u64),
    /// An exchange on condition stores nothing.
    Lost(u64),
    /// Nothing is exchanged in another's slot.
    NoWitness,
    NoAnnouncement,
    PlainAnnouncement,
    NoRecovery,
    /// Two may recover the same participant at once.
    RecoversUnlocked,
    /// A lane of the dead is free before what it announces is released.
    FreesLaneFirst,
    /// Who takes a dead participant's place leaves what it held.
    TakesOverUnrecovered,
    /// An exchange on condition loses that the value is poisoned.
    ForgetsPoison(u64),
    /// A store of 8 bytes is split into two of 4.
    SplitStore(u64),
}

/// One step of a process; `false` when it has no further. It keeps nothing but the carry.
type Program = fn(&Sim<'_>, u32, &mut Carry) -> bool;

#[derive(Clone)]
struct Setup {
    programs: Vec<Program>,
    watch: Watch,
    /// Of whose process stores release plainly.
    registered: [bool; MAX_PROCESSES],
    /// Whose fence works.
    fences: [bool; MAX_PROCESSES],
    fault: Fault,
    lanes: Lanes,
    kills: u8,
    newcomers: u8,
    /// How often a deadline may turn out to have passed.
    expiries: u8,
    /// Milliseconds that seem to pass from one look at the clock to the next.
    pace: u32,
    /// How often everybody may have to wait for a timeout although nobody died.
    stalls: u8,
    /// How often a process that could go on may be left for another; `None`: any number of times.
    preemptions: Option<u8>,
    /// The same in the long form, if it is less than [`Setup::long`] says.
    long: Option<u8>,
    /// Which may be killed.
    killable: [bool; MAX_PROCESSES],
    /// Slots that each process uses from the beginning, as bits.
    slots: u8,
    /// Initial words.
    words: Vec<(u64, u32)>,
    /// What must hold in the end.
    last: fn(&State) -> Result<(), String>,
}

impl Setup {
    fn new(programs: &[Program]) -> Self {
        Self {
            programs: programs.to_vec(),
            watch: Watch::default(),
            registered: [true; MAX_PROCESSES],
            fences: [true; MAX_PROCESSES],
            fault: Fault::None,
            lanes: Lanes::Fixed,
            kills: 0,
            newcomers: 0,
            expiries: 0,
            pace: 0,
            stalls: 0,
            preemptions: None,
            long: None,
            killable: [true; MAX_PROCESSES],
            slots: 0,
            words: Vec::new(),
            last: |_| Ok(()),
        }
    }

    /// The same without a bound on preemptions.
    fn free(&self) -> Self {
        Self { preemptions: None, ..self.clone() }
    }

    /// The same for the long form: two processes in every order, as long as nobody replaces one who
    /// was killed; three, and those who are replaced, with some preemptions.
    fn long(&self) -> Self {
        let bound = match (self.programs.len(), self.newcomers) {
            (0..=2, 0) => None,
            (_, 0) => Some(3),
            _ => Some(2),
        };
        Self { preemptions: bound.into_iter().chain(self.long).min(), ..self.clone() }
    }

    fn first_lane(&self, process: usize) -> Option<u8> {
        (self.lanes == Lanes::Fixed).then_some(process as u8)
    }

    fn initial(&self) -> State {
        let mut state = State {
            memory: [0; state::MEMORY],
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
            state.memory[at as usize..at as usize + 4].copy_from_slice(&value.to_le_bytes());
        }
        for index in 0..self.programs.len() {
            let (next, _, violation) = self.step(state, index, 0, true, &mut None);
            assert_eq!(violation, None);
            state = next;
        }
        state
    }

    /// Runs a process for one operation, and what follows it that only the process notices. Gives
    /// the number of outcomes that the operation might have had.
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
        let sim = Sim { setup: self, me: process, live: RefCell::new(live), passed: Cell::new(0) };
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

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Step { process: u8, variant: u8 },
    Drain { process: u8 },
    Kill { process: u8, retired: u8 },
    Newcomer { process: u8 },
    Timeouts,
}

impl Setup {
    /// Applies one event. `Err`: what it broke.
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
            Event::Drain { process } => state.drain_one(self.watch, process.into()),
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
                state.stalls += 1;
                for process in &mut state.processes {
                    if process.asleep.take().is_some() {
                        process.log.push(0);
                    }
                }
                if state.stalls > self.stalls + 4 * state.deaths {
                    let missed = "a wake-up was missed: everybody sleeps".to_owned();
                    return (state, 1, Some(missed));
                }
            }
        }
        if let Some(trace) = trace {
            trace.push(format!("{event:?}"));
        }
        (state, 1, None)
    }

    /// The events that may happen, first outcomes only.
    fn events(&self, state: &State) -> Vec<Event> {
        let mut events = Vec::new();
        let bound = self.preemptions.is_some_and(|most| state.preemptions >= most);
        let last = state.processes.get(usize::from(state.last));
        let stay = bound && last.is_some_and(Process::can_step);
        for (process, each) in (0..).zip(&state.processes) {
            if each.can_step() && (!stay || state.last == process) {
                events.push(Event::Step { process, variant: 0 });
            }
            if !each.buffer.is_empty() {
                events.push(Event::Drain { process });
            }
        }
        if events.is_empty() && state.processes.iter().any(|each| each.asleep.is_some()) {
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

    fn is_end(&self, state: &State) -> bool {
        state.processes.iter().all(|each| (each.done || !each.alive) && each.buffer.is_empty())
    }
}
