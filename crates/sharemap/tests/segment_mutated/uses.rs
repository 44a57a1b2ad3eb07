//! Everything that can be done with a segment that may be damaged. Errors are expected.

use std::time::Duration;

use sharemap::containers::HashMap;
use sharemap::{Location, NamedKind, Offset, Result, Segment, SharedOptions, Stored};

use crate::image::{PLACES, Random};

/// What came of the images.
#[derive(Debug, Default)]
pub struct Outcome {
    pub opened: u64,
    refused: u64,
    healthy: u64,
    damaged: u64,
    unstable: u64,
    errors: u64,
    values: u64,
}

impl Outcome {
    pub fn add(&mut self, other: &Self) {
        self.opened += other.opened;
        self.refused += other.refused;
        self.healthy += other.healthy;
        self.damaged += other.damaged;
        self.unstable += other.unstable;
        self.errors += other.errors;
        self.values += other.values;
    }

    fn note<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => {
                self.values += 1;
                Some(value)
            }
            Err(error) => {
                // Each error has a text.
                assert!(error.to_string().starts_with("cannot "), "{error}");
                self.errors += 1;
                None
            }
        }
    }
}

/// Returns options that do not wait long for a creator that does not exist.
fn options() -> SharedOptions {
    SharedOptions::new().open_timeout(Duration::from_millis(100))
}

/// Opens a segment, also for reading, and uses it.
pub fn everything(location: &Location, random: &mut Random, outcome: &mut Outcome) {
    match random.below(4) {
        0 | 1 => reads_only(location, outcome),
        2 => {
            if let Some(segment) = outcome.note(options().open_segment_copy_on_write(location)) {
                read(&segment, outcome);
            }
        }
        _ => {}
    }
    match options().open_segment(location) {
        Ok(segment) => {
            outcome.opened += 1;
            read(&segment, outcome);
            // A check that stops the writers may wait for locks that nobody releases.
            if random.below(16) == 0 {
                check(&segment, outcome);
            }
            let _ = outcome.note(segment.repair());
            read(&segment, outcome);
        }
        Err(error) => {
            assert!(error.to_string().starts_with("cannot "), "{error}");
            outcome.refused += 1;
        }
    }
}

/// Opens a segment for reading, and reads everything.
pub fn reads_only(location: &Location, outcome: &mut Outcome) {
    if let Some(segment) = outcome.note(options().open_segment_read_only(location)) {
        check(&segment, outcome);
        read(&segment, outcome);
    }
}

fn check(segment: &Segment, outcome: &mut Outcome) {
    if let Some(report) = outcome.note(segment.check()) {
        match (report.is_healthy(), report.is_unstable) {
            (true, _) => outcome.healthy += 1,
            (_, true) => outcome.unstable += 1,
            _ => outcome.damaged += 1,
        }
        for damage in &report.damage {
            assert!(!damage.what.is_empty());
        }
    }
}

fn read(segment: &Segment, outcome: &mut Outcome) {
    let _ = outcome.note(segment.stats());
    let _ = outcome.note(segment.value::<str>("text"));
    let _ = outcome.note(segment.value::<[u8]>("large"));
    let _ = outcome.note(segment.value::<u64>("number"));
    let _ = outcome.note(segment.value::<bool>("number"));
    let _ = outcome.note(segment.value::<u64>("missing"));
    for object in outcome.note(segment.objects()).unwrap_or_default() {
        let _ = outcome.note(segment.object(&object.name));
        match object.kind {
            NamedKind::Value => {
                let _ = outcome.note(segment.value::<[u8]>(&object.name));
            }
            _ => {
                map::<u64, u64>(segment, &object.name, (0..130).collect(), outcome);
                map::<u64, [u8]>(segment, &object.name, (0..40).collect(), outcome);
                let texts = (0..40).map(|key| format!("key number {key}")).collect();
                map::<str, [u8]>(segment, &object.name, texts, outcome);
            }
        }
    }
    let places = outcome.note(segment.offset::<[Offset<[u64; 4]>; PLACES]>("places")).flatten();
    if let Some(places) = places {
        for index in 0..PLACES {
            if let Some(place) = outcome.note(segment.read(places.element(index))) {
                let _ = outcome.note(segment.read(place));
            }
        }
    }
}

/// Reads a map in all ways.
fn map<K: Stored + ?Sized, V: Stored + ?Sized>(
    segment: &Segment,
    name: &str,
    keys: Vec<K::Owned>,
    outcome: &mut Outcome,
) where
    K::Owned: std::borrow::Borrow<K>,
{
    use std::borrow::Borrow;
    let Some(map) = outcome.note(HashMap::<K, V>::open(segment, name)) else { return };
    for key in &keys {
        let _ = outcome.note(map.get(key.borrow()));
    }
    let _ = outcome.note(map.contains_key(keys[0].borrow()));
    let _ = outcome.note(map.get_many([keys[0].borrow(), keys[1].borrow(), keys[0].borrow()]));
    let _ = outcome.note(map.read(keys[1].borrow(), |view| view.count(1)));
    let _ = outcome.note(map.len());
    let _ = outcome.note(map.is_empty());
    let _ = outcome.note(map.capacity());
    let _ = outcome.note(map.memory());
    // More pairs than the map can have would be without end.
    let mut count = 0_u64;
    for pair in map.iter() {
        let _ = outcome.note(pair);
        count += 1;
        assert!(count < 10_000_000, "an iteration without end");
    }
}

/// Changes something, which may fail.
pub fn change(segment: &Segment, round: u64, random: &mut Random) {
    let key = random.below(300);
    if let Ok(map) = HashMap::<u64, u64>::open(segment, "words") {
        let _ = map.insert(&key, &round);
        let _ = map.remove(&(key + 1));
        let _ = map.update(&(key + 2), |value| value ^ 1);
    }
    if let Ok(map) = HashMap::<str, [u8]>::open(segment, "texts") {
        let _ = map.insert(&format!("key number {}", key % 70), &vec![1; (key % 90) as usize]);
        let _ = map.remove(&format!("key number {}", (key + 9) % 70));
    }
    let _ = segment.set_value("number", &round);
    let _ = segment.create_value("new", "text");
    let _ = segment.remove("new");
    if let Ok(Some(places)) = segment.offset::<[Offset<[u64; 4]>; PLACES]>("places") {
        let _ = segment.attach(places.element(random.below(16) as usize), &[round; 4]);
        let _ = segment.detach(places.element(random.below(16) as usize));
    }
    if let Ok(offset) = segment.allocate(&[round; 9]) {
        let _ = segment.free(offset);
    }
}
