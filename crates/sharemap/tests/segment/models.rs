//! Random sequences of operations on a map and on std's, which must stay equal.

use std::collections::HashMap as Model;
use std::fmt::Debug;
use std::hash::Hash;

use proptest::collection::vec;
use proptest::prelude::*;
use sharemap::Stored;
use sharemap::containers::HashMap;

use super::*;
use crate::random::check;

/// A type of keys or values, with a sample for each number.
pub trait Sample: Stored {
    /// What [`Stored::Owned`] is.
    type Value: Clone + Debug + Eq + Hash;

    fn sample(number: u64) -> Self::Value;
    fn borrow(value: &Self::Value) -> &Self;
    fn owned(value: Self::Owned) -> Self::Value;
}

macro_rules! plain {
    ($($type:ty: $sample:expr;)*) => { $(
        impl Sample for $type {
            type Value = $type;
            fn sample(number: u64) -> $type {
                let sample: fn(u64) -> $type = $sample;
                sample(number)
            }
            fn borrow(value: &$type) -> &$type {
                value
            }
            fn owned(value: $type) -> $type {
                value
            }
        }
    )* };
}
plain! {
    u64: |number| number.wrapping_mul(0x1_0000_0001);
    u8: |number| number as u8;
    i32: |number| -(number as i32);
    bool: |number| number % 2 == 1;
    [u8; 3]: |number| [number as u8, 0, 7];
    [u64; 5]: |number| [number, 1, 2, 3, number];
}

impl Sample for str {
    type Value = String;
    fn sample(number: u64) -> String {
        // From the empty string to many spans.
        match number % 10 {
            0 => String::new(),
            9 => "x".repeat(number as usize * 400) + &number.to_string(),
            _ => format!("{number:0>width$}", width = number as usize % 90),
        }
    }
    fn borrow(value: &String) -> &str {
        value
    }
    fn owned(value: String) -> String {
        value
    }
}

impl Sample for [u8] {
    type Value = Vec<u8>;
    fn sample(number: u64) -> Vec<u8> {
        let len = match number % 10 {
            0 => 0,
            9 => number as usize * 350,
            _ => number as usize,
        };
        vec![number as u8; len]
    }
    fn borrow(value: &Vec<u8>) -> &[u8] {
        value
    }
    fn owned(value: Vec<u8>) -> Vec<u8> {
        value
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64, u64),
    Remove(u64),
    Update(u64, u64),
    Get(u64),
    GetMany(u64, u64),
    Extend(Vec<(u64, u64)>),
    RemoveAll(u64, u64),
    Iterate,
    /// Removes the map, and creates it again.
    Recreate,
    /// Opens the map again.
    Open,
}

fn step(keys: u64) -> impl Strategy<Value = Step> {
    let key = move || 0..keys;
    let value = || 0_u64..100;
    prop_oneof![
        20 => (key(), value()).prop_map(|(key, value)| Step::Insert(key, value)),
        12 => key().prop_map(Step::Remove),
        6 => (key(), value()).prop_map(|(key, value)| Step::Update(key, value)),
        6 => key().prop_map(Step::Get),
        2 => (key(), key()).prop_map(|(a, b)| Step::GetMany(a, b)),
        2 => vec((key(), value()), 0..60).prop_map(Step::Extend),
        2 => (key(), key()).prop_map(|(a, b)| Step::RemoveAll(a.min(b), a.max(b))),
        1 => Just(Step::Iterate),
        1 => Just(Step::Recreate),
        1 => Just(Step::Open),
    ]
}

