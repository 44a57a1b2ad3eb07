//! Further operations of each kind, which prove that a survivor makes progress.

use sharemap::containers::HashMap;
use sharemap::{Offset, Segment};

use crate::small::{OBJECT, Object, WIDE, Wide, bytes, text};

/// Keys of a map that reach all of its locks, but for a chance of one in a hundred.
const KEYS: std::ops::Range<u64> = 1 << 40..(1 << 40) + 72;

/// Changes the segment in each way, and takes all of it back.
pub fn exercise(segment: &Segment) {
    let object = segment.allocate(&OBJECT).unwrap();
    let wide = segment.allocate(&WIDE).unwrap();
    assert_eq!(segment.read(object).unwrap(), OBJECT);
    assert_eq!(segment.read(wide).unwrap(), WIDE);
    segment.free(object).unwrap();
    segment.free(wide).unwrap();

    segment.create_value("further", &bytes(1, 100)[..]).unwrap();
    segment.set_value("further", &bytes(2, 200)[..]).unwrap();
    assert_eq!(segment.value::<[u8]>("further").unwrap(), Some(bytes(2, 200)));
    assert!(segment.remove("further").unwrap());

    segment.create_value::<Offset<Object>>("further place", &Offset::NONE).unwrap();
    segment.create_value::<Offset<Wide>>("further wide place", &Offset::NONE).unwrap();
    let place = segment.offset::<Offset<Object>>("further place").unwrap().unwrap();
    let wide = segment.offset::<Offset<Wide>>("further wide place").unwrap().unwrap();
    segment.attach(place, &OBJECT).unwrap();
    segment.attach(wide, &WIDE).unwrap();
    assert!(segment.detach(place).unwrap() && segment.detach(wide).unwrap());
    assert!(segment.remove("further place").unwrap());
    assert!(segment.remove("further wide place").unwrap());

    let map = HashMap::<u64, [u8]>::create_new(segment, "further map").unwrap();
    assert_eq!(map.insert(&1, &bytes(1, 10)).unwrap(), None);
    assert_eq!(map.insert(&1, &bytes(2, 100)).unwrap(), Some(bytes(1, 10)));
    assert!(segment.remove("further map").unwrap());

    if let Ok(words) = HashMap::<u64, u64>::open(segment, "words") {
        for key in KEYS {
            assert_eq!(words.insert(&key, &1).unwrap(), None);
            assert_eq!(words.update(&key, |value| value + 1).unwrap(), Some(2));
        }
        for key in KEYS {
            assert_eq!(words.remove(&key).unwrap(), Some(2));
        }
    }
    if let Ok(texts) = HashMap::<str, [u8]>::open(segment, "texts") {
        for key in KEYS {
            assert_eq!(texts.insert(&text(key), &bytes(key, 0)).unwrap(), None);
        }
        for key in KEYS {
            assert_eq!(texts.remove(&text(key)).unwrap(), Some(bytes(key, 0)));
        }
    }
}
