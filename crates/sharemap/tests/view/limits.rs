//! Input that a view rejects: sizes, alignments, ranges, and invalid bytes.

use crate::common::TempDir;
use crate::elements::{Colour, Pixel, Wide};
use sharemap::{ErrorKind, MapOptions, Mapping, MappingMut};
use std::ops::Bound;

/// A length that is no multiple of the element size is `WrongSize`.
#[test]
fn a_length_that_is_no_multiple() {
    let dir = TempDir::new();
    let path = dir.file("a", [1; 1001]);
    let map = Mapping::open(&path).unwrap();
    assert_eq!(map.view::<u8>().unwrap().len(), 1001);
    for error in [
        map.view::<u16>().unwrap_err(),
        map.view::<u64>().unwrap_err(),
        map.view::<[u8; 3]>().unwrap_err(),
        map.view::<char>().unwrap_err(),
        map.bytes().cast::<u32>().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::WrongSize);
        assert_eq!(error.path(), Some(path.as_path()));
        assert_eq!(error.length(), Some(1001));
    }
    assert_eq!(map.view::<[u8; 7]>().unwrap().len(), 143);
    assert_eq!(
        map.bytes().subview(1..).unwrap().cast::<u64>().unwrap_err().kind(),
        ErrorKind::Alignment
    );
}

/// Elements of zero size are `WrongSize`.
#[test]
fn elements_without_a_size() {
    let map = MappingMut::anonymous(16).unwrap();
    assert_eq!(map.view::<()>().unwrap_err().kind(), ErrorKind::WrongSize);
    assert_eq!(map.bytes().cast::<[u64; 0]>().unwrap_err().kind(), ErrorKind::WrongSize);
}

/// A misaligned offset is `Alignment`.
#[test]
fn misaligned_offsets() {
    let dir = TempDir::new();
    let path = dir.file("a", [1; 1024]);
    // On targets that align `u64` to 4 bytes, the offset 4 is aligned.
    for offset in [1, 2, align_of::<u64>() as u64 / 2, 7] {
        let map = MapOptions::new().offset(offset).len(512).open(&path).unwrap();
        let error = map.view::<u64>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Alignment, "offset {offset}");
        assert_eq!(error.offset(), Some(offset));
        assert!(map.view::<zerocopy::little_endian::U64>().is_ok());
    }
    let map = Mapping::open(&path).unwrap();
    assert_eq!(map.view_at::<u32>(6, 3).unwrap_err().kind(), ErrorKind::Alignment);
    assert_eq!(map.view_at::<Wide>(64, 1).unwrap_err().kind(), ErrorKind::Alignment);
    assert_eq!(map.view_at::<u32>(8, 3).unwrap().offset(), 8);
    let bytes = map.bytes().subview(3..11).unwrap();
    assert_eq!(bytes.cast::<u64>().unwrap_err().offset(), Some(3));
}

/// A part outside of the mapping is rejected, except an empty one at its end.
#[test]
fn parts_of_a_mapping() {
    let map = MappingMut::anonymous(1024).unwrap();
    for (offset, count) in [
        (0, 257),
        (1024, 1),
        (1028, 0),
        (usize::MAX - 3, 1),
        (0, usize::MAX),
        (4, usize::MAX / 4),
        (0, usize::MAX / 4 + 2),
    ] {
        let error = map.view_at::<u32>(offset, count).unwrap_err();
        let kind = error.kind();
        assert!(
            matches!(kind, ErrorKind::OutOfBounds | ErrorKind::Overflow),
            "{offset}, {count}: {error}"
        );
    }
    assert_eq!(map.view_at::<u32>(1024, 0).unwrap().len(), 0);
}

