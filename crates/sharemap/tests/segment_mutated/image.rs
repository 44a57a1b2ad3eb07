//! Images of segments, and mutations of them by a seed.

#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "../hostile/random.rs"]
mod random;

use std::path::Path;

pub use random::Random;
use sharemap::containers::HashMap;
use sharemap::{Location, Offset, Segment, SharedOptions, ViewMut};

/// The bytes of a segment.
pub struct Image {
    bytes: Vec<u8>,
    /// The offsets of the words that are not 0, which are the structure.
    words: Vec<usize>,
}

/// The objects of the images.
pub const PLACES: usize = 16;

/// Creates a segment for [`fill`].
pub fn create(path: &Path) -> Segment {
    let options = SharedOptions::new().participants(8).lanes(16);
    let segment = options.create_new_segment(Location::file(path), 0, 1 << 22).unwrap();
    segment.create_value("places", &[Offset::<[u64; 4]>::NONE; PLACES]).unwrap();
    segment
}

/// Fills a segment, or changes much of it.
pub fn fill(segment: &Segment, round: u64) {
    let words = segment.hash_map::<u64, u64>("words").unwrap();
    let values = segment.hash_map::<u64, [u8]>("values").unwrap();
    let texts = segment.hash_map::<str, [u8]>("texts").unwrap();
    for key in 0..120_u64 {
        words.insert(&key, &(key + round)).unwrap();
        if (key + round) % 3 == 0 {
            words.remove(&key).unwrap();
        }
    }
    for key in 0..30_u64 {
        values.insert(&key, &vec![key as u8; 1 + ((key + round) % 64) as usize]).unwrap();
        texts.insert(&format!("key number {key}"), &vec![1; (key % 48) as usize]).unwrap();
        if (key + round) % 4 == 0 {
            texts.remove(&format!("key number {key}")).unwrap();
        }
    }
    segment.set_value("text", "some text").unwrap();
    segment.set_value("large", &vec![3_u8; 40_000][..]).unwrap();
    segment.set_value("number", &round).unwrap();
    let short = HashMap::<u64, u64>::open_or_create(segment, "short-lived").unwrap();
    let _ = short.insert(&1, &1);
    segment.remove("short-lived").unwrap();
    let places = segment.offset::<[Offset<[u64; 4]>; PLACES]>("places").unwrap().unwrap();
    for index in 0..PLACES {
        let place = places.element(index);
        match (index as u64 + round) % 2 {
            0 => drop(segment.attach(place, &[round; 4])),
            _ => drop(segment.detach(place)),
        }
    }
}

impl Image {
    /// Creates a segment that no process uses.
    pub fn make_whole(path: &Path) {
        let segment = create(path);
        for round in 0..3 {
            fill(&segment, round);
        }
    }

    pub fn load(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let is_used = |at: &usize| bytes[*at..*at + 8] != [0; 8];
        let words = (0..bytes.len()).step_by(8).filter(is_used).collect();
        Self { bytes, words }
    }

    /// Returns the offset of a word: often one that is not 0, or a neighbour of one.
    fn place(&self, random: &mut Random) -> usize {
        let word = self.words[random.below(self.words.len() as u64) as usize];
        let at = match random.below(8) {
            0 => random.below(self.bytes.len() as u64) as usize,
            1 => word + 8,
            // The tables are at the beginning.
            2 => random.below(0x12000.min(self.bytes.len() as u64)) as usize,
            3 => self.words[random.below(400.min(self.words.len() as u64)) as usize],
            _ => word,
        };
        at.min(self.bytes.len() - 8) & !7
    }

    fn word(&self, at: usize) -> u64 {
        u64::from_le_bytes(*self.bytes[at..].first_chunk().unwrap())
    }

    /// Returns an offset, and what it is overwritten with: no more than up to the end.
    pub fn mutation(&self, random: &mut Random) -> (usize, Vec<u8>) {
        let at = self.place(random);
        let mut new = self.new_bytes(at, random);
        new.truncate(self.bytes.len() - at);
        (at, new)
    }

    /// Returns what the bytes at an offset are overwritten with.
    fn new_bytes(&self, at: usize, random: &mut Random) -> Vec<u8> {
        let word = self.word(at);
        let other = self.word(self.place(random));
        let new = match random.below(16) {
            0 => word ^ 1 << random.below(64),
            1 => word.wrapping_add(1),
            2 => word.wrapping_sub(1),
            3 => 0,
            4 => u64::MAX,
            5 => other,
            6 => word & !0xffff | random.below(20),
            7 => word & 0xffff_ffff | random.next() << 32,
            8 => random.next() >> random.below(64),
            9 => word.rotate_left(8),
            10 => word ^ random.below(256) << (8 * random.below(8)),
            11 => word.wrapping_add(1 << random.below(40)),
            12 => self.bytes.len() as u64,
            13 => return vec![random.next() as u8; 8 * (1 + random.below(16) as usize)],
            // Something else of the same kind, as if a store went to the wrong place.
            14 => return self.bytes[self.place(random)..].iter().take(64).copied().collect(),
            _ => self.place(random) as u64,
        };
        new.to_le_bytes().to_vec()
    }

    /// Returns a mutated copy of the bytes.
    pub fn mutated(&self, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for _ in 0..1 + random.below(8) {
            let (at, word) = self.mutation(random);
            // The header is mutated rarely: most mutations of it are found at once.
            if at < 256 && random.below(8) != 0 {
                continue;
            }
            bytes[at..at + word.len()].copy_from_slice(&word);
        }
        match random.below(60) {
            0 => bytes.truncate(random.below(bytes.len() as u64) as usize),
            1 => bytes.resize(bytes.len() + random.below(100_000) as usize, random.next() as u8),
            _ => {}
        }
        if random.below(4) > 0 && bytes.len() >= 128 {
            seal(&mut bytes);
        }
        bytes
    }

    /// Restores a part of the segment, or all of it.
    pub fn restore(&self, bytes: &ViewMut<'_, u8>, random: &mut Random) {
        let len = self.bytes.len();
        let range = match random.below(4) {
            0 => 0..len,
            1 => 0..0x12000.min(len),
            _ => {
                let start = random.below(len as u64) as usize;
                start..len.min(start + 0x8000)
            }
        };
        bytes.write_at(range.start, &self.bytes[range]).unwrap();
    }
}

/// Updates the checksum of the header.
pub fn seal(bytes: &mut [u8]) {
    let sum = bytes[..120].iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    bytes[120..128].copy_from_slice(&sum.to_le_bytes());
}
