//! A segment as small as one can be, with a few objects of each kind, and where its parts lie
//! (FORMAT.md).

use std::path::Path;

use sharemap::containers::HashMap;
use sharemap::{Location, Offset, Segment, SegmentStats, SharedOptions};

use crate::header::Tables;

pub const TABLES: Tables = Tables { participants: 2, lanes: 3 };

/// The length that the segment may grow to.
const MOST: u64 = 4 << 20;

/// The offset of the lock table.
const LOCKS: usize = TABLES.payload_at().next_multiple_of(64);
/// The offset of the area of the first lane.
pub const AREA: usize = LOCKS + 64 * 1024;
/// The offset of the first of the roots.
pub const ROOTS: usize = AREA + 384 * TABLES.lanes;
/// The offset of the number of chunks of the heap.
pub const CHUNKS: usize = ROOTS + 512;
/// The offset of the length of the segment.
pub const LEN: usize = CHUNKS + 8;

/// Returns `true` if the word at an offset is one of the lock table.
pub fn is_lock(at: usize) -> bool {
    (LOCKS..AREA).contains(&at) && at % 64 == 0
}

pub type Object = [u64; 5];
/// An object that is too long for a block, and lies in a run of spans.
pub type Wide = [u64; 4100];

pub const OBJECT: Object = [7; 5];
pub static WIDE: Wide = [7; 4100];

/// The objects that places refer to, at first only the first.
pub type Places = [Offset<Object>; 4];
pub type WidePlaces = [Offset<Wide>; 2];

fn options() -> SharedOptions {
    SharedOptions::new().participants(TABLES.participants as u32).lanes(TABLES.lanes as u32)
}

/// Creates a segment without any object.
pub fn create(path: &Path) -> Segment {
    options().create_new_segment(Location::file(path), 0, MOST).unwrap()
}

pub fn open(path: &Path) -> Segment {
    Segment::open(Location::file(path)).unwrap()
}

/// Creates a segment with a few objects of each kind.
pub fn fill(path: &Path) -> Segment {
    let segment = create(path);
    segment.create_value("kept", "a value").unwrap();
    segment.create_value::<Places>("places", &[Offset::NONE; 4]).unwrap();
    segment.create_value::<WidePlaces>("wide", &[Offset::NONE; 2]).unwrap();
    segment.attach(place(&segment, 0), &OBJECT).unwrap();
    for key in 0..4 {
        words(&segment).insert(&key, &key).unwrap();
        texts(&segment).insert(&text(key), &bytes(key, 0)).unwrap();
    }
    segment
}

/// Returns a place of an object.
pub fn place(segment: &Segment, index: usize) -> Offset<Offset<Object>> {
    segment.offset::<Places>("places").unwrap().unwrap().element(index)
}

/// Returns a place of a wide object.
pub fn wide_place(segment: &Segment, index: usize) -> Offset<Offset<Wide>> {
    segment.offset::<WidePlaces>("wide").unwrap().unwrap().element(index)
}

pub fn words(segment: &Segment) -> HashMap<u64, u64> {
    segment.hash_map("words").unwrap()
}

pub fn texts(segment: &Segment) -> HashMap<str, [u8]> {
    segment.hash_map("texts").unwrap()
}

/// Returns a key of the texts, which lies in a block.
pub fn text(key: u64) -> String {
    format!("a key that lies in a block, {key}")
}

/// Returns a value of the texts, and `more` bytes.
pub fn bytes(value: u64, more: usize) -> Vec<u8> {
    let mut bytes = value.to_le_bytes().to_vec();
    bytes.resize(8 + more, value as u8);
    bytes
}

/// Returns the numbers of allocated and of kept blocks of a size.
pub fn blocks(stats: &SegmentStats, size: u64) -> [u64; 2] {
    let of_size = stats.blocks.iter().find(|blocks| blocks.size == size).expect("a class");
    [of_size.allocated, of_size.kept]
}
