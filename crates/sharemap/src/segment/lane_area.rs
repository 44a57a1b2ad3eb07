//! The area of a lane: what the lane is changing, in a form that a survivor can complete.
//!
//! An area is a head, which every lane has from the beginning, and a body in the heap, which is allocated with the
//! lane's first block and kept with the lane's number.
//!
//! ```text
//! head
//!   0  commit    u64       the number of entries of a committed redo record, and new tops of stacks; 0: none
//!   8  listed    u64       the number of lock ranges below
//!  16  ranges    8 x u64   the first word's offset | (number of words - 1) << 48
//!  80  body      u64       the offset of the body; 0: none
//!  88  fills     u64       the number of blocks of maps that the lane has filled
//!  96  tops      40 x u32  the number of free blocks in each stack
//! 256  entries   8 x {place | log2 of the run << 56, value}, of a record with at most 8 entries
//!
//! body
//!   0  entries   1,024 x {place | log2 of the run << 56, value}, of a record with more entries
//! 16384 stacks   for each size class, the offsets of free blocks, as many as a lane keeps
//! ```
//!
//! Words are loaded once, validated, and then used: a misbehaving peer may have written them.

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::peer::{KEPT, KIND_MASK, Machine, OFFSET_MASK};
use crate::segment::lock_table::{LockTable, STRIDE};
use crate::segment::size_class::{CLASSES, most_kept};

/// Offsets in a head.
pub(super) const COMMIT: u64 = 0;
pub(super) const LISTED: u64 = 8;
pub(super) const RANGES: u64 = 16;
pub(super) const TOPS: u64 = 96;
const BODY: u64 = 80;
const FILLS: u64 = 88;
pub(super) const ENTRIES: u64 = 256;
/// The offset of the stacks in a body.
const STACKS: u64 = 16 * MOST_ENTRIES;

/// The largest number of lock ranges of a change.
pub(super) const MOST_RANGES: u64 = 8;
/// The largest number of entries of a redo record.
pub(super) const MOST_ENTRIES: u64 = 1024;
/// The largest number of entries of a record that lies in the head. The change that allocates the body has up to 5:
/// the body's place, the run's entry and free bits, the number of chunks, and the length.
const FEW_ENTRIES: u64 = 8;
/// The length of a head.
pub(super) const HEAD: u64 = ENTRIES + 16 * FEW_ENTRIES;
/// The length of a body.
pub(super) const BODY_LEN: u64 = STACKS + stacks_before(CLASSES);

/// The bits of an entry's first word, and of a range, that are an offset.
const OFFSET: u64 = (1 << 48) - 1;

/// What a redo record may change, and the locks of the segment. Validation is against these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) locks: LockTable,
    /// The offsets of the words that records change.
    pub(super) changeable: Range<u64>,
}

/// A new number of free blocks in the stack of a class, which becomes current when the redo record does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Top {
    pub(super) class: u32,
    pub(super) blocks: u32,
}

/// The commit word: the number of entries in bits 0 to 15, and up to three tops above, 16 bits each: the class's
/// number + 1 in the upper six bits, and its number of blocks in the lower ten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Commit(pub(super) u64);

impl Commit {
    /// The largest number of tops.
    const MOST_TOPS: u32 = 3;

    #[inline(always)]
    pub(super) fn new(entries: u64, tops: &[Top]) -> Self {
        let (mut word, mut index) = (entries, 0);
        while index < tops.len() {
            let Top { class, blocks } = tops[index];
            index += 1;
            word |= u64::from((class + 1) << 10 | blocks) << (16 * index);
        }
        Self(word)
    }

    /// Returns the number of entries.
    fn entries(self) -> u64 {
        self.0 & 0xffff
    }

    fn tops(self) -> impl Iterator<Item = Top> {
        (1..=Self::MOST_TOPS).filter_map(move |index| {
            let bits = (self.0 >> (16 * index)) as u32 & 0xffff;
            (bits >> 10).checked_sub(1).map(|class| Top { class, blocks: bits & 0x3ff })
        })
    }
}

/// Where a lane's area lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LaneArea {
    pub(super) at: u64,
    pub(super) lane: u32,
    /// The offset of the body; 0: none.
    pub(super) body: u64,
}

/// One entry of a redo record: `value` is stored in the words from `place` on, 2 to the power of `run` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) place: u64,
    pub(super) run: u32,
    pub(super) value: u64,
}

impl LaneArea {
    /// Returns what the lane announces before its first change.
    pub(super) fn announcement(self) -> u64 {
        debug_assert!(self.at & !OFFSET_MASK == 0, "areas lie on multiples of 16");
        self.at | KEPT
    }

    /// Returns the offset of the head that an announcement names, if it is one of an area. It may lie anywhere.
    pub(super) fn announced(announcement: u64) -> Option<u64> {
        (announcement & KIND_MASK == KEPT).then_some(announcement & OFFSET_MASK)
    }

