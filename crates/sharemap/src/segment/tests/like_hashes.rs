//! Keys that were chosen so that their hashes begin alike, which takes the map's seed.

use crate::error::ErrorKind;
use crate::guard::{Recovery, recovery};
use crate::layout::fingerprint_of;
use crate::peer::Machine;
use crate::segment::Segment;
use crate::segment::map::Shape;
use crate::shm::Location;

/// Returns the shape of the only map from words to words.
fn shape_of(segment: &Segment) -> Shape {
    let (session, plan) = (segment.session(), &segment.inner.plan);
    let fingerprint = fingerprint_of("map<u64,u64>");
    let at = (plan.heap.at..1 << 20).step_by(16).find(|&at| {
        let mut there = [0; 16];
        session.read(at, &mut there).unwrap();
        there == fingerprint
    });
    let root = session.load_64(at.unwrap() - 8).unwrap();
    Shape::load(session, root, plan.map_locks(root)).unwrap()
}

/// The keys are refused before the directory becomes much longer than the map, and all others stay.
#[test]
fn keys_with_like_hashes_are_refused() {
    if recovery() != Recovery::InPlace {
        eprintln!("skipped: faults cannot be recovered in place here");
        return;
    }
    let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 28).unwrap();
    let map = segment.hash_map::<u64, u64>("map").unwrap();
    let mut inserted: Vec<u64> = (1 << 40..(1 << 40) + 2000).collect();
    inserted.iter().for_each(|key| assert_eq!(map.insert(key, &!key).unwrap(), None));
    let shape = shape_of(&segment);
    let start = |key: u64| shape.word_key(key).hash >> 48;
    let mut alike = (0..).filter(|&key| start(key) == start(0));
    let refused = loop {
        let key = alike.next().unwrap();
        match map.insert(&key, &!key) {
            Ok(previous) => assert_eq!(previous, None),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
                break key;
            }
        }
        inserted.push(key);
        assert!(inserted.len() < 3000, "no key was refused");
    };
    println!("refused after {} keys, with {} bytes", inserted.len(), map.memory().unwrap());
    assert!(map.memory().unwrap() < 1 << 22, "{} bytes", map.memory().unwrap());
    assert_eq!(map.insert(&refused, &1).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(map.get(&refused).unwrap(), None);
    inserted.iter().for_each(|key| assert_eq!(map.get(key).unwrap(), Some(!key)));
    assert_eq!(map.len().unwrap(), inserted.len() as u64);
    assert!(segment.check().unwrap().is_healthy());
    // All else goes on.
    inserted.iter().for_each(|key| assert_eq!(map.remove(key).unwrap(), Some(!key)));
    assert_eq!(map.insert(&refused, &1).unwrap(), None);
}
