//! The hash of keys, which is a part of the format.

/// Odd numbers without a pattern: the fractional parts of the golden ratio, and of the square root of 3.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const ROOT_3: u64 = 0xbb67_ae85_84ca_a73b;

/// Multiplies, and adds the upper half of the product to the lower one without carries.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Returns the hash of a key of one word.
#[inline]
pub(super) fn of_word(seed: u64, word: u64) -> u64 {
    fold(word ^ seed, GOLDEN)
}

/// Returns the id of what fills a block. The counts of two lanes have hardly ever the same low bits.
pub(super) fn of_fill(count: u64) -> u64 {
    fold(count, GOLDEN)
}

/// Returns the hash of the bytes of a key: of words of 8 bytes, little-endian, the last filled up with zeros.
#[inline]
pub(super) fn of_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let mut hash = fold(seed ^ bytes.len() as u64, ROOT_3);
    let mut pairs = bytes.chunks_exact(16);
    for pair in &mut pairs {
        hash = fold(word(&pair[..8]) ^ hash, word(&pair[8..]) ^ GOLDEN);
    }
    let rest = pairs.remainder();
    let (first, second) = match rest.len() {
        0 => return fold(hash, ROOT_3),
        len @ ..8 => (last_bytes(bytes, len), 0),
        8 => (word(rest), 0),
        len => (word(&rest[..8]), last_bytes(bytes, len - 8)),
    };
    hash = fold(first ^ hash, second ^ GOLDEN);
    fold(hash, ROOT_3)
}

/// Returns the last `len` bytes of some, 1 to 7, as a word.
#[inline]
pub(super) fn last_bytes(bytes: &[u8], len: usize) -> u64 {
    match bytes.last_chunk() {
        Some(&last) => u64::from_le_bytes(last) >> (64 - 8 * len),
        None => word(&bytes[bytes.len() - len..]),
    }
}

/// Returns up to 8 bytes as a word.
#[inline]
pub(super) fn word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(&whole) => u64::from_le_bytes(whole),
        None => bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_format() {
        // Computed by hand from the definition; files depend on them.
        assert_eq!(of_word(0, 1), GOLDEN);
        assert_eq!(of_word(5, 5), 0);
        assert_eq!(of_bytes(0, b""), 0);
        assert_eq!(of_bytes(1, b""), fold(ROOT_3, ROOT_3));
    }

    #[test]
    fn lengths_and_zeros_differ() {
        let mut seen = std::collections::HashSet::new();
        for len in 0..40 {
            assert!(seen.insert(of_bytes(7, &[0; 40][..len])), "{len} zeros");
            assert!(seen.insert(of_bytes(7, &[b'a'; 40][..len + 1])), "{len} letters");
        }
    }
}
