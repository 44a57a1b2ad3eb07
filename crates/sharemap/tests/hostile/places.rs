//! Offsets in an object at which a write matters, and nearly valid values for them.

use crate::random::Random;

/// The layout of the object, as its header described it before it was overwritten.
pub struct Map {
    pub participants: u64,
    pub lanes: u64,
    pub lane_count: u64,
    pub payload: u64,
    pub len: u64,
    /// The offsets of the locks in the payload.
    locks: &'static [u64],
}

impl Map {
    pub fn of(image: &[u8], locks: &'static [u64]) -> Self {
        let eight = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap());
        let lane_count = u32::from_le_bytes(image[68..72].try_into().unwrap()).into();
        Self {
            participants: eight(88),
            lanes: eight(96),
            lane_count,
            payload: eight(104),
            len: eight(32),
            locks,
        }
    }

    /// Returns a random offset, more often one on which much depends.
    pub fn place(&self, random: &mut Random) -> u64 {
        let (start, end) = match random.below(1_000) {
            0..2 => (0, 128),
            2..12 => (128, 256),
            12..40 => (256, self.participants),
            40..140 => (self.participants, self.lanes),
            140..500 => (self.lanes, self.payload),
            _ => (self.payload, self.len),
        };
        start + random.below(end - start)
    }

    pub fn word(&self, random: &mut Random) -> u32 {
        match random.below(8) {
            0 => 0,
            1 => u32::MAX,
            2 => random.next() as u32,
            3 => 1 << random.below(32),
            // A lock word with a random lane and random flags.
            4..6 => (random.below(self.lane_count + 3) | random.below(16) << 16) as u32,
            _ => random.below(70) as u32,
        }
    }

    pub fn announcement(&self, random: &mut Random) -> u64 {
        let at = match random.below(8) {
            0 => random.next(),
            1 => self.len - random.below(64),
            2 => random.below(self.payload),
            3 => self.payload + random.below(self.len - self.payload),
            _ => self.payload + random.pick(self.locks),
        };
        let number = if random.one_in(3) { random.below(1 << 16) } else { random.below(3) };
        at & 0xffff_ffff_fff0 | random.below(16) | number << 48
    }
}
