//! Searches for bytes and runs of bytes, compared with slices: all matches, the last match, faults at every
//! place of the vectors, and memory that changes meanwhile.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::skip;
use crate::elements::{LENGTHS, Sample, for_all_types, samples};
use crate::faults::{Cut, cut, is_fault};
use crate::random::check;
use crate::reading::holding;
use proptest::collection::vec;
use proptest::prelude::*;
use sharemap::{ErrorKind, MappingMut, Protection, View, page_size};

/// Returns the indices of all matches of `needle`, also of those that overlap.
fn places(haystack: &[u8], needle: &[u8]) -> Vec<usize> {
    if needle.is_empty() {
        return (0..=haystack.len()).collect();
    }
    let windows = haystack.windows(needle.len()).enumerate();
    windows.filter(|(_, window)| *window == needle).map(|(index, _)| index).collect()
}

/// Returns those of the places that are left if matches must not overlap.
fn apart(places: &[usize], len: usize) -> Vec<usize> {
    let mut next = 0;
    let mut kept = Vec::new();
    for &place in places {
        if place >= next {
            kept.push(place);
            next = place + len.max(1);
        }
    }
    kept
}

/// Collects an iterator that may end with an error.
fn collected(
    items: impl Iterator<Item = sharemap::Result<usize>>,
) -> (Vec<usize>, Option<sharemap::Error>) {
    let mut found = Vec::new();
    let mut items = items;
    let error = loop {
        match items.next() {
            Some(Ok(index)) => found.push(index),
            Some(Err(error)) => break Some(error),
            None => break None,
        }
    };
    assert!(items.next().is_none() && items.next().is_none(), "an iterator that ended stays so");
    (found, error)
}

/// Asserts that every search for `needle` returns what it returns in a slice.
fn agrees(view: View<'_, u8>, haystack: &[u8], needle: &[u8]) {
    let places = places(haystack, needle);
    let text = || format!("{:?} in {:?}", needle.escape_ascii().to_string(), haystack.len());
    assert_eq!(view.find_bytes(needle).unwrap(), places.first().copied(), "{}", text());
    assert_eq!(view.rfind_bytes(needle).unwrap(), places.last().copied(), "{}", text());
    let (found, error) = collected(view.find_bytes_iter(needle));
    assert!(error.is_none());
    assert_eq!(found, apart(&places, needle.len()), "{}", text());
    if let [byte] = *needle {
        assert_eq!(view.find(byte).unwrap(), places.first().copied());
        assert_eq!(view.rfind(byte).unwrap(), places.last().copied());
        let (found, error) = collected(view.find_iter(byte));
        assert!(error.is_none());
        assert_eq!(found, places);
    }
}

mod last_elements {
    use super::*;
    for_all_types!(last);
}

fn last<T: Sample>() {
    for len in LENGTHS {
        let expected = samples::<T>(len as u64, len);
        let map = holding(align_of::<T>(), &expected);
        let view = map.view_at::<T>(align_of::<T>(), len).unwrap();
        let places = [0, 1, 63, 64, len / 2, len.wrapping_sub(2), len.wrapping_sub(1)];
        let mut sought: Vec<T> =
            places.iter().filter_map(|&at| expected.get(at)).copied().collect();
        sought.push(T::sample(1 << 40));
        for value in sought {
            let last = expected.iter().rposition(|element| *element == value);
            assert_eq!(view.rfind(value).unwrap(), last, "in {len}");
        }
    }
}

/// The bytes of a view, and the range of them in which to search for a needle.
#[derive(Clone, Debug)]
struct Case {
    bytes: Vec<u8>,
    part: Range<usize>,
    needle: Vec<u8>,
}

/// Views of few letters, in which needles match often and nearly match more often.
fn cases(letters: u8, max: usize) -> impl Strategy<Value = Case> {
    let letter = move || 0..letters;
    (vec(letter(), 0..max), any::<[u16; 4]>(), vec(letter(), 0..12), any::<bool>()).prop_map(
        |(bytes, numbers, other, is_other)| {
            let len = bytes.len();
            let below = |number: u16, bound: usize| usize::from(number) % (bound + 1);
            let start = below(numbers[0], len.min(200));
            let end = len - below(numbers[1], (len - start).min(200));
            let at = below(numbers[2], len);
            let longest = (len - at).min(if numbers[3] % 8 == 0 { len } else { 20 });
            let needle =
                if is_other { other } else { bytes[at..at + below(numbers[3], longest)].to_vec() };
            Case { bytes, part: start..end, needle }
        },
    )
}

#[test]
fn random_views_and_needles() {
    for (letters, max) in [(2, 400), (4, 1500), (40, 6000), (255, 300)] {
        check(300, &cases(letters, max), |case| {
            let map = holding(1, &case.bytes);
            let whole = map.view_at::<u8>(1, case.bytes.len()).unwrap();
            let view = whole.subview(case.part.clone()).unwrap();
            agrees(*view, &case.bytes[case.part.clone()], &case.needle);
            if let Some(byte) = case.needle.first() {
                agrees(*view, &case.bytes[case.part], &[*byte]);
            }
        });
    }
}

