//! Writing, compared with slices.

use crate::elements::{LENGTHS, Sample, for_all_types, for_pod_types, long, offsets, samples};
use crate::reading::holding;
use sharemap::{ErrorKind, Pod, ViewMut};

/// Runs `check` on views of every length in `LENGTHS`, at several offsets.
fn over_views<T: Sample>(check: impl Fn(ViewMut<'_, T>, &mut Vec<T>)) {
    for len in LENGTHS {
        for offset in offsets::<T>() {
            over_view(offset, len, &check);
        }
    }
}

/// Runs `check` as [`over_views`] does, and on a long view unless the elements are small: those take
/// too long in debug builds.
fn over_all_views<T: Sample>(check: impl Fn(ViewMut<'_, T>, &mut Vec<T>)) {
    over_views(&check);
    if size_of::<T>() > 2 {
        over_view(align_of::<T>(), long::<T>(), check);
    }
}

/// Runs `check` on a view and a model of it, and asserts that the view ends up like the model and the
/// bytes around it are unchanged.
fn over_view<T: Sample>(offset: usize, len: usize, check: impl Fn(ViewMut<'_, T>, &mut Vec<T>)) {
    let mut model = samples::<T>(len as u64, len);
    let map = holding(offset, &model);
    let view = map.view_at::<T>(offset, len).unwrap();
    check(view, &mut model);
    assert!(view.to_vec().unwrap() == model, "{len} at {offset}");
    let (before, rest) = map.bytes().split_at(offset).unwrap();
    let behind = rest.subview(view.size_bytes()..).unwrap();
    for around in [before, behind] {
        assert!(around.iter().all(|byte| byte.unwrap() == 0xaa), "bytes around the view");
    }
}

mod one_element {
    use super::*;
    for_all_types!(set);
}

fn set<T: Sample>() {
    over_views::<T>(|view, model| {
        let len = model.len();
        for index in (0..len).step_by(1 + len / 100) {
            let value = T::sample(index as u64 + 12345);
            view.set(index, value).unwrap();
            model[index] = value;
        }
        for index in [len, usize::MAX / 2, usize::MAX] {
            let error = view.set(index, T::sample(0)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfBounds);
        }
    });
}

mod runs {
    use super::*;
    for_all_types!(write_at);
}

fn write_at<T: Sample>() {
    over_all_views::<T>(|view, model| {
        let len = model.len();
        let values = samples::<T>(555, len + 1);
        for (index, count) in [(0, 1), (1, 3), (3, 33), (len / 2, len / 3), (len, 0), (0, len)] {
            let result = view.write_at(index, &values[..count.min(len + 1)]);
            if index > len || count > len - index {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::OutOfBounds);
            } else {
                result.unwrap();
                model[index..index + count].copy_from_slice(&values[..count]);
            }
        }
        assert_eq!(view.write_at(0, &values).unwrap_err().kind(), ErrorKind::OutOfBounds);
        for index in [len + 1, usize::MAX] {
            assert_eq!(view.write_at(index, &[]).unwrap_err().kind(), ErrorKind::OutOfBounds);
        }
    });
}

mod filling {
    use super::*;
    for_all_types!(fill);
}

fn fill<T: Sample>() {
    over_all_views::<T>(|view, model| {
        let value = T::sample(31);
        view.fill(value).unwrap();
        model.fill(value);
        let half = model.len() / 2;
        view.subview(half..).unwrap().fill(T::sample(32)).unwrap();
        model[half..].fill(T::sample(32));
    });
}

mod exchanging {
    use super::*;
    for_all_types!(swap);
}

fn swap<T: Sample>() {
    over_views::<T>(|view, model| {
        let len = model.len();
        if len > 0 {
            for (a, b) in [(0, len - 1), (len / 2, len / 3), (0, 0)] {
                view.swap(a, b).unwrap();
                model.swap(a, b);
            }
        }
        for (a, b) in [(0, len), (len, 0), (usize::MAX, 0)] {
            assert_eq!(view.swap(a, b).unwrap_err().kind(), ErrorKind::OutOfBounds);
        }
    });
}

mod moving {
    use super::*;
    for_all_types!(copy_within);
}

fn copy_within<T: Sample>() {
    over_all_views::<T>(|view, model| {
        let len = model.len();
        // Forwards, backwards, by one, by half, onto itself, by more than it overlaps.
        for (start, end, to) in [
            (0, len.saturating_sub(1), 1),
            (1, len, 0),
            (0, len / 2, len / 4),
            (len / 4, len / 2, 0),
            (0, len, 0),
            (0, len / 3, len - len / 3),
            (len, len, len),
        ] {
            if start > end || end > len || to > len - (end - start) {
                assert!(
                    view.copy_within(start..end, to).is_err(),
                    "{start}..{end} to {to} of {len}"
                );
                continue;
            }
            view.copy_within(start..end, to).unwrap();
            model.copy_within(start..end, to);
        }
    });
}

mod copying {
    use super::*;
    for_all_types!(copy_from);
}

fn copy_from<T: Sample>() {
    over_all_views::<T>(|view, model| {
        let len = model.len();
        let other = holding(0, &samples::<T>(4242, len));
        view.copy_from(&other.view_at(0, len).unwrap()).unwrap();
        model.copy_from_slice(&samples::<T>(4242, len));
        // Between overlapping views of one mapping, in both directions.
        let shift = len / 5;
        let (left, right) = (0..len - shift, shift..len);
        for (to, from) in [(left.clone(), right.clone()), (right, left)] {
            let (target, source) =
                (view.subview(to.clone()).unwrap(), view.subview(from.clone()).unwrap());
            target.copy_from(&source).unwrap();
            model.copy_within(from, to.start);
        }
        let longer = holding(0, &samples::<T>(0, len + 1));
        let error = view.copy_from(&longer.view_at(0, len + 1).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongSize);
    });
}

mod slices {
    use super::*;
    for_pod_types!(as_slice);
}

fn as_slice<T: Sample + Pod>() {
    over_views::<T>(|view, model| {
        // SAFETY: private memory that only this test uses.
        #[allow(unsafe_code, reason = "the method under test")]
        let slice = unsafe { view.as_mut_slice() };
        slice.reverse();
        model.reverse();
        assert_eq!(slice.as_ptr(), view.as_mut_ptr().cast_const());
    });
}

/// Writes of every length up to some hundred bytes, at every alignment within a vector register.
#[test]
fn short_writes_of_every_length() {
    let values: Vec<u8> = (0..700).map(|at| (at * 11 % 250) as u8 + 1).collect();
    let map = sharemap::MappingMut::anonymous(1000).unwrap();
    let view = map.bytes();
    for start in (1..65).step_by(7) {
        for len in 0..600 {
            let mut model = vec![0; 1000];
            view.fill(0).unwrap();
            view.write_at(start, &values[..len]).unwrap();
            model[start..start + len].copy_from_slice(&values[..len]);
            assert!(view.to_vec().unwrap() == model, "{start}+{len}");
        }
    }
}

/// Long copies within a view, forwards and backwards, with various distances between the overlapping
/// source and destination.
#[test]
fn overlapping_moves_of_many_pages() {
    const LEN: usize = 70_000;
    let contents: Vec<u8> = (0..LEN).map(|at| (at % 253) as u8).collect();
    for distance in [1, 7, 64, 4095, 4096, 4097, 30_000, 60_000] {
        for forwards in [true, false] {
            let mut model = contents.clone();
            let map = holding(3, &contents);
            let view = map.bytes().subview(3..3 + LEN).unwrap();
            let (source, to) = match forwards {
                true => (0..LEN - distance, distance),
                false => (distance..LEN, 0),
            };
            view.copy_within(source.clone(), to).unwrap();
            model.copy_within(source, to);
            assert!(view.to_vec().unwrap() == model, "by {distance}, forwards: {forwards}");
        }
    }
}
