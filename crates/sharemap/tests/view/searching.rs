//! Searching, compared with slices.

use crate::elements::{LENGTHS, Sample, for_all_types, samples};
use crate::reading::holding;

mod elements_found {
    use super::*;
    for_all_types!(find);
}

fn find<T: Sample>() {
    for len in LENGTHS {
        let expected = samples::<T>(len as u64, len);
        let map = holding(align_of::<T>(), &expected);
        let view = map.view_at::<T>(align_of::<T>(), len).unwrap();
        let places = [0, 1, 31, 63, 64, 65, len / 2, len.wrapping_sub(2), len.wrapping_sub(1)];
        let mut sought: Vec<T> =
            places.iter().filter_map(|&at| expected.get(at)).copied().collect();
        sought.push(T::sample(1 << 40));
        for value in sought {
            let first = expected.iter().position(|element| *element == value);
            assert_eq!(view.find(value).unwrap(), first, "in {len}");
            let count = expected.iter().filter(|element| **element == value).count();
            assert_eq!(view.count(value).unwrap(), count, "in {len}");
        }
    }
}

/// A single byte is found at every index of several blocks, and so is the first of two.
#[test]
fn one_byte_anywhere() {
    let map = sharemap::MappingMut::anonymous(1000).unwrap();
    for start in [0, 1, 13] {
        let view = map.bytes().subview(start..start + 700).unwrap();
        for place in 0..700 {
            view.set(place, 1).unwrap();
            assert_eq!(view.find(1).unwrap(), Some(place));
            view.set(699, 1).unwrap();
            assert_eq!(view.find(1).unwrap(), Some(place));
            assert_eq!(view.count(1).unwrap(), if place == 699 { 1 } else { 2 });
            view.set(699, 0).unwrap();
            view.set(place, 0).unwrap();
            assert_eq!(view.find(1).unwrap(), None);
        }
    }
}

/// Counts exceed the range of the counters that the library uses within a block.
#[test]
fn counts_of_many_equal_elements() {
    let map = sharemap::MappingMut::anonymous(3 << 20).unwrap();
    let bytes = map.bytes();
    assert_eq!(bytes.count(0).unwrap(), 3 << 20);
    bytes.fill(7).unwrap();
    assert_eq!(bytes.subview(5..).unwrap().count(7).unwrap(), (3 << 20) - 5);
    assert_eq!(map.view::<u16>().unwrap().count(0x0707).unwrap(), 3 << 19);
}

/// Floats are compared as floats: NaN equals no value, and the zeros are equal.
#[test]
fn floats_are_equal_as_floats() {
    let map = sharemap::MappingMut::anonymous(4000).unwrap();
    let view = map.view::<f32>().unwrap();
    view.fill(f32::NAN).unwrap();
    assert_eq!(view.find(f32::NAN).unwrap(), None);
    view.set(900, -0.0).unwrap();
    assert_eq!(view.find(0.0).unwrap(), Some(900));
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return Some(0);
    }
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Runs of bytes are found as in a slice.
#[test]
fn runs_of_bytes() {
    let text = b"abracadabra, abracadabra; aaaaaaaab and the end".repeat(30);
    let map = holding(1, &text);
    let view = map.bytes().subview(1..=text.len()).unwrap();
    for needle in [
        &b""[..],
        b"a",
        b"b",
        b"end",
        b"ab",
        b"abracadabra;",
        b"aaaab",
        b"aaaaaaaaab",
        b"endabr",
        b"the end of it",
        b"zebra",
        &text,
        &text[1..],
        &text[text.len() - 1..],
    ] {
        assert_eq!(view.find_bytes(needle).unwrap(), position(&text, needle));
    }
    let longer = [&text[..], b"x"].concat();
    assert_eq!(view.find_bytes(&longer).unwrap(), None);
    let empty = view.subview(..0).unwrap();
    assert_eq!(empty.find_bytes(b"").unwrap(), Some(0));
    assert_eq!(empty.find_bytes(b"a").unwrap(), None);
}

/// Runs of bytes are found across every boundary of the searched pieces, even if they are longer
/// than a piece.
#[test]
fn runs_of_bytes_in_long_views() {
    const LEN: usize = 300_000;
    let map = sharemap::MappingMut::anonymous(LEN).unwrap();
    let view = map.bytes();
    view.fill(b'.').unwrap();
    for len in [1, 2, 3, 17, 1000, 70_000] {
        let needle: Vec<u8> = (0..len).map(|at| b'a' + (at % 26) as u8).collect();
        for place in [0, 1, 4093, 16_383, 65_530, 65_536, 131_071, LEN - len] {
            if place + len > LEN {
                continue;
            }
            view.write_at(place, &needle).unwrap();
            assert_eq!(view.find_bytes(&needle).unwrap(), Some(place), "{len} bytes");
            let cut = view.subview(..place + len - 1).unwrap();
            assert_eq!(cut.find_bytes(&needle).unwrap(), None, "{len} bytes");
            view.subview(place..place + len).unwrap().fill(b'.').unwrap();
        }
    }
}

/// Runs of bytes are found in the worst case, where every start nearly matches.
#[test]
fn runs_of_bytes_that_nearly_match_everywhere() {
    let map = sharemap::MappingMut::anonymous(1 << 18).unwrap();
    let view = map.bytes();
    view.fill(b'a').unwrap();
    let needle = [&[b'a'; 40][..], b"b"].concat();
    assert_eq!(view.find_bytes(&needle).unwrap(), None);
    view.set((1 << 18) - 1, b'b').unwrap();
    assert_eq!(view.find_bytes(&needle).unwrap(), Some((1 << 18) - 41));
}
