//! Every prefix of the stores of each change and of each completion, closed over distinct images: an operation is
//! cut short after each store, its completion after each of its stores, and so on, until no new image appears.
//! After each, completion succeeds, the words are those before the change or after it, and the next operations
//! succeed.
//!
//! Then each store is left out once, of the operation and of its completion. Each must be found.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use super::toy::{self, LEN, ONES, TWOS};
use crate::error::Result;
use crate::peer::{Announced, Liveness, Machine};
use crate::segment::completion::complete;
use crate::testing::leaves_out_searches;

/// The payload of the unwinding that ends a killed operation.
struct Killed;

/// More loads than any operation needs.
const MOST_LOADS: u64 = 1_000_000;

/// Where a store was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) at: u64,
    /// The first access to the word afterwards.
    pub(super) next: Access,
    /// The word was stored again afterwards.
    pub(super) is_stored_again: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    None,
    Load,
    Store,
}

/// A machine that dies after some stores, and may leave one out.
pub(super) struct Prefix {
    memory: RefCell<Vec<u8>>,
    /// The number of stores until death.
    left: Cell<u64>,
    /// The number of stores so far.
    stores: Cell<u64>,
    /// The number of loads so far.
    loads: Cell<u64>,
    /// The number of the store that is left out.
    omitted: Option<u64>,
    /// Where a store was left out.
    hole: Cell<Option<Hole>>,
    /// Only stores from this offset on are numbered, of those that change memory.
    numbered_from: u64,
}

impl Prefix {
    pub(super) fn new(image: &[u8], left: u64, omitted: Option<u64>) -> Self {
        let memory = RefCell::new(image.to_vec());
        let (left, stores, loads) = (Cell::new(left), Cell::new(0), Cell::new(0));
        Self { memory, left, stores, loads, omitted, hole: Cell::new(None), numbered_from: 0 }
    }

    /// Numbers only the stores from the offset `at` on.
    pub(super) fn numbered_from(self, at: u64) -> Self {
        Self { numbered_from: at, ..self }
    }

    /// Returns the number of stores so far.
    pub(super) fn stores(&self) -> u64 {
        self.stores.get()
    }

    /// Returns where a store was left out.
    pub(super) fn hole(&self) -> Option<Hole> {
        self.hole.get()
    }

    /// Records an access to the word whose store was left out.
    fn touch(&self, at: u64, len: usize, access: Access) {
        let Some(mut hole) = self.hole.get() else { return };
        if at < hole.at + 8 && hole.at < at + len as u64 {
            hole.is_stored_again |= access == Access::Store;
            if hole.next == Access::None {
                hole.next = access;
            }
            self.hole.set(Some(hole));
        }
    }

    /// Returns a machine that lives.
    pub(super) fn of(image: &[u8]) -> Self {
        Self::new(image, u64::MAX, None)
    }

    /// Returns a copy of the memory.
    pub(super) fn image(&self) -> Vec<u8> {
        self.memory.borrow().clone()
    }

    fn load<const N: usize>(&self, at: u64) -> [u8; N] {
        self.loads.set(self.loads.get() + 1);
        assert!(self.loads.get() < MOST_LOADS, "the operation does not end");
        self.touch(at, N, Access::Load);
        *self.memory.borrow()[at as usize..].first_chunk().unwrap()
    }

    fn store(&self, at: u64, bytes: &[u8]) {
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => resume_unwind(Box::new(Killed)),
        }
        let mut memory = self.memory.borrow_mut();
        let there = &mut memory[at as usize..][..bytes.len()];
        // A store of what is there already is not missed.
        let is_numbered = at >= self.numbered_from && there != bytes;
        match is_numbered && self.omitted == Some(self.stores.get()) {
            true => self.hole.set(Some(Hole { at, next: Access::None, is_stored_again: false })),
            false => {
                there.copy_from_slice(bytes);
                self.touch(at, bytes.len(), Access::Store);
            }
        }
        self.stores.set(self.stores.get() + u64::from(is_numbered));
    }

    /// Runs an operation. Returns whether it was completed.
    pub(super) fn run(&self, operation: impl FnOnce(&Self) -> Result<()>) -> bool {
        match catch_unwind(AssertUnwindSafe(|| operation(self))) {
            Ok(result) => {
                result.unwrap();
                true
            }
            Err(payload) if payload.is::<Killed>() => false,
            Err(payload) => resume_unwind(payload),
        }
    }
}

