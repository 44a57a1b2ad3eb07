//! A value of two words with a spare copy: small enough to be known to be right, and to be broken on
//! purpose in every way that the search has to find.

use std::path::Path;

use sharemap::{MappingMut, Result, ViewMut};

use crate::tracee::mark;

/// Which copy counts; then the copies.
const SELECTOR: usize = 0;
const COPIES: [usize; 2] = [2, 4];

pub fn prepare(path: &Path) {
    let map = MappingMut::create(path, 64).unwrap();
    let words = map.view::<u64>().unwrap();
    words.write_at(COPIES[0], &[1, 1]).unwrap();
}

/// What is wrong with an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    None,
    /// The selector is changed before the copy is whole.
    SelectedEarly,
    /// The copy that counts is changed in place.
    InPlace,
    /// Half of the copy is not written.
    HalfWritten,
}

/// Adds one to both words.
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

/// The value is the old one or the new one, whole, and can be updated.
pub fn survive(path: &Path, bug: Bug) {
    let map = MappingMut::open(path).unwrap();
    let words = map.view::<u64>().unwrap();
    let selector = words.get(SELECTOR).unwrap() as usize % 2;
    let mut value = [0; 2];
    words.read_at(COPIES[selector], &mut value).unwrap();
    assert!(value[0] == value[1] && value[0] >= 1, "half an update: {value:?}");
    // There is an end to it, so that there is one to the search.
    if value[0] < 4 {
        update(&words, bug).unwrap();
    }
}
