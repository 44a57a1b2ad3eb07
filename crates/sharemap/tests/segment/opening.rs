//! Segments in files and shared memory, opened again, by descriptor, and by several threads.

use std::sync::Barrier;
use std::thread;

use sharemap::containers::HashMap;
use sharemap::{ErrorKind, Location, Segment, SharedOptions, UnlinkOnDrop};

use super::*;
use crate::common::TempDir;

/// A segment in a file has everything after each opening, and grows on.
#[test]
fn a_file_is_opened_again_and_again() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("segment");
    for round in 0..20_u64 {
        let segment = Segment::open_or_create(Location::file(&path), 1 << 20, 1 << 26).unwrap();
        let map = segment.hash_map::<u64, [u8]>("map").unwrap();
        assert_eq!(map.len().unwrap(), round * 300);
        for key in 0..round * 300 {
            let len = (key % 700) as usize;
            assert_eq!(map.get(&key).unwrap(), Some(vec![key as u8; len]), "{key} in {round}");
        }
        for key in round * 300..(round + 1) * 300 {
            map.insert(&key, &vec![key as u8; (key % 700) as usize]).unwrap();
        }
        segment.set_value("round", &round).unwrap();
        if round % 3 == 0 {
            segment.flush().unwrap();
        }
        assert_whole(&segment, 0);
    }
    let segment = Segment::open(Location::file(&path)).unwrap();
    assert_eq!(segment.value::<u64>("round").unwrap(), Some(19));
    drop(segment);
    Segment::unlink(Location::file(&path)).unwrap();
    let error = Segment::open(Location::file(&path)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

/// All handles of a segment see the same, whichever way they were opened.
#[test]
fn handles_share_a_segment() {
    need_atomics!();
    let name = format!("segment-handles-{}", std::process::id());
    let _unlinked = UnlinkOnDrop::new(&name);
    let first = Segment::create_new(&name, 1 << 20, 1 << 24).unwrap();
    let clone = first.clone();
    let opened = Segment::open(&name).unwrap();
    let received = Segment::from_descriptor(first.file().unwrap()).unwrap();
    let reading = Segment::open_read_only(&name).unwrap();
    let maps: Vec<_> = [&first, &clone, &opened, &received]
        .map(|segment| segment.hash_map::<u64, u64>("map").unwrap())
        .into();
    let read = HashMap::<u64, u64>::open(&reading, "map").unwrap();
    for key in 0..4000_u64 {
        maps[key as usize % 4].insert(&key, &key).unwrap();
        assert_eq!(maps[(key as usize + 1) % 4].get(&key).unwrap(), Some(key));
        assert_eq!(read.get(&key).unwrap(), Some(key));
    }
    let offset = opened.allocate(&7_u64).unwrap();
    assert_eq!(received.read(offset).unwrap(), 7);
    assert_eq!(reading.read(offset).unwrap(), 7);
    // A map keeps the segment attached.
    let map = maps.into_iter().next().unwrap();
    drop((first, clone, opened, received, reading, read));
    assert_eq!(map.len().unwrap(), 4000);
}

/// A copy-on-write opening keeps seeing what the file had where it wrote nothing, and writes nothing.
#[test]
fn copy_on_write_changes_nothing() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("segment");
    let segment = Segment::create_new(Location::file(&path), 1 << 20, 1 << 22).unwrap();
    segment.create_value("point", &[1.5_f64, 2.5]).unwrap();
    let copy = Segment::open_copy_on_write(Location::file(&path)).unwrap();
    let point = copy.offset::<[f64; 2]>("point").unwrap().unwrap();
    copy.write(point, &[3.5, 4.5]).unwrap();
    assert_eq!(copy.value::<[f64; 2]>("point").unwrap(), Some([3.5, 4.5]));
    assert_eq!(segment.value::<[f64; 2]>("point").unwrap(), Some([1.5, 2.5]));
    assert_whole(&segment, 0);
}

