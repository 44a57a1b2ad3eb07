//! The golden segment, `golden/segment.txt`: a file that every later version of the same format opens.
//!
//! Its maps have random seeds, so that the library writes other bytes each time. What it writes is compared by a reader
//! that knows FORMAT.md only.

use std::fmt::Write;
use std::path::Path;

use sharemap::containers::HashMap;
use sharemap::{Location, NamedKind, Segment, SharedOptions};

use crate::common::{TempDir, need_atomics};
use crate::format::Image;

/// The length of a value that has spans of its own.
const LONG: usize = 40_000;

/// Makes a segment with values, maps of the three forms, and objects that were removed.
fn make(path: &Path) {
    let options = SharedOptions::new().participants(1).lanes(1);
    let segment = options.create_new_segment(Location::file(path), 0, 1 << 24).unwrap();
    segment.create_value("answer", &41_u32).unwrap();
    segment.set_value("answer", &42_u32).unwrap();
    segment.create_value("origin", &[1.5_f64, 2.5]).unwrap();
    segment.create_value("text", "a golden segment").unwrap();
    segment.create_value("long", &[0xab_u8; LONG][..]).unwrap();
    segment.create_value("gone", &7_u64).unwrap();
    assert!(segment.remove("gone").unwrap());
    let words = segment.hash_map::<u32, u64>("words").unwrap();
    let names = segment.hash_map::<u64, str>("names").unwrap();
    let ages = segment.hash_map::<str, u32>("ages").unwrap();
    for number in 0..5 {
        words.insert(&number, &(10 * u64::from(number))).unwrap();
        names.insert(&number.into(), &format!("number {number}")).unwrap();
        ages.insert(&format!("person {number}"), &(20 + number)).unwrap();
    }
    words.insert(&3, &333).unwrap();
    names.insert(&3, "three, which is longer than a block of the other lengths").unwrap();
    assert_eq!(words.remove(&4).unwrap(), Some(40));
    assert_eq!(names.remove(&4).unwrap().as_deref(), Some("number 4"));
    assert_eq!(ages.remove("person 4").unwrap(), Some(24));
    segment.hash_map::<u8, u8>("dropped").unwrap().insert(&1, &2).unwrap();
    assert!(segment.remove("dropped").unwrap());
    let freed = segment.allocate(&[1_u64, 2]).unwrap();
    segment.allocate(&[3_u64; 20]).unwrap();
    segment.free(freed).unwrap();
}

/// Asserts that the segment has what `make` made, and that it is whole.
fn find_all(segment: &Segment) {
    let report = segment.check().unwrap();
    assert!(report.is_healthy(), "{report:?}");
    assert_eq!((report.unattached, report.unattached_bytes), (1, 160));
    assert_eq!(segment.value::<u32>("answer").unwrap(), Some(42));
    assert_eq!(segment.value::<[f64; 2]>("origin").unwrap(), Some([1.5, 2.5]));
    assert_eq!(segment.value::<str>("text").unwrap().unwrap(), "a golden segment");
    assert_eq!(segment.value::<[u8]>("long").unwrap().unwrap(), [0xab; LONG]);
    let mut objects = segment.objects().unwrap();
    objects.sort_by(|one, other| one.name.cmp(&other.name));
    let found: Vec<_> =
        objects.iter().map(|each| (&*each.name, each.kind, &*each.description)).collect();
    let (value, map) = (NamedKind::Value, NamedKind::HashMap);
    assert_eq!(
        found,
        [
            ("ages", map, "map<str,u32>"),
            ("answer", value, "u32"),
            ("long", value, "bytes"),
            ("names", map, "map<u64,str>"),
            ("origin", value, "[f64;2]"),
            ("text", value, "str"),
            ("words", map, "map<u32,u64>"),
        ]
    );
    let words = HashMap::<u32, u64>::open(segment, "words").unwrap();
    let mut pairs: Vec<_> = words.iter().collect::<Result<_, _>>().unwrap();
    pairs.sort_unstable();
    assert_eq!(pairs, [(0, 0), (1, 10), (2, 20), (3, 333)]);
    let names = HashMap::<u64, str>::open(segment, "names").unwrap();
    assert_eq!((names.len().unwrap(), names.get(&4).unwrap()), (4, None));
    assert_eq!(names.get(&1).unwrap().as_deref(), Some("number 1"));
    assert!(names.get(&3).unwrap().unwrap().starts_with("three"));
    let ages = HashMap::<str, u32>::open(segment, "ages").unwrap();
    assert_eq!((ages.len().unwrap(), ages.get("person 4").unwrap()), (4, None));
    assert_eq!(ages.get("person 2").unwrap(), Some(22));
}

