//! The simulated machine: the view that one process has of a [`State`].
//!
//! A process is a function. To continue it, the explorer runs it again from the start of its current step.
//! The results of earlier operations come from its log, one more operation is executed, and at the next
//! one the function is left by unwinding. Operations that other processes cannot observe (a store into
//! the own buffer, a query of the own lane) are executed together with the operation before them.

use std::cell::{Cell, RefCell};
use std::panic::resume_unwind;

use super::state::{Ghost, State, Store, is_slot};
use super::{Fault, Setup};
use crate::error::Result;
use crate::sync::core::word::POISONED;

/// The payload of the unwinding that suspends a process after its turn.
pub(crate) struct Suspended;

/// More operations than any step of a program has, in any order.
const LONGEST: usize = 2_000;

/// A time after every deadline, in seconds.
pub(crate) const LATE: u64 = 1 << 40;

/// The event that is being applied.
pub(crate) struct Live {
    pub(crate) state: State,
    /// The position in the log of the process.
    pub(crate) cursor: usize,
    /// The operation of this turn has been executed.
    pub(crate) spent: bool,
    /// The outcome of the operation to choose.
    pub(crate) variant: usize,
    /// The number of possible outcomes.
    pub(crate) variants: usize,
    pub(crate) violation: Option<String>,
    pub(crate) trace: Option<Vec<String>>,
}

/// The machine that one process runs on during one event.
pub(crate) struct Sim<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) me: usize,
    pub(crate) live: RefCell<Live>,
    /// The milliseconds that seem to have passed in this step.
    pub(crate) passed: Cell<u32>,
    /// The slot and the announcement that [`Fault::LateAnnouncement`] holds back.
    pub(crate) late: Cell<Option<(u64, u64)>>,
    /// Whether a death was to be reported when the first word of two was loaded.
    pub(crate) owed: Cell<bool>,
    /// What the word of [`Fault::LooksOnce`] was loaded as.
    pub(crate) looked: Cell<Option<u64>>,
}

