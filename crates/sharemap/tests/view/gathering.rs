//! Gathering elements at many indices.

use crate::elements::{Sample, for_all_types, long, samples};
use crate::faults::{LEFT, cut, is_fault};
use crate::reading::holding;
use sharemap::{ErrorKind, MappingMut, page_size};

/// Returns indices scattered over `len` elements, the same in every call.
fn scattered(count: usize, len: usize) -> Vec<usize> {
    (0..count).map(|place| place.wrapping_mul(7919) % len).collect()
}

mod everywhere {
    use super::*;
    for_all_types!(gathers);
}

fn gathers<T: Sample>() {
    let expected = samples::<T>(3, long::<T>().min(3000));
    let map = holding::<T>(align_of::<T>(), &expected);
    let view = *map.view_at::<T>(align_of::<T>(), expected.len()).unwrap();
    for count in [0, 1, 2, 31, 32, 33, 64, 65, 500] {
        let indices = scattered(count, expected.len());
        let mut found = vec![expected[0]; count];
        view.gather(&indices, &mut found).unwrap();
        assert!(indices.iter().zip(&found).all(|(index, value)| expected[*index] == *value));
    }
}

/// A buffer of another length than the indices is rejected.
#[test]
fn as_many_places_as_indices() {
    let map = MappingMut::anonymous(4096).unwrap();
    let error = map.view::<u32>().unwrap().gather(&[1, 2, 3], &mut [0; 2]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongSize);
    assert_eq!(error.length(), Some(2));
}

/// An index out of bounds ends a gather, which reports how many elements it completed.
#[test]
fn an_index_that_is_out_of_bounds() {
    let map = MappingMut::anonymous(4096).unwrap();
    let view = map.view::<u32>().unwrap();
    view.fill(5).unwrap();
    for place in [0, 1, 31, 32, 33, 70, 99] {
        for index in [1024, 1025, usize::MAX / 4, usize::MAX] {
            let mut indices = scattered(100, 1024);
            indices[place] = index;
            let mut found = [0; 100];
            let error = view.gather(&indices, &mut found).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfBounds);
            assert_eq!(error.completed(), Some(place));
            assert_eq!(found[..place], vec![5; place]);
            assert_eq!(found[place..], vec![0; 100 - place]);
        }
    }
}

/// A fault ends a gather, which reports how many elements it completed.
#[test]
fn an_element_that_is_gone() {
    let cut = cut();
    let view = cut.map.view::<u64>().unwrap();
    let good = LEFT * page_size() / 8;
    for place in [0, 1, 31, 32, 40, 63] {
        let mut indices = scattered(64, good);
        indices[place] = good + 9;
        let mut found = [0; 64];
        let error = view.gather(&indices, &mut found).unwrap_err();
        is_fault(&error, &cut.path, (good + 9) * 8);
        assert_eq!(error.completed(), Some(place));
        assert!(found[..place].iter().all(|word| *word != 0));
        assert!(found[place..].iter().all(|word| *word == 0));
    }
}

/// An invalid element ends a gather, which reports how many elements it completed.
#[test]
fn bytes_that_are_no_value() {
    let map = MappingMut::anonymous(4096).unwrap();
    map.bytes().set(77, 2).unwrap();
    let mut found = [true; 3];
    let error = map.view::<bool>().unwrap().gather(&[1, 77, 2], &mut found).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!((error.offset(), error.completed()), (Some(77), Some(1)));
    assert_eq!(found, [false, true, true]);
}
