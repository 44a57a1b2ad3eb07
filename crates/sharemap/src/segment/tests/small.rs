//! A segment in little memory, with a map of two locks and pages of one bucket.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use super::prefix::Prefix;
use crate::error::Result;
use crate::peer::{Machine, Simulated, Window, Writable};
use crate::segment::allocator::Allocator;
use crate::segment::at_once::AtOnce;
use crate::segment::attach::Attachable;
use crate::segment::census;
use crate::segment::heap::{HEAD, Heap};
use crate::segment::lane_area::{self, LaneArea, Space};
use crate::segment::lock_table::{LockTable, LockWord, STRIDE};
use crate::segment::map::{self, Existing, Form, Inserted, Key, Map, Shape, Source};
use crate::segment::size_class::{CLASSES, Layout};

/// The map has two locks.
pub(super) const MAP_LOCKS: u32 = 2;
pub(super) const LOCKS: u32 = MAP_LOCKS + CLASSES + 1;
/// The offset of the lock table, behind the explorer's lanes and participants.
const TABLE: u64 = 320;
/// The offset of the area of lane 0.
pub(super) const AREA: u64 = TABLE + STRIDE * LOCKS as u64;
const LANES: u32 = 3;
/// The offset of the map's root.
pub(super) const ROOT: u64 = AREA + LANES as u64 * lane_area::HEAD;
const SPAN: u64 = 2048;
const HEAP_AT: u64 = (ROOT + 64 + HEAD).next_multiple_of(SPAN);
pub(super) const HEAP: Heap = Heap {
    head: ROOT + 64,
    at: HEAP_AT,
    end: HEAP_AT + 64 * SPAN,
    span_shift: 11,
    layouts: &Layout::table(11),
    most_kept: 4,
    chunk_shift: 6,
};

pub(super) fn space() -> Space {
    Space { locks: LockTable { at: TABLE, count: LOCKS }, changeable: AREA..HEAP.end }
}

/// Returns the offset of the area of a lane.
pub(super) fn area_at(lane: u32) -> u64 {
    AREA + lane_area::HEAD * u64::from(lane)
}

/// Returns `true` if `at` lies in the area of a lane, whose bodies are allocated in the order of the lanes.
pub(super) fn is_in_area(lane: u32, at: u64) -> bool {
    let spans = lane_area::BODY_LEN.div_ceil(SPAN);
    let body = HEAP_AT + SPAN * (1 + spans * u64::from(lane));
    let head = area_at(lane)..area_at(lane) + lane_area::HEAD;
    head.contains(&at) || (body..body + lane_area::BODY_LEN).contains(&at)
}

pub(super) fn area<M: Machine>(machine: &M, lane: u32) -> LaneArea {
    LaneArea::load(machine, &space(), area_at(lane), lane).unwrap()
}

/// Returns the memory with nothing allocated.
pub(super) fn empty() -> Vec<u8> {
    // Nothing relies on zeros in the heap.
    let mut image = vec![0; HEAP.end as usize];
    image[HEAP.at as usize..].fill(0xa5);
    let machine = Prefix::of(&image);
    machine.store_64(HEAP.len(), HEAP.end).unwrap();
    machine.image()
}

/// Attaches a block of `len` bytes to a place.
pub(super) fn attach<M: Machine>(
    allocator: &Allocator<'_, M>,
    place: Attachable,
    len: u64,
    way: Way,
) -> Result<u64> {
    // Its content does not matter.
    let content: (u64, &[u8]) = (len, &[]);
    let memory = Simulated(allocator.machine);
    let access = way.access(&memory, allocator.area);
    let attached =
        access.and_then(|access| allocator.attach_at_once(access, place, content, |at| at));
    attached.unwrap_or_else(|| allocator.attach(place, content, &|at| at))
}

/// Frees the memory of a place, if it has any.
pub(super) fn detach<M: Machine>(
    allocator: &Allocator<'_, M>,
    place: Attachable,
    way: Way,
) -> Result<bool> {
    let memory = Simulated(allocator.machine);
    let access = way.access(&memory, allocator.area);
    let detached = access.and_then(|access| allocator.detach_at_once(access, place, Some));
    match detached {
        Some(detached) => detached.map(|()| true),
        None => allocator.detach(place, &Ok),
    }
}

/// How changes are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By straight code where that can be, as a program makes them.
    AtOnce,
    /// By general changes only.
    General,
}