impl Machine for Prefix {
    fn load_32(&self, at: u64) -> Result<u32> {
        Ok(u32::from_le_bytes(self.load(at)))
    }
    fn store_32(&self, at: u64, value: u32) -> Result<()> {
        self.store(at, &value.to_le_bytes());
        Ok(())
    }
    fn swap_32(&self, at: u64, value: u32) -> Result<u32> {
        let found = self.load_32(at)?;
        self.store_32(at, value)?;
        Ok(found)
    }
    fn compare_exchange_32(&self, at: u64, current: u32, new: u32) -> Result<u32> {
        match self.load_32(at)? {
            found if found == current => self.swap_32(at, new),
            found => Ok(found),
        }
    }
    fn load_64(&self, at: u64) -> Result<u64> {
        Ok(u64::from_le_bytes(self.load(at)))
    }
    fn store_64(&self, at: u64, value: u64) -> Result<()> {
        self.store(at, &value.to_le_bytes());
        Ok(())
    }
    fn swap_64(&self, at: u64, value: u64) -> Result<u64> {
        let found = self.load_64(at)?;
        self.store_64(at, value)?;
        Ok(found)
    }
    fn compare_exchange_64(&self, at: u64, current: u64, new: u64) -> Result<u64> {
        match self.load_64(at)? {
            found if found == current => self.swap_64(at, new),
            found => Ok(found),
        }
    }
    fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        self.touch(at, into.len(), Access::Load);
        into.copy_from_slice(&self.memory.borrow()[at as usize..][..into.len()]);
        Ok(())
    }
    fn write(&self, at: u64, from: &[u8]) -> Result<()> {
        self.store(at, from);
        Ok(())
    }
    fn lanes(&self) -> u32 {
        2
    }
    fn is_own(&self, lane: u32) -> bool {
        lane == 0
    }
    fn stores_release(&self) -> bool {
        true
    }
    fn fence_all(&self) -> bool {
        true
    }
    fn wait(&self, at: u64, _: u32, _: Duration) -> Result<()> {
        panic!("waits at {at}, and no other thread runs")
    }
    fn wake(&self, _: u64, _: u32) -> Result<u32> {
        Ok(0)
    }
    fn nap(&self, _: Duration) {
        panic!("waits, and no other thread runs")
    }
    fn spin(&self, _: u32) -> Option<u32> {
        None
    }
    fn probe_liveness(&self, _: u32) -> Result<Liveness> {
        Ok(Liveness::Alive)
    }
    fn probe_throttled(&self, _: u32) -> Result<Liveness> {
        Ok(Liveness::Alive)
    }
    fn now(&self) -> Duration {
        Duration::ZERO
    }
    fn milliseconds(&self) -> u32 {
        1
    }
    fn note_wait(&self, _: u32) {}
    fn slots(&self, _: u32) -> u64 {
        unreachable!("changes announce nothing")
    }
    fn announce(&self, _: u64) -> Result<Announced> {
        unreachable!("changes announce nothing")
    }
    fn announce_seq_cst(&self, _: u64) -> Result<Announced> {
        unreachable!("changes announce nothing")
    }
    fn announced(&self, _: u64) -> Result<Option<Announced>> {
        unreachable!("changes announce nothing")
    }
    fn withdraw(&self, _: Announced) -> Result<()> {
        unreachable!("changes announce nothing")
    }
}

type Operation = fn(&Prefix) -> Result<()>;

/// An operation on the toy, and by how much it advances the two words.
#[derive(Clone, Copy)]
struct Scenario {
    operate: Operation,
    /// The number of locks that it acquires.
    locks: u32,
    advance: [u64; 2],
}

const SCENARIOS: [Scenario; 3] = [
    Scenario { operate: |machine| toy::add_one(machine, 0), locks: 1, advance: [1, 0] },
    Scenario { operate: |machine| toy::add_all(machine, 0), locks: 2, advance: [1, 1] },
    Scenario { operate: |machine| toy::add_all_at_once(machine, 0), locks: 2, advance: [1, 1] },
];

/// Which store is left out, of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Omission {
    None,
    OfOperation(u64),
    OfCompletion(u64),
}

/// The number of images of one search, and the most stores of the operation and of a completion.
#[derive(Debug, Default)]
struct Closure {
    images: usize,
    stores: u64,
    stores_of_completion: u64,
}

/// Completes what the dead lane 0 began.
fn recover(machine: &Prefix) -> Result<()> {
    complete(machine, &toy::SPACE, toy::area(0))
}

fn load(image: &[u8], at: u64) -> u64 {
    u64::from_le_bytes(*image[at as usize..].first_chunk().unwrap())
}

/// Returns the two words, or what is wrong with an image when no change is under way.
fn check(image: &[u8]) -> std::result::Result<[u64; 2], String> {
    let words = toy::check(|at| load(image, at))?;
    let top = load(image, toy::area(0).at + toy::TOP) as u32;
    match u64::from(top) == words[1] & 1 {
        true => Ok(words),
        false => Err(format!("the top is {top}, and the words are {words:?}")),
    }
}

