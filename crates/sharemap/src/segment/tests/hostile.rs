//! Words of a segment that a misbehaving peer has stored, and values that come back: each call ends, with an error or
//! with the right result.

use crate::error::ErrorKind;
use crate::guard::{Recovery, recovery};
use crate::layout::fingerprint_of;
use crate::peer::Machine;
use crate::segment::Segment;
use crate::segment::lock_table::{LockTable, LockWord};
use crate::shm::Location;
use crate::testing::child::{Second, listen, role, tell};

/// Returns a new segment; `None` if the test is skipped.
fn segment() -> Option<Segment> {
    if recovery() != Recovery::InPlace {
        eprintln!("skipped: faults cannot be recovered in place here");
        return None;
    }
    Some(Segment::create_new(Location::anonymous(), 1 << 20, 1 << 24).unwrap())
}

/// Returns the offset of the word with the root of the only map of a type.
fn root_word(segment: &Segment, text: &str) -> u64 {
    let (session, fingerprint) = (segment.session(), fingerprint_of(text));
    let at = (segment.inner.plan.heap.at..1 << 20).step_by(16).find(|&at| {
        let mut there = [0; 16];
        session.read(at, &mut there).unwrap();
        there == fingerprint
    });
    at.unwrap() - 8
}

#[test]
fn an_update_notices_that_the_key_was_removed_and_inserted_again() {
    let Some(segment) = segment() else { return };
    let map = segment.hash_map::<u64, [u64; 4]>("map").unwrap();
    map.insert(&1, &[0; 4]).unwrap();
    map.remove(&1).unwrap();
    // The block that the stack returns next.
    let block = segment.allocate(&[0_u64; 6]).unwrap();
    segment.free(block).unwrap();
    map.insert(&1, &[1; 4]).unwrap();
    let id = segment.session().load_64(block.at(segment.inner.tag).unwrap()).unwrap();
    let mut calls = 0;
    let updated = map.update(&1, |value| {
        calls += 1;
        if calls == 1 {
            map.remove(&1).unwrap();
            // The id must not follow from what the memory has in between.
            let other = segment.allocate(&[id.wrapping_sub(1); 6]).unwrap();
            assert_eq!(other, block);
            segment.free(other).unwrap();
            map.insert(&1, &[7; 4]).unwrap();
        }
        value.map(|number| number + 1)
    });
    assert_eq!((updated.unwrap(), calls), (Some([8; 4]), 2));
}

#[test]
fn a_root_that_lies_nowhere_is_not_recorded() {
    let Some(segment) = segment() else { return };
    segment.hash_map::<u8, u8>("map").unwrap();
    let word = root_word(&segment, "map<u8,u8>");
    let root = segment.session().load_64(word).unwrap();
    for wrong in [u64::MAX - 15, u64::MAX, 8, root + 4] {
        segment.session().store_64(word, wrong).unwrap();
        assert_eq!(segment.remove("map").unwrap_err().kind(), ErrorKind::Malformed, "{wrong:#x}");
        segment.set_value("other", &wrong).unwrap();
    }
    segment.session().store_64(word, root).unwrap();
    assert!(segment.remove("map").unwrap() && segment.check().unwrap().is_healthy());
}

#[test]
fn a_map_of_another_form_than_its_type_needs_is_not_opened() {
    let Some(segment) = segment() else { return };
    segment.hash_map::<u8, u8>("map").unwrap();
    let session = segment.session();
    let root = session.load_64(root_word(&segment, "map<u8,u8>")).unwrap();
    session.store_64(root + 32, 2).unwrap();
    let error = segment.hash_map::<u8, u8>("map").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
}

#[test]
fn an_insertion_into_a_directory_with_a_hole_ends() {
    let Some(segment) = segment() else { return };
    let map = segment.hash_map::<u32, u32>("map").unwrap();
    for key in 0..4000 {
        map.insert(&key, &key).unwrap();
    }
    let session = segment.session();
    let root = session.load_64(root_word(&segment, "map<u32,u32>")).unwrap();
    let directory = session.load_64(root).unwrap();
    let (at, depth) = (directory & ((1 << 56) - 1), directory >> 56);
    assert!(depth > 4, "the directory was doubled");
    session.store_64(at + 16 + 8, 0).unwrap();
    let inserted = (4000..5000).try_for_each(|key| map.insert(&key, &key).map(drop));
    assert_eq!(inserted.unwrap_err().kind(), ErrorKind::Malformed);
}