/// Subviews accept every kind of range, and reject those that are out of bounds or reversed.
#[test]
fn ranges_of_all_sorts() {
    let map = MappingMut::anonymous(400).unwrap();
    let view = map.view::<u32>().unwrap();
    for (index, value) in (0..100).enumerate() {
        view.set(index, value).unwrap();
    }
    let len = |range: (Bound<usize>, Bound<usize>)| view.subview(range).map(|view| view.len());
    assert_eq!(view.subview(..).unwrap().len(), 100);
    assert_eq!(view.subview(3..7).unwrap().to_vec().unwrap(), [3, 4, 5, 6]);
    assert_eq!(view.subview(3..=7).unwrap().to_vec().unwrap(), [3, 4, 5, 6, 7]);
    assert_eq!(view.subview(98..).unwrap().to_vec().unwrap(), [98, 99]);
    assert_eq!(view.subview(..=0).unwrap().to_vec().unwrap(), [0]);
    assert_eq!(view.subview(97..).unwrap().offset(), 388);
    assert_eq!(len((Bound::Excluded(97), Bound::Included(99))).unwrap(), 2);
    for empty in [0..0, 50..50, 100..100] {
        let empty = view.subview(empty).unwrap();
        assert!(empty.is_empty() && empty.iter().next().is_none());
        assert!(empty.to_vec().unwrap().is_empty());
        assert!(empty.subview(..).unwrap().subview(0..0).unwrap().is_empty());
        assert_eq!(empty.get(0).unwrap_err().kind(), ErrorKind::OutOfBounds);
        assert_eq!(empty.find(1).unwrap(), None);
        assert_eq!(empty.count(1).unwrap(), 0);
        assert_eq!(empty.binary_search(&1).unwrap(), Err(0));
        assert_eq!(empty.blocks::<4>().count(), 0);
        empty.fill(1).unwrap();
        empty.sort().unwrap();
    }
    #[allow(clippy::reversed_empty_ranges, reason = "refused")]
    for wrong in
        [5..3, 100..99, 0..101, 101..101, usize::MAX..usize::MAX, 0..usize::MAX, usize::MAX..0]
    {
        let error = view.subview(wrong.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfBounds, "{wrong:?}");
        assert_eq!(view.copy_within(wrong, 0).unwrap_err().kind(), ErrorKind::OutOfBounds);
    }
    assert!(view.subview(..=usize::MAX).is_err());
    assert!(view.subview(0..=100).is_err());
    assert!(len((Bound::Excluded(usize::MAX), Bound::Unbounded)).is_err());
    assert!(len((Bound::Excluded(99), Bound::Unbounded)).unwrap() == 0);
    for destination in [1, 100, 101, usize::MAX] {
        let error = view.copy_within(0..100, destination).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfBounds, "to {destination}");
    }
    assert!(view.copy_within(0..1, usize::MAX).is_err());
    assert!(view.copy_within(0..0, usize::MAX).is_err());
    view.copy_within(0..0, 100).unwrap();
}

/// A view can be split at every index up to its length.
#[test]
fn splitting() {
    let map = MappingMut::anonymous(400).unwrap();
    let view = map.view::<u32>().unwrap();
    for middle in [0, 1, 50, 100] {
        let (before, behind) = view.split_at(middle).unwrap();
        assert_eq!((before.len(), behind.len()), (middle, 100 - middle));
        assert_eq!(behind.offset(), middle as u64 * 4);
    }
    for middle in [101, usize::MAX] {
        assert_eq!(view.split_at(middle).unwrap_err().kind(), ErrorKind::OutOfBounds);
    }
}

/// A view can be cast to other element types of suitable size and alignment.
#[test]
fn casting_back_and_forth() {
    let map = MappingMut::anonymous(256).unwrap();
    let words = map.view::<u32>().unwrap();
    words.set(5, 0x0102_0304).unwrap();
    assert_eq!(words.cast::<[u8; 4]>().unwrap().get(5).unwrap(), 0x0102_0304_u32.to_ne_bytes());
    let bytes = words.subview(5..6).unwrap().cast::<u8>().unwrap();
    assert_eq!((bytes.len(), bytes.offset()), (4, 20));
    assert_eq!(bytes.cast::<u32>().unwrap().get(0).unwrap(), 0x0102_0304);
    let halves = map.view::<u16>().unwrap();
    assert!(halves.subview(3..7).unwrap().cast::<u64>().is_err());
    assert!(halves.subview(4..7).unwrap().cast::<u64>().is_err());
}