fn run<K: Sample + ?Sized, V: Sample + ?Sized>(segment: &Segment, steps: &[Step]) {
    let mut map = HashMap::<K, V>::create_new(segment, "map").unwrap();
    let mut model = Model::new();
    let owned = |value: Option<V::Owned>| value.map(V::owned);
    for step in steps {
        match step {
            &Step::Insert(key, value) => {
                let (key, value) = (K::sample(key), V::sample(value));
                let previous = map.insert(K::borrow(&key), V::borrow(&value)).unwrap();
                assert_eq!(owned(previous), model.insert(key, value));
            }
            &Step::Remove(key) => {
                let key = K::sample(key);
                assert_eq!(owned(map.remove(K::borrow(&key)).unwrap()), model.remove(&key));
            }
            &Step::Update(key, value) => {
                let (key, new) = (K::sample(key), V::sample(value));
                let mut seen = None;
                let updated = map.update(K::borrow(&key), |old| {
                    seen = Some(V::owned(old));
                    Borrowed::<V>(new.clone())
                });
                assert_eq!(updated.unwrap().map(|new| new.0), model.get(&key).map(|_| new.clone()));
                assert_eq!(seen.as_ref(), model.get(&key));
                model.entry(key).and_modify(|value| *value = new);
            }
            &Step::Get(key) => {
                let key = K::sample(key);
                let found = owned(map.get(K::borrow(&key)).unwrap());
                assert_eq!(found.as_ref(), model.get(&key));
                assert_eq!(map.contains_key(K::borrow(&key)).unwrap(), model.contains_key(&key));
                let len = map.read(K::borrow(&key), |bytes| Ok(bytes.len())).unwrap();
                assert_eq!(len.is_some(), model.contains_key(&key));
            }
            &Step::GetMany(a, b) => {
                let keys = [a, b, a].map(K::sample);
                let found = map.get_many([0, 1, 2].map(|index| K::borrow(&keys[index]))).unwrap();
                for (found, key) in found.into_iter().zip(&keys) {
                    assert_eq!(owned(found).as_ref(), model.get(key));
                }
            }
            Step::Extend(pairs) => {
                let pairs: Vec<_> =
                    pairs.iter().map(|&(k, v)| (K::sample(k), V::sample(v))).collect();
                map.extend(pairs.iter().map(|(k, v)| (K::borrow(k), V::borrow(v)))).unwrap();
                model.extend(pairs);
            }
            &Step::RemoveAll(from, to) => {
                for key in (from..to).map(K::sample) {
                    assert_eq!(owned(map.remove(K::borrow(&key)).unwrap()), model.remove(&key));
                }
            }
            Step::Iterate => compare(&map, &model),
            Step::Recreate => {
                assert!(segment.remove("map").unwrap());
                assert_eq!(map.len().unwrap_err().kind(), sharemap::ErrorKind::NotFound);
                map = HashMap::create_new(segment, "map").unwrap();
                model.clear();
            }
            Step::Open => map = HashMap::open(segment, "map").unwrap(),
        }
    }
    compare(&map, &model);
    assert_whole(segment, 0);
    assert!(segment.remove("map").unwrap());
    assert_whole(segment, 0);
}

/// A new value of an update.
struct Borrowed<V: Sample + ?Sized>(V::Value);

impl<V: Sample + ?Sized> std::borrow::Borrow<V> for Borrowed<V> {
    fn borrow(&self) -> &V {
        V::borrow(&self.0)
    }
}

/// Asserts that a map has exactly the pairs of the model, each once.
fn compare<K: Sample + ?Sized, V: Sample + ?Sized>(
    map: &HashMap<K, V>,
    model: &Model<K::Value, V::Value>,
) {
    let pairs: Vec<_> =
        map.iter().map(|pair| pair.map(|(k, v)| (K::owned(k), V::owned(v))).unwrap()).collect();
    assert_eq!(pairs.len(), model.len());
    assert_eq!(&pairs.into_iter().collect::<Model<_, _>>(), model);
    assert_eq!(map.len().unwrap(), model.len() as u64);
    assert_eq!(map.is_empty().unwrap(), model.is_empty());
    assert!(map.capacity().unwrap() >= model.len() as u64);
}

fn sequences<K: Sample + ?Sized, V: Sample + ?Sized>(cases: u32) {
    need_atomics!();
    let segment = anonymous(1 << 20, 1 << 28);
    let strategy = prop_oneof![Just(3_u64), Just(100), Just(1_000)]
        .prop_flat_map(|keys| vec(step(keys), 1..400));
    check(cases, &strategy, |steps| {
        // After a failed case, shrinking begins with the map of that case.
        let _ = segment.remove("map").unwrap();
        run::<K, V>(&segment, &steps);
    });
}

#[test]
fn words_to_words() {
    sequences::<u64, u64>(20);
}

#[test]
fn short_keys_to_short_values() {
    sequences::<u8, bool>(15);
    sequences::<[u8; 3], i32>(15);
}

#[test]
fn words_to_bytes() {
    sequences::<u64, [u8]>(20);
}

#[test]
fn words_to_arrays() {
    sequences::<i32, [u64; 5]>(20);
}

#[test]
fn texts_to_words() {
    sequences::<str, u64>(15);
}

#[test]
fn texts_to_bytes() {
    sequences::<str, [u8]>(15);
}

#[test]
fn arrays_to_texts() {
    sequences::<[u64; 5], str>(15);
}

#[derive(Clone, Debug)]
enum Use {
    Create(usize, u64),
    Set(usize, u64),
    Remove(usize),
    Allocate(u64),
    Free(usize),
    Attach(usize, u64),
    Detach(usize),
    Map(usize, u64),
    Check,
}

fn use_of_a_segment() -> impl Strategy<Value = Use> {
    let (name, value) = (|| 0_usize..12, || 0_u64..100);
    prop_oneof![
        4 => (name(), value()).prop_map(|(name, value)| Use::Create(name, value)),
        6 => (name(), value()).prop_map(|(name, value)| Use::Set(name, value)),
        4 => name().prop_map(Use::Remove),
        4 => value().prop_map(Use::Allocate),
        3 => (0_usize..40).prop_map(Use::Free),
        4 => (0_usize..8, value()).prop_map(|(place, value)| Use::Attach(place, value)),
        3 => (0_usize..8).prop_map(Use::Detach),
        3 => (name(), value()).prop_map(|(name, value)| Use::Map(name, value)),
        1 => Just(Use::Check),
    ]
}

