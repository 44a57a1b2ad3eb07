//! `View::values`, compared with slices, and its end before an element that is not valid.

use crate::elements::{Sample, for_all_types, long};
use crate::reading::{holding, is_wide, over_view, over_views};
use sharemap::{ErrorKind, MappingMut, View};

for_all_types!(plain_elements);

fn plain_elements<T: Sample>() {
    over_views::<T>(check);
    if is_wide::<T>() {
        over_view::<T>(align_of::<T>(), long::<T>(), check);
    }
}

fn check<T: Sample>(view: View<'_, T>, expected: &[T]) {
    let len = expected.len();
    let folded = view.values(|values| values.fold(Vec::new(), pushed)).unwrap();
    assert_eq!(folded, expected);
    let mut looped = Vec::new();
    view.values(|values| {
        for value in values {
            looped.push(value);
        }
    })
    .unwrap();
    assert_eq!(looped, expected);
    assert_eq!(view.values(|values| values.count()).unwrap(), len);
    assert_eq!(view.values(|values| values.last()).unwrap().as_ref(), expected.last());
    for taken in [0, 1, 31, 32, 33, 96, 97, 255, 256, 257, len] {
        let (head, hint, tail) = view
            .values(|mut values| {
                let head: Vec<T> = values.by_ref().take(taken).collect();
                let hint = values.size_hint();
                (head, hint, values.fold(Vec::new(), pushed))
            })
            .unwrap();
        assert_eq!(head, expected[..taken.min(len)]);
        assert_eq!(tail, expected[taken.min(len)..], "a fold after {taken} elements");
        assert!(hint.0 <= tail.len() && hint.1 == Some(tail.len()), "{hint:?} after {taken}");
        let nth = view.values(|mut values| {
            let first = values.next();
            (first, values.nth(taken), values.next())
        });
        let wanted = |index: usize| expected.get(index).copied();
        assert_eq!(nth.unwrap(), (wanted(0), wanted(1 + taken), wanted(2 + taken)));
    }
    assert!(view.values(|mut values| values.nth(usize::MAX)).unwrap().is_none());
    for step in [2, 7, 64] {
        let every: Vec<T> = view.values(|values| values.step_by(step).collect()).unwrap();
        assert!(every.iter().eq(expected.iter().step_by(step)), "steps of {step}");
    }
}

fn pushed<T>(mut all: Vec<T>, value: T) -> Vec<T> {
    all.push(value);
    all
}

#[test]
fn sums_of_two_views() {
    let map = MappingMut::anonymous(8 * 1000).unwrap();
    let view = map.view::<u64>().unwrap();
    let numbers: Vec<u64> = (0..1000).collect();
    view.write_at(0, &numbers).unwrap();
    let products = view.values(|a| view.values(|b| a.zip(b).map(|(a, b)| a * b).sum::<u64>()));
    assert_eq!(products.unwrap().unwrap(), numbers.iter().map(|number| number * number).sum());
}

/// An element that is not valid ends the values, and the result is discarded, wherever it lies.
#[test]
fn elements_that_are_not_valid() {
    let len = 700;
    let map = holding::<bool>(1, &vec![true; len]);
    let view = map.view_at::<bool>(1, len).unwrap();
    for bad in (0..len).step_by(37).chain([1, 255, 256, 257, len - 1]) {
        map.bytes().set(1 + bad, 2).unwrap();
        let (mut looped, mut folded) = (0, 0);
        let errors = [
            view.values(|values| {
                for value in values {
                    looped += usize::from(value);
                }
            }),
            view.values(|values| values.for_each(|value| folded += usize::from(value))),
        ];
        for error in errors {
            let error = error.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert_eq!(error.offset(), Some(1 + bad as u64));
        }
        assert_eq!((looped, folded), (bad, bad));
        assert_eq!(view.values(|values| values.take(bad).count()).unwrap(), bad);
        let error = view.values(|mut values| (values.nth(bad), values.next())).unwrap_err();
        assert_eq!(error.offset(), Some(1 + bad as u64));
        map.bytes().set(1 + bad, 1).unwrap();
    }
    assert_eq!(view.values(|values| values.filter(|value| *value).count()).unwrap(), len);
}
