//! The hostile process: writes noise and nearly valid contents at random offsets.

use std::fs::OpenOptions;
use std::path::Path;
use std::time::{Duration, Instant};

use sharemap::{MappingMut, ViewMut};

use crate::all::LOCKS;
use crate::places::Map;
use crate::random::Random;

/// Overwrites the object for two thirds of `how_long`, then leaves it as it is until the process is
/// killed. No peer repairs it then, so an operation that has not returned by itself never will.
pub fn scribble(path: &Path, seed: u64, how_long: Duration) {
    let start = Instant::now();
    let map = MappingMut::open(path).unwrap();
    let bytes = map.bytes();
    let image = bytes.to_vec().unwrap();
    let places = Map::of(&image, &LOCKS);
    let mut random = Random::new(seed);
    while start.elapsed() < how_long * 2 / 3 {
        for _ in 0..1 + random.below(60) {
            write(&bytes, &places, &mut random);
        }
        if random.one_in(200) {
            cut(path, &image, &mut random);
        }
        if random.one_in(2) {
            restore(&bytes, &places, &image, &mut random);
        }
        match random.below(8) {
            0 => std::thread::sleep(Duration::from_millis(random.below(4))),
            1..4 => std::thread::sleep(Duration::from_micros(random.below(200))),
            4..6 => std::thread::yield_now(),
            _ => {}
        }
    }
    // The parent kills this process.
    loop {
        std::thread::park();
    }
}

/// Truncates the file for a moment, where the system allows it for a mapped file.
fn cut(path: &Path, image: &[u8], random: &mut Random) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    if file.set_len(random.below(image.len() as u64)).is_ok() {
        std::thread::sleep(Duration::from_micros(random.below(500)));
        file.set_len(image.len() as u64).unwrap();
    }
}

/// Writes what a dead participant leaves: a participant record in use, and a lane that announces
/// locks whose words name it.
fn leave_a_dead_participant(bytes: &ViewMut<'_, u8>, places: &Map, random: &mut Random) {
    let store = |at: u64, value: u64, len: usize| {
        bytes.write_at(at as usize, &value.to_le_bytes()[..len]).unwrap();
    };
    let (participant, lane) = (random.below(60), random.below(places.lane_count));
    for slot in 1..=random.below(8) {
        let lock = places.payload + random.pick(&LOCKS);
        let what = lock | random.below(14) | random.below(3) << 48;
        store(places.lanes + lane * 64 + slot * 8, what, 8);
        if random.one_in(2) {
            store(lock, (lane + 1) | (random.below(8) << 16), 4);
        }
    }
    store(places.lanes + lane * 64, participant + 1, 4);
    store(places.participants + participant * 64, 1, 4);
}

fn write(bytes: &ViewMut<'_, u8>, places: &Map, random: &mut Random) {
    if random.one_in(20) {
        return leave_a_dead_participant(bytes, places, random);
    }
    let at = places.place(random);
    let (at, value) = match random.below(6) {
        0 => (at, random.next().to_le_bytes()[..1 + random.below(8) as usize].to_vec()),
        1 => (at, vec![random.next() as u8; 1 + random.below(40) as usize]),
        2..4 => (at & !3, places.word(random).to_le_bytes().to_vec()),
        _ => (at & !7, places.announcement(random).to_le_bytes().to_vec()),
    };
    let room = bytes.len() - at as usize;
    bytes.write_at(at as usize, &value[..value.len().min(room)]).unwrap();
}

/// Restores part of the object or all of it, so that further processes get past the checks of
/// attaching.
fn restore(bytes: &ViewMut<'_, u8>, places: &Map, image: &[u8], random: &mut Random) {
    let (header, tables, payload) = (0..256, 256..places.payload, places.payload..places.len);
    let all = 0..places.len;
    let part = random.pick(&[&header, &header, &header, &tables, &payload, &all]);
    let (start, end) = (part.start as usize, part.end as usize);
    bytes.write_at(start, &image[start..end]).unwrap();
}