impl Way {
    /// Returns what straight code accesses, if that is the way.
    fn access<W: Writable>(self, memory: &W, area: LaneArea) -> Option<AtOnce<'_, W>> {
        match self {
            Self::AtOnce => AtOnce::unannounced(memory, area),
            Self::General => None,
        }
    }
}

/// A handle of the map, of a process.
pub(super) struct Handle {
    pub(super) shape: Shape,
    /// The directory that the process saw last.
    pub(super) directory: AtomicU64,
    /// The lane in which changes are made.
    pub(super) lane: u32,
    /// How changes are made.
    pub(super) way: Way,
}

impl Handle {
    pub(super) fn new(form: Form) -> Self {
        let (root, locks) = (ROOT, 0..MAP_LOCKS);
        let shape = Shape { root, generation: 0, seed: 7, locks, buckets: 1, form };
        Self { shape, directory: AtomicU64::new(0), lane: 0, way: Way::AtOnce }
    }

    /// Returns a handle that saw the same directory last.
    pub(super) fn copy(&self) -> Self {
        let directory = AtomicU64::new(self.directory.load(Ordering::Relaxed));
        Self { shape: self.shape.clone(), directory, ..*self }
    }

    /// Calls `use_it` with the map.
    pub(super) fn with<M: Machine, R>(
        &self,
        machine: &M,
        use_it: impl FnOnce(&Map<'_, M>, &Allocator<'_, M>) -> Result<R>,
    ) -> Result<R> {
        let (space, area) = (&space(), area(machine, self.lane));
        let first_lock = MAP_LOCKS;
        let mut allocator =
            Allocator { machine, space, heap: &HEAP, area, first_lock, until: None };
        allocator.prepare()?;
        let map = Map { machine, space, shape: &self.shape, directory: &self.directory };
        use_it(&map, &allocator)
    }

    /// Calls `use_it` with a key, which lies in a block if the map has keys there.
    pub(super) fn with_key<R>(&self, key: u64, use_it: impl FnOnce(&Key<'_>) -> R) -> R {
        match self.shape.form {
            Form::Words | Form::Values => use_it(&self.shape.word_key(key)),
            Form::Keys => use_it(&self.shape.long_key(format!("key number {key}").as_bytes())),
        }
    }

    /// Returns the bytes of a value, of different lengths.
    pub(super) fn bytes(value: u64) -> Vec<u8> {
        let mut bytes = value.to_le_bytes().to_vec();
        bytes.resize(8 + 9 * (value % 11) as usize, value as u8);
        bytes
    }

    /// Returns the value that was found in an entry, which must be whole.
    pub(super) fn value<M: Machine>(&self, machine: &M, found: map::Value) -> Result<u64> {
        if self.shape.form == Form::Words {
            return Ok(found.word);
        }
        let mut bytes = vec![0; found.len as usize];
        machine.read(found.at, &mut bytes)?;
        let value = u64::from_le_bytes(*bytes.first_chunk().unwrap());
        assert_eq!(bytes, Self::bytes(value));
        Ok(value)
    }
}

/// An operation on the map.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    Insert(u64, u64),
    Remove(u64),
}

impl Operation {
    pub(super) fn run<M: Machine>(self, handle: &Handle, machine: &M) -> Result<Option<u64>> {
        let at_once = match handle.way {
            Way::AtOnce => self.run_at_once(handle, machine, &Simulated(machine))?,
            Way::General => None,
        };
        match at_once {
            Some(previous) => Ok(previous),
            None => self.run_generally(handle, machine),
        }
    }

    /// Makes the change by straight code, which accesses `memory`. Returns `None` if nothing has changed.
    pub(super) fn run_at_once<M: Machine>(
        self,
        handle: &Handle,
        machine: &M,
        memory: &impl Writable,
    ) -> Result<Option<Option<u64>>> {
        let read = |value| handle.value(machine, value).ok();
        handle.with(machine, |map, allocator| {
            let places = map.places();
            let (Some(access), Some(root)) =
                (AtOnce::unannounced(memory, allocator.area), Window::at(memory, map.shape.root))
            else {
                return Ok(None);
            };
            let access = (access, Source { memory, root, places });
            let made = match self {
                Self::Insert(key, value) => {
                    let existing = Existing::Replaced;
                    let inserted = handle.with_key(key, |key| match map.shape.form {
                        Form::Words => {
                            map.insert_word_at_once(allocator, access, key, (value, existing), read)
                        }
                        Form::Values | Form::Keys => {
                            let (key, bytes) = ((key, map.shape.form), Handle::bytes(value));
                            let value = (&*bytes, existing);
                            map.insert_block_at_once(allocator, access, key, value, read)
                        }
                    });
                    inserted.map(|inserted| inserted.map(Inserted::previous))
                }
                Self::Remove(key) => {
                    let removed = handle.with_key(key, |key| match map.shape.form {
                        Form::Words => map.remove_word_at_once(allocator, access, key, read),
                        form => map.remove_block_at_once(allocator, access, (key, form), read),
                    });
                    removed.map(|removed| removed.map(Some))
                }
            };
            made.transpose()
        })
    }