    /// Returns the area of `lane`, whose head is at `at`.
    ///
    /// Fails with `Malformed` if its body lies outside the segment.
    pub(super) fn load<M: Machine>(machine: &M, space: &Space, at: u64, lane: u32) -> Result<Self> {
        let body = machine.load_64(at + BODY)?;
        let is_inside = space.changeable.contains(&body)
            && space.changeable.end - body >= BODY_LEN
            && body % 16 == 0;
        match body == 0 || is_inside {
            true => Ok(Self { at, lane, body }),
            false => Err(malformed(at + BODY, "a lane's area lies outside the segment")),
        }
    }

    /// Returns the offset of the word that has the body's offset.
    pub(super) fn body_word(self) -> u64 {
        self.at + BODY
    }

    /// Returns the offset of an entry of a record of so many.
    #[inline(always)]
    fn entry_at(self, entries: u64, index: u64) -> u64 {
        let first = if entries <= FEW_ENTRIES { self.at + ENTRIES } else { self.body };
        first + 16 * index
    }

    /// Returns the number of blocks in the lane's stack of a class. It is at most what a lane keeps.
    #[inline(always)]
    pub(super) fn blocks<M: Machine>(self, machine: &M, class: u32) -> Result<u32> {
        self.checked_blocks(class, machine.load_32(self.at + TOPS + 4 * u64::from(class))?)
    }

    /// Returns a number of blocks that was loaded, if the stack of the class has room for as many.
    #[inline(always)]
    pub(super) fn checked_blocks(self, class: u32, blocks: u32) -> Result<u32> {
        match blocks <= most_kept(class) {
            true => Ok(blocks),
            false => Err(self.malformed_stack(class)),
        }
    }

    #[cold]
    fn malformed_stack(self, class: u32) -> Error {
        let at = self.at + TOPS + 4 * u64::from(class);
        malformed(at, "a lane's stack has more blocks than there is room for")
    }

