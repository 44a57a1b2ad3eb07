//! What a storm changes: keys of three maps, attached objects, named values, and whole maps.

use sharemap::containers::HashMap;
use sharemap::{ErrorKind, Offset, Segment};

use crate::ledger::WRITERS;
use crate::random::Random;

/// Words, texts, large values, attached objects, named values, and maps.
pub const KINDS: u64 = 6;
/// The keys of a writer, of each kind.
pub const OWN: u64 = 12;
/// The keys of each kind: few, so that all lie in the same pages.
const EACH: u64 = OWN * WRITERS;
pub const KEYS: u64 = KINDS * EACH;

/// Returns a key of a writer. Keys of all writers lie beside each other.
pub fn key(kind: u64, writer: u64, index: u64) -> u64 {
    kind * EACH + index * WRITERS + writer
}

type Object = [u64; 5];
type Places = [Offset<Object>; EACH as usize];

pub struct Subject {
    segment: Segment,
    words: HashMap<u64, u64>,
    texts: HashMap<str, [u8]>,
    large: HashMap<u64, [u8]>,
    places: Offset<Places>,
}

fn text(key: u64) -> String {
    format!("a key that lies in a block, {key}")
}

fn name(key: u64) -> String {
    format!("name {key}")
}

/// Returns the bytes of a value. The length follows from the value.
fn bytes(value: u64, least: u64) -> Vec<u8> {
    let mut bytes = value.to_le_bytes().to_vec();
    bytes.resize((8 + least + value % 90) as usize, value as u8);
    bytes
}

/// Returns the value that bytes are of, which must be whole; 0 for none.
fn value(found: Option<Vec<u8>>, least: u64) -> u64 {
    let Some(found) = found else { return 0 };
    let value = u64::from_le_bytes(*found.first_chunk().unwrap());
    assert!(found == bytes(value, least), "half a value: {found:?}");
    value
}

/// The length of large values: that of the maps' own pages.
const LARGE: u64 = 3700;

impl Subject {
    pub fn create(segment: &Segment) {
        segment.create_value::<Places>("places", &[Offset::NONE; EACH as usize]).unwrap();
        let _ = Self::open(segment);
    }

    pub fn open(segment: &Segment) -> Self {
        Self {
            segment: segment.clone(),
            words: segment.hash_map("words").unwrap(),
            texts: segment.hash_map("texts").unwrap(),
            large: segment.hash_map("large").unwrap(),
            places: segment.offset::<Places>("places").unwrap().unwrap(),
        }
    }

    fn place(&self, key: u64) -> Offset<Offset<Object>> {
        self.places.element((key % EACH) as usize)
    }

