//! Reading, compared with slices.

use crate::elements::{LENGTHS, Sample, for_all_types, for_pod_types, long, offsets, samples};
use sharemap::{ErrorKind, MappingMut, Pod, View};

/// Returns a mapping with `elements` at `offset`, and bytes 0xaa around them.
pub fn holding<T: Sample>(offset: usize, elements: &[T]) -> MappingMut {
    let map = MappingMut::anonymous(offset + size_of_val(elements) + 64).unwrap();
    map.bytes().fill(0xaa).unwrap();
    let view = map.view_at::<T>(offset, elements.len()).unwrap();
    view.write_at(0, elements).unwrap();
    map
}

/// Runs `check` on views of every length in `LENGTHS`, at several offsets.
pub fn over_views<T: Sample>(check: impl Fn(View<'_, T>, &[T])) {
    for len in LENGTHS {
        for offset in offsets::<T>() {
            over_view(offset, len, &check);
        }
    }
}

pub fn over_view<T: Sample>(offset: usize, len: usize, check: impl Fn(View<'_, T>, &[T])) {
    let expected = samples::<T>(len as u64, len);
    let map = holding(offset, &expected);
    let view = *map.view_at::<T>(offset, len).unwrap();
    assert_eq!(view.offset(), offset as u64);
    check(view, &expected);
}

/// Returns `true` if 1 MiB holds few enough elements to iterate over in a debug build.
pub fn is_wide<T>() -> bool {
    size_of::<T>() >= 8
}

fn collected<T: Sample>(view: View<'_, T>) -> Vec<T> {
    view.iter().map(|item| item.unwrap()).collect()
}

mod elements_one_by_one {
    use super::*;
    for_all_types!(one_by_one);
}

fn one_by_one<T: Sample>() {
    over_views::<T>(|view, expected| {
        let len = expected.len();
        assert_eq!(view.len(), len);
        assert_eq!(view.is_empty(), expected.is_empty());
        assert_eq!(view.size_bytes(), size_of_val(expected));
        for index in (0..len).step_by(1 + len / 500) {
            assert_eq!(view.get(index).unwrap(), expected[index], "index {index}");
        }
        for index in [len, len + 1, usize::MAX / 2, usize::MAX - 1, usize::MAX] {
            let error = view.get(index).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfBounds, "index {index}");
        }
        assert_eq!(view.first().ok().as_ref(), expected.first());
        assert_eq!(view.last().ok().as_ref(), expected.last());
    });
}

mod copies {
    use super::*;
    for_all_types!(whole_copies);
}

fn whole_copies<T: Sample>() {
    let check = |view: View<'_, T>, expected: &[T]| {
        assert!(view.to_vec().unwrap() == expected);
        assert!(collected(view) == expected);
        let mut places = expected.iter();
        let folded = view.iter().try_fold(0, |count, item| {
            let value = item?;
            Ok::<_, sharemap::Error>(count + usize::from(places.next() == Some(&value)))
        });
        assert_eq!(folded.unwrap(), expected.len());
    };
    over_views::<T>(check);
    if is_wide::<T>() {
        over_view::<T>(align_of::<T>(), long::<T>(), check);
    }
}

mod iteration {
    use super::*;
    for_all_types!(walks);
}

fn walks<T: Sample>() {
    over_views::<T>(|view, expected| {
        let len = expected.len();
        let (low, high) = view.iter().size_hint();
        assert!(low <= len && high == Some(len));
        assert_eq!(view.iter().count(), len);
        assert_eq!(view.iter().last().transpose().unwrap().as_ref(), expected.last());
        let folded = view.iter().fold(Vec::new(), |mut all, item| {
            all.push(item.unwrap());
            all
        });
        assert_eq!(folded, expected);
        let mut each = Vec::new();
        view.iter().for_each(|item| each.push(item.unwrap()));
        assert_eq!(each, expected);
        for step in [2, 7, 64] {
            let every: Vec<T> = view.iter().step_by(step).map(|item| item.unwrap()).collect();
            let wanted: Vec<T> = expected.iter().copied().step_by(step).collect();
            assert_eq!(every, wanted, "steps of {step}");
        }
        for taken in [0, 1, 31, 32, 33, 255, 256, 257, len] {
            let mut iter = view.iter();
            let head: Vec<T> = iter.by_ref().take(taken).map(|item| item.unwrap()).collect();
            assert_eq!(head, expected[..taken.min(len)]);
            let copy = iter.clone();
            let tail = iter.fold(Vec::new(), |mut all, item| {
                all.push(item.unwrap());
                all
            });
            assert_eq!(tail, expected[taken.min(len)..], "a fold after {taken} elements");
            assert_eq!(copy.count(), tail.len());
            assert_eq!(view.iter().nth(taken).transpose().unwrap().as_ref(), expected.get(taken));
        }
        assert!(view.iter().nth(usize::MAX).is_none());
    });
}

mod folds_that_stop {
    use super::*;
    for_all_types!(stops);
}

/// After a fold that ends early, the iterator continues with the next element.
fn stops<T: Sample>() {
    over_views::<T>(|view, expected| {
        let len = expected.len();
        for stop in [0, 1, 30, 31, 32, 63, 64, 100, 255, 256, 300, len] {
            let mut iter = view.iter();
            let mut seen = Vec::new();
            let result = iter.try_fold(0, |count, item| {
                seen.push(item.unwrap());
                if count == stop { Err("enough") } else { Ok(count + 1) }
            });
            let end = len.min(stop + 1);
            assert_eq!(seen, expected[..end]);
            assert_eq!(result, if stop < len { Err("enough") } else { Ok(len) });
            let rest: Vec<T> = iter.map(|item| item.unwrap()).collect();
            assert_eq!(rest, expected[end..], "after a stop at {stop}");
        }
    });
}

