//! Every faulting access reports the first missing byte, and copies report exact counts.

use std::fs::File;
use std::sync::atomic::Ordering::SeqCst;

use sharemap::guard::{self, Recovery};
use sharemap::{AtomicElement, Element, Error, ErrorKind, MappingMut, Pod};
use zerocopy::little_endian::{F64, U16, U32, U64, U128};

use crate::child::in_place;
use crate::ours::memory_file;
use crate::raw::page;

/// A mapping with a file that ends at [`end`].
struct Short {
    file: File,
    map: MappingMut,
}

fn end() -> usize {
    2 * page()
}

fn short() -> Short {
    let file = memory_file(2 * end());
    let map = MappingMut::map(&file).unwrap();
    file.set_len(end() as u64).unwrap();
    Short { file, map }
}

fn assert_fault(error: Error, at: usize, what: &str) {
    assert_eq!(error.kind(), ErrorKind::Fault, "{what}: {error}");
    assert_eq!(error.offset(), Some(at as u64), "{what}: {error}");
}

/// Checks loads and stores of one element at every aligned offset around the end.
fn element<T: Element + Pod + Default + PartialEq + std::fmt::Debug>() {
    let short = short();
    let size = size_of::<T>();
    let places = (end() - size - 2..end() + size + 2).filter(|at| at % align_of::<T>() == 0);
    for at in places {
        let view = short.map.view_at::<T>(at, 1).unwrap();
        let what =
            format!("{} at end {:+}", std::any::type_name::<T>(), at as isize - end() as isize);
        if at + size <= end() {
            view.set(0, T::default()).unwrap();
            assert_eq!(view.get(0).unwrap(), T::default(), "{what}");
            continue;
        }
        let first = at.max(end());
        assert_fault(view.get(0).unwrap_err(), first, &what);
        assert_fault(view.set(0, T::default()).unwrap_err(), first, &what);
        assert_fault(view.iter().next().unwrap().unwrap_err(), first, &what);
    }
}

/// A load or store across the end faults at the first missing byte, for every small element type.
#[test]
fn single_elements() {
    element::<u8>();
    element::<u16>();
    element::<u32>();
    element::<u64>();
    element::<f32>();
    // These types need no alignment, so their elements can cross the end.
    element::<U16>();
    element::<U32>();
    element::<U64>();
    element::<F64>();
    element::<U128>();
    element::<[u8; 3]>();
    element::<[u8; 7]>();
    element::<[u8; 12]>();
    element::<[u8; 16]>();
    element::<[u8; 24]>();
    element::<[u8; 31]>();
}

/// A load or store across the end faults at the first missing byte, for large elements.
#[test]
fn large_elements() {
    large::<33>();
    large::<64>();
    large::<100>();
    large::<128>();
    large::<257>();
    large::<600>();
}

fn large<const N: usize>() {
    let short = short();
    for at in end() - N - 1..end() + 3 {
        let view = short.map.view_at::<[u8; N]>(at, 1).unwrap();
        if at + N <= end() {
            view.set(0, [7; N]).unwrap();
            assert_eq!(view.get(0).unwrap(), [7; N]);
        } else {
            let what = format!("{N} bytes at end {:+}", at as isize - end() as isize);
            assert_fault(view.get(0).unwrap_err(), at.max(end()), &what);
            assert_fault(view.set(0, [7; N]).unwrap_err(), at.max(end()), &what);
        }
    }
}

fn atomics<T: AtomicElement + Default + std::fmt::Debug>() {
    let short = short();
    let size = size_of::<T>();
    let (one, two) = (T::default(), T::default());
    let words = short.map.view::<T>().unwrap();
    let last = end() / size - 1;
    words.atomic(last).unwrap().swap(one, SeqCst).unwrap();
    assert_eq!(words.atomic(last).unwrap().fetch_add(one, SeqCst).unwrap(), two);
    for index in [last + 1, last + 2, last + 9] {
        let word = words.atomic(index).unwrap();
        let operations = [
            word.load(SeqCst).unwrap_err(),
            word.store(one, SeqCst).unwrap_err(),
            word.store(one, std::sync::atomic::Ordering::Release).unwrap_err(),
            word.swap(one, SeqCst).unwrap_err(),
            word.compare_exchange(one, two, SeqCst, SeqCst).unwrap_err(),
            word.fetch_add(one, SeqCst).unwrap_err(),
            word.fetch_sub(one, SeqCst).unwrap_err(),
            word.fetch_or(one, SeqCst).unwrap_err(),
            word.fetch_and(one, SeqCst).unwrap_err(),
            word.fetch_xor(one, SeqCst).unwrap_err(),
        ];
        for (operation, error) in operations.into_iter().enumerate() {
            assert_fault(
                error,
                index * size,
                &format!("atomic operation {operation} on {size} bytes"),
            );
        }
    }
}