    /// Returns the value of a key; 0 if it is absent.
    pub fn get(&self, key: u64) -> u64 {
        match key / EACH {
            0 => self.words.get(&key).unwrap().unwrap_or(0),
            1 => value(self.texts.get(&text(key)).unwrap(), 0),
            2 => value(self.large.get(&key).unwrap(), LARGE),
            3 => {
                let offset = self.segment.read(self.place(key)).unwrap();
                match offset.is_none() {
                    true => 0,
                    // Without a lock, this may be of the next object at the place.
                    false => self.segment.read(offset).unwrap()[0],
                }
            }
            4 => value(self.segment.value::<[u8]>(&name(key)).unwrap(), 0),
            _ => match HashMap::<u64, u64>::open(&self.segment, &name(key)) {
                Ok(map) => match map.get(&0) {
                    Err(error) if error.kind() == ErrorKind::NotFound => 0,
                    found => found.unwrap().unwrap_or(0),
                },
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
                    0
                }
            },
        }
    }

    /// Changes a key from `old` to `new`; 0: absent.
    pub fn change(&self, key: u64, old: u64, new: u64, random: &mut Random) {
        let word = |found: Option<u64>| found.unwrap_or(0);
        match (key / EACH, new) {
            (0, 0) => assert_eq!(word(self.words.remove(&key).unwrap()), old, "{key}"),
            (0, _) if old != 0 && random.below(2) == 0 => {
                let updated = self.words.update(&key, |value| {
                    assert_eq!(value, old, "{key}");
                    new
                });
                assert_eq!(updated.unwrap(), Some(new));
            }
            (0, _) => assert_eq!(word(self.words.insert(&key, &new).unwrap()), old, "{key}"),
            (1, 0) => assert_eq!(value(self.texts.remove(&text(key)).unwrap(), 0), old, "{key}"),
            (1, _) => {
                let previous = self.texts.insert(&text(key), &bytes(new, 0)).unwrap();
                assert_eq!(value(previous, 0), old, "{key}");
            }
            (2, 0) => assert_eq!(value(self.large.remove(&key).unwrap(), LARGE), old, "{key}"),
            (2, _) => {
                let previous = self.large.insert(&key, &bytes(new, LARGE)).unwrap();
                assert_eq!(value(previous, LARGE), old, "{key}");
            }
            (3, 0) => assert!(self.segment.detach(self.place(key)).unwrap(), "{key}"),
            (3, _) => {
                // Two steps, if there was one: a death between them leaves none, which the caller must expect.
                let offset = self.segment.read(self.place(key)).unwrap();
                assert_eq!(offset.is_none(), old == 0, "{key}");
                match offset.is_none() {
                    true => drop(self.segment.attach(self.place(key), &[new; 5]).unwrap()),
                    false => self.segment.write(offset, &[new; 5]).unwrap(),
                }
            }
            (_, 0) => assert!(self.segment.remove(&name(key)).unwrap(), "{key}"),
            (5, _) => {
                let map = self.segment.hash_map::<u64, u64>(&name(key)).unwrap();
                assert_eq!(word(map.get(&0).unwrap()), old, "{key}");
                for entry in (0..1 + new % 6).rev() {
                    map.insert(&entry, &new).unwrap();
                }
            }
            (_, _) if old == 0 => {
                self.segment.create_value(&name(key), &bytes(new, 0)[..]).unwrap();
            }
            _ => self.segment.set_value(&name(key), &bytes(new, 0)[..]).unwrap(),
        }
    }

    /// Inserts so many keys that pages are split and directories double, and removes them again, so that pages are
    /// merged. A death leaves some of them.
    pub fn crowd(&self, writer: u64) {
        for key in Self::crowd_of(writer) {
            assert_eq!(self.words.insert(&key, &!key).unwrap(), None);
            assert_eq!(self.texts.insert(&text(key), &bytes(key, 0)).unwrap(), None);
        }
        self.disperse(writer);
    }

    /// Removes what is left of a writer's crowd.
    pub fn disperse(&self, writer: u64) {
        for key in Self::crowd_of(writer) {
            let found = self.words.remove(&key).unwrap();
            assert!(found.is_none_or(|value| value == !key));
            let found = self.texts.remove(&text(key)).unwrap();
            assert!(found.is_none() || value(found, 0) == key);
        }
    }

    fn crowd_of(writer: u64) -> std::ops::Range<u64> {
        (writer + 1) << 32..((writer + 1) << 32) + 3_000
    }

    /// Asserts that the maps have few keys.
    pub fn assert_few(&self) {
        let few = 0..=EACH;
        assert!(
            few.contains(&self.words.len().unwrap()) && few.contains(&self.texts.len().unwrap())
        );
    }

    /// Returns the number of attached objects.
    pub fn attached(&self) -> u64 {
        let places = self.segment.read(self.places).unwrap();
        places.iter().filter(|place| !place.is_none()).count() as u64
    }

    /// Removes everything.
    pub fn remove_all(&self) {
        for place in 0..EACH as usize {
            self.segment.detach(self.places.element(place)).unwrap();
        }
        for object in self.segment.objects().unwrap() {
            assert!(self.segment.remove(&object.name).unwrap());
        }
    }
}
