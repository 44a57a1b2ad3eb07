//! Images of real objects, and mutations of them by a seed.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use sharemap::{Location, LockError, Shared, SharedOptions, SharedType};

use crate::all::{self, All};
use crate::few::{self, Few};
use crate::operations::{self, Clock};
use crate::places::Map;
use crate::random::Random;

/// The types of which images are made.
pub trait Shown: SharedType + Sized {
    const LOCKS: &'static [u64];

    fn first() -> Self;
    /// Performs every operation on an object.
    fn use_all(clock: &Clock<'_>, shared: &Shared<Self>);
}

impl Shown for All {
    const LOCKS: &'static [u64] = &all::LOCKS;

    fn first() -> Self {
        all::first()
    }

    fn use_all(clock: &Clock<'_>, shared: &Shared<Self>) {
        operations::all(clock, shared);
    }
}

impl Shown for Few {
    const LOCKS: &'static [u64] = &few::LOCKS;

    fn first() -> Self {
        few::first()
    }

    fn use_all(clock: &Clock<'_>, shared: &Shared<Self>) {
        operations::few(clock, shared);
    }
}

/// The bytes of an object.
pub struct Image {
    name: &'static str,
    bytes: Vec<u8>,
    places: Map,
    pub use_it: fn(&Clock<'_>, &Location, &mut Random),
}

/// Returns a directory in memory if there is one, as other file systems may need a companion file.
pub fn directory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

/// The path of a file that is removed when the value is dropped.
struct Path(PathBuf);

impl Path {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(directory().join(format!("mutated-image-{}-{number}", std::process::id())))
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Image {
    fn of<T: Shown>(name: &'static str, path: &Path) -> Self {
        let bytes = std::fs::read(&path.0).unwrap();
        let places = Map::of(&bytes, T::LOCKS);
        Self { name, bytes, places, use_it: operations::everything::<T> }
    }

    /// Returns the image of an object that no process uses.
    pub fn fresh<T: Shown>(name: &'static str) -> Self {
        let path = Path::new();
        drop(small().create_new(Location::file(&path.0), T::first).unwrap());
        Self::of::<T>(name, &path)
    }

    /// Returns the image of an object of a killed process that held one lock of each kind.
    pub fn in_use() -> Self {
        let path = Path::new();
        let shared = small().create_new(Location::file(&path.0), all::first).unwrap();
        let ((mutex, lock, elements, table), (permits, _, barrier, _), _) = &*shared;
        let held = (mutex.lock().unwrap(), lock.read().unwrap(), elements.lock().unwrap());
        let also = (table.write().unwrap(), permits.acquire().unwrap(), barrier.join().unwrap());
        let image = Self::of::<All>("in use", &path);
        drop((held, also));
        image
    }

    /// Returns the image of an object with locks that are poisoned or whose owners died.
    pub fn left_by_the_dead() -> Self {
        let path = Path::new();
        let shared = small().create_new(Location::file(&path.0), all::first).unwrap();
        let ((mutex, lock, elements, table), ..) = &*shared;
        let died = std::thread::scope(|scope| {
            let die = || {
                let _held = (mutex.lock().unwrap(), lock.write().unwrap());
                let _also = (elements.lock().unwrap(), table.write().unwrap());
                std::panic::resume_unwind(Box::new(()));
            };
            scope.spawn(die).join().map(|never: ()| never)
        });
        assert!(died.is_err());
        let Err(LockError::OwnerDied(dead)) = mutex.lock() else {
            panic!("the death is not reported")
        };
        dead.poison().unwrap();
        let Err(LockError::OwnerDied(dead)) = table.write() else {
            panic!("the death is not reported")
        };
        dead.poison().unwrap();
        let image = Self::of::<All>("left by the dead", &path);
        drop(shared);
        image
    }

    /// Returns the image of an object with the maximum number of participants and lanes. Every
    /// participant is in use and dead, and has one lane, which announces the first locks.
    pub fn largest() -> Self {
        const MOST: u32 = 65_535;
        let path = Path::new();
        let options = SharedOptions::new().participants(MOST).lanes(MOST);
        drop(options.create_new(Location::file(&path.0), all::first).unwrap());
        let mut image = Self::of::<All>("largest", &path);
        let (places, bytes) = (&image.places, &mut image.bytes);
        for number in 0..u64::from(MOST) {
            put(bytes, (places.participants + number * 64) as usize, &1_u32.to_le_bytes());
            let record = (places.lanes + number * 64) as usize;
            put(bytes, record, &(number as u32 + 1).to_le_bytes());
            for (slot, lock) in all::LOCKS.iter().enumerate().take(7) {
                let kind = [1, 3, 1, 2, 10, 6, 12][slot];
                let what = (places.payload + lock) | kind;
                put(bytes, record + 8 + slot * 8, &what.to_le_bytes());
            }
        }
        image
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns a mutated copy of the bytes.
    pub fn mutated(&self, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for _ in 0..1 + random.below(12) {
            self.mutate(&mut bytes, random);
        }
        match random.below(40) {
            // Truncates or extends the image.
            0 => bytes.truncate(random.below(bytes.len() as u64) as usize),
            1 => bytes.resize(bytes.len() + random.below(5_000) as usize, random.next() as u8),
            _ => {}
        }
        if random.below(4) > 0 && bytes.len() >= 128 {
            seal(&mut bytes);
        }
        bytes
    }

    fn mutate(&self, bytes: &mut [u8], random: &mut Random) {
        let places = &self.places;
        let end = bytes.len() as u64;
        let at = places.place(random) as usize;
        let aligned = at & !7;
        match random.below(16) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2..4 => put(bytes, at & !3, &places.word(random).to_le_bytes()),
            4..7 => put(bytes, aligned, &places.announcement(random).to_le_bytes()),
            7 => put(bytes, aligned, &boundary(end, places, random).to_le_bytes()),
            8 => put(bytes, at & !3, &(boundary(end, places, random) as u32).to_le_bytes()),
            9 => {
                // Copies another word of the image.
                let from = (random.below(end - 8) & !7) as usize;
                bytes.copy_within(from..from + 8, aligned.min(end as usize - 8));
            }
            10 => {
                // Swaps two ranges.
                let len = (8 << random.below(5)) as usize;
                let other = (random.below(end - len as u64) & !7) as usize;
                let one = aligned.min(end as usize - len);
                for index in 0..len {
                    bytes.swap(one + index, other + index);
                }
            }
            11 => {
                // Overwrites a checksummed field of the header.
                let field = random.pick(&FIELDS);
                let value = boundary(end, places, random).to_le_bytes();
                put(bytes, field.0, &value[..field.1]);
            }
            12 => {
                // Overwrites a field of the header that may change.
                let field = random.pick(&[128, 132, 136, 144, 160, 168]);
                put(bytes, field, &(random.below(5) as u32).to_le_bytes());
            }
            _ => self.leave_a_dead_participant(bytes, random),
        }
    }

    /// Writes what a dead participant leaves: a record in use, and a lane that announces locks
    /// whose words name it.
    fn leave_a_dead_participant(&self, bytes: &mut [u8], random: &mut Random) {
        let places = &self.places;
        let count = (places.lanes - places.participants) / 64;
        let (participant, lane) = (random.below(count), random.below(places.lane_count));
        let record = (places.lanes + lane * 64) as usize;
        for slot in 1..=random.below(8) as usize {
            let what = places.announcement(random);
            put(bytes, record + slot * 8, &what.to_le_bytes());
            let lock = (what & 0xffff_ffff_fff0) as usize;
            if random.one_in(2) && lock >= places.payload as usize {
                let word = ((lane + 1) | (random.below(8) << 16)) as u32;
                put(bytes, lock, &word.to_le_bytes());
            }
        }
        put(bytes, record, &(participant as u32 + 1).to_le_bytes());
        put(bytes, (places.participants + participant * 64) as usize, &1_u32.to_le_bytes());
    }
}

fn small() -> SharedOptions {
    SharedOptions::new().participants(6).lanes(12)
}

/// The offsets and lengths of the checksummed header fields.
const FIELDS: [(usize, usize); 13] = [
    (8, 2),
    (10, 2),
    (12, 4),
    (32, 8),
    (40, 8),
    (56, 8),
    (64, 4),
    (68, 4),
    (72, 4),
    (80, 8),
    (88, 8),
    (96, 8),
    (104, 8),
];

/// Returns a boundary value: a start, an end or a limit of an integer type, or a neighbour of one.
fn boundary(end: u64, places: &Map, random: &mut Random) -> u64 {
    let near = random.pick(&[
        0,
        1,
        u64::MAX,
        i64::MAX as u64,
        u32::MAX.into(),
        i32::MAX as u64,
        65_535,
        65_536,
        1 << 48,
        end,
        places.payload,
        places.lanes,
        places.participants,
        places.lane_count,
        4_096,
        512,
    ]);
    match random.below(4) {
        0 => near.wrapping_add(1),
        1 => near.wrapping_sub(1),
        2 => near.wrapping_add(16),
        _ => near,
    }
}

/// Writes `value` at `at`, unless that exceeds the image.
fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = at.checked_add(value.len()).and_then(|end| bytes.get_mut(at..end)) {
        place.copy_from_slice(value);
    }
}

/// Updates the checksum of the header.
fn seal(bytes: &mut [u8]) {
    let sum = bytes[..120].iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    bytes[120..128].copy_from_slice(&sum.to_le_bytes());
}