mod blocks {
    use super::*;
    for_all_types!(all_blocks);
}

fn all_blocks<T: Sample>() {
    if is_wide::<T>() {
        over_view::<T>(align_of::<T>(), long::<T>(), in_blocks::<T, 64>);
    }
    over_views::<T>(|view, expected| {
        in_blocks::<T, 1>(view, expected);
        in_blocks::<T, 3>(view, expected);
        in_blocks::<T, 32>(view, expected);
        in_blocks::<T, 64>(view, expected);
    });
}

fn in_blocks<T: Sample, const N: usize>(view: View<'_, T>, expected: &[T]) {
    let blocks = view.blocks::<N>();
    let chunks = expected.chunks_exact(N);
    let (low, high) = blocks.size_hint();
    assert!(low <= chunks.len() && high == Some(chunks.len()));
    assert_eq!(collected(blocks.remainder()), chunks.remainder());
    let mut walked = view.blocks::<N>();
    for (block, chunk) in walked.by_ref().zip(chunks.clone()) {
        assert_eq!(*block.unwrap(), chunk);
    }
    assert!(walked.next().is_none());
    assert_eq!(collected(walked.remainder()), chunks.remainder());
    let folded = view.blocks::<N>().try_fold(Vec::new(), |mut all, block| {
        all.extend(block?);
        Ok::<_, sharemap::Error>(all)
    });
    let whole = expected.len() - chunks.remainder().len();
    assert_eq!(folded.unwrap(), expected[..whole]);
    let mut each = Vec::new();
    let mut rest = view.blocks::<N>();
    each.extend(rest.by_ref().take(2).flat_map(Result::unwrap));
    rest.for_each(|block| each.extend(block.unwrap()));
    assert_eq!(each, expected[..whole], "a fold after 2 blocks");
    let mut stopped = view.blocks::<N>();
    let stop =
        stopped.try_fold(0, |count, _| if count == 1 { Err("enough") } else { Ok(count + 1) });
    assert_eq!(stop, if chunks.len() > 1 { Err("enough") } else { Ok(chunks.len()) });
    assert_eq!(stopped.count(), chunks.len().saturating_sub(2), "after a fold that ended early");
    assert_eq!(view.blocks::<N>().count(), chunks.len());
}

mod runs {
    use super::*;
    for_pod_types!(read_runs);
}

fn read_runs<T: Sample + Pod>() {
    let check = |view: View<'_, T>, expected: &[T]| {
        let len = expected.len();
        let blank = T::sample(999_999);
        for (index, count) in [(0, len), (0, 1), (1, 3), (3, 33), (len / 2, len / 3), (len, 0)] {
            let mut out = vec![blank; count];
            if index > len || count > len - index {
                let error = view.read_at(index, &mut out).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::OutOfBounds);
                assert_eq!(out, vec![blank; count], "nothing is read out of bounds");
            } else {
                view.read_at(index, &mut out).unwrap();
                assert!(out == expected[index..index + count]);
            }
        }
        for index in [len + 1, usize::MAX / 2, usize::MAX] {
            assert_eq!(view.read_at(index, &mut []).unwrap_err().kind(), ErrorKind::OutOfBounds);
        }
        // SAFETY: private memory that does not change meanwhile.
        #[allow(unsafe_code, reason = "the method under test")]
        let slice = unsafe { view.as_slice() };
        assert!(slice == expected);
        assert_eq!(slice.as_ptr(), view.as_ptr());
    };
    over_views::<T>(check);
    over_view::<T>(align_of::<T>(), long::<T>(), check);
}

/// Reads of every length up to some hundred bytes, at every alignment within a vector register.
#[test]
fn short_copies_of_every_length() {
    let contents: Vec<u8> = (0..2000).map(|at| (at * 7 % 251) as u8).collect();
    let map = holding(0, &contents);
    let view = map.bytes().subview(..2000).unwrap();
    for start in 0..33 {
        for len in 0..600 {
            let mut out = vec![0; len + 2];
            view.read_at(start, &mut out[1..=len]).unwrap();
            assert!(out[1..=len] == contents[start..start + len], "{start}+{len}");
            assert_eq!((out[0], out[len + 1]), (0, 0), "nothing around {start}+{len}");
        }
    }
}

#[test]
fn for_loops_over_a_view() {
    let map = holding(0, &samples::<u32>(0, 100));
    let view = map.view_at::<u32>(0, 100).unwrap();
    let mut sum = 0u64;
    for element in view {
        sum += u64::from(element.unwrap());
    }
    assert_eq!(sum, samples::<u32>(0, 100).into_iter().map(u64::from).sum());
    assert!((*view).into_iter().map(Result::unwrap).eq(samples(0, 100)));
}

#[test]
fn owned_views_read_the_same() {
    use std::sync::Arc;
    let map = Arc::new(MappingMut::anonymous(4096).unwrap());
    let owned = map.owned_view::<u64>().unwrap();
    drop(map);
    let thread = std::thread::spawn({
        let owned = owned.clone();
        move || owned.as_view().set(3, 77).unwrap()
    });
    thread.join().unwrap();
    assert_eq!(owned.as_view().get(3).unwrap(), 77);
    assert_eq!(owned.as_view().len(), 512);
}

#[test]
fn debug_shows_offset_and_length_but_no_contents() {
    let map = holding(8, &samples::<u64>(0, 3));
    let view = map.view_at::<u64>(8, 3).unwrap();
    assert_eq!(
        format!("{view:?}"),
        "ViewMut(View { element: \"u64\", len: 3, offset: 8, path: None })"
    );
}
