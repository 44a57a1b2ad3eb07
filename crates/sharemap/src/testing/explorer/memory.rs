//! The memory of a state: what all states of a search begin with, and the words that differ from it.

use std::rc::Rc;

/// Simulated memory. A copy of it costs little.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    base: Rc<[u8]>,
    /// The words of 8 bytes that differ from the base, in the order of their offsets.
    changed: Vec<(u64, u64)>,
    /// Two hashes of the changed words.
    hash: (u64, u64),
}

impl Memory {
    /// The base must not be empty, and its length a multiple of 8.
    pub(crate) fn new(base: Rc<[u8]>) -> Self {
        Self { base, changed: Vec::new(), hash: (0, 0) }
    }

    /// Returns two hashes of the memory, among memories with the same base.
    pub(crate) fn hash(&self) -> (u64, u64) {
        self.hash
    }

    /// Returns the place of a word among the changed ones.
    fn position(&self, at: u64) -> Result<usize, usize> {
        self.changed.binary_search_by_key(&at, |&(at, _)| at)
    }

    fn base_word(&self, at: u64) -> u64 {
        let bytes = self.base.get(at as usize..).and_then(<[u8]>::first_chunk);
        u64::from_le_bytes(*bytes.unwrap_or_else(|| panic!("no memory at {at}")))
    }

    /// Returns the word of 8 bytes that contains the byte at `at`.
    fn word(&self, at: u64) -> u64 {
        let at = at & !7;
        match self.position(at) {
            Ok(index) => self.changed[index].1,
            Err(_) => self.base_word(at),
        }
    }

    /// Loads `size` bytes, 4 or 8, at a multiple of `size`.
    pub(crate) fn load(&self, at: u64, size: u8) -> u64 {
        assert!(at % u64::from(size) == 0, "a load of {size} bytes at {at}");
        let word = self.word(at);
        match size {
            4 => word >> (8 * (at & 4)) & 0xffff_ffff,
            _ => word,
        }
    }

    /// Stores `size` bytes, 4 or 8, at a multiple of `size`.
    pub(crate) fn store(&mut self, at: u64, size: u8, value: u64) {
        assert!(at % u64::from(size) == 0, "a store of {size} bytes at {at}");
        let (at, value) = match size {
            4 => {
                let shift = 8 * (at & 4);
                let rest = self.word(at) & !(0xffff_ffff << shift);
                (at & !7, rest | (value & 0xffff_ffff) << shift)
            }
            _ => (at, value),
        };
        let base = self.base_word(at);
        match (self.position(at), value == base) {
            (Ok(index), is_base) => {
                self.toggle(at, self.changed[index].1);
                if is_base {
                    self.changed.remove(index);
                    return;
                }
                self.changed[index].1 = value;
            }
            (Err(_), true) => return,
            (Err(index), false) => self.changed.insert(index, (at, value)),
        }
        self.toggle(at, value);
    }

    /// Adds a changed word to the hashes, or takes it out.
    fn toggle(&mut self, at: u64, value: u64) {
        let mix = |seed: u64| {
            let hash = (at ^ seed).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(31) ^ value;
            let hash = (hash ^ hash >> 32).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
            (hash ^ hash >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        };
        self.hash.0 ^= mix(0x243f_6a88_85a3_08d3);
        self.hash.1 ^= mix(0x1319_8a2e_0370_7344);
    }

    /// Returns a copy of all bytes.
    pub(crate) fn image(&self) -> Vec<u8> {
        let mut image = self.base.to_vec();
        for &(at, value) in &self.changed {
            image[at as usize..at as usize + 8].copy_from_slice(&value.to_le_bytes());
        }
        image
    }
}
