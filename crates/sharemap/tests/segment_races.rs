//! Readers without locks, beside writers: nothing wrong, nothing missed, nothing torn. And churn: the memory of maps
//! that are changed all the time stays what they need.
//!
//! The short form takes some seconds. The long form (`SHAREMAP_LONG=1`, in a release build) makes 1,000,000,000
//! lookups and 100,000,000 changes.

mod common;
#[path = "segment/peer.rs"]
mod peer;
#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "hostile/random.rs"]
mod random;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use common::{need_atomics, repeated, role};
use peer::{Peer, tell};
use random::Random;
use sharemap::containers::HashMap;
use sharemap::{Location, Segment, UnlinkOnDrop};

/// The keys that are always present, and those that come and go.
const STABLE: u64 = 80;
const VOLATILE: u64 = 400;
/// The number of the first volatile key.
const FIRST: u64 = 1 << 20;
/// The number of the first key of those that come and go together, and how many.
const CROWD: u64 = 1 << 24;
const CROWD_LEN: u64 = 4_000;

/// The maps of a race, with keys and values of all forms.
struct Maps {
    segment: Segment,
    words: HashMap<u64, u64>,
    /// Blocks of all small lengths.
    blocks: HashMap<u64, [u8]>,
    texts: HashMap<str, [u8]>,
    /// Blocks of the size class of the maps' own pages, which take each other's memory.
    large: HashMap<u64, [u8]>,
}

fn text(key: u64) -> String {
    format!("a key in a block, number {key}")
}