#[derive(Clone, Debug, PartialEq)]
enum Named {
    Value(Vec<u8>),
    Map(Model<u64, u64>),
}

/// Named values, maps, unattached objects and attached ones, beside a model.
#[test]
fn objects_of_a_segment() {
    use sharemap::{ErrorKind, Offset};
    type Object = [u64; 9];
    need_atomics!();
    let kind = |error: sharemap::Error| error.kind();
    check(30, &vec(use_of_a_segment(), 1..300), |uses| {
        let segment = anonymous(1 << 20, 1 << 26);
        segment.create_value("places", &[Offset::<Object>::NONE; 8]).unwrap();
        let places = segment.offset::<[Offset<Object>; 8]>("places").unwrap().unwrap();
        let mut names = Model::<String, Named>::new();
        let mut free = Vec::<(Offset<Object>, Object)>::new();
        let mut attached = [None; 8];
        for step in uses {
            match step {
                Use::Create(name, value) => {
                    let (name, value) = (format!("name {name}"), <[u8]>::sample(value));
                    let result = segment.create_value(&name, &value[..]).map_err(kind);
                    match names.contains_key(&name) {
                        true => assert_eq!(result, Err(ErrorKind::AlreadyExists)),
                        false => {
                            assert_eq!(result, Ok(()));
                            names.insert(name, Named::Value(value));
                        }
                    }
                }
                Use::Set(name, value) => {
                    let (name, value) = (format!("name {name}"), <[u8]>::sample(value));
                    let result = segment.set_value(&name, &value[..]).map_err(kind);
                    match names.get(&name) {
                        Some(Named::Map(_)) => assert_eq!(result, Err(ErrorKind::WrongKind)),
                        _ => {
                            assert_eq!(result, Ok(()));
                            names.insert(name, Named::Value(value));
                        }
                    }
                }
                Use::Remove(name) => {
                    let name = format!("name {name}");
                    assert_eq!(segment.remove(&name).unwrap(), names.remove(&name).is_some());
                }
                Use::Map(name, value) => {
                    let name = format!("name {name}");
                    match names.entry(name.clone()).or_insert_with(|| Named::Map(Model::new())) {
                        Named::Value(_) => {
                            let result = segment.hash_map::<u64, u64>(&name).map(drop);
                            assert_eq!(result.map_err(kind), Err(ErrorKind::WrongKind));
                        }
                        Named::Map(model) => {
                            let map = segment.hash_map::<u64, u64>(&name).unwrap();
                            for key in 0..value {
                                let key = key * value;
                                let previous = map.insert(&key, &value).unwrap();
                                assert_eq!(previous, model.insert(key, value));
                            }
                        }
                    }
                }
                Use::Allocate(value) => {
                    let object = [value; 9];
                    free.push((segment.allocate(&object).unwrap(), object));
                }
                Use::Free(index) => {
                    if index < free.len() {
                        let (offset, object) = free.swap_remove(index);
                        assert_eq!(segment.read(offset).unwrap(), object);
                        segment.free(offset).unwrap();
                    }
                }
                Use::Attach(place, value) => {
                    let object = [value; 9];
                    let result = segment.attach(places.element(place), &object).map(drop);
                    match attached[place] {
                        Some(_) => assert_eq!(result.map_err(kind), Err(ErrorKind::AlreadyExists)),
                        None => {
                            result.unwrap();
                            attached[place] = Some(object);
                        }
                    }
                }
                Use::Detach(place) => {
                    let detached = segment.detach(places.element(place)).unwrap();
                    assert_eq!(detached, attached[place].take().is_some());
                }
                Use::Check => {
                    let attached = attached.iter().flatten().count();
                    assert_whole(&segment, (free.len() + attached) as u64);
                }
            }
        }
        for (place, object) in attached.iter().enumerate() {
            let offset = segment.read(places.element(place)).unwrap();
            assert_eq!(offset.is_none(), object.is_none());
            if let Some(object) = object {
                assert_eq!(segment.read(offset).unwrap(), *object);
            }
        }
        for (offset, object) in free {
            assert_eq!(segment.read(offset).unwrap(), object);
        }
        let mut listed: Vec<_> =
            segment.objects().unwrap().into_iter().map(|object| object.name).collect();
        listed.sort();
        let mut expected: Vec<_> = names.keys().cloned().chain(["places".to_owned()]).collect();
        expected.sort();
        assert_eq!(listed, expected);
        for (name, object) in names {
            match object {
                Named::Value(value) => {
                    assert_eq!(segment.value::<[u8]>(&name).unwrap(), Some(value));
                }
                Named::Map(model) => compare(&segment.hash_map::<u64, u64>(&name).unwrap(), &model),
            }
        }
    });
}