#[test]
fn a_circle_of_removed_directories_ends() {
    let Some(segment) = segment() else { return };
    let map = segment.hash_map::<u32, u32>("map").unwrap();
    map.insert(&1, &1).unwrap();
    let session = segment.session();
    let root = session.load_64(root_word(&segment, "map<u32,u32>")).unwrap();
    let directory = session.load_64(root).unwrap();
    session.store_64(directory & ((1 << 56) - 1), directory).unwrap();
    assert_eq!(segment.remove("map").unwrap_err().kind(), ErrorKind::Malformed);
}

#[test]
fn a_lock_of_a_lane_that_no_process_has_is_an_error() {
    let Some(segment) = segment() else { return };
    segment.set_value("value", &1_u32).unwrap();
    let LockTable { at, count } = segment.inner.plan.space.locks;
    let session = segment.session();
    for lock in 0..count {
        session.store_64(at + 64 * u64::from(lock), LockWord(200).0).unwrap();
    }
    assert_eq!(segment.set_value("value", &2_u32).unwrap_err().kind(), ErrorKind::Malformed);
}

#[test]
fn a_check_finds_entries_that_no_lookup_finds() {
    let Some(segment) = segment() else { return };
    let map = segment.hash_map::<u32, u32>("map").unwrap();
    for key in 0..4000 {
        map.insert(&key, &key).unwrap();
    }
    assert!(segment.check().unwrap().is_healthy());
    let session = segment.session();
    let root = session.load_64(root_word(&segment, "map<u32,u32>")).unwrap();
    let words = (session.load_64(root).unwrap() & ((1 << 56) - 1)) + 16;
    let page = session.load_64(words).unwrap() >> 28 << 4;
    let tags = (page..page + 4096).step_by(128).map(|bucket| bucket + 8);
    let used = tags.clone().find(|&tags| session.load_64(tags).unwrap() & 0xff > 1).unwrap();
    // A wrong tag, a wrong depth, a page of other keys, and a word without a page.
    let load = |at| session.load_64(at).unwrap();
    let wrong = [
        (used, load(used) ^ 0x80),
        (page, load(page) + 1),
        (words, load(words + 8 * 8)),
        (words + 8, 0),
    ];
    for (place, value) in wrong {
        let word = load(place);
        session.store_64(place, value).unwrap();
        let report = segment.check().unwrap();
        assert_eq!(report.damage.len(), 1, "{place:#x}: {report:?}");
        session.store_64(place, word).unwrap();
    }
    assert!(segment.check().unwrap().is_healthy());
}

/// A process dies, and its lane's area is none that any version writes: what the lane was changing cannot be known.
#[test]
fn a_segment_with_a_malformed_record_is_only_read() {
    const ROLE: &str = "segment::tests::hostile::a_segment_with_a_malformed_record_is_only_read";
    if let Some(path) = role(ROLE) {
        let segment = Segment::open(Location::file(path)).unwrap();
        segment.set_value("value", &2_u32).unwrap();
        tell(&segment.session().kept().unwrap().unwrap().lane.to_string());
        listen();
        unreachable!("this process is killed");
    }
    if self::segment().is_none() {
        return;
    }
    let name = format!("sharemap-malformed-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let location = Location::file(&path);
    let segment = Segment::create_new(&location, 1 << 20, 1 << 24).unwrap();
    segment.set_value("value", &1_u32).unwrap();
    let mut second = Second::start(ROLE, path.to_str().unwrap());
    let lane = second.hear().parse().unwrap();
    second.kill();
    // A commit word with more entries than there is room for.
    segment.session().store_64(segment.inner.plan.area(lane), 0xffff).unwrap();
    // The kernel may release the liveness lock some time after the process can be waited for.
    while segment.repair().unwrap() == 0 {
        std::thread::yield_now();
    }
    let error = Segment::open(&location).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unclean, "{error}");
    let reader = Segment::open_read_only(&location).unwrap();
    assert_eq!(reader.value::<u32>("value").unwrap(), Some(2));
    let copy = Segment::open_copy_on_write(&location).unwrap();
    assert_eq!(copy.value::<u32>("value").unwrap(), Some(2));
    drop((segment, reader, copy));
    assert_eq!(Segment::open(&location).unwrap_err().kind(), ErrorKind::Unclean);
    std::fs::remove_file(&path).unwrap();
}
