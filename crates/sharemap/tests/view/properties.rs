//! Random sequences of operations on a view and on a vector, which must stay equal.

use crate::elements::{Colour, Sample};
use crate::random::check;
use crate::reading::holding;
use proptest::collection::vec;
use proptest::prelude::*;
use sharemap::ErrorKind;
use std::ops::Range;

#[derive(Clone, Debug)]
enum Step {
    Set(usize, u64),
    Write(usize, Vec<u64>),
    Fill(Range<usize>, u64),
    Swap(usize, usize),
    CopyWithin(Range<usize>, usize),
    CopyBetween(usize, usize, usize),
    Sort(Range<usize>),
    Find(Range<usize>, u64),
    Get(usize),
}

/// Indices mostly within a view, sometimes just past its end or far away.
fn index(len: usize) -> impl Strategy<Value = usize> {
    prop_oneof![
        20 => 0..=len,
        1 => len..len + 3,
        1 => Just(usize::MAX),
    ]
}

fn range(len: usize) -> impl Strategy<Value = Range<usize>> {
    (index(len), index(len)).prop_map(|(a, b)| a.min(b)..a.max(b))
}

fn step(len: usize) -> impl Strategy<Value = Step> {
    let number = || 0u64..40;
    prop_oneof![
        (index(len), number()).prop_map(|(at, value)| Step::Set(at, value)),
        (index(len), vec(number(), 0..200)).prop_map(|(at, values)| Step::Write(at, values)),
        (range(len), number()).prop_map(|(range, value)| Step::Fill(range, value)),
        (index(len), index(len)).prop_map(|(a, b)| Step::Swap(a, b)),
        (range(len), index(len)).prop_map(|(range, to)| Step::CopyWithin(range, to)),
        (index(len), index(len), 0..=len).prop_map(|(a, b, count)| Step::CopyBetween(a, b, count)),
        range(len).prop_map(Step::Sort),
        (range(len), number()).prop_map(|(range, value)| Step::Find(range, value)),
        index(len).prop_map(Step::Get),
    ]
}

/// Returns this range of the model, or `None` if it is out of bounds.
fn part<T>(model: &mut [T], range: Range<usize>) -> Option<&mut [T]> {
    model.get_mut(range)
}

fn agrees<A: PartialEq + std::fmt::Debug>(result: sharemap::Result<A>, model: Option<A>) {
    match (result, model) {
        (Ok(value), Some(expected)) => assert_eq!(value, expected),
        (Err(error), None) => assert_eq!(error.kind(), ErrorKind::OutOfBounds),
        (result, model) => panic!("{result:?} and {model:?}"),
    }
}

fn run<T: Sample + Ord>(offset: usize, len: usize, steps: &[Step]) {
    let mut model: Vec<T> = (0..len).map(|at| T::sample(at as u64 % 40)).collect();
    let map = holding(offset * align_of::<T>(), &model);
    let view = map.view_at::<T>(offset * align_of::<T>(), len).unwrap();
    for step in steps.iter().cloned() {
        match step {
            Step::Set(at, number) => {
                let value = T::sample(number);
                agrees(view.set(at, value), model.get_mut(at).map(|slot| *slot = value));
            }
            Step::Write(at, numbers) => {
                let values: Vec<T> = numbers.into_iter().map(T::sample).collect();
                let to = part(&mut model, at..at.saturating_add(values.len()));
                let expected = to.map(|to| to.copy_from_slice(&values));
                agrees(view.write_at(at, &values), expected);
            }
            Step::Fill(range, number) => {
                let value = T::sample(number);
                let result = view.subview(range.clone()).and_then(|view| view.fill(value));
                agrees(result, part(&mut model, range).map(|part| part.fill(value)));
            }
            Step::Swap(a, b) => {
                let inside = a < len && b < len;
                agrees(view.swap(a, b), inside.then(|| model.swap(a, b)));
            }
            Step::CopyWithin(range, to) => {
                let inside = range.end <= len && to <= len - range.len();
                let expected = inside.then(|| model.copy_within(range.clone(), to));
                agrees(view.copy_within(range, to), expected);
            }
            Step::CopyBetween(a, b, count) => {
                let copy = |a: usize, b: usize| {
                    let source = view.subview(a..a.saturating_add(count))?;
                    view.subview(b..b.saturating_add(count))?.copy_from(&source)
                };
                let inside = a.max(b) <= len - count;
                agrees(copy(a, b), inside.then(|| model.copy_within(a..a + count, b)));
            }
            Step::Sort(range) => {
                let result = view.subview(range.clone()).and_then(|view| view.sort());
                agrees(result, part(&mut model, range).map(|part| part.sort()));
            }
            Step::Find(range, number) => {
                let value = T::sample(number);
                let part = part(&mut model, range.clone());
                let expected = part.map(|part| {
                    let first = part.iter().position(|element| *element == value);
                    (first, part.iter().filter(|element| **element == value).count())
                });
                let found = view
                    .subview(range)
                    .and_then(|view| Ok((view.find(value)?, view.count(value)?)));
                agrees(found, expected);
            }
            Step::Get(at) => agrees(view.get(at), model.get(at).copied()),
        }
    }
    assert_eq!(view.to_vec().unwrap(), model);
}

fn sequences<T: Sample + Ord>(cases: u32) {
    let strategy = (0usize..20, 0usize..400)
        .prop_flat_map(|(offset, len)| (Just(offset), Just(len), vec(step(len), 1..40)));
    check(cases, &strategy, |(offset, len, steps)| run::<T>(offset, len, &steps));
}

#[test]
fn sequences_on_bytes() {
    sequences::<u8>(200);
}

#[test]
fn sequences_on_words() {
    sequences::<u64>(150);
}

#[test]
fn sequences_on_odd_sizes() {
    sequences::<[u16; 3]>(100);
}

#[test]
fn sequences_on_unaligned_integers() {
    sequences::<zerocopy::big_endian::U32>(100);
}

#[test]
fn sequences_on_enums() {
    sequences::<Colour>(100);
}