    fn run_generally<M: Machine>(self, handle: &Handle, machine: &M) -> Result<Option<u64>> {
        let read = |value| handle.value(machine, value);
        handle.with(machine, |map, allocator| match self {
            Self::Insert(key, value) => {
                let existing = Existing::Replaced;
                let inserted = handle.with_key(key, |key| match map.shape.form {
                    Form::Words => map.insert_word(allocator, key, value, existing, read),
                    Form::Values | Form::Keys => {
                        let bytes = Handle::bytes(value);
                        map.insert_block(allocator, key, &bytes, existing, None, read)
                    }
                });
                inserted.map(Inserted::previous)
            }
            Self::Remove(key) => handle.with_key(key, |key| match map.shape.form {
                Form::Words => map.remove_word(allocator, key, read),
                Form::Values | Form::Keys => map.remove_block(allocator, key, None, read),
            }),
        })
    }

    /// Applies the operation to a model. Returns the previous value.
    pub(super) fn model(self, model: &mut BTreeMap<u64, u64>) -> Option<u64> {
        match self {
            Self::Insert(key, value) => model.insert(key, value),
            Self::Remove(key) => model.remove(&key),
        }
    }
}

/// The number of keys that operations use.
pub(super) const KEYS: u64 = 40;

/// Returns the offset and the depth of the directory that a root or a later directory refers to.
pub(super) fn directory_of(word: u64) -> (u64, u64) {
    (word & ((1 << 56) - 1), word >> 56)
}

/// What was found in a map: the values, and the words of their entries.
pub(super) struct Contents {
    pub(super) values: BTreeMap<u64, u64>,
    pub(super) words: BTreeMap<u64, u64>,
}

/// Returns the contents of the map, after a check of everything else. Each key is looked up by a reader that saw no
/// later directory than `handle` did.
pub(super) fn check(handle: &Handle, machine: &Prefix) -> std::result::Result<Contents, String> {
    for index in 0..LOCKS {
        if LockWord(machine.load_64(space().locks.word(index)).unwrap()).owner().is_some() {
            return Err(format!("lock {index} is owned"));
        }
    }
    let areas: Vec<LaneArea> = (0..LANES).map(|lane| area(machine, lane)).collect();
    if let Some(area) = areas.iter().find(|area| area.is_busy(machine).unwrap()) {
        return Err(format!("the area of lane {} is busy", area.lane));
    }
    let census = census::take(machine, HEAP, &areas).map_err(|error| error.to_string())?;
    handle
        .with(machine, |map, _| {
            let (mut values, mut words) = (BTreeMap::new(), BTreeMap::new());
            for key in 0..KEYS {
                let late = handle.copy();
                let map = Map { directory: &late.directory, ..*map };
                let read = |found: map::Value| Ok((found.word, late.value(machine, found)?));
                if let Some((word, value)) = late.with_key(key, |key| map.get(key, read))? {
                    values.insert(key, value);
                    words.insert(key, word);
                }
            }
            if map.len()? != values.len() as u64 {
                return Ok(Err(format!("{} keys in {values:?}", map.len()?)));
            }
            // A reader that is late must be led to the present directory by all others.
            let mut place = directory_of(machine.load_64(ROOT)?).0;
            while place != 0 && machine.load_64(place)? != 0 {
                let (old, depth) = directory_of(machine.load_64(place)?);
                for index in 0..1 << depth {
                    if machine.load_64(old + 16 + 8 * index)? != 0 {
                        return Ok(Err(format!("the old directory at {old:x} has a page")));
                    }
                }
                place = old;
            }
            let mut memory = BTreeSet::new();
            map.memory(&mut |at| {
                memory.insert(at);
                Ok(())
            })?;
            Ok(match memory == census.allocated {
                true => Ok(Contents { values, words }),
                false => Err(format!("allocated {:x?}, of the map {memory:x?}", census.allocated)),
            })
        })
        .map_err(|error| error.to_string())?
}
