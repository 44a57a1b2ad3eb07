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

/// Returns the hash of the bytes of a key: of pairs of words of 8 bytes, little-endian, the last filled up with zeros.
#[inline]
pub(super) fn of_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let mut hash = fold(seed ^ bytes.len() as u64, ROOT_3);
    let mut add = |pair: u128| hash = fold(pair as u64 ^ hash, (pair >> 64) as u64 ^ GOLDEN);
    let mut pairs = bytes.chunks_exact(16);
    for whole in &mut pairs {
        add(last_pair(whole, 16));
    }
    let rest = pairs.remainder().len();
    if rest != 0 {
        add(last_pair(bytes, rest));
    }
    fold(hash, ROOT_3)
}

/// Returns two words as one number.
#[inline(always)]
pub(super) fn pair(first: u64, second: u64) -> u128 {
    u128::from(second) << 64 | u128::from(first)
}

/// Returns the last `len` bytes of some, 1 to 16, as a number.
#[inline(always)]
pub(super) fn last_pair(bytes: &[u8], len: usize) -> u128 {
    match bytes.last_chunk() {
        Some(&last) => u128::from_le_bytes(last) >> (128 - 8 * len),
        None => short(&bytes[bytes.len() - len..]),
    }
}

/// Returns up to 15 bytes as a number, by words that overlap.
#[inline]
fn short(bytes: &[u8]) -> u128 {
    let shift = |width| 8 * (bytes.len() - width);
    if let (Some(&first), Some(&last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return u128::from(u64::from_le_bytes(first))
            | u128::from(u64::from_le_bytes(last)) << shift(8);
    }
    if let (Some(&first), Some(&last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return u128::from(u32::from_le_bytes(first))
            | u128::from(u32::from_le_bytes(last)) << shift(4);
    }
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u128::from(byte))
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
    fn short_keys_are_filled_up_with_zeros() {
        let bytes: [u8; 40] = std::array::from_fn(|index| 0x80 + index as u8);
        for begin in 0..40 {
            for len in 1..=16.min(40 - begin) {
                let mut filled = [0; 16];
                filled[..len].copy_from_slice(&bytes[begin..begin + len]);
                let number = u128::from_le_bytes(filled);
                assert_eq!(last_pair(&bytes[..begin + len], len), number, "{len} after {begin}");
                assert_eq!(last_pair(&bytes[begin..begin + len], len), number, "{len} bytes");
            }
        }
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