    /// Returns `true` if a stack has a block.
    pub(super) fn keeps_blocks<M: Machine>(self, machine: &M) -> Result<bool> {
        for class in 0..CLASSES {
            if self.blocks(machine, class)? > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Changes the number of blocks in a stack: takes a block from it, or adds one that is in place already.
    #[inline(always)]
    pub(super) fn set_top<M: Machine>(self, machine: &M, top: Top) -> Result<()> {
        machine.store_32(self.at + TOPS + 4 * u64::from(top.class), top.blocks)
    }

    /// Returns the offset of the place number `index` of the lane's stack of a class.
    #[inline(always)]
    pub(super) fn place(self, class: u32, index: u32) -> u64 {
        self.body + STACKS + STACKS_BEFORE[class as usize] + 8 * u64::from(index)
    }

    /// Counts one more block that the lane fills. Returns the lane's number above the count: no other fill has both.
    pub(super) fn count_fill<M: Machine>(self, machine: &M) -> Result<u64> {
        let fills = machine.load_64(self.at + FILLS)?.wrapping_add(1);
        machine.store_64(self.at + FILLS, fills)?;
        Ok(fills ^ u64::from(self.lane) << 48)
    }

    /// Returns `true` if the lane has a change that is not complete.
    #[inline(always)]
    pub(super) fn is_busy<M: Machine>(self, machine: &M) -> Result<bool> {
        Ok(machine.load_64(self.at + COMMIT)? | machine.load_64(self.at + LISTED)? != 0)
    }

    /// Lists `count` locks from the word at `first` as the range number `index`. The lane may acquire them
    /// afterwards, as recovery finds them here.
    #[inline(always)]
    pub(super) fn list<M: Machine>(
        self,
        machine: &M,
        index: u64,
        first: u64,
        count: u32,
    ) -> Result<()> {
        if index >= MOST_RANGES {
            return Err(too_large("the change locks more ranges than a lane's area has room for"));
        }
        // The number last: a range below it is whole.
        machine.store_64(self.at + RANGES + 8 * index, first | u64::from(count - 1) << 48)?;
        machine.store_64(self.at + LISTED, index + 1)
    }

    /// Empties the list. All locks in it are released.
    #[inline(always)]
    pub(super) fn clear_list<M: Machine>(self, machine: &M) -> Result<()> {
        machine.store_64(self.at + LISTED, 0)
    }

    /// Returns the offsets of the words in the listed range number `index`.
    pub(super) fn range<M: Machine>(
        self,
        machine: &M,
        locks: LockTable,
        index: u64,
    ) -> Result<impl Iterator<Item = u64> + use<M>> {
        let at = self.at + RANGES + 8 * index;
        let range = machine.load_64(at)?;
        let (first, count) = (range & OFFSET, (range >> 48) + 1);
        let from = first.checked_sub(locks.at).filter(|from| from % STRIDE == 0);
        let end = from.map(|from| from / STRIDE + count);
        if end.is_none_or(|end| end > locks.count.into()) {
            return Err(malformed(at, "a lane lists locks outside the table"));
        }
        Ok((0..count).map(move |index| first + STRIDE * index))
    }

    /// Returns the number of listed ranges.
    pub(super) fn listed<M: Machine>(self, machine: &M) -> Result<u64> {
        match machine.load_64(self.at + LISTED)? {
            listed if listed <= MOST_RANGES => Ok(listed),
            _ => {
                Err(malformed(self.at + LISTED, "a lane lists more ranges than there is room for"))
            }
        }
    }

    /// Writes a redo record and commits it: it is applied from here on, by this thread or by a survivor.
    ///
    /// Fails with `TooLarge`, and changes nothing, if the record has too many entries.
    #[inline(always)]
    pub(super) fn commit<M: Machine>(
        self,
        machine: &M,
        entries: &[Entry],
        tops: &[Top],
    ) -> Result<()> {
        debug_assert!(!entries.is_empty() && tops.len() <= Commit::MOST_TOPS as usize);
        if entries.len() as u64 > MOST_ENTRIES {
            return Err(too_large("the change has more entries than a redo record has room for"));
        }
        let count = entries.len() as u64;
        debug_assert!(count <= FEW_ENTRIES || self.body != 0, "long records need a body");
        for (index, entry) in (0..).zip(entries) {
            let at = self.entry_at(count, index);
            machine.store_64(at, entry.place | u64::from(entry.run) << 56)?;
            machine.store_64(at + 8, entry.value)?;
        }
        // Last: nothing of the record counts before.
        machine.store_64(self.at + COMMIT, Commit::new(count, tops).0)
    }

    /// Applies the record that this thread has just committed, and clears it.
    #[inline(always)]
    pub(super) fn apply_own<M: Machine>(
        self,
        machine: &M,
        entries: &[Entry],
        tops: &[Top],
    ) -> Result<()> {
        for entry in entries {
            for at in (entry.place..entry.place + (8 << entry.run)).step_by(8) {
                machine.store_64(at, entry.value)?;
            }
        }
        for &top in tops {
            self.set_top(machine, top)?;
        }
        // Last, as in `apply`.
        machine.store_64(self.at + COMMIT, 0)
    }

    /// Applies the committed record, if there is one, and clears it. May be repeated from any point.
    ///
    /// Fails with `Malformed`, before it changes anything, if the record is none that this version writes.
    pub(super) fn apply<M: Machine>(self, machine: &M, space: &Space) -> Result<()> {
        let commit = Commit(machine.load_64(self.at + COMMIT)?);
        if commit == Commit::default() {
            return Ok(());
        }
        let count = commit.entries();
        let is_sound = |top: Top| top.class < CLASSES && top.blocks <= most_kept(top.class);
        let most = if self.body == 0 { FEW_ENTRIES } else { MOST_ENTRIES };
        if count == 0 || count > most || !commit.tops().all(is_sound) {
            return Err(malformed(self.at + COMMIT, "a lane's commit word is not valid"));
        }
        for index in 0..count {
            self.entry(machine, space, self.entry_at(count, index))?;
        }
        for index in 0..count {
            let (words, value) = self.entry(machine, space, self.entry_at(count, index))?;
            for at in words.step_by(8) {
                machine.store_64(at, value)?;
            }
        }
        for top in commit.tops() {
            self.set_top(machine, top)?;
        }
        // Last. The locks stay held until then: a record that is applied again must not meet newer values.
        machine.store_64(self.at + COMMIT, 0)
    }

    /// Returns the words that an entry changes, and their new value.
    fn entry<M: Machine>(self, machine: &M, space: &Space, at: u64) -> Result<(Range<u64>, u64)> {
        let (first, value) = (machine.load_64(at)?, machine.load_64(at + 8)?);
        let (place, run) = (first & OFFSET, first >> 56);
        // An offset has 48 bits, so no run of up to 2 to the power of 40 words overflows.
        let end = place + (8 << run.min(40));
        let is_inside = space.changeable.start <= place && end <= space.changeable.end;
        match place % 8 == 0 && run <= 40 && is_inside {
            true => Ok((place..end, value)),
            false => Err(malformed(at, "a lane's redo record changes what no record may change")),
        }
    }
}

/// The lengths of the stacks of all classes below each.
const STACKS_BEFORE: [u64; CLASSES as usize] = {
    let (mut before, mut class) = ([0; CLASSES as usize], 0);
    while class < CLASSES {
        before[class as usize] = stacks_before(class);
        class += 1;
    }
    before
};

/// Returns the length of the stacks of all classes below `class`.
const fn stacks_before(class: u32) -> u64 {
    let (mut before, mut len) = (0, 0);
    while before < class {
        len += 8 * most_kept(before) as u64;
        before += 1;
    }
    len
}

/// Returns the error, of kind `TooLarge`, for a change that does not fit into an area.
#[cold]
fn too_large(why: &'static str) -> Error {
    Error::new(ErrorKind::TooLarge, "change").with_detail(why)
}

/// Returns the error, of kind `Malformed`, for a word at `at` that no version writes.
#[cold]
fn malformed(at: u64, why: &'static str) -> Error {
    Error::new(ErrorKind::Malformed, "recover").with_offset(at).with_detail(why)
}
