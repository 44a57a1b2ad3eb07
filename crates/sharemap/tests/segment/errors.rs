//! Every bad input has an error of its own, and leaves everything as it was.

use sharemap::containers::HashMap;
use sharemap::{Error, ErrorKind, Location, Offset, Result, Segment};

use super::*;
use crate::common::TempDir;

/// What a segment has before an error, and must have after it.
struct Kept {
    segment: Segment,
    numbers: HashMap<u64, u64>,
    texts: HashMap<str, [u8]>,
    point: Offset<[f64; 2]>,
}

/// Objects that no named one refers to: the point, and the object at a place.
const UNATTACHED: u64 = 2;
const PLACES: &str = "places";
type Places = [Offset<[u64; 8]>; 4];

impl Kept {
    fn new(location: Location, size: u64, max: u64) -> Self {
        let segment = Segment::create_new(location, size, max).unwrap();
        segment.create_value("state", "running").unwrap();
        segment.create_value("count", &7_u64).unwrap();
        segment.create_value::<Places>(PLACES, &[Offset::NONE; 4]).unwrap();
        segment.attach(places(&segment).element(0), &[1; 8]).unwrap();
        let numbers = HashMap::<u64, u64>::create_new(&segment, "numbers").unwrap();
        let texts = HashMap::<str, [u8]>::create_new(&segment, "texts").unwrap();
        for number in 0..100_u64 {
            numbers.insert(&number, &(number * number)).unwrap();
            texts.insert(&text(number), text(number * number).as_bytes()).unwrap();
        }
        let point = segment.allocate(&[1.5, 2.5]).unwrap();
        Self { segment, numbers, texts, point }
    }

    fn small() -> Self {
        Self::new(Location::anonymous(), 0, 1 << 20)
    }

    /// Asserts that everything is as it was.
    fn check(&self) {
        self.check_contents();
        assert_whole(&self.segment, UNATTACHED);
    }

    fn check_contents(&self) {
        let Self { segment, numbers, texts, point } = self;
        assert_eq!(segment.value::<str>("state").unwrap().as_deref(), Some("running"));
        assert_eq!(segment.value::<u64>("count").unwrap(), Some(7));
        assert_eq!(segment.read(*point).unwrap(), [1.5, 2.5]);
        let place = segment.read(places(segment).element(0)).unwrap();
        assert_eq!(segment.read(place).unwrap(), [1; 8]);
        for number in 0..100 {
            assert_eq!(numbers.get(&number).unwrap(), Some(number * number));
            let value = texts.get(&text(number)).unwrap();
            assert_eq!(value.as_deref(), Some(text(number * number).as_bytes()));
        }
        assert_eq!((numbers.len().unwrap(), texts.len().unwrap()), (100, 100));
        let mut names: Vec<_> =
            segment.objects().unwrap().into_iter().map(|object| object.name).collect();
        names.sort();
        assert_eq!(names, ["count", "numbers", PLACES, "state", "texts"]);
    }

    /// Asserts that an operation fails, and changes nothing.
    fn fails<T>(&self, kind: ErrorKind, result: Result<T>) -> Error {
        let error = result.map(drop).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().starts_with("cannot "), "{error}");
        self.check();
        error
    }
}

fn places(segment: &Segment) -> Offset<Places> {
    segment.offset::<Places>(PLACES).unwrap().unwrap()
}

fn text(number: u64) -> String {
    format!("a text that is longer than a word, number {number}")
}

