//! Size classes: the lengths of blocks, from 16 bytes to half a span.
//!
//! There are eight classes up to 128 bytes, 16 bytes apart, and then four for each doubling. A block wastes at most
//! a fifth of its length.

/// The number of classes.
pub(super) const CLASSES: u32 = 40;

/// The length of the longest block of a class.
pub(super) const LONGEST: u64 = 32 << 10;

/// The number of classes that lie 16 bytes apart.
const LINEAR: u32 = 8;

/// Returns the length of the blocks of a class.
#[inline]
pub(super) const fn size_of(class: u32) -> u64 {
    match class.checked_sub(LINEAR) {
        None => 16 * (class as u64 + 1),
        Some(above) => (5 + above as u64 % 4) << (5 + above / 4),
    }
}

/// Returns the class of the shortest blocks of at least `len` bytes; `None` if `len` is more than [`LONGEST`].
#[inline]
pub(super) const fn class_of(len: u64) -> Option<u32> {
    if len <= 16 {
        return Some(0);
    }
    if len <= 128 {
        return Some((len as u32).div_ceil(16) - 1);
    }
    if len > LONGEST {
        return None;
    }
    // The last byte's position has its two bits below the highest in the class, and the highest bit in the doubling.
    let last = len - 1;
    let doubling = last.ilog2() - 7;
    let quarter = (last >> (doubling + 5)) as u32 % 4;
    Some(LINEAR + 4 * doubling + quarter)
}

/// Returns the largest number of blocks that a lane keeps of a class.
#[inline]
pub(super) const fn most_kept(class: u32) -> u32 {
    MOST_KEPT[class as usize]
}

/// For each class: blocks of 16 KiB together, but at least two and at most 64.
const MOST_KEPT: [u32; CLASSES as usize] = {
    let (mut most, mut class) = ([0; CLASSES as usize], 0);
    while class < CLASSES {
        let blocks = (16 << 10) / size_of(class);
        most[class as usize] = match blocks {
            0 => 2,
            1..64 => blocks as u32 + 1,
            _ => 64,
        };
        class += 1;
    }
    most
};

/// Where the blocks of a class lie in a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The length of the bitmap at the beginning of the span, a multiple of a cache line; 0: at most 64 blocks, which
    /// have their bitmap elsewhere.
    pub(super) bitmap: u32,
    /// The number of blocks.
    pub(super) count: u32,
    /// The length of a block.
    pub(super) size: u32,
    /// 2 to the power of 32, divided by the length of a block and rounded up.
    reciprocal: u32,
}

impl Layout {
    /// Returns the layout of each class in spans of a length that is 2 to the power of `span_shift`, at most 16.
    pub(super) const fn table(span_shift: u32) -> [Self; CLASSES as usize] {
        let mut table = [Self { bitmap: 0, count: 0, size: 0, reciprocal: 0 }; CLASSES as usize];
        let mut class = 0;
        while class < CLASSES {
            let (len, size) = (1_u32 << span_shift, size_of(class) as u32);
            let most = len / size;
            // As many blocks as fit behind the bitmap.
            let bitmap = if most <= 64 { 0 } else { most.div_ceil(8).next_multiple_of(64) };
            let reciprocal = (1_u64 << 32).div_ceil(size as u64) as u32;
            let count = (len - bitmap) / size;
            table[class as usize] = Self { bitmap, count, size, reciprocal };
            class += 1;
        }
        table
    }

    /// Returns the number of the block that contains the byte at `from`, counted from the first block.
    #[inline]
    pub(super) fn index(self, from: u16) -> u64 {
        // Exact for numbers of 16 bits: the reciprocal is too large by less than one part in 2 to the power of 16.
        (u64::from(from) * u64::from(self.reciprocal)) >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_length_has_the_class_of_the_shortest_blocks() {
        for len in 0..=LONGEST {
            let class = class_of(len).unwrap();
            assert!(class < CLASSES, "{len}");
            assert!(size_of(class) >= len, "{len}: class {class} has {} bytes", size_of(class));
            assert!(
                class == 0 || size_of(class - 1) < len,
                "{len}: class {class} is not the shortest"
            );
        }
        assert_eq!(class_of(LONGEST + 1), None);
        assert_eq!(size_of(CLASSES - 1), LONGEST);
    }

    #[test]
    fn indices_are_quotients() {
        for (class, layout) in (0..CLASSES).zip(Layout::table(16)) {
            for from in 0..=u16::MAX {
                assert_eq!(layout.index(from), u64::from(from) / size_of(class));
            }
        }
    }

    #[test]
    fn blocks_are_multiples_of_16_bytes_and_few_are_kept() {
        for class in 0..CLASSES {
            assert_eq!(size_of(class) % 16, 0, "class {class}");
            assert!((2..=64).contains(&most_kept(class)), "class {class}");
        }
    }
}
