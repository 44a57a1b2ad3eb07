//! Sorting and binary search, compared with slices.

use crate::elements::{Colour, LENGTHS, Sample, for_each_type, samples};
use crate::reading::holding;

for_each_type! { sorts =>
    bytes u8, signed_bytes i8, u16s u16, u32s u32, i64s i64, u128s u128, bools bool, chars char,
    enums Colour, arrays [u16; 3], big_endian_u32s zerocopy::big_endian::U32,
}

fn sorts<T: Sample + Ord>() {
    for len in LENGTHS {
        let mut model = samples::<T>(5, len);
        let map = holding(size_of::<T>(), &model);
        let view = map.view_at::<T>(size_of::<T>(), len).unwrap();
        view.sort().unwrap();
        model.sort();
        assert!(view.to_vec().unwrap() == model);
        searches(*view, &model);
    }
}

/// Compares binary searches. Any of several equal elements may be found, but the insertion index
/// is determined.
fn searches<T: Sample + Ord>(view: sharemap::View<'_, T>, sorted: &[T]) {
    for number in 0..50 {
        let value = T::sample(number);
        match (view.binary_search(&value).unwrap(), sorted.binary_search(&value)) {
            (Ok(found), Ok(_)) => assert_eq!(sorted[found], value),
            (found, expected) => assert_eq!(found, expected),
        }
        let by = view.binary_search_by(|element| element.cmp(&value)).unwrap();
        assert_eq!(by, view.binary_search(&value).unwrap());
    }
}

/// Sorting keeps the order of equal elements.
#[test]
fn sorting_is_stable() {
    use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    struct Keyed {
        key: u32,
        place: u32,
    }
    impl PartialEq for Keyed {
        fn eq(&self, other: &Self) -> bool {
            self.key == other.key
        }
    }
    impl Eq for Keyed {}
    impl PartialOrd for Keyed {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Keyed {
        fn cmp(&self, other: &Self) -> std::cmp::Ordering {
            self.key.cmp(&other.key)
        }
    }
    let map = sharemap::MappingMut::anonymous(8 * 1000).unwrap();
    let view = map.view::<Keyed>().unwrap();
    for place in 0..1000 {
        let key = place * 7919 % 10;
        view.set(place as usize, Keyed { key, place }).unwrap();
    }
    view.sort().unwrap();
    let sorted = view.to_vec().unwrap();
    assert!(
        sorted.windows(2).all(|pair| (pair[0].key, pair[0].place) < (pair[1].key, pair[1].place))
    );
}
