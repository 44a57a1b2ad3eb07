//! Keys of maps, of words and of blocks: inserted, replaced, updated and removed.

use std::fs;
use std::path::Path;

use sharemap::Segment;
use sharemap::containers::HashMap;

use super::{Planted, before_the_step, filled, step};
use crate::operation::Operation;
use crate::plant::{drop_if, swap_if};
use crate::small::{AREA, blocks, bytes, create, fill, text, texts, words};

/// A key and a value that no other word equals.
const KEY: u64 = 0x5eed_0000_0000_0001;
const VALUE: u64 = 0x5eed_0000_0000_0002;

pub const OPERATIONS: &[Operation] = &[
    INSERT,
    Operation::new("replace a word", filled, |segment| {
        words(segment).insert(&2, &VALUE).unwrap();
    }),
    Operation::new("update a word", filled, |segment| {
        words(segment).update(&2, |_| VALUE).unwrap();
    }),
    Operation::new("remove a word", filled, |segment| {
        words(segment).remove(&2).unwrap();
    })
    .undone_by(|segment| {
        words(segment).insert(&2, &2).unwrap();
    }),
    Operation::new("insert into a bucket that is full", with_full_bucket, |segment| {
        insert_step(segment, step(segment));
    })
    .in_states(10),
    Operation::new("insert into an empty map", with_empty_map, |segment| {
        HashMap::<u64, u64>::open(segment, "empty").unwrap().insert(&1, &1).unwrap();
    })
    .showing(|before, after| blocks(after, 4096)[0] == blocks(before, 4096)[0] + 1),
    INSERT_TEXT,
    Operation::new("replace a text by a longer one", filled, |segment| {
        texts(segment).insert(&text(2), &bytes(5, 100)).unwrap();
    }),
    Operation::new("replace a text by one that lies in a run", filled, |segment| {
        texts(segment).insert(&text(2), &bytes(5, 33_000)).unwrap();
    })
    .showing(|before, after| after.runs == before.runs + 1),
    Operation::new("replace a text that lies in a run", with_long_text, |segment| {
        texts(segment).insert(&text(2), &bytes(6, 0)).unwrap();
    })
    .showing(|before, after| after.runs == before.runs - 1),
    Operation::new("remove a text", filled, |segment| {
        texts(segment).remove(&text(2)).unwrap();
    })
    .undone_by(|segment| {
        texts(segment).insert(&text(2), &bytes(2, 0)).unwrap();
    }),
    Operation::new("remove a text that lies in a run", with_long_text, |segment| {
        texts(segment).remove(&text(2)).unwrap();
    })
    .showing(|before, after| after.runs == before.runs - 1),
];

const INSERT: Operation = Operation::new("insert a word", with_room, |segment| {
    words(segment).insert(&KEY, &VALUE).unwrap();
})
.undone_by(|segment| {
    words(segment).remove(&KEY).unwrap();
})
.showing(|before, after| blocks(after, 4096) == blocks(before, 4096));

const INSERT_TEXT: Operation = Operation::new("insert a text", with_room, |segment| {
    texts(segment).insert(&text(10), &bytes(10, 0)).unwrap();
})
.undone_by(|segment| {
    texts(segment).remove(&text(10)).unwrap();
})
.showing(|before, after| blocks(after, 4096) == blocks(before, 4096));

pub const PLANTED: &[Planted] = &[
    Planted {
        name: "the value is not stored",
        operation: INSERT,
        plant: |store| drop_if(store.after == VALUE),
    },
    Planted {
        name: "the tag before the value",
        operation: INSERT,
        plant: |store| swap_if(store.after == VALUE),
    },
    Planted {
        name: "the record of a text is not committed",
        operation: INSERT_TEXT,
        plant: |store| drop_if(store.long(AREA).is_some_and(|(_, after)| after != 0)),
    },
    Planted {
        name: "the entry of a text's record is not stored",
        operation: INSERT_TEXT,
        plant: |store| drop_if(store.long(AREA + 256 + 8).is_some()),
    },
];

/// Creates a segment in which the pages exist of the keys that will be inserted.
fn with_room(path: &Path) {
    let segment = fill(path);
    words(&segment).insert(&KEY, &0).unwrap();
    words(&segment).remove(&KEY).unwrap();
    texts(&segment).insert(&text(10), &bytes(0, 0)).unwrap();
    texts(&segment).remove(&text(10)).unwrap();
}

/// Inserts one of many keys.
pub fn insert_step(segment: &Segment, number: u64) {
    words(segment).insert(&(1000 + number), &number).unwrap();
}

/// Creates a segment with so many keys that each lock of the map has a page with free places.
pub fn with_pages(path: &Path) -> u64 {
    const FIRST: u64 = 600;
    let segment = fill(path);
    (0..FIRST).for_each(|number| insert_step(&segment, number));
    FIRST
}

/// Creates a segment in which the next key does not fit into its own bucket.
fn with_full_bucket(path: &Path) {
    const BUCKET: usize = 128;
    const HEAP: usize = 128 << 10;
    let from = with_pages(path);
    let (mut before, mut found) = (Vec::new(), 0);
    let state = std::cell::RefCell::new((&mut before, &mut found));
    before_the_step(path, from, insert_step, |segment| {
        let path = segment.file().unwrap();
        let bytes = read(path);
        let (before, found) = &mut *state.borrow_mut();
        let pairs = before.chunks(BUCKET).zip(bytes.chunks(BUCKET)).skip(HEAP / BUCKET);
        // Both buckets change.
        **found += u64::from(pairs.filter(|(old, new)| old != new).count() > 1);
        **before = bytes;
        **found
    });
}

fn read(mut file: &fs::File) -> Vec<u8> {
    use std::io::{Read, Seek, SeekFrom};
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn with_empty_map(path: &Path) {
    let segment = create(path);
    HashMap::<u64, u64>::create_new(&segment, "empty").unwrap();
}

fn with_long_text(path: &Path) {
    let segment = fill(path);
    texts(&segment).insert(&text(2), &bytes(5, 33_000)).unwrap();
}