/// A needle of any length is found at every place of several blocks, and only if it lies in the view.
#[test]
fn needles_at_every_place() {
    const LEN: usize = 520;
    let map = MappingMut::anonymous(LEN).unwrap();
    let bytes = map.bytes();
    for len in [2, 3, 17, 63, 64, 65, 129, 300] {
        let needle: Vec<u8> = (0..len).map(|at| b'a' + (at % 23) as u8).collect();
        for place in 0..=LEN - len {
            bytes.write_at(place, &needle).unwrap();
            for start in [0, place.saturating_sub(1), place] {
                let view = bytes.subview(start..).unwrap();
                assert_eq!(view.find_bytes(&needle).unwrap(), Some(place - start), "{len} bytes");
                assert_eq!(view.rfind_bytes(&needle).unwrap(), Some(place - start), "{len} bytes");
            }
            for cut in [place + 1..LEN, 0..place + len - 1] {
                let view = bytes.subview(cut).unwrap();
                assert_eq!(view.find_bytes(&needle).unwrap(), None, "{len} bytes at {place}");
                assert_eq!(view.rfind_bytes(&needle).unwrap(), None, "{len} bytes at {place}");
            }
            bytes.subview(place..place + len).unwrap().fill(0).unwrap();
        }
    }
}

/// Near misses at every place, and needles that overlap themselves: the search goes byte by byte after a
/// while, and finds the same.
#[test]
fn near_misses_everywhere() {
    let mut bytes = vec![b'a'; 40_000];
    for place in [30_000, 30_041, 35_000, 39_999] {
        bytes[place] = b'b';
    }
    let map = holding(1, &bytes);
    let view = map.view_at::<u8>(1, bytes.len()).unwrap();
    let a = |count| vec![b'a'; count];
    for needle in [
        [a(40), b"b".to_vec()].concat(),
        [a(40), b"b".to_vec(), a(40)].concat(),
        [a(20), b"b".to_vec(), a(40), b"b".to_vec()].concat(),
        [a(3000), b"b".to_vec()].concat(),
        a(5000),
        b"bb".to_vec(),
    ] {
        agrees(*view, &bytes, &needle);
    }
    // Comparing the needle at every place would take minutes.
    let map = holding(0, &vec![b'a'; 1 << 20]);
    let view = map.bytes().subview(..1 << 20).unwrap();
    for needle in [a(1 << 19), [a(1 << 18), b"b".to_vec(), a(1 << 18)].concat()] {
        let is_there = needle.len() == 1 << 19;
        assert_eq!(view.find_bytes(&needle).unwrap(), is_there.then_some(0));
        assert_eq!(view.rfind_bytes(&needle).unwrap(), is_there.then_some(1 << 19));
    }
}

/// Asserts what searches in `view` return if its first `good` bytes are `haystack`, and the byte after them,
/// at the file's offset `offset`, faults.
fn agrees_up_to_a_fault(view: View<'_, u8>, haystack: &[u8], needle: &[u8], offset: usize) {
    let faults = |error: sharemap::Error| {
        assert_eq!(
            (error.kind(), error.offset()),
            (ErrorKind::Fault, Some(offset as u64)),
            "{error}"
        );
    };
    let places = places(haystack, needle);
    match (view.find_bytes(needle), places.first()) {
        (Ok(found), Some(first)) => assert_eq!(found, Some(*first)),
        (Err(error), None) => faults(error),
        (result, first) => panic!("{result:?} and {first:?}"),
    }
    let (found, error) = collected(view.find_bytes_iter(needle));
    assert_eq!(found, apart(&places, needle.len()));
    faults(error.expect("the view ends with a fault"));
    if let [byte] = *needle {
        let (found, error) = collected(view.find_iter(byte));
        assert_eq!(found, places);
        faults(error.expect("the view ends with a fault"));
    }
}

/// Files cut at each place of the vectors: the matches before the new end are found, then the fault is
/// reported with its exact offset.
#[test]
fn faults_at_every_place() {
    let cut = cut();
    let Cut { map, .. } = &cut;
    let end = crate::faults::LEFT * page_size();
    let bytes = map.bytes();
    for good in 0..600 {
        let haystack: Vec<u8> = (0..good).map(|at| b"abracadabr!"[at * at % 11]).collect();
        bytes.write_at(end - good, &haystack).unwrap();
        let view = bytes.subview(end - good..end + 700).unwrap();
        let tail = &haystack[good - good.min(3)..];
        // The last needles go on past the fault, after a match up to it and after none.
        for needle in
            [&b"a"[..], b"!", b"ab", b"ra", b"zz", b"adab", tail, &[tail, b"a"].concat(), b"a tail"]
        {
            if !needle.is_empty() {
                agrees_up_to_a_fault(*view, &haystack, needle, end);
            }
        }
    }
}