/// Asserts that a reader by FORMAT.md finds what `make` made.
fn find_by_the_format(image: &Image) {
    let answer = image.named("answer").unwrap();
    assert_eq!((answer.kind, answer.root, &*answer.description), (1, 0, "u32"));
    assert_eq!((answer.value, answer.fingerprint), (vec![42, 0, 0, 0], super::fnv("u32")));
    let origin = image.named("origin").unwrap();
    assert_eq!(origin.value, [1.5_f64.to_le_bytes(), 2.5_f64.to_le_bytes()].concat());
    assert_eq!(image.named("text").unwrap().value, b"a golden segment");
    assert_eq!(image.named("long").unwrap().value, [0xab; LONG]);
    assert!(image.named("gone").is_none() && image.named("dropped").is_none());
    let root = |name, description| {
        let map = image.named(name).unwrap();
        assert_eq!((map.kind, &*map.description, map.value.len()), (2, description, 0));
        image.assert_allocated(map.root, 64);
        map.root
    };
    let words = root("words", "map<u32,u64>");
    let word = |key: u32| image.get(words, &key.to_le_bytes());
    assert_eq!(word(3).unwrap(), 333_u64.to_le_bytes());
    assert_eq!((word(2).unwrap(), word(4)), (20_u64.to_le_bytes().to_vec(), None));
    let names = root("names", "map<u64,str>");
    let name = |key: u64| image.get(names, &key.to_le_bytes());
    assert_eq!((name(2).unwrap(), name(4)), (b"number 2".to_vec(), None));
    let ages = root("ages", "map<str,u32>");
    let age = |key: &str| image.get(ages, key.as_bytes());
    assert_eq!((age("person 1").unwrap(), age("person 4")), (vec![21, 0, 0, 0], None));
    let [free, removed] = image.listed_roots();
    assert_eq!((free.len(), removed.len()), (1, 0), "the root of the map that was removed");
    image.assert_allocated(free[0], 64);
}

/// Formats an image: the offset and bytes of each line of 16 that has not only zeros, and how often it is repeated.
fn listing(image: &[u8]) -> String {
    let mut text = String::new();
    let lines: Vec<&[u8]> = image.chunks(16).collect();
    let mut at = 0;
    while at < lines.len() {
        let count = lines[at..].iter().take_while(|line| **line == lines[at]).count();
        if lines[at].iter().any(|byte| *byte != 0) {
            write!(text, "{:06x} ", at * 16).unwrap();
            lines[at].iter().for_each(|byte| write!(text, " {byte:02x}").unwrap());
            if count > 1 {
                write!(text, " x {count}").unwrap();
            }
            text.push('\n');
        }
        at += count;
    }
    writeln!(text, "{:06x}  end", image.len()).unwrap();
    text
}

/// Parses a listing.
fn golden() -> Vec<u8> {
    let mut image = Vec::new();
    for line in include_str!("segment.txt").lines() {
        let (at, bytes) = line.split_once("  ").unwrap();
        image.resize(usize::from_str_radix(at, 16).unwrap(), 0);
        if bytes == "end" {
            break;
        }
        let (bytes, count) = bytes.split_once(" x ").unwrap_or((bytes, "1"));
        let bytes: Vec<u8> =
            bytes.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        image.extend(bytes.repeat(count.parse().unwrap()));
    }
    image
}

/// The library opens the golden segment, finds all that is in it, and changes it.
#[test]
fn the_library_uses_the_golden_segment() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.file("golden", golden());
    find_all(&Segment::open_read_only(Location::file(&path)).unwrap());
    let segment = Segment::open(Location::file(&path)).unwrap();
    find_all(&segment);
    let words = segment.hash_map::<u32, u64>("words").unwrap();
    for key in 100..1000 {
        assert_eq!(words.insert(&key, &1).unwrap(), None);
    }
    assert_eq!(words.len().unwrap(), 904);
    for object in segment.objects().unwrap() {
        assert!(segment.remove(&object.name).unwrap());
    }
    let report = segment.check().unwrap();
    assert!(report.is_healthy() && report.unattached == 1, "{report:?}");
    drop(segment);
    assert!(Segment::open(Location::file(&path)).unwrap().objects().unwrap().is_empty());
}

/// The golden segment is as FORMAT.md says.
#[test]
fn the_golden_segment_is_of_the_format() {
    find_by_the_format(&Image(golden()));
}

/// The library writes segments as FORMAT.md says.
#[test]
fn the_library_writes_segments_of_the_format() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.path().join("made");
    make(&path);
    find_by_the_format(&Image(std::fs::read(&path).unwrap()));
    find_all(&Segment::open(Location::file(&path)).unwrap());
}

/// Replaces the golden segment, for a new version of the format.
#[test]
#[ignore = "replaces `golden/segment.txt`"]
fn write_the_golden_segment() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.path().join("made");
    make(&path);
    let mut image = std::fs::read(&path).unwrap();
    // The boot, the home, and the participant, which vary.
    image[144..184].fill(0);
    image[512..576].fill(0);
    let to = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/segment.txt");
    std::fs::write(to, listing(&image)).unwrap();
}
