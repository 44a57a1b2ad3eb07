//! Faults in the stores of scripts: each store is dropped once, and each is issued once after the one that follows.
//!
//! Each fault is found, by a death or by a reader, or changes nothing for a reason that is given here.

use std::collections::BTreeMap;

use super::scripts::{Script, WRITER, alone, reads_from_root};
use crate::segment::heap::Span;
use crate::segment::lane_area;
use crate::segment::tests::small::{self, AREA, HEAP, LOCKS, space};
use crate::testing::explorer::search::{Stored, found, long, stores_of};
use crate::testing::explorer::{Fault, Setup};
use crate::testing::leaves_out_searches;

/// A word that a writer stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Announcement,
    Lock,
    Commit,
    /// The number of listed ranges.
    Listed,
    Range,
    /// The count of filled blocks.
    Fills,
    Top,
    Entry,
    /// A block, a page, a directory, a stack.
    Heap,
    Root,
}

fn place(at: u64) -> Place {
    let locks = space().locks.at;
    if at < locks {
        return Place::Announcement;
    }
    if at < locks + 64 * u64::from(LOCKS) {
        return Place::Lock;
    }
    if at >= HEAP.at {
        return Place::Heap;
    }
    if at >= small::ROOT {
        return Place::Root;
    }
    match (at - AREA) % lane_area::HEAD {
        0 => Place::Commit,
        8 => Place::Listed,
        16..80 => Place::Range,
        88 => Place::Fills,
        96..256 => Place::Top,
        _ => Place::Entry,
    }
}

/// Returns `true` if a span's bitmap is at `at`. The entries of spans are in the first chunk's header, each before its
/// bitmap.
fn is_bitmap(at: u64) -> bool {
    HEAP.span_of(at) == Some(Span(0)) && at % 16 == 0
}

/// The stores of a script.
struct Stores(Vec<Stored>);

impl Stores {
    fn place(&self, number: usize) -> Place {
        place(self.0[number].at)
    }

    /// Returns the first store from `number` on that commits or clears a record, or empties a list.
    fn next_end(&self, number: usize) -> Option<(Place, u64)> {
        let mut rest = self.0[number..].iter().map(|store| (place(store.at), store.words[1]));
        rest.find(|&(place, value)| match place {
            Place::Commit => true,
            Place::Listed => value == 0,
            _ => false,
        })
    }

    /// Returns `true` if the store prepares a record that is committed afterwards.
    fn prepares(&self, number: usize) -> bool {
        let is_committed = matches!(self.next_end(number + 1), Some((Place::Commit, 1..)));
        is_committed && matches!(self.place(number), Place::Heap | Place::Entry | Place::Fills)
    }

    /// Returns `true` if the store applies a committed record.
    fn applies(&self, number: usize) -> bool {
        let is_cleared = self.next_end(number) == Some((Place::Commit, 0));
        is_cleared && matches!(self.place(number), Place::Heap | Place::Root | Place::Top)
    }

