//! The keys, names and values of all sides, which `peers/boost_segment.cpp` has too, and look-ups of them.

use std::cell::Cell;
use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::reason::{Reason, why};
use crate::samples::Random;

/// Entries in one cycle: the value of each is the key of the next. `count` is a multiple of 20, and of no prime but 2
/// and 5.
#[derive(Clone, Copy)]
pub struct Entries {
    pub count: u64,
}

impl Entries {
    /// Returns the key number `index`. Those from `count` on are absent.
    pub fn key(self, index: u64) -> u64 {
        mixed(index)
    }

    /// Returns the name that takes the place of the key number `index` where keys are text.
    pub fn name(self, index: u64) -> String {
        format!("object/name/{index}")
    }

    pub fn value(self, index: u64) -> u64 {
        self.key((21 * index + 1) % self.count)
    }

    /// Returns all keys and their values.
    pub fn words(self) -> Vec<(u64, u64)> {
        (0..self.count).map(|index| (self.key(index), self.value(index))).collect()
    }

    /// Returns all names and their values.
    pub fn texts(self) -> Vec<(String, u64)> {
        (0..self.count).map(|index| (self.name(index), self.value(index))).collect()
    }
}

/// Returns a number that differs for each index and looks random: the last steps of splitmix64.
fn mixed(index: u64) -> u64 {
    let x = index.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// Draws the keys of look-ups, other ones for each sample.
pub struct Queries {
    entries: Entries,
    seed: Cell<u64>,
}

/// Keys to look up, and the sum of their values.
pub struct Drawn<K> {
    pub keys: Vec<K>,
    sum: u64,
}

impl Queries {
    pub fn new(entries: Entries) -> Self {
        Self { entries, seed: Cell::new(0) }
    }

    pub fn hits(&self, count: u64) -> Drawn<u64> {
        self.draw(count, |index| self.entries.key(index))
    }

    pub fn names(&self, count: u64) -> Drawn<String> {
        self.draw(count, |index| self.entries.name(index))
    }

    /// Draws keys of which none is present.
    pub fn misses(&self, count: u64) -> Drawn<u64> {
        let absent = |index| self.entries.key(self.entries.count + index);
        Drawn { sum: 0, ..self.draw(count, absent) }
    }

    fn draw<K>(&self, count: u64, key: impl Fn(u64) -> K) -> Drawn<K> {
        self.seed.set(self.seed.get() + 1);
        let mut random = Random::new(self.seed.get() << 20);
        let mut sum = 0_u64;
        let draw = |_| {
            let index = random.below(self.entries.count);
            sum = sum.wrapping_add(self.entries.value(index));
            key(index)
        };
        let keys = (0..count).map(draw).collect();
        Drawn { keys, sum }
    }
}

impl<K> Drawn<K> {
    /// Times a look-up of each key. Fails if a value is not the right one.
    #[inline(always)]
    pub fn time<E: Display>(
        &self,
        mut get: impl FnMut(&K) -> Result<Option<u64>, E>,
    ) -> Result<Duration, Reason> {
        self.time_all(|keys| {
            let mut sum = 0_u64;
            for key in keys {
                sum = sum.wrapping_add(get(key)?.unwrap_or(0));
            }
            Ok::<_, E>(sum)
        })
    }

    /// Times `look_up`, which returns the sum of the values of all keys.
    #[inline(always)]
    pub fn time_all<E: Display>(
        &self,
        look_up: impl FnOnce(&[K]) -> Result<u64, E>,
    ) -> Result<Duration, Reason> {
        let start = Instant::now();
        let sum = look_up(&self.keys);
        let took = start.elapsed();
        match sum.map_err(why)? == self.sum {
            true => Ok(took),
            false => Err("a look-up found a wrong value".into()),
        }
    }
}