/// Every atomic operation past the end faults at its own offset.
#[test]
fn atomic_operations() {
    if in_place("atomic operations") {
        atomics::<u32>();
        atomics::<i32>();
        atomics::<u64>();
        atomics::<i64>();
    }
}

/// Returns lengths around the sizes of the pieces that copies use.
fn lengths() -> impl Iterator<Item = usize> {
    (1..=130).chain([255, 256, 257, 511, 513, 1000, 1023, 1025, 2047, 4000])
}

/// A copy out of memory completes exactly up to the end, and writes nothing past that to the
/// buffer.
#[test]
fn copies_out_count_exactly() {
    let short = short();
    let text: Vec<u8> = (0..end()).map(|at| (at % 251) as u8 + 1).collect();
    short.map.bytes().write_at(0, &text).unwrap();
    let view = short.map.bytes();
    for before in 0..=270 {
        for len in lengths().filter(|&len| len > before || before == 270) {
            let at = end() - before;
            let mut out = vec![0xee; len];
            let done = before.min(len);
            match view.read_at(at, &mut out) {
                Ok(()) => assert!(len <= before),
                Err(error) => {
                    let what = format!("{len} bytes from end -{before}");
                    assert_eq!(error.completed(), Some(done), "{what}");
                    assert_fault(error, end(), &what);
                }
            }
            assert_eq!(out[..done], text[at..at + done]);
            assert!(out[done..].iter().all(|&byte| byte == 0xee));
        }
    }
}

/// A copy into memory completes exactly up to the end.
#[test]
fn copies_in_count_exactly() {
    let Short { file, map } = short();
    let values: Vec<u8> = (0..5000).map(|at| (at % 251) as u8 + 1).collect();
    let view = map.bytes();
    for before in 0..=270 {
        for len in lengths().filter(|&len| len > before || before == 270) {
            let (at, done) = (end() - before, before.min(len));
            view.subview(end() - 300..end()).unwrap().fill(0).unwrap();
            match view.write_at(at, &values[..len]) {
                Ok(()) => assert!(len <= before),
                Err(error) => {
                    let what = format!("{len} bytes to end -{before}");
                    assert_eq!(error.completed(), Some(done), "{what}");
                    assert_fault(error, end(), &what);
                }
            }
            let mut all = [0; 300];
            view.read_at(end() - 300, &mut all).unwrap();
            assert_eq!(all[300 - before..][..done], values[..done]);
            assert!(all[..300 - before].iter().all(|&byte| byte == 0));
        }
    }
    assert_eq!(file.metadata().unwrap().len(), end() as u64);
}

/// A copy that starts past the end faults at its first byte and completes nothing.
#[test]
fn copies_from_the_bad_side() {
    let short = short();
    let view = short.map.bytes();
    for at in 0..70 {
        for len in lengths().filter(|len| at + len <= end()) {
            let mut out = vec![0xee; len];
            let errors = [
                view.read_at(end() + at, &mut out).unwrap_err(),
                view.write_at(end() + at, &out).unwrap_err(),
            ];
            for error in errors {
                assert_eq!(error.completed(), Some(0));
                assert_fault(error, end() + at, &format!("{len} bytes at end +{at}"));
            }
            assert!(out.iter().all(|&byte| byte == 0xee));
        }
    }
}

/// An iterator yields every element before the end, then the fault.
#[test]
fn iteration_ends_at_the_first_bad_element() {
    let short = short();
    let words = short.map.view::<u32>().unwrap();
    let good = end() / 4;
    for from in [0, 1, 3, good - 100, good - 64, good - 3, good - 1] {
        let view = words.subview(from..).unwrap();
        let (mut count, mut fault) = (0, None);
        view.iter().for_each(|item| match item {
            Ok(_) => count += 1,
            Err(error) => fault = Some(error),
        });
        assert_eq!(count, good - from);
        assert_fault(fault.unwrap(), end(), "iteration");
    }
    assert!(matches!(guard::recovery(), Recovery::InPlace | Recovery::Syscall));
}