/// A search from the end finds what lies after pages that cannot be read, and faults in them otherwise.
#[test]
fn faults_of_searches_from_the_end() {
    let page = page_size();
    let map = MappingMut::anonymous(3 * page).unwrap();
    let bytes = map.bytes();
    bytes.write_at(10, b"needle").unwrap();
    map.protect(page..2 * page, Protection::None).unwrap();
    for after in (0..300).chain([page - 6]) {
        let place = 2 * page + after;
        bytes.write_at(place, b"needle").unwrap();
        for end in [place + 6, (place + 7).min(3 * page), 3 * page] {
            let view = bytes.subview(..end).unwrap();
            assert_eq!(view.rfind_bytes(b"needle").unwrap(), Some(place));
            assert_eq!(view.rfind(b'l').unwrap(), Some(place + 4));
            assert_eq!(view.rfind_bytes(b"l").unwrap(), Some(place + 4));
            let cut = view.subview(..place + 3).unwrap();
            for error in [cut.rfind_bytes(b"needle").unwrap_err(), cut.rfind(b'l').unwrap_err()] {
                assert_eq!(error.kind(), ErrorKind::Fault);
                let offset = error.offset().unwrap() as usize;
                assert!((page..2 * page).contains(&offset), "{offset}");
            }
        }
        bytes.subview(place..place + 6).unwrap().fill(0).unwrap();
    }
    let before = bytes.subview(..page).unwrap();
    assert_eq!(before.rfind_bytes(b"needle").unwrap(), Some(10));
    assert_eq!(before.rfind(b'l').unwrap(), Some(14));
}

/// The offset of a fault is one in the file, and a file that is whole again can be searched again.
#[test]
fn searches_after_the_file_is_whole_again() {
    let cut = cut();
    let Cut { path, map, .. } = &cut;
    let end = crate::faults::LEFT * page_size();
    is_fault(&map.bytes().find_bytes(b"\0\0").unwrap_err(), path, end);
    is_fault(&map.bytes().find_iter(0).next().unwrap().unwrap_err(), path, end);
    let len = map.len() as u64;
    if std::fs::metadata(path).unwrap().len() == len {
        skip!("the file was not truncated");
    }
    std::fs::File::options().write(true).open(path).unwrap().set_len(len).unwrap();
    assert_eq!(map.bytes().find_bytes(b"\0\0").unwrap(), Some(end));
    assert_eq!(map.bytes().rfind_bytes(b"\0\0").unwrap(), Some(map.len() - 2));
    assert_eq!(map.bytes().find_iter(0).count(), map.len() - end);
}

/// A byte or run that another thread writes and overwrites at one place is found there or not at all.
#[test]
fn memory_that_changes_meanwhile() {
    const LEN: usize = 3000;
    let map = MappingMut::anonymous(LEN).unwrap();
    map.bytes().fill(b'y').unwrap();
    for place in [100, 127, LEN - 3] {
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    map.bytes().write_at(place, b"xyz").unwrap();
                    map.bytes().write_at(place, b"yyy").unwrap();
                }
            });
            for _ in 0..2000 {
                let view = map.bytes();
                for (needle, at) in [(&b"xyz"[..], place), (b"yx", place - 1), (b"x", place)] {
                    for found in
                        [view.find_bytes(needle).unwrap(), view.rfind_bytes(needle).unwrap()]
                    {
                        assert!(found.is_none_or(|found| found == at), "{found:?}");
                    }
                    assert!(view.find_bytes_iter(needle).all(|found| found.unwrap() == at));
                }
                assert!(view.find_iter(b'x').all(|found| found.unwrap() == place));
                assert!(view.find_iter(b'y').count() >= LEN - 3);
                assert!(view.rfind(b'z').unwrap().is_none_or(|found| found == place + 2));
            }
            is_done.store(true, Ordering::Relaxed);
        });
    }
}

/// `size_hint` bounds the number of matches, and clones go on independently.
#[test]
fn hints_and_clones() {
    let map = MappingMut::anonymous(1000).unwrap();
    let bytes = map.bytes();
    for place in [3, 5, 64, 500, 999] {
        bytes.set(place, 1).unwrap();
    }
    let mut iter = bytes.find_iter(1);
    let mut left = 5;
    loop {
        let (low, high) = iter.size_hint();
        assert!(low <= left && left <= high.unwrap(), "{low} {left} {high:?}");
        assert_eq!(iter.clone().count(), left);
        let Some(found) = iter.next() else { break };
        found.unwrap();
        left -= 1;
    }
    assert_eq!(iter.size_hint(), (0, Some(0)));
    let mut runs = bytes.find_bytes_iter(&[1, 0]);
    assert_eq!(runs.next().unwrap().unwrap(), 3);
    let copy = runs.clone();
    assert_eq!(collected(runs).0, [5, 64, 500]);
    assert_eq!(collected(copy).0, [5, 64, 500]);
}