/// Returns the image without what advances for ever: sequences, and the numbers of changes, of which the image keeps
/// the difference from `from`.
fn masked(image: &[u8], from: [u64; 2]) -> Vec<u8> {
    let mut image = image.to_vec();
    for index in 0..2 {
        let at = toy::lock(index) as usize;
        image[at + 2..at + 8].fill(0);
    }
    let mut rebase = |at: u64, base: u64| {
        let value = load(&image, at).wrapping_sub(base);
        image[at as usize..][..8].copy_from_slice(&value.to_le_bytes());
    };
    for (at, base) in
        [(ONES, from[0]), (TWOS, from[1]), (toy::RUN, from[1]), (toy::RUN + 8, from[1])]
    {
        rebase(at, base);
    }
    let area = toy::area(0).at;
    let (commit, listed) = (load(&image, area), load(&image, area + 8));
    // Nothing reads entries beyond the committed ones, or ranges beyond the listed ones.
    let end = image.len().min(area as usize + 320);
    image[area as usize + 256 + 16 * (commit & 0xffff) as usize..end].fill(0);
    image[area as usize + 16 + 8 * listed as usize..area as usize + 96].fill(0);
    for (entry, base) in (0..commit & 0xffff).zip([from[0], from[1], from[1]]) {
        let at = area + 256 + 16 * entry + 8;
        let value = load(&image, at).wrapping_sub(base);
        image[at as usize..][..8].copy_from_slice(&value.to_le_bytes());
    }
    image
}

impl Scenario {
    /// Searches all images. Fails with what is wrong with the first that is.
    fn close(self, omission: Omission) -> std::result::Result<Closure, String> {
        let omitted = match omission {
            Omission::OfOperation(store) => [Some(store), None],
            Omission::OfCompletion(store) => [None, Some(store)],
            Omission::None => [None, None],
        };
        let mut closure = Closure::default();
        // Each image with the words before the operation that was killed.
        let mut known = HashMap::new();
        let mut queue = vec![(vec![0; LEN], [0, 0])];
        let mut add = |queue: &mut Vec<_>, image: Vec<u8>, before: [u64; 2]| {
            if known.insert(masked(&image, before), ()).is_none() {
                queue.push((image, before));
            }
        };
        while let Some((image, before)) = queue.pop() {
            closure.images += 1;
            assert!(closure.images < 10_000, "the images do not close");
            // Completion, killed after each store, and whole.
            let whole = (0..).find_map(|left| {
                let machine = Prefix::new(&image, left, omitted[1]);
                let is_whole = machine.run(recover);
                let image = machine.memory.take();
                if !is_whole {
                    add(&mut queue, image, before);
                    return None;
                }
                closure.stores_of_completion = closure.stores_of_completion.max(left);
                Some(image)
            });
            let whole = whole.unwrap_or_default();
            let after = [0, 1].map(|index| before[index] + self.advance[index]);
            let found = check(&whole)?;
            if found != before && found != after {
                return Err(format!("{found:?}, neither {before:?} nor {after:?}"));
            }
            // The operation, killed after each store, and whole.
            let mut left = 0;
            loop {
                let machine = Prefix::new(&whole, left, omitted[0]);
                let is_whole = machine.run(self.operate);
                let image = machine.memory.take();
                if is_whole {
                    closure.stores = closure.stores.max(left);
                    let after = [0, 1].map(|index| found[index] + self.advance[index]);
                    let done = check(&image)?;
                    if done != after {
                        return Err(format!("{done:?} after the operation, not {after:?}"));
                    }
                    for lock in 0..self.locks {
                        let [new, old] = [&image, &whole].map(|it| load(it, toy::lock(lock)));
                        if new == old {
                            return Err(format!("the sequence of lock {lock} did not advance"));
                        }
                    }
                    add(&mut queue, image, after);
                    break;
                }
                add(&mut queue, image, found);
                left += 1;
            }
        }
        Ok(closure)
    }
}

#[test]
fn killed_after_every_store() {
    if leaves_out_searches() {
        return;
    }
    for (index, scenario) in SCENARIOS.into_iter().enumerate() {
        let closure = scenario.close(Omission::None).unwrap();
        println!("operation {index}: {closure:?}");
        assert!(closure.images > 5 && closure.stores > 3, "{closure:?}");
    }
}

/// Each store of each operation and of its completion is needed.
#[test]
fn every_store_left_out_is_found() {
    if leaves_out_searches() {
        return;
    }
    for scenario in SCENARIOS {
        let whole = scenario.close(Omission::None).unwrap();
        let operations = (0..whole.stores).map(Omission::OfOperation);
        let completions = (0..whole.stores_of_completion).map(Omission::OfCompletion);
        for omission in operations.chain(completions) {
            let found = catch_unwind(|| scenario.close(omission));
            match found {
                Ok(Ok(closure)) => panic!("{omission:?} was not found: {closure:?}"),
                Ok(Err(what)) => println!("{omission:?}: {what}"),
                Err(_) => println!("{omission:?}: an operation failed"),
            }
        }
    }
}
