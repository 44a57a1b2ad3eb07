//! The locks and channels, each in an object of its own: their operations, alone and beside a living process;
//! what a survivor must find; and mistakes that must be found.

pub mod barrier;
pub mod condvar;
pub mod event;
pub mod fork;
pub mod mutex;
pub mod once;
pub mod permits;
pub mod rwlock;
pub mod signal;
pub mod slices;
pub mod spsc;

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use sharemap::{Location, Shared, SharedOptions, SharedType};

use crate::closure::Scenario;
use crate::header::Tables;
use crate::image::Mask;
use crate::open::Order;
use crate::plant::Plant;

/// The initial value and the last value that survivors increment to. The limit bounds the search.
const FIRST: u64 = 10;
const LAST: u64 = 11;

/// The timeout of a wait that is expected to fail.
const MOMENT: Duration = Duration::from_millis(1);

thread_local! {
    static PATIENCE: Cell<Duration> = const { Cell::new(Duration::from_secs(5)) };
}

/// Returns the timeout after which a survivor is stuck.
fn long() -> Duration {
    PATIENCE.get()
}

/// One operation of a lock.
#[derive(Clone, Copy)]
pub struct Operation {
    pub name: &'static str,
    pub prepare: fn(&Path),
    pub beside: Option<fn(&Path)>,
    pub operate: fn(&Path),
    pub survive: fn(&Path),
    pub mask: Mask,
}

/// The parts common to all operations of a lock.
#[derive(Clone, Copy)]
struct Lock {
    prepare: fn(&Path),
    survive: fn(&Path),
    mask: Mask,
}

impl Lock {
    const fn alone(self, name: &'static str, operate: fn(&Path)) -> Operation {
        let Self { prepare, survive, mask } = self;
        Operation { name, prepare, beside: None, operate, survive, mask }
    }

    const fn beside(self, name: &'static str, beside: fn(&Path), operate: fn(&Path)) -> Operation {
        Operation { beside: Some(beside), ..self.alone(name, operate) }
    }

    /// Replaces the initial state.
    const fn after(self, prepare: fn(&Path)) -> Self {
        Self { prepare, ..self }
    }
}

/// A mistake planted in an operation.
pub struct Planted {
    pub name: &'static str,
    pub operation: Operation,
    pub plant: Plant,
}

impl Operation {
    /// Calls `judge` with the operation as a scenario.
    pub fn scenario<R>(
        &self,
        plant: Option<Plant>,
        at_most: usize,
        judge: impl FnOnce(&Scenario<'_>) -> R,
    ) -> R {
        let usual = PATIENCE.get();
        if plant.is_some() {
            // Many planted mistakes block the process beside.
            PATIENCE.set(Duration::from_millis(500));
        }
        let Self { prepare, beside, operate, survive, mask, .. } = *self;
        let result = judge(&Scenario {
            prepare: &prepare,
            beside: beside.as_ref().map(|beside| beside as &dyn Fn(&Path)),
            operate: &operate,
            survive: &survive,
            mask,
            plant,
            at_most,
            order: Order::Oldest,
        });
        PATIENCE.set(usual);
        result
    }
}

/// The tables of an object.
const TABLES: Tables = Tables { participants: 2, lanes: 2 };

/// The offsets of the tables and the payload in such an object.
const RECORDS: usize = Tables::RECORDS;
const TABLE: usize = TABLES.lanes_at();
const PAYLOAD: usize = TABLES.payload_at();

fn options() -> SharedOptions {
    SharedOptions::new().participants(TABLES.participants as u32).lanes(TABLES.lanes as u32)
}

fn open<T: SharedType>(path: &Path) -> Shared<T> {
    options().open(Location::file(path)).unwrap()
}

fn make<T: SharedType>(path: &Path, first: impl FnOnce() -> T) -> Shared<T> {
    options().open_or_create(Location::file(path), first).unwrap()
}

/// Unwraps the guard of an acquired lock, after an owner's death too.
macro_rules! had {
    ($result:expr) => {
        match $result {
            Ok(guard) => guard,
            Err(sharemap::LockError::OwnerDied(dead)) => dead.mark_consistent(),
            Err(sharemap::LockError::Failed(error)) => panic!("{error}"),
        }
    };
}
use had;

/// Asserts that the value is in range and returns its successor, or the last value itself.
fn more(value: u64) -> u64 {
    assert!((FIRST..=LAST).contains(&value), "{value}");
    LAST.min(value + 1)
}

/// Runs `work` in a process that then dies.
fn die(work: impl Fn()) {
    crate::beside::run_and_kill(&work);
}

/// Returns `true` if a store announced something of `kind`, in any lane.
fn announces(store: crate::plant::Store, kind: u64) -> bool {
    (TABLE..PAYLOAD).contains(&store.at)
        && store.at % 64 != 0
        && store.after & 0xf == kind
        && store.before & 0xf != kind
}

/// Blanks what differs between runs. Of each gate only the low bit remains, which says that a waiter
/// may sleep.
fn mask(object: &mut [u8], gates: &[usize]) {
    TABLES.mask(object);
    for gate in gates {
        if let Some(bytes) = object.get_mut(PAYLOAD + gate + 1..PAYLOAD + gate + 4) {
            bytes.fill(0);
        }
    }
    for gate in gates {
        if let Some(low) = object.get_mut(PAYLOAD + gate) {
            *low &= 1;
        }
    }
}

/// Normalizes the change numbers in announcements: only whether a number equals that of the word
/// (`current`) or its successor matters.
fn mask_numbers(object: &mut [u8], kinds: &[u64], current: u16) {
    for slot in (TABLE..PAYLOAD).step_by(8).filter(|at| at % 64 != 0) {
        let Some(bytes) = object.get_mut(slot..slot + 8) else { continue };
        if kinds.contains(&u64::from(bytes[0] & 0xf)) {
            let number = u16::from_le_bytes([bytes[6], bytes[7]]).wrapping_sub(current);
            bytes[6..].copy_from_slice(&number.min(2).to_le_bytes());
        }
    }
}
