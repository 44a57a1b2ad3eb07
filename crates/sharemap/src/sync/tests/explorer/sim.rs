//! The world as the explorer has it: one process's view of a [`State`].
//!
//! A process is a function that is run again from the start of its current step each time it is to
//! go on: the results of what it did before come from its log, then one more operation is executed,
//! and at the next one it is left by unwinding. Operations that only it can notice (a store into its
//! own buffer, what it knows of itself) are executed along with the one before.

use std::cell::{Cell, RefCell};
use std::panic::resume_unwind;

use super::state::{Ghost, State, Store, is_slot};
use super::{Fault, Setup};
use crate::error::Result;
use crate::sync::core::word::POISONED;

/// What a process unwinds with when it has had its turn.
pub(super) struct Suspended;

/// More operations than a step of a program has, in any order.
const LONGEST: usize = 600;

/// A moment after every deadline.
pub(super) const LATE: u64 = 1 << 40;

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
    /// The milliseconds that seem to have passed in this step.
    pub(super) passed: Cell<u32>,
}

impl Sim<'_> {
    /// An operation that others notice, or that notices others.
    pub(super) fn turn(
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

    /// An operation that only this process notices.
    pub(super) fn aside(
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

    pub(super) fn load(&self, at: u64, size: u8) -> u64 {
        let watch = self.setup.watch;
        self.turn("load", at, |live| Some(live.state.load(watch, self.me, at, size)))
    }

    pub(super) fn store(&self, store: Store) {
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
                Fault::SplitStore(at) if at == store.at && store.size == 8 => {
                    let half = |at, value| Store { at, size: 4, value: value & 0xffff_ffff };
                    state.buffer(watch, self.me, half(at, store.value));
                    state.buffer(watch, self.me, half(at + 4, store.value >> 32));
                }
                _ => state.buffer(watch, self.me, store),
            }
            store.value
        });
    }

    /// Everything that is one locked instruction: the buffer is empty before it.
    pub(super) fn atomically(
        &self,
        name: &str,
        at: u64,
        size: u8,
        new: impl Fn(u64) -> Option<u64>,
    ) -> u64 {
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

    pub(super) fn swap(&self, at: u64, size: u8, value: u64) -> u64 {
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

    pub(super) fn compare_exchange(&self, at: u64, size: u8, current: u64, new: u64) -> u64 {
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
            Fault::NoWitness if is_slot(at) => self.load(at, size),
            Fault::ForgetsPoison(word) if word == at => {
                let new = new & !u64::from(POISONED);
                self.atomically(&name, at, size, |found| (found == current).then_some(new))
            }
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
}
