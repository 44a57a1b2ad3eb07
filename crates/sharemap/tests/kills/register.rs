//! A value of two words with a spare copy. It is small enough to be evidently correct, and to be
//! broken on purpose in each way that the search must find.

use std::path::Path;

use sharemap::{MappingMut, Result, ViewMut};

use crate::tracee::mark;

/// The offset of the selector of the current copy, then those of the copies.
const SELECTOR: usize = 0;
const COPIES: [usize; 2] = [2, 4];

pub fn prepare(path: &Path) {
    let map = MappingMut::create(path, 64).unwrap();
    let words = map.view::<u64>().unwrap();
    words.write_at(COPIES[0], &[1, 1]).unwrap();
}

/// The mistake in an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    None,
    /// The selector is changed before the copy is complete.
    SelectedEarly,
    /// The current copy is changed in place.
    InPlace,
    /// Half of the copy is not written.
    HalfWritten,
}

/// Increments both words.
fn update(words: &ViewMut<'_, u64>, bug: Bug) -> Result<()> {
    let selector = words.get(SELECTOR)? as usize % 2;
    let other = if bug == Bug::InPlace { selector } else { 1 - selector };
    let value = words.get(COPIES[selector])? + 1;
    if bug == Bug::SelectedEarly {
        words.set(SELECTOR, other as u64)?;
    }
    words.set(COPIES[other], value)?;
    if bug != Bug::HalfWritten {
        words.set(COPIES[other] + 1, value)?;
    }
    words.set(SELECTOR, other as u64)
}

pub fn operate(path: &Path, bug: Bug) {
    let map = MappingMut::open(path).unwrap();
    mark();
    update(&map.view().unwrap(), bug).unwrap();
}

/// Asserts that the value is whole, either the old or the new one, and updates it.
pub fn survive(path: &Path, bug: Bug) {
    let map = MappingMut::open(path).unwrap();
    let words = map.view::<u64>().unwrap();
    let selector = words.get(SELECTOR).unwrap() as usize % 2;
    let mut value = [0; 2];
    words.read_at(COPIES[selector], &mut value).unwrap();
    assert!(value[0] == value[1] && value[0] >= 1, "half an update: {value:?}");
    // The updates are bounded, as the search ends only if no new states appear.
    if value[0] < 4 {
        update(&words, bug).unwrap();
    }
}
