//! Pages that are replaced beside a reader, and their memory that is used again.

use super::faults::each_store_is_needed;
use super::scripts::{
    READER, Script, Step, alone, beside_a_reader, caught_beside_readers, directory_word,
    first_word, full_page, in_lane_1, insert, key, reads_from_root, remove, two_writers,
};
use crate::segment::map::Form;
use crate::segment::tests::small::{Handle, ROOT, space};
use crate::testing::explorer::search::{caught, complete, long};
use crate::testing::explorer::{Fault, Setup};

/// A page is rebuilt, and another one is then rebuilt in its memory.
struct Elsewhere;

impl Script for Elsewhere {
    const FORM: Form = Form::Words;
    fn before() -> Vec<Step> {
        [full_page(0), full_page(1)].concat()
    }
    fn during(writer: usize) -> Vec<Step> {
        [vec![insert(0, 7, 30), insert(1, 7, 31)], vec![]][writer].clone()
    }
    fn key() -> u64 {
        key(0, 3)
    }
}

/// A page is rebuilt twice, and is then where it was.
struct BackAgain;

impl Script for BackAgain {
    const FORM: Form = Form::Words;
    fn before() -> Vec<Step> {
        full_page(0)
    }
    fn during(writer: usize) -> Vec<Step> {
        if writer > 0 {
            return vec![];
        }
        let inserts = (7..10).map(|n| insert(0, n, n as u64));
        let removes = (4..7).map(|n| remove(0, n));
        inserts.chain(removes).chain([insert(0, 10, 10)]).collect()
    }
    fn key() -> u64 {
        key(0, 3)
    }
}

/// A page is split, in a directory that is doubled for it.
struct Split;

impl Script for Split {
    const FORM: Form = Form::Words;
    fn before() -> Vec<Step> {
        (0..7).map(|n| insert(0, n, n as u64)).collect()
    }
    fn during(writer: usize) -> Vec<Step> {
        [vec![insert(0, 7, 7)], vec![]][writer].clone()
    }
    fn key() -> u64 {
        key(0, 3)
    }
}

/// Two pages are merged, and another page is rebuilt in the memory of one.
struct Merge;

impl Script for Merge {
    const FORM: Form = Form::Words;
    fn before() -> Vec<Step> {
        let inserts = (0..8).map(|n| insert(0, n, n as u64));
        // One key of each half is left.
        let removes = (0..8).filter(|&n| n != 0 && n != other_half()).map(|n| remove(0, n));
        inserts.chain(removes).chain(full_page(1)).collect()
    }
    fn during(writer: usize) -> Vec<Step> {
        [vec![remove(0, other_half()), insert(1, 7, 31)], vec![]][writer].clone()
    }
    fn key() -> u64 {
        key(0, 0)
    }
}

/// Two writers need room in the same page, of which one finds it.
struct Both;

impl Script for Both {
    const FORM: Form = Form::Words;
    fn before() -> Vec<Step> {
        full_page(0)
    }
    fn during(writer: usize) -> Vec<Step> {
        [vec![insert(0, 7, 30)], vec![in_lane_1(insert(0, 8, 31)), in_lane_1(remove(0, 4))]][writer]
            .clone()
    }
    fn key() -> u64 {
        key(0, 3)
    }
}

/// Returns the number of a key in the other half of page 0 than key 0.
fn other_half() -> usize {
    let shape = Handle::new(Form::Words).shape;
    let half = |n| shape.word_key(key(0, n)).hash >> 62;
    (1..8).find(|&n| half(n) != half(0)).expect("a page is not split so")
}

#[test]
fn replaced() {
    beside_a_reader::<Elsewhere>("a page in the memory of another");
    beside_a_reader::<BackAgain>("a page where it was");
    beside_a_reader::<Split>("a page that is split");
    beside_a_reader::<Merge>("pages that are merged");
}

#[test]
fn replaced_by_two() {
    complete("a page that two need room in", &two_writers::<Both>(0));
    complete("a page that two need room in, with deaths", &two_writers::<Both>(2));
    let lock = space()
        .locks
        .word((Handle::new(Form::Words).shape.word_key(Both::key()).hash >> 63) as u32);
    let torn = Setup { fault: Fault::Torn(lock), ..two_writers::<Both>(0) };
    caught("the page's lock is acquired by a load and a store", &torn);
    let unrecovered = Setup { fault: Fault::NoRecovery, ..two_writers::<Both>(1) };
    caught("no recovery", &unrecovered);
}

#[test]
fn dropped_and_swapped_stores_are_found() {
    each_store_is_needed::<Elsewhere>("a page in the memory of another");
    each_store_is_needed::<Split>("a page that is split");
    if long() {
        each_store_is_needed::<BackAgain>("a page where it was");
        each_store_is_needed::<Merge>("pages that are merged");
    }
}

/// The offset of the generation in a root.
const GENERATION: u64 = 16;
/// The bits of a word of the directory that are a page's generation.
const COUNTER: u64 = (1 << 28) - 1;

#[test]
fn left_out_checks_are_found() {
    // The last load of each lookup is that of the map's generation.
    let looks_once = |place| Fault::LooksOnce(READER, place, ROOT + GENERATION);
    let place = directory_word::<Elsewhere>();
    caught_beside_readers::<Elsewhere>("another page, not looked at again", looks_once(place));
    let place = directory_word::<BackAgain>();
    caught_beside_readers::<BackAgain>("the same page, not looked at again", looks_once(place));
    let place = directory_word::<Merge>();
    caught_beside_readers::<Merge>("a merged page, not looked at again", looks_once(place));
}

/// A generation of few bits comes back. A reader notices what it sees less than as many replacements of.
#[test]
fn generations_come_back() {
    let place = directory_word::<BackAgain>();
    let with = |bits: u64| {
        let first = first_word::<BackAgain>(place) & !(COUNTER & !bits);
        Setup {
            words: vec![(place, first as u32)],
            fault: Fault::Wraps(place, COUNTER, bits),
            ..alone::<BackAgain>(reads_from_root::<BackAgain>, 0)
        }
    };
    caught("a page where it was, without a generation", &with(0));
    caught("a page where it was, with a generation of 1 bit", &with(1));
    complete("a page where it was, with a generation of 2 bits", &with(3));
}