/// Returns a value that carries its key, a number, and a sum of all that.
fn value(key: u64, number: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 32);
    bytes.extend(key.to_le_bytes());
    bytes.extend(number.to_le_bytes());
    bytes.extend((len as u64).to_le_bytes());
    let word = key.wrapping_mul(31).wrapping_add(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while bytes.len() < len + 24 {
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

/// Asserts that a value is one that was written for the key, and whole.
fn assert_whole(key: u64, bytes: &[u8]) {
    let word = |index: usize| u64::from_le_bytes(*bytes[8 * index..].first_chunk().unwrap());
    assert!(bytes.len() >= 24, "{} bytes", bytes.len());
    assert_eq!(word(0), key, "the value of another key");
    let (number, len) = (word(1), word(2));
    assert!(len < 1 << 20, "{len}");
    assert!(bytes == value(key, number, len as usize), "a torn value of {key}, number {number}");
}

impl Maps {
    fn of(segment: Segment) -> Self {
        let words = segment.hash_map("words").unwrap();
        let blocks = segment.hash_map("blocks").unwrap();
        let texts = segment.hash_map("texts").unwrap();
        let large = segment.hash_map("large").unwrap();
        Self { segment, words, blocks, texts, large }
    }

    fn fill(&self) {
        for key in 0..STABLE {
            self.set(key, 0, 100);
        }
    }

    fn set(&self, key: u64, number: u64, len: usize) {
        self.words.insert(&key, &(key << 32 | number & 0xffff_ffff)).unwrap();
        self.blocks.insert(&key, &value(key, number, len % 300)).unwrap();
        self.texts.insert(&text(key), &value(key, number, len % 100)).unwrap();
        self.large.insert(&key, &value(key, number, 3600 + len % 300)).unwrap();
    }

    /// Changes something. Keys of several writers are the same.
    fn change(&self, random: &mut Random) {
        let (number, len) = (random.below(1 << 28), random.below(1000) as usize);
        let volatile = FIRST + random.below(VOLATILE);
        match random.below(10) {
            0 => self.set(random.below(STABLE), number, len),
            1 | 2 => {
                let key = random.below(STABLE);
                self.words.insert(&key, &(key << 32 | number)).unwrap();
            }
            3 => drop(self.large.insert(&(number % STABLE), &value(number % STABLE, 1, 3700))),
            4..7 => self.set(volatile, number, len),
            7 | 8 => {
                self.words.remove(&volatile).unwrap();
                self.blocks.remove(&volatile).unwrap();
                self.texts.remove(&text(volatile)).unwrap();
                self.large.remove(&volatile).unwrap();
            }
            _ if random.below(20) == 0 => {
                // So many keys that pages are split, and so few afterwards that they are merged.
                let first = CROWD + random.below(3) * CROWD_LEN;
                for key in first..first + CROWD_LEN {
                    self.words.insert(&key, &(key << 32 | number)).unwrap();
                    self.blocks.insert(&key, &value(key, number, 8)).unwrap();
                }
                for key in first..first + CROWD_LEN {
                    self.words.remove(&key).unwrap();
                    self.blocks.remove(&key).unwrap();
                }
            }
            _ => {
                // Pages and blocks take turns with the same memory.
                let name = format!("short-lived {}", random.below(3));
                let Ok(map) = HashMap::<u64, [u8]>::create_new(&self.segment, &name) else {
                    return;
                };
                for key in 0..4 {
                    let _ = map.insert(&key, &value(key, number, 3600));
                }
                self.segment.remove(&name).unwrap();
            }
        }
    }

    /// Looks up some keys in all maps. Returns the number of lookups.
    fn look(&self, random: &mut Random) -> u64 {
        for _ in 0..60 {
            let key = random.below(STABLE);
            let word = self.words.get(&key).unwrap();
            assert_eq!(word.map(|word| word >> 32), Some(key), "{word:?}");
            let volatile = FIRST + random.below(VOLATILE);
            let word = self.words.get(&volatile).unwrap();
            assert!(word.is_none_or(|word| word >> 32 == volatile), "{word:?} of {volatile}");
        }
        let (key, other) = (random.below(STABLE), random.below(STABLE));
        for (key, word) in
            [key, other].into_iter().zip(self.words.get_many([&key, &other]).unwrap())
        {
            assert_eq!(word.map(|word| word >> 32), Some(key), "{word:?}");
        }
        for key in (0..4).map(|step| (key + 7 * step) % STABLE) {
            assert_whole(key, &self.blocks.get(&key).unwrap().expect("missed"));
            assert_whole(key, &self.texts.get(&text(key)).unwrap().expect("missed"));
        }
        assert_whole(key, &self.large.get(&key).unwrap().expect("missed"));
        let volatile = FIRST + random.below(VOLATILE);
        if let Some(bytes) = self.blocks.get(&volatile).unwrap() {
            assert_whole(volatile, &bytes);
        }
        if let Some(bytes) = self.texts.get(&text(volatile)).unwrap() {
            assert_whole(volatile, &bytes);
        }
        let read = self.large.read(&volatile, |view| {
            let half = view.len() / 2;
            let mut bytes = view.subview(..half)?.to_vec()?;
            thread::yield_now();
            bytes.extend(view.subview(half..)?.to_vec()?);
            Ok(bytes)
        });
        if let Some(bytes) = read.unwrap() {
            assert_whole(volatile, &bytes);
        }
        assert_eq!(self.words.get(&(FIRST + VOLATILE + key)).unwrap(), None);
        // As many lookups as there are above.
        120 + 2 + 8 + 1 + 4
    }

    /// Iterates over all maps. Each stable key must be there once.
    fn iterate(&self) -> u64 {
        let mut count = 0;
        let mut once = |keys: Vec<u64>| {
            count += keys.len() as u64;
            let set: HashSet<u64> = keys.iter().copied().collect();
            assert_eq!(set.len(), keys.len(), "a key was returned twice");
            for key in 0..STABLE {
                assert!(set.contains(&key), "{key} was missed");
            }
        };
        once(
            self.words
                .iter()
                .map(|pair| pair.unwrap())
                .map(|(key, word)| {
                    assert_eq!(word >> 32, key);
                    key
                })
                .collect(),
        );
        let whole = |(key, bytes): (u64, Vec<u8>)| {
            assert_whole(key, &bytes);
            key
        };
        once(self.blocks.iter().map(|pair| whole(pair.unwrap())).collect());
        once(self.large.iter().map(|pair| whole(pair.unwrap())).collect());
        once(
            self.texts
                .iter()
                .map(|pair| {
                    let (text, bytes) = pair.unwrap();
                    let key = text.rsplit(' ').next().unwrap().parse().unwrap();
                    whole((key, bytes))
                })
                .collect(),
        );
        count
    }
}

const ROLE: &str = "changes_maps";

/// Child role: changes the maps without end.
#[test]
fn changes_maps() {
    let Some(name) = role(ROLE) else { return };
    let maps = Maps::of(Segment::open(name.to_str().unwrap()).unwrap());
    let mut random = Random::new(u64::from(std::process::id()) | 1 << 40);
    tell("works");
    loop {
        maps.change(&mut random);
    }
}

/// Lookups and iterations beside two threads and a process that write.
#[test]
fn lookups_beside_writers() {
    need_atomics!();
    let lookups = repeated(1_000_000_000, 1_000_000);
    let name = format!("segment-races-{}", std::process::id());
    let _unlinked = UnlinkOnDrop::new(&name);
    let maps = Maps::of(Segment::create_new(&name, 1 << 20, 1 << 28).unwrap());
    maps.fill();
    let mut peer = Peer::start(ROLE, &name);
    assert_eq!(peer.hear(), "works");
    let (looked, iterated, changed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (done, start) = (AtomicBool::new(false), Instant::now());
    /// Ends the other threads if this one panics.
    struct EndsAll<'a>(&'a AtomicBool);
    impl Drop for EndsAll<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    thread::scope(|scope| {
        for seed in 1..3 {
            let (maps, done, changed) = (&maps, &done, &changed);
            scope.spawn(move || {
                let _ends = EndsAll(done);
                let mut random = Random::new(seed);
                while !done.load(Ordering::Relaxed) {
                    maps.change(&mut random);
                    changed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for seed in 3..5 {
            let (maps, done, looked, iterated) = (&maps, &done, &looked, &iterated);
            scope.spawn(move || {
                let _ends = EndsAll(done);
                let mut random = Random::new(seed);
                while !done.load(Ordering::Relaxed) {
                    let mut count = 0;
                    for _ in 0..100 {
                        count += maps.look(&mut random);
                    }
                    iterated.fetch_add(maps.iterate(), Ordering::Relaxed);
                    if looked.fetch_add(count, Ordering::Relaxed) + count >= lookups {
                        return;
                    }
                }
            });
        }
    });
    println!(
        "{looked:?} lookups, {iterated:?} pairs iterated, beside {changed:?} changes and those of a process, in {:?}",
        start.elapsed()
    );
    peer.kill();
    maps.segment.repair().unwrap();
    let report = maps.segment.check().unwrap();
    assert!(report.is_healthy() && report.unattached == 0, "{report:?}");
}

/// A reader that is late takes no later value for the one that it began to read, also if the value's memory was a page
/// of a map meanwhile, and then had a value of the same key again.
#[test]
fn a_late_reader_takes_no_other_value_for_its_own() {
    need_atomics!();
    let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26).unwrap();
    // From the longest value that shares no size class with a page to the shortest that does not fit.
    for len in (2000..5000).step_by(100) {
        let map = HashMap::<u64, [u8]>::create_new(&segment, "map").unwrap();
        let replace = |with: u8| {
            map.insert(&1, &vec![9; len]).unwrap();
            let other = HashMap::<u64, u64>::create_new(&segment, "other").unwrap();
            other.insert(&1, &1).unwrap();
            segment.remove("other").unwrap();
            map.insert(&1, &vec![with; len]).unwrap();
        };
        replace(1);
        replace(2);
        let mut calls = 0;
        let read = map.read(&1, |view| {
            let first = view.get(0)?;
            calls += 1;
            if calls < 3 {
                replace(2 + calls);
            }
            Ok((first, view.get(view.len() - 1)?))
        });
        let (first, last) = read.unwrap().unwrap();
        assert_eq!(first, last, "half of one value and half of another, of {len} bytes");
        segment.remove("map").unwrap();
    }
}

/// Maps that are changed at full speed need no more memory than at first.
#[test]
fn churn_does_not_use_up_memory() {
    need_atomics!();
    let changes: u64 = repeated(100_000_000, 200_000);
    let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 28).unwrap();
    let words = segment.hash_map::<u64, u64>("words").unwrap();
    let texts = segment.hash_map::<str, [u8]>("texts").unwrap();
    let mut random = Random::new(7);
    let keys = 2_000;
    // Keys are never the same again, so that each page is rebuilt again and again.
    let change = |number: u64, random: &mut Random| {
        words.insert(&number, &number).unwrap();
        let bytes = vec![number as u8; random.below(100) as usize];
        texts.insert(&text(number), &bytes).unwrap();
        if let Some(old) = number.checked_sub(keys) {
            assert_eq!(words.remove(&old).unwrap(), Some(old));
            assert!(texts.remove(&text(old)).unwrap().is_some());
        }
    };
    let warm = 20 * keys;
    for number in 0..warm {
        change(number, &mut random);
    }
    let used = || (segment.stats().unwrap(), words.memory().unwrap(), texts.memory().unwrap());
    let (before, start) = (used(), Instant::now());
    let mut most = before.0.used;
    for number in warm..warm + changes / 4 {
        change(number, &mut random);
        if number % (changes / 100) == 0 {
            most = most.max(segment.stats().unwrap().used);
        }
    }
    let after = used();
    println!(
        "{changes} changes in {:?}: {} bytes used before, {most} at most; the maps {} and {}, then {} and {}",
        start.elapsed(),
        before.0.used,
        before.1,
        before.2,
        after.1,
        after.2
    );
    assert!(most <= before.0.used * 3 / 2, "{before:?} {after:?}");
    assert!(after.1 <= before.1 * 3 / 2 && after.2 <= before.2 * 3 / 2, "{before:?} {after:?}");
    assert_eq!(words.len().unwrap(), keys);
    assert_eq!(texts.len().unwrap(), keys);
    let report = segment.check().unwrap();
    assert!(report.is_healthy() && report.unattached == 0, "{report:?}");
}

/// A map that had many keys, and has few, gives its memory back.
#[test]
fn a_map_that_shrank_needs_little() {
    need_atomics!();
    let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 28).unwrap();
    let map = segment.hash_map::<u64, u64>("map").unwrap();
    let few = segment.hash_map::<u64, u64>("few").unwrap();
    let (many, kept) = (100_000_u64, 1_000);
    for key in 0..kept {
        few.insert(&key, &key).unwrap();
    }
    for key in 0..many {
        map.insert(&key, &key).unwrap();
    }
    let full = map.memory().unwrap();
    for key in kept..many {
        assert_eq!(map.remove(&key).unwrap(), Some(key));
    }
    let (after, need) = (map.memory().unwrap(), few.memory().unwrap());
    // The directories of all lengths stay.
    let directories = 2 * 8 * many / 50;
    println!(
        "{full} bytes with {many} keys, {after} with {kept}; a map that never had more has {need}"
    );
    assert!(after <= 3 * need + directories, "{full}, {after}, {need}");
    for key in 0..kept {
        assert_eq!(map.get(&key).unwrap(), Some(key));
    }
    assert_eq!(map.len().unwrap(), kept);
    for key in 0..many {
        map.insert(&key, &key).unwrap();
    }
    assert!(map.memory().unwrap() <= full * 3 / 2);
    assert!(segment.check().unwrap().is_healthy());
}