impl Sim<'_> {
    /// Executes an operation that other processes can observe, or that observes them. Suspends the process if
    /// its turn is spent, or if `operation` returns `None`.
    pub(crate) fn turn(
        &self,
        name: &str,
        at: u64,
        operation: impl FnOnce(&mut Live) -> Option<u64>,
    ) -> u64 {
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

    /// Executes an operation that other processes cannot observe.
    pub(crate) fn aside(
        &self,
        name: &str,
        at: u64,
        operation: impl FnOnce(&mut Live) -> u64,
    ) -> u64 {
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

    /// Returns the logged result of the current operation, if it was executed in an earlier run.
    fn logged(&self, live: &mut Live) -> Option<u64> {
        let known = live.state.processes[self.me].log.get(live.cursor).copied();
        live.cursor += usize::from(known.is_some());
        known
    }

    /// Logs the result of an operation.
    fn log(&self, live: &mut Live, value: u64) -> u64 {
        let log = &mut live.state.processes[self.me].log;
        log.push(value);
        if log.len() > LONGEST {
            live.violation.get_or_insert("an operation does not end".to_owned());
        }
        live.cursor += 1;
        value
    }

    pub(crate) fn load(&self, at: u64, size: u8) -> u64 {
        let watch = self.setup.watch;
        let stale = match self.setup.fault {
            Fault::Constant(process, word, value) if (process, word) == (self.me, at) => {
                return value;
            }
            Fault::LooksOnce(process, word, _) if (process, word) == (self.me, at) => {
                self.looked.get()
            }
            _ => None,
        };
        let value = match stale {
            Some(value) => self.aside("look not again", at, |_| value),
            None if (self.setup.private)(self.me, at) => {
                self.aside("load of its own", at, |live| live.state.load(watch, self.me, at, size))
            }
            None => self.turn("load", at, |live| {
                let now = live.state.load(watch, self.me, at, size);
                let early = live.state.processes[self.me].early.as_ref();
                let before = early.map_or(now, |memory| memory.load(at, size));
                if before != now {
                    live.variants = 2;
                    if live.variant == 1 {
                        return Some(before);
                    }
                    live.state.processes[self.me].early = None;
                }
                Some(now)
            }),
        };
        if let Fault::LooksOnce(_, word, last) = self.setup.fault {
            if at == word {
                self.looked.set(Some(value));
            } else if at == last {
                self.looked.set(None);
            }
        }
        value
    }

    /// Returns `true` if the next operation is executed now, and finds no place in the buffer for a store.
    fn is_full(&self) -> bool {
        let live = self.live.borrow();
        let process = &live.state.processes[self.me];
        live.cursor == process.log.len() && process.buffer.len() >= live.state.most_buffered
    }

    pub(crate) fn store(&self, store: Store) {
        let execute = |live: &mut Live| {
            let watch = self.setup.watch;
            let state = &mut live.state;
            // The number of the store, among those that change memory.
            let is_change = state.most_buffered == 0
                && state.load(watch, self.me, store.at, store.size) != store.value;
            let number = is_change.then_some(state.processes[self.me].stores);
            if is_change {
                state.processes[self.me].stores += 1;
                state.processes[self.me].stored = store.at;
            }
            match self.setup.fault {
                Fault::DropStore(at) if at == store.at => {}
                Fault::DropNumber(process, dropped)
                    if process == self.me && number == Some(dropped) => {}
                Fault::SwapNumbers(process, first)
                    if process == self.me && number == Some(first) =>
                {
                    state.processes[self.me].delayed = Some(store);
                }
                Fault::SwapNumbers(process, first)
                    if process == self.me && number == Some(first + 1) =>
                {
                    state.buffer(watch, self.me, store);
                    // Reaches memory by an event of its own.
                    let each = &mut state.processes[self.me];
                    each.buffer.extend(each.delayed.take());
                }
                Fault::SwapStores(first, _) if first == store.at => {
                    state.processes[self.me].delayed = Some(store);
                }
                Fault::SwapStores(_, second) if second == store.at => {
                    state.buffer(watch, self.me, store);
                    if let Some(first) = state.processes[self.me].delayed.take() {
                        state.buffer(watch, self.me, first);
                    }
                }
                Fault::SplitStore(at) if at == store.at && store.size == 8 => {
                    let half = |at, value| Store::new(at, 4, value & 0xffff_ffff);
                    state.buffer(watch, self.me, half(at, store.value));
                    state.buffer(watch, self.me, half(at + 4, store.value >> 32));
                }
                Fault::KeepHigh(first, last) if (first..=last).contains(&store.at) => {
                    let high = state.load(watch, self.me, store.at, 8) & !0xffff;
                    let value = high | store.value & 0xffff;
                    state.buffer(watch, self.me, Store { value, ..store });
                }
                Fault::Wraps(at, counter, bits) if at == store.at => {
                    let value = store.value & !(counter & !bits);
                    state.buffer(watch, self.me, Store { value, ..store });
                }
                _ => state.buffer(watch, self.me, store),
            }
            store.value
        };
        match self.is_full() {
            // The oldest store reaches memory, which other processes see.
            true => self.turn("store", store.at, |live| Some(execute(live))),
            false => self.aside("store", store.at, execute),
        };
    }

    /// Executes a locked instruction, which drains the buffer first. `new` returns the value to store.
    pub(crate) fn atomically(
        &self,
        name: &str,
        at: u64,
        size: u8,
        new: impl Fn(u64) -> Option<u64>,
    ) -> u64 {
        let watch = self.setup.watch;
        self.turn(name, at, |live| {
            live.state.drain(watch, self.me);
            live.state.processes[self.me].early = None;
            let found = live.state.load(watch, self.me, at, size);
            if let Some(mut value) = new(found) {
                if self.setup.fault == Fault::NoSequence(at) && value & 1 == 0 {
                    value = found & !1;
                }
                live.state.commit(watch, Store::new(at, size, value));
            }
            Some(found)
        })
    }

    pub(crate) fn swap(&self, at: u64, size: u8, value: u64) -> u64 {
        match self.setup.fault {
            Fault::PlainSwap(plain) if plain == at => {
                let found = self.load(at, size);
                self.store(Store::new(at, size, value));
                found
            }
            Fault::DropStore(dropped) if dropped == at => self.load(at, size),
            _ => self.atomically("swap", at, size, |_| Some(value)),
        }
    }

    pub(crate) fn compare_exchange(&self, at: u64, size: u8, current: u64, new: u64) -> u64 {
        let name = if self.live.borrow().trace.is_some() {
            format!("compare_exchange {current:#x} by {new:#x}")
        } else {
            String::new()
        };
        match self.setup.fault {
            Fault::Torn(torn) if torn == at => {
                let found = self.load(at, size);
                if found == current {
                    self.store(Store::new(at, size, new));
                }
                found
            }
            Fault::Lost(lost) if lost == at => self.load(at, size),
            Fault::NoWitness if is_slot(at) => self.load(at, size),
            Fault::ForgetsPoison(word) if word == at => {
                let new = new & !u64::from(POISONED);
                self.atomically(&name, at, size, |found| (found == current).then_some(new))
            }
            _ => self.atomically(&name, at, size, |found| (found == current).then_some(new)),
        }
    }

    /// Reads or changes the knowledge of the checks, at the moment of the operation before.
    pub(crate) fn ghost(&self, look: impl FnOnce(&mut Ghost) -> std::result::Result<(), String>) {
        self.aside("ghost", 0, |live| {
            if let Err(violation) = look(&mut live.state.ghost) {
                live.violation.get_or_insert(violation);
            }
            0
        });
    }

    /// Returns the result of an operation that must not fail. An error is a violation.
    pub(crate) fn expect<T>(&self, result: Result<T>) -> T {
        match result {
            Ok(value) => value,
            Err(error) => {
                self.live.borrow_mut().violation.get_or_insert(error.to_string());
                resume_unwind(Box::new(Suspended));
            }
        }
    }

    /// Returns the number of deaths so far.
    pub(crate) fn deaths(&self) -> u64 {
        self.aside("deaths", 0, |live| live.state.deaths.into())
    }
}