/// A full segment refuses what needs memory, keeps everything, and goes on once something was removed.
#[test]
fn a_full_segment_keeps_everything() {
    need_atomics!();
    let kept = Kept::small();
    let Kept { segment, numbers, texts, .. } = &kept;
    let (more, long) = (
        HashMap::<u64, [u64; 4]>::create_new(segment, "more").unwrap(),
        HashMap::<u64, [u8]>::create_new(segment, "long").unwrap(),
    );
    let bytes = vec![7; 40_000];
    // Long values first, and then ever shorter ones, until nothing fits.
    let mut count = 0_u64;
    let error = loop {
        match long.insert(&count, &bytes) {
            Ok(previous) => assert_eq!(previous, None),
            Err(error) => break error,
        }
        count += 1;
    };
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert!(count > 2, "{count}");
    let mut short = 0_u64;
    let error = loop {
        match more.insert(&short, &[short; 4]) {
            Ok(previous) => assert_eq!(previous, None),
            Err(error) => break error,
        }
        short += 1;
    };
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    let stats = segment.stats().unwrap();
    assert!(stats.len <= stats.max && stats.max == 1 << 20, "{stats:?}");

    assert_eq!(more.len().unwrap(), short);
    assert_eq!(long.len().unwrap(), count);
    assert_eq!(more.get(&short).unwrap(), None);
    for number in 0..short {
        assert_eq!(more.get(&number).unwrap(), Some([number; 4]));
    }
    for number in 0..count {
        assert_eq!(long.get(&number).unwrap().as_deref(), Some(&bytes[..]));
    }
    assert_whole(segment, UNATTACHED);
    let no_space = |result: Result<()>| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::NoSpace);
    };
    no_space(segment.create_value("other", &bytes[..]));
    no_space(segment.set_value("state", &"x".repeat(40_000)[..]));
    no_space(long.insert(&0, &vec![8; 60_000]).map(drop));
    no_space(segment.allocate(&[0_u64; 8_000]).map(drop));
    assert_whole(segment, UNATTACHED);
    // What needs no memory goes on.
    numbers.insert(&1, &5).unwrap();
    assert_eq!(numbers.insert(&1, &1).unwrap(), Some(5));
    assert_eq!(texts.remove("missing").unwrap(), None);
    for number in 0..count {
        assert!(long.remove(&number).unwrap().is_some());
    }
    long.insert(&0, &bytes).unwrap();
    for number in short..short + 100 {
        more.insert(&number, &[number; 4]).unwrap();
    }
    assert!(segment.remove("more").unwrap() && segment.remove("long").unwrap());
    kept.check();
}

/// A removed map's memory is used again: any number of maps fits one after the other.
#[test]
fn removed_objects_leave_nothing() {
    need_atomics!();
    let kept = Kept::new(Location::anonymous(), 0, 1 << 22);
    for round in 0..60_u64 {
        let map = HashMap::<u64, [u8]>::create_new(&kept.segment, "many").unwrap();
        for key in 0..100 {
            map.insert(&key, &vec![round as u8; 1 + 30 * key as usize]).unwrap();
        }
        kept.segment.create_value("big", &vec![1_u8; 100_000][..]).unwrap();
        assert!(kept.segment.remove("big").unwrap());
        assert!(kept.segment.remove("many").unwrap());
    }
    kept.check();
}

#[test]
fn limits_of_a_segment_are_checked() {
    need_atomics!();
    let fails = |size, max| {
        let error = Segment::create_new(Location::anonymous(), size, max).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfBounds, "{error}");
    };
    fails(1 << 20, 1 << 19);
    fails(0, 1000);
    fails(0, 0);
    fails(1 << 20, u64::MAX);
    fails(u64::MAX, u64::MAX);
    fails(1 << 20, (1 << 40) + 1);
}

#[test]
fn wrong_types_are_refused_by_name() {
    need_atomics!();
    let kept = Kept::small();
    let segment = &kept.segment;
    let both = |error: Error, words: [&str; 2]| {
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    };
    let wrong = |result| kept.fails(ErrorKind::WrongType, result);
    both(wrong(segment.value::<u32>("count").map(drop)), ["u32", "u64"]);
    both(wrong(segment.value::<i64>("count").map(drop)), ["i64", "u64"]);
    both(wrong(segment.value::<[u8]>("state").map(drop)), ["bytes", "str"]);
    both(wrong(segment.set_value("count", "seven")), ["str", "u64"]);
    both(wrong(segment.offset::<u32>("count").map(drop)), ["u32", "u64"]);
    let open = |result: Result<()>| wrong(result);
    both(
        open(HashMap::<u64, u32>::open(segment, "numbers").map(drop)),
        ["map<u64,u32>", "map<u64,u64>"],
    );
    both(
        open(HashMap::<u64, [u8]>::open_or_create(segment, "texts").map(drop)),
        ["map<u64,bytes>", "map<str,bytes>"],
    );
    both(open(segment.hash_map::<str, str>("texts").map(drop)), ["map<str,str>", "map<str,bytes>"]);
    let wrong = |result: Result<()>| kept.fails(ErrorKind::WrongKind, result);
    wrong(segment.value::<u64>("numbers").map(drop));
    wrong(segment.set_value("numbers", &7_u64));
    wrong(segment.offset::<u64>("numbers").map(drop));
    wrong(HashMap::<u64, u64>::open(segment, "count").map(drop));
    wrong(segment.hash_map::<u64, u64>("state").map(drop));
}

