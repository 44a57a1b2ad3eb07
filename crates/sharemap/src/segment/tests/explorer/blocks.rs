//! Blocks that are replaced beside a reader, and filled again.

use super::faults::each_store_is_needed;
use super::scripts::{
    READER, Script, Step, alone, beside_a_reader, caught_beside_readers, directory_word, entry,
    fenced, in_lane_1, insert, key, reads_from_root, remove, two_writers,
};
use crate::segment::map::Form;
use crate::segment::tests::small::area_at;
use crate::testing::explorer::search::{caught, complete, long};
use crate::testing::explorer::{Fault, Setup};

/// What has been done before: two keys have a value.
fn two_values() -> Vec<Step> {
    vec![insert(0, 0, 2), insert(0, 1, 1)]
}

/// Defines a script that begins with two values, and looks up the first key.
macro_rules! script {
    ($(#[$doc:meta])* $name:ident, $form:ident, $during:expr) => {
        $(#[$doc])*
        struct $name;

        impl Script for $name {
            const FORM: Form = Form::$form;
            fn before() -> Vec<Step> {
                two_values()
            }
            fn during(writer: usize) -> Vec<Step> {
                if writer == 0 { $during } else { vec![] }
            }
            fn key() -> u64 {
                key(0, 0)
            }
        }
    };
}

script! {
    /// The block is filled again, by the same lane for the same key.
    SameKey, Values, vec![insert(0, 0, 3), insert(0, 0, 4)]
}
script! {
    /// The block is filled again, by the same lane for another key.
    OtherKey, Values, vec![insert(0, 0, 3), insert(0, 1, 4)]
}
script! {
    /// The block of a removed key is filled again for another key.
    Removed, Values, vec![remove(0, 0), insert(0, 1, 3)]
}
script! {
    /// The block is filled again by another lane, for the same key, and then for another.
    OtherLane, Values, vec![
        in_lane_1(insert(0, 0, 3)), in_lane_1(insert(0, 0, 4)), insert(0, 0, 5), in_lane_1(insert(0, 1, 6)),
    ]
}
script! {
    /// Blocks with keys, filled again for the same key and for others.
    Keys, Keys, vec![insert(0, 0, 3), insert(0, 0, 4), remove(0, 0), insert(0, 2, 5)]
}

#[test]
fn replaced() {
    beside_a_reader::<SameKey>("a block filled again for the same key");
    beside_a_reader::<OtherKey>("a block filled again for another key");
    beside_a_reader::<Removed>("the block of a removed key");
    beside_a_reader::<OtherLane>("a block filled again by another lane");
    beside_a_reader::<Keys>("blocks with keys");
}

/// Two writers replace the values of two keys, of one page, with blocks that each freed before.
struct Both;

impl Script for Both {
    const FORM: Form = Form::Values;
    fn before() -> Vec<Step> {
        two_values()
    }
    fn during(writer: usize) -> Vec<Step> {
        match writer {
            0 => vec![insert(0, 0, 3), insert(0, 0, 4)],
            _ => vec![in_lane_1(insert(0, 1, 5)), in_lane_1(remove(0, 1))],
        }
    }
    fn key() -> u64 {
        key(0, 0)
    }
}

#[test]
fn replaced_by_two() {
    complete("blocks that two replace", &two_writers::<Both>(0));
    complete("blocks that two replace, with deaths", &two_writers::<Both>(2));
}

#[test]
fn dropped_and_swapped_stores_are_found() {
    each_store_is_needed::<SameKey>("a block filled again for the same key");
    each_store_is_needed::<OtherKey>("a block filled again for another key");
    each_store_is_needed::<Removed>("the block of a removed key");
    if long() {
        each_store_is_needed::<OtherLane>("a block filled again by another lane");
        each_store_is_needed::<Keys>("blocks with keys");
    }
}

/// The offset of the count of filled blocks in an area.
const FILLS: u64 = 88;

#[test]
fn left_out_checks_are_found() {
    // A lookup ends with the directory's word, which is loaded after the entry.
    let looks_once = |entry, place| Fault::LooksOnce(READER, entry, place);
    let (tags, value) = entry::<SameKey>();
    let place = directory_word::<SameKey>();
    caught_beside_readers::<SameKey>(
        "the same key, whose value is not looked at again",
        looks_once(value, place),
    );
    caught_beside_readers::<OtherKey>(
        "another key, and the value is not looked at again",
        looks_once(value, place),
    );
    caught_beside_readers::<Removed>(
        "a removed key, whose tag is not looked at again",
        looks_once(tags, place),
    );
    let (_, value) = entry::<OtherLane>();
    caught_beside_readers::<OtherLane>(
        "another lane, and the value is not looked at again",
        looks_once(value, directory_word::<OtherLane>()),
    );
    let ((tags, value), place) = (entry::<Keys>(), directory_word::<Keys>());
    caught_beside_readers::<Keys>(
        "a value that is not looked at again, with keys in blocks",
        looks_once(value, place),
    );
    caught_beside_readers::<Keys>(
        "a tag that is not looked at again, with keys in blocks",
        looks_once(tags, place),
    );
}

/// A count of few bits comes back, and with it the ids. A reader notices what it sees less than as many fills of.
#[test]
fn ids_come_back() {
    let fills = area_at(0) + FILLS;
    let with = |bits: u64| Setup {
        // The block of the first key was filled second; the first was given up, for want of a page.
        words: vec![(fills, 2)],
        fault: Fault::Wraps(fills, u64::MAX, bits),
        ..alone::<SameKey>(reads_from_root::<SameKey>, 0)
    };
    caught("the same key, with ids of 1 bit", &with(1));
    complete("the same key, with ids of 2 bits", &with(3));
}

#[test]
fn copies_need_fences() {
    fenced::<SameKey>("the same key");
    if long() {
        fenced::<OtherKey>("another key");
        fenced::<Keys>("blocks with keys");
    }
}
