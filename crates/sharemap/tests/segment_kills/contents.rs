//! All that a segment contains, so that a survivor can compare it with what was there before the
//! operation that was killed, and with what is there after it.

use std::collections::BTreeMap;

use sharemap::containers::HashMap;
use sharemap::{NamedKind, Segment};

use crate::small::{self, Object, Places, WidePlaces};

/// The object under one name.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    Words(BTreeMap<u64, u64>),
    Texts(BTreeMap<String, Vec<u8>>),
    /// The objects that places refer to.
    Objects(Vec<Option<Object>>),
    /// The first word of each wide object, and whether all are alike.
    Wide(Vec<Option<(u64, bool)>>),
    Value(Vec<u8>),
}

/// All objects, and the number and the bytes of those without a name. Memory that was lost counts
/// as such an object.
#[derive(PartialEq, Eq)]
pub struct Contents {
    named: BTreeMap<String, Named>,
    unattached: u64,
    bytes: u64,
}

impl Contents {
    /// Checks a segment that this process uses alone, and returns what it contains.
    pub fn of(segment: &Segment) -> Self {
        let report = segment.check().unwrap();
        assert!(report.is_healthy(), "{report:?}");
        let objects = segment.objects().unwrap();
        let named = objects.into_iter().map(|object| {
            let name = object.name;
            let found = match (object.kind, name.as_str()) {
                (NamedKind::Value, "places") => Self::objects(segment),
                (NamedKind::Value, "wide") => Self::wide(segment),
                (NamedKind::Value, _) => {
                    let value = segment.described_value(&name, &object.description);
                    Named::Value(value.unwrap().expect("it is listed"))
                }
                (_, "texts") => {
                    let map = HashMap::<str, [u8]>::open(segment, &name).unwrap();
                    let found: BTreeMap<_, _> = map.iter().map(Result::unwrap).collect();
                    assert_eq!(map.len().unwrap(), found.len() as u64);
                    Named::Texts(found)
                }
                _ => {
                    let map = HashMap::<u64, u64>::open(segment, &name).unwrap();
                    let found: BTreeMap<_, _> = map.iter().map(Result::unwrap).collect();
                    assert_eq!(map.len().unwrap(), found.len() as u64);
                    Named::Words(found)
                }
            };
            (name, found)
        });
        let named = named.collect();
        Self { named, unattached: report.unattached, bytes: report.unattached_bytes }
    }

    fn objects(segment: &Segment) -> Named {
        let places = segment.value::<Places>("places").unwrap().unwrap();
        let read = |place: sharemap::Offset<Object>| {
            (!place.is_none()).then(|| segment.read(place).unwrap())
        };
        Named::Objects(places.map(read).to_vec())
    }

    fn wide(segment: &Segment) -> Named {
        let places = segment.value::<WidePlaces>("wide").unwrap().unwrap();
        let read = |place: sharemap::Offset<small::Wide>| {
            (!place.is_none()).then(|| {
                let found = segment.read(place).unwrap();
                (found[0], found.iter().all(|&word| word == found[0]))
            })
        };
        Named::Wide(places.map(read).to_vec())
    }

    /// Returns in which names the contents differ, for messages.
    pub fn difference(&self, other: &Self) -> String {
        let all = self.named.keys().chain(other.named.keys());
        let mut names: Vec<&String> =
            all.filter(|&name| self.named.get(name) != other.named.get(name)).collect();
        names.dedup();
        let unattached = |contents: &Self| (contents.unattached, contents.bytes);
        format!("{names:?}, unattached {:?} for {:?}", unattached(self), unattached(other))
    }
}