#[test]
fn names_are_checked() {
    need_atomics!();
    let kept = Kept::small();
    let segment = &kept.segment;
    let longest = "n".repeat(255);
    segment.create_value(&longest, &1_u8).unwrap();
    assert_eq!(segment.value::<u8>(&longest).unwrap(), Some(1));
    assert!(segment.remove(&longest).unwrap());
    let names = [("n".repeat(256), ErrorKind::NameTooLong), (String::new(), ErrorKind::NameEmpty)];
    for (name, kind) in &names {
        kept.fails(*kind, segment.create_value(name, &1_u8));
        kept.fails(*kind, segment.set_value(name, &1_u8));
        kept.fails(*kind, segment.value::<u8>(name));
        kept.fails(*kind, segment.offset::<u8>(name));
        kept.fails(*kind, segment.object(name));
        kept.fails(*kind, segment.remove(name));
        kept.fails(*kind, segment.hash_map::<u64, u64>(name));
        kept.fails(*kind, HashMap::<u64, u64>::create_new(segment, name));
        kept.fails(*kind, HashMap::<u64, u64>::open(segment, name));
    }
    // Any other text is a name.
    for name in ["/", "..", "\0", "ä\n", " "] {
        segment.create_value(name, name).unwrap();
        assert_eq!(segment.value::<str>(name).unwrap().as_deref(), Some(name));
        assert_eq!(segment.object(name).unwrap().unwrap().name, name);
        assert!(segment.remove(name).unwrap());
    }
    kept.check();
}

#[test]
fn duplicates_and_missing_objects_are_refused() {
    need_atomics!();
    let kept = Kept::small();
    let segment = &kept.segment;
    for name in ["state", "count", "numbers", "texts"] {
        kept.fails(ErrorKind::AlreadyExists, segment.create_value(name, &1_u64));
        kept.fails(ErrorKind::AlreadyExists, segment.create_value(name, "text"));
        kept.fails(ErrorKind::AlreadyExists, HashMap::<u64, u64>::create_new(segment, name));
    }
    let place = places(segment).element(0);
    kept.fails(ErrorKind::AlreadyExists, segment.attach(place, &[2; 8]));
    kept.fails(ErrorKind::NotFound, HashMap::<u64, u64>::open(segment, "missing"));
    assert_eq!(segment.value::<u64>("missing").unwrap(), None);
    assert_eq!(segment.offset::<u64>("missing").unwrap(), None);
    assert_eq!(segment.object("missing").unwrap(), None);
    assert!(!segment.remove("missing").unwrap());
    assert!(!segment.detach(places(segment).element(1)).unwrap());
    kept.check();
}

#[test]
fn offsets_of_another_segment_are_refused() {
    need_atomics!();
    let (kept, other) = (Kept::small(), Kept::small());
    let segment = &kept.segment;
    let invalid = |result: Result<()>| kept.fails(ErrorKind::Invalid, result);
    let point = other.point;
    invalid(segment.read(point).map(drop));
    invalid(segment.write(point, &[0.0; 2]));
    invalid(segment.free(point));
    let place = places(&other.segment).element(1);
    invalid(segment.attach(place, &[2; 8]).map(drop));
    invalid(segment.detach(places(&other.segment).element(0)).map(drop));
    let none = Offset::<[f64; 2]>::NONE;
    invalid(segment.read(none).map(drop));
    invalid(segment.write(none, &[0.0; 2]));
    invalid(segment.free(none));
    invalid(segment.attach(Offset::NONE, &[2_u64; 8]).map(drop));
    invalid(segment.detach(Offset::<Offset<u64>>::NONE).map(drop));
    // The offset of another segment may have been stored in this one.
    let foreign = other.segment.allocate(&[3_u64; 8]).unwrap();
    segment.write(places(segment).element(2), &foreign).unwrap();
    invalid(segment.detach(places(segment).element(2)).map(drop));
    // No object begins in the middle of one.
    let inside = segment.offset::<Places>(PLACES).unwrap().unwrap().element(1);
    invalid(segment.free(inside));
    other.segment.free(foreign).unwrap();
    other.check();
}

