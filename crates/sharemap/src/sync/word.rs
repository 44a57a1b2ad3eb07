//! A lock's word: who has it, and what the next owner is to know.

/// The lane that has it, plus one; 0 is nobody.
pub(crate) const LANE: u32 = 0xffff;
/// The lane has it upgradably: readers are admitted.
pub(crate) const UPGRADABLE: u32 = 1 << 16;
/// An owner declared the value unusable.
pub(crate) const POISONED: u32 = 1 << 17;
/// An owner died; stays until an owner who was told releases it without.
pub(crate) const DIED: u32 = 1 << 18;

/// The word's name of a lane.
pub(crate) fn named(lane: u32) -> u32 {
    lane + 1
}

/// The lane that the word names.
pub(crate) fn owner(word: u32) -> Option<u32> {
    (word & LANE).checked_sub(1)
}