/// Options are those of other objects: a segment has room for as many lanes as they say.
#[test]
fn a_segment_has_the_lanes_of_its_options() {
    need_atomics!();
    let options = SharedOptions::new().participants(4).lanes(2);
    let segment = options.create_new_segment(Location::anonymous(), 1 << 20, 1 << 22).unwrap();
    let map = segment.hash_map::<u64, u64>("map").unwrap();
    map.insert(&0, &0).unwrap();
    let (ready, done) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        let second = scope.spawn(|| {
            map.insert(&1, &1).unwrap();
            ready.wait();
            done.wait();
        });
        ready.wait();
        let third = scope.spawn(|| map.insert(&2, &2)).join().unwrap();
        assert_eq!(third.unwrap_err().kind(), ErrorKind::TooManyThreads);
        // Readers need no lane.
        assert_eq!(scope.spawn(|| map.get(&1)).join().unwrap().unwrap(), Some(1));
        done.wait();
        // Waits until the thread has released its lane, as the end of the scope does not.
        second.join().unwrap();
    });
    // The lanes of threads that have ended are used again, with the blocks that they kept.
    for round in 0..50_u64 {
        thread::scope(|scope| {
            let change = || {
                map.insert(&round, &round).unwrap();
                segment.set_value("round", &vec![1_u8; 3000][..]).unwrap();
            };
            scope.spawn(change).join().unwrap();
        });
    }
    assert_eq!(map.len().unwrap(), 50);
    assert!(segment.remove("round").unwrap());
    assert_whole(&segment, 0);
}

/// Threads change the same keys: each update counts.
#[test]
fn no_update_of_a_thread_is_lost() {
    need_atomics!();
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 5_000;
    let segment = anonymous(1 << 20, 1 << 26);
    let words = segment.hash_map::<u64, u64>("words").unwrap();
    let blocks = segment.hash_map::<str, [u64; 4]>("blocks").unwrap();
    for key in 0..10_u64 {
        words.insert(&key, &0).unwrap();
        blocks.insert(&format!("key {key}"), &[0; 4]).unwrap();
    }
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (words, blocks) = (&words, &blocks);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let key = (round * (thread + 1)) % 10;
                    words.update(&key, |value| value + 1).unwrap().unwrap();
                    let key = format!("key {key}");
                    let new = blocks.update(&key, |value| value.map(|word| word + 1)).unwrap();
                    let new = new.unwrap();
                    assert_eq!(new, [new[0]; 4]);
                    // Own keys beside them, so that pages are rebuilt meanwhile.
                    let own = ((thread + 1) << 32) + round % 200;
                    match round / 200 % 2 {
                        0 => assert_eq!(words.insert(&own, &round).unwrap(), None),
                        _ => assert_eq!(words.remove(&own).unwrap(), Some(round - 200)),
                    }
                }
            });
        }
    });
    let sum: u64 = (0..10).map(|key| words.get(&key).unwrap().unwrap()).sum();
    assert_eq!(sum, THREADS * ROUNDS);
    let sum: u64 = blocks.iter().map(|pair| pair.unwrap().1[3]).sum();
    assert_eq!(sum, THREADS * ROUNDS);
    assert_whole(&segment, 0);
}

/// Threads attach, detach, create and remove objects at the same places and names.
#[test]
fn threads_compete_for_places_and_names() {
    use sharemap::Offset;
    need_atomics!();
    let segment = anonymous(1 << 20, 1 << 26);
    segment.create_value("places", &[Offset::<[u64; 6]>::NONE; 4]).unwrap();
    let places = segment.offset::<[Offset<[u64; 6]>; 4]>("places").unwrap().unwrap();
    let rounds = if is_long() { 100_000 } else { 3_000 };
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let segment = &segment;
            scope.spawn(move || {
                for round in 0..rounds {
                    let place = places.element((round + thread) as usize % 4);
                    match segment.attach(place, &[round; 6]) {
                        Ok(_) => {}
                        Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
                    }
                    segment.detach(places.element(round as usize % 4)).unwrap();
                    let name = format!("name {}", round % 3);
                    let value = vec![thread as u8; (round % 300) as usize];
                    match segment.create_value(&name, &value[..]) {
                        Ok(()) => {}
                        Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
                    }
                    if let Some(found) = segment.value::<[u8]>(&name).unwrap() {
                        assert!(found.iter().all(|byte| *byte == found[0]), "{found:?}");
                    }
                    segment.remove(&format!("name {}", (round + 1) % 3)).unwrap();
                    if round % 100 == thread {
                        match HashMap::<u64, u64>::create_new(segment, "map") {
                            Ok(map) => drop(map.insert(&round, &thread)),
                            Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists),
                        }
                        segment.remove("map").unwrap();
                    }
                }
            });
        }
    });
    for index in 0..4 {
        segment.detach(places.element(index)).unwrap();
    }
    assert_whole(&segment, 0);
}