    /// Returns why nothing changes if a store is dropped.
    fn why_droppable(&self, number: usize) -> Option<&'static str> {
        let Stored { at, words } = self.0[number];
        let is_last_change = self.0[number + 1..]
            .iter()
            .all(|store| place(store.at) != Place::Range && place(store.at) != Place::Listed);
        match self.place(number) {
            Place::Listed if words[1] == 0 && !is_last_change => {
                Some("the lane owns no lock of the list, which its next change empties")
            }
            Place::Commit if words[1] == 0 && !is_last_change => Some(
                "the lane's next change clears the record; found in `allocator`, beside another lane",
            ),
            Place::Range if words[0] & 0xffff_ffff == words[1] => {
                Some("the earlier range contains the lock")
            }
            Place::Entry => self.why_entry_droppable(number),
            Place::Fills => Some("the repeated id is that of another block"),
            Place::Heap if self.refers_with(number, words[1]) => {
                Some("nothing reads the id in a block, as its reference has it")
            }
            Place::Heap if is_bitmap(at) && self.frees(number, at) => {
                Some("nothing reads the bitmap of a free span")
            }
            // Tags or depth, of a page that is cleared.
            Place::Heap if at % 128 <= 8 && !self.leads_to(number, at) => {
                Some("the second page is not used")
            }
            // They would be found if they seemed to be those of keys.
            Place::Heap if words[1] == 0 && at % 128 == 8 => Some(
                "tags that stay only take room, and the page is cleared again if it seems full",
            ),
            _ => None,
        }
    }

    /// Returns why nothing changes if a store to an entry of a record is dropped, and the record is completed by another
    /// process: the entry then has the place, or the value, of an earlier record.
    fn why_entry_droppable(&self, number: usize) -> Option<&'static str> {
        let Stored { at, words } = self.0[number];
        let commit = (number..self.0.len()).find(|&store| self.place(store) == Place::Commit)?;
        let clear = (commit + 1..self.0.len()).find(|&store| self.place(store) == Place::Commit)?;
        let applied = &self.0[commit + 1..clear];
        let is_value = at % 16 == 8;
        // A place that the record stores, which is applied after it.
        let of_value = (0..number).rev().find(|&store| self.0[store].at == at - 8);
        match (is_value, of_value) {
            (true, Some(place)) => {
                let bitmap = self.0[place].words[1];
                match is_bitmap(bitmap) {
                    true if self.frees(commit + 1, bitmap) => {
                        Some("nothing reads the bitmap of a free span")
                    }
                    true if (words[0] ^ words[1]) & 3 == 0 => {
                        Some("bits without a block mean nothing")
                    }
                    _ => None,
                }
            }
            (false, _) => {
                let is_same = !applied.iter().any(|store| store.at == words[1]);
                let is_repeated =
                    self.0[number + 1..commit].iter().any(|store| store.words[1] == words[0]);
                (is_same && is_repeated)
                    .then_some("the word has the value, and the other is stored again")
            }
            _ => None,
        }
    }

    /// Returns `true` if the next record refers to the block whose id the store is, with that id, or the entry does that
    /// it makes count.
    fn refers_with(&self, number: usize, id: u64) -> bool {
        let reference = (self.0[number].at / 16) << 28 | id & ((1 << 28) - 1);
        self.0[number..]
            .iter()
            .take_while(|store| place(store.at) != Place::Commit)
            .any(|store| store.words[1] == reference)
    }

    /// Returns `true` if the record that the store number `from` applies frees the span with this bitmap.
    fn frees(&self, from: usize, bitmap: u64) -> bool {
        self.0[from..]
            .iter()
            .take_while(|store| place(store.at) != Place::Commit)
            .any(|store| store.at + 8 == bitmap && store.words[1] == 0)
    }

    /// Returns `true` if a record after a store attaches the page that contains `at`.
    fn leads_to(&self, number: usize, at: u64) -> bool {
        let is_reference = |store: &Stored| {
            place(store.at) == Place::Entry && store.words[1] >> 28 << 4 == at & !127
        };
        self.0[number..]
            .iter()
            .take_while(|store| place(store.at) != Place::Commit)
            .any(is_reference)
    }

    /// Returns why nothing changes if a store is issued after the next.
    fn why_swappable(&self, number: usize) -> Option<&'static str> {
        let next = number + 1;
        if next == self.0.len() {
            return Some("no store follows");
        }
        let value = |number: usize| self.0[number].words[1];
        match (self.place(number), self.place(next)) {
            _ if self.prepares(number) && self.prepares(next) => {
                Some("neither counts before the record is committed")
            }
            _ if self.applies(number) && self.applies(next) => {
                Some("no lock is released before both, and recovery repeats both")
            }
            (Place::Heap, Place::Heap) if self.0[number].at + 8 == self.0[next].at => {
                Some("nothing reads an entry without a tag")
            }
            (Place::Range, Place::Listed) if self.0[number].words[0] != 0 => Some(
                "no lock of an earlier range is owned; found in `changes`, where there is none",
            ),
            (Place::Lock, Place::Lock) => Some("locks are released in any order"),
            (_, Place::Range | Place::Listed) if self.prepares(number) && value(next) != 0 => {
                Some("neither counts before the record is committed")
            }
            (Place::Listed, Place::Range | Place::Fills | Place::Heap) if value(number) == 0 => {
                Some("all listed locks are released, and no other is acquired before both")
            }
            (Place::Announcement, _) if self.place(next) != Place::Listed => {
                Some("no lock is acquired before both")
            }
            (Place::Commit, Place::Lock) if value(number) == 0 => {
                Some("found in `changes`, beside another writer")
            }
            (Place::Heap, Place::Lock) => Some("found in `changes`, beside another writer"),
            _ => None,
        }
    }
}

/// Returns the fault that the first process of a setup does not clear its first record.
pub(super) fn keeps_first_record(sound: &Setup) -> Fault {
    let mut stores = stores_of(sound, WRITER).into_iter();
    let clear = stores.position(|store| place(store.at) == Place::Commit && store.words[1] == 0);
    Fault::DropNumber(WRITER, clear.expect("a record is committed") as u32)
}

/// Drops each store of a script, and swaps each two; samples of them in the short form.
pub(super) fn each_store_is_needed<S: Script>(name: &str) {
    each_store_of(name, &alone::<S>(reads_from_root::<S>, 0));
}

/// Drops each store of the first process of a setup without buffers, and swaps each two; samples of them in the short
/// form. The process dies, or the others run beside it.
pub(super) fn each_store_of(name: &str, sound: &Setup) {
    if leaves_out_searches() {
        return;
    }
    let started = std::time::Instant::now();
    let stores = Stores(stores_of(sound, WRITER));
    let step = if long() { 1 } else { 17 };
    let mut explained = BTreeMap::<_, u32>::new();
    let (mut caught, mut unexplained) = (0, Vec::new());
    for number in (0..2 * stores.0.len()).step_by(step) {
        let (number, is_drop) = (number / 2, number % 2 == 0);
        let (fault, why) = match is_drop {
            true => (Fault::DropNumber(WRITER, number as u32), stores.why_droppable(number)),
            false => (Fault::SwapNumbers(WRITER, number as u32), stores.why_swappable(number)),
        };
        let beside = Setup { fault, ..sound.clone() };
        let death = Setup {
            kills: 1,
            killable: [true, false, false],
            programs: vec![sound.programs[WRITER]],
            ..beside.clone()
        };
        match (found(&death).or_else(|| found(&beside)), why) {
            (Some(_), _) => caught += 1,
            (None, Some(why)) => *explained.entry(why).or_default() += 1,
            (None, None) => {
                let near = number.saturating_sub(3)..(number + 3).min(stores.0.len());
                unexplained.push(format!("{fault:?} of {:x?}", &stores.0[near]));
            }
        }
    }
    println!(
        "{name}: of {} stores, one of {step} dropped and swapped: {caught} found, {explained:?}, {:.2} s",
        stores.0.len(),
        started.elapsed().as_secs_f64()
    );
    assert!(unexplained.is_empty(), "{name}: not found: {}", unexplained.join("\n"));
    assert!(caught > 0);
}