#[test]
fn what_is_too_large_is_refused() {
    need_atomics!();
    let kept = Kept::new(Location::anonymous(), 1 << 20, 1 << 30);
    let segment = &kept.segment;
    let huge = vec![1_u8; 65 << 20];
    let text = "x".repeat(65 << 20);
    let too_large = |result: Result<()>| kept.fails(ErrorKind::TooLarge, result);
    too_large(segment.create_value("huge", &huge[..]));
    too_large(segment.set_value("state", &text[..]));
    too_large(kept.texts.insert("huge", &huge).map(drop));
    too_large(kept.texts.insert(&text, b"value").map(drop));
    too_large(kept.texts.update(&super::errors::text(1), |_| huge.clone()).map(drop));
    // What comes before the error is inserted, and nothing of what comes after it.
    let pairs = [("first", &b"1"[..]), ("second", b"2"), ("huge", &huge), ("last", b"3")];
    assert_eq!(kept.texts.extend(pairs).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(kept.texts.remove("first").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(kept.texts.remove("second").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(kept.texts.get("last").unwrap(), None);
    // A value of many spans fits.
    let large = vec![2_u8; 20 << 20];
    kept.texts.insert("large", &large).unwrap();
    assert_eq!(kept.texts.get("large").unwrap(), Some(large));
    assert!(kept.texts.remove("large").unwrap().is_some());
    kept.check();
}

/// An update is made again if the value is replaced meanwhile, and given up if that goes on: without end is no answer.
#[test]
fn an_update_that_is_always_disturbed_is_given_up() {
    need_atomics!();
    let kept = Kept::new(Location::anonymous(), 1 << 20, 1 << 22);
    let numbers = &kept.numbers;
    let before = numbers.get(&1).unwrap().unwrap();
    let disturb = |most: u64| {
        let mut calls = 0;
        let updated = numbers.update(&1, |value| {
            calls += 1;
            if calls <= most {
                numbers.insert(&1, &(value + 1)).unwrap();
            }
            value + 1000
        });
        (calls, updated)
    };
    let (calls, updated) = disturb(200);
    assert_eq!((calls, updated.unwrap()), (201, Some(before + 1200)));
    if is_long() {
        let (calls, updated) = disturb(u64::MAX);
        assert_eq!(updated.unwrap_err().kind(), ErrorKind::Busy, "after {calls} attempts");
        assert_eq!(numbers.get(&1).unwrap(), Some(before + 1200 + calls));
    }
    numbers.insert(&1, &before).unwrap();
    kept.check();
}

/// A segment that is open for reading reads everything, and changes nothing.
#[test]
fn a_read_only_segment_is_not_written() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("segment");
    let kept = Kept::new(Location::file(&path), 1 << 20, 1 << 22);
    let point = kept.point;
    let before = std::fs::read(&path).unwrap();
    for open in [Segment::open_read_only, Segment::open_copy_on_write] {
        let segment = open(Location::file(&path)).unwrap();
        let numbers = HashMap::<u64, u64>::open(&segment, "numbers").unwrap();
        let texts = HashMap::<str, [u8]>::open(&segment, "texts").unwrap();
        let reader = Kept { segment, numbers, texts, point };
        let Kept { segment, numbers, texts, .. } = &reader;
        reader.check();
        assert_eq!(numbers.iter().count(), 100);
        assert_eq!(segment.stats().unwrap().named, 5);
        assert_eq!(texts.read(&text(3), |bytes| Ok(bytes.len())).unwrap(), Some(text(9).len()));
        let refused = |result: Result<()>| reader.fails(ErrorKind::NotWritable, result);
        refused(segment.create_value("other", &1_u8));
        refused(segment.set_value("count", &8_u64));
        refused(segment.remove("count").map(drop));
        refused(segment.remove("numbers").map(drop));
        refused(segment.allocate(&1_u64).map(drop));
        refused(segment.free(point));
        refused(segment.attach(places(segment).element(1), &[2; 8]).map(drop));
        refused(segment.detach(places(segment).element(0)).map(drop));
        refused(segment.repair().map(drop));
        refused(segment.hash_map::<u64, u64>("new").map(drop));
        refused(HashMap::<u64, u64>::create_new(segment, "new").map(drop));
        refused(numbers.insert(&1, &2).map(drop));
        refused(numbers.remove(&1).map(drop));
        refused(numbers.update(&1, |value| value + 1).map(drop));
        refused(numbers.extend([(&1, &2)]));
        refused(texts.insert("new", b"value").map(drop));
        refused(texts.remove(&text(1)).map(drop));
    }
    let segment = Segment::open_read_only(Location::file(&path)).unwrap();
    assert_eq!(segment.write(point, &[0.0; 2]).unwrap_err().kind(), ErrorKind::NotWritable);
    drop(segment);
    kept.check();
    // The heap, behind the tables of participants and readers.
    let after = std::fs::read(&path).unwrap();
    assert_eq!(before.len(), after.len());
    assert!(before[before.len() / 2..] == after[after.len() / 2..]);
}

/// A handle of a removed map fails, also after another map has its name, or its memory.
#[test]
fn a_removed_map_is_gone() {
    need_atomics!();
    let kept = Kept::small();
    let segment = &kept.segment;
    for round in 0..10_u64 {
        let words = HashMap::<u64, u64>::create_new(segment, "gone").unwrap();
        let blocks = HashMap::<str, [u8]>::create_new(segment, "also gone").unwrap();
        for key in 0..300 {
            words.insert(&key, &round).unwrap();
            blocks.insert(&text(key), b"a value in a block").unwrap();
        }
        assert!(segment.remove("gone").unwrap() && segment.remove("also gone").unwrap());
        let gone = |result: Result<()>| {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        };
        for _ in 0..2 {
            gone(words.get(&1).map(drop));
            gone(words.insert(&1, &2).map(drop));
            gone(words.remove(&1).map(drop));
            gone(words.update(&1, |value| value).map(drop));
            gone(words.len().map(drop));
            gone(words.get_many([&1, &2]).map(drop));
            gone(words.contains_key(&1).map(drop));
            gone(words.iter().try_for_each(|pair| pair.map(drop)));
            gone(blocks.get(&text(1)).map(drop));
            gone(blocks.insert("new", b"value").map(drop));
            gone(blocks.remove(&text(1)).map(drop));
            gone(blocks.read(&text(1), |_| Ok(())).map(drop));
            gone(blocks.iter().try_for_each(|pair| pair.map(drop)));
            // The second time, other maps have the names and the memory.
            let _ = segment.hash_map::<u64, u64>("gone").unwrap().insert(&1, &9).unwrap();
            let _ = segment.hash_map::<str, [u8]>("also gone").unwrap().insert(&text(1), b"v");
        }
        assert!(segment.remove("gone").unwrap() && segment.remove("also gone").unwrap());
    }
    kept.check();
}

/// A file that is no segment is refused, with the reason.
#[test]
fn other_objects_are_no_segments() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("mutex");
    drop(
        sharemap::Shared::create_new(Location::file(&path), || sharemap::Mutex::new(1_u8)).unwrap(),
    );
    let kind = |path| Segment::open(Location::file(path)).unwrap_err().kind();
    assert_eq!(kind(&path), ErrorKind::WrongKind);
    let path = directory.file("text", "no object, but a long text. ".repeat(100));
    assert_eq!(kind(&path), ErrorKind::NotAnObject);
    assert_eq!(kind(&directory.join("missing")), ErrorKind::NotFound);
    let path = directory.join("segment");
    drop(Segment::create_new(Location::file(&path), 1 << 20, 1 << 22).unwrap());
    let again = Segment::create_new(Location::file(&path), 1 << 20, 1 << 22).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists, "{again}");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(1 << 16).unwrap();
    let error = Segment::open(Location::file(&path)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Truncated, "{error}");
}