/// Asserts that every way to read reports the element with invalid bytes by its offset.
fn invalid_at<T: sharemap::Element + PartialEq + std::fmt::Debug>(
    good: T,
    bad: &[u8],
    inside: usize,
) {
    const OFFSET: usize = 8;
    for len in [1, 40, 64, 300, 513] {
        for place in [0, 1, 33, 63, 64, 200, 299, 300, 512] {
            if place >= len {
                continue;
            }
            let map = MappingMut::anonymous(OFFSET + len * size_of::<T>()).unwrap();
            let view = map.view_at::<T>(OFFSET, len).unwrap();
            view.fill(good).unwrap();
            let at = OFFSET + place * size_of::<T>();
            map.bytes().write_at(at + inside, bad).unwrap();
            let check = |error: sharemap::Error| {
                assert_eq!(error.kind(), ErrorKind::Invalid);
                assert_eq!(error.offset(), Some(at as u64), "element {place} of {len}");
            };
            check(view.get(place).unwrap_err());
            check(view.to_vec().unwrap_err());
            check(view.swap(0, place).unwrap_err());
            let items: Vec<_> = view.iter().collect();
            assert_eq!(items.len(), place + 1);
            assert!(items[..place].iter().all(|item| *item.as_ref().unwrap() == good));
            check(items.into_iter().next_back().unwrap().unwrap_err());
            let (good_ones, error) =
                view.iter().fold((0, None), |(count, error), item| match item {
                    Ok(_) => (count + 1, error),
                    Err(found) => (count, Some(found)),
                });
            assert_eq!(good_ones, place);
            check(error.unwrap());
            check(view.iter().try_fold((), |(), item| item.map(|_| ())).unwrap_err());
            let blocks: Vec<_> = view.blocks::<8>().collect();
            if place < len - len % 8 {
                assert_eq!(blocks.len(), place / 8 + 1);
                check(blocks.into_iter().next_back().unwrap().unwrap_err());
            } else {
                assert!(blocks.iter().all(Result::is_ok));
            }
            assert_eq!(view.find(good).ok().flatten(), (place > 0).then_some(0));
            check(view.count(good).unwrap_err());
            // Writing the element makes it valid again.
            view.set(place, good).unwrap();
            assert_eq!(view.count(good).unwrap(), len);
        }
    }
}

/// Bytes other than 0 and 1 are no `bool`.
#[test]
fn invalid_bools() {
    invalid_at(true, &[2], 0);
    invalid_at(false, &[0xff], 0);
}

/// Surrogates and numbers above the maximum are no `char`.
#[test]
fn invalid_chars() {
    invalid_at('ä', &0xd800_u32.to_ne_bytes(), 0);
    invalid_at('\0', &0x11_0000_u32.to_ne_bytes(), 0);
}

/// Bytes other than the discriminants are no value of an enum.
#[test]
fn invalid_enums() {
    invalid_at(Colour::Green, &[0], 0);
    invalid_at(Colour::Blue, &[4], 0);
}

/// An invalid field or array element makes the whole element invalid.
#[test]
fn invalid_fields_and_array_elements() {
    let pixel = Pixel { colour: Colour::Red, lit: true, depth: [9, 9] };
    invalid_at(pixel, &[1], 0);
    invalid_at(pixel, &[2], 1);
    invalid_at([false; 20], &[2], 19);
    invalid_at([[Colour::Red; 100]; 3], &[2], 299);
}

/// An empty file has an empty view of any element type.
#[test]
fn empty_files_have_empty_views() {
    let dir = TempDir::new();
    let path = dir.file("a", "");
    let map = Mapping::open(&path).unwrap();
    let view = map.view::<u64>().unwrap();
    assert!(view.is_empty());
    assert_eq!(view.offset(), 0);
    assert_eq!(view.get(0).unwrap_err().kind(), ErrorKind::OutOfBounds);
    assert_eq!(view.iter().count(), 0);
    assert!(view.to_vec().unwrap().is_empty());
    assert!(map.view::<Wide>().unwrap().is_empty());
}
