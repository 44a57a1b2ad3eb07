//! A peer that writes noise over the words, slots and lanes of a channel while both ends are used: every call returns,
//! with a value, which may be any, or an error.
//!
//! A failure prints its seed. `SHAREMAP_SEED` repeats the sequence of writes, but not their timing.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sharemap::{MappingMut, ViewMut};

use super::*;
use crate::common::{TempDir, child, passes, role};
use crate::random::Random;

const ROLE: &str = "hostile::uses_an_overwritten_channel";
const SLOTS: u64 = 8;
/// The length of the words before the slots, and the offsets of those that matter most (FORMAT.md, "Spsc").
const CONTROL: u64 = 1024;
const WORDS: [u64; 10] = [0, 16, 32, 48, 128, 136, 256, 264, 384, 512];
/// The timeout of every wait.
const BRIEF: Duration = Duration::from_millis(2);
/// The time after which a call counts as stuck, with a margin for a busy machine.
const STUCK: Duration = Duration::from_secs(15);

fn how_long() -> Duration {
    let long = std::env::var_os("SHAREMAP_LONG").is_some_and(|long| long == "1");
    Duration::from_secs(if long { 300 } else { 2 })
}

/// What is overwritten: the lanes of the object, and the words and slots of the channel.
struct Target<'a> {
    bytes: ViewMut<'a, u8>,
    /// The bytes before all of it.
    image: Vec<u8>,
    lanes: u64,
    words: u64,
    random: Random,
}

impl<'a> Target<'a> {
    fn of(map: &'a MappingMut, seed: u64) -> Self {
        let image = map.bytes().to_vec().unwrap();
        let eight = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap());
        let (lanes, words) = (eight(96), eight(104).next_multiple_of(128));
        Self { bytes: map.bytes(), image, lanes, words, random: Random::new(seed) }
    }

    fn write(&self, word: u64, value: u64, len: usize) {
        let at = (self.words + word) as usize;
        self.bytes.write_at(at, &value.to_le_bytes()[..len]).unwrap();
    }

    fn tail(&self) -> u64 {
        let mut tail = [0; 8];
        self.bytes.read_at((self.words + 128) as usize, &mut tail).unwrap();
        u64::from_le_bytes(tail)
    }

    /// Returns noise, or a value that nearly makes sense.
    fn value(&mut self) -> u64 {
        let (tail, random) = (self.tail(), &mut self.random);
        match random.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => random.next(),
            3 => 1 << random.below(64),
            // A lane, a flag and a few claims.
            4 => random.below(12) | random.below(2) << 16 | random.below(4) << 17,
            5 => random.below(3 * SLOTS),
            _ => tail.wrapping_add(random.below(3 * SLOTS)).wrapping_sub(random.below(3 * SLOTS)),
        }
    }

    /// Overwrites a few places, and sometimes restores them, so that ends can be made again.
    fn scribble(&mut self) {
        for _ in 0..1 + self.random.below(30) {
            let value = self.value();
            let random = &mut self.random;
            let (word, len) = match random.below(10) {
                0 => (random.below(CONTROL + SLOTS), 1),
                1 => (CONTROL + random.below(SLOTS), 1),
                2 => (random.below(CONTROL / 8) * 8, 8),
                3 => (random.pick(&[384, 512]), 4),
                4 | 5 => (random.pick(&[128, 256]), 8),
                6 if random.one_in(10) => {
                    // Before the words.
                    let lane = self.lanes + random.below((self.words - self.lanes) / 8) * 8;
                    (lane.wrapping_sub(self.words), 8)
                }
                _ => (random.pick(&WORDS), 8),
            };
            self.bytes
                .write_at(self.words.wrapping_add(word) as usize, &value.to_le_bytes()[..len])
                .unwrap();
        }
        match self.random.below(8) {
            0 => self.restore(self.words, self.words + CONTROL),
            1 => self.restore(self.lanes, self.words),
            // Free ends, and positions that make sense.
            2..5 => {
                [16, 32].iter().for_each(|&role| self.write(role, 0, 8));
                let position = self.random.next();
                [128, 256].iter().for_each(|&word| self.write(word, position, 8));
            }
            _ => {}
        }
    }

    fn restore(&self, from: u64, to: u64) {
        let (from, to) = (from as usize, to as usize);
        self.bytes.write_at(from, &self.image[from..to]).unwrap();
    }
}

/// The calls of the threads, and when each began.
struct Desks {
    start: Instant,
    since: [AtomicU64; 3],
    calls: [AtomicU64; 3],
    /// Calls that returned a value.
    values: [AtomicU64; 3],
    closing: AtomicBool,
}

impl Desks {
    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// Makes a call, whose errors are expected.
    fn call<T>(&self, desk: usize, call: impl FnOnce() -> Result<T>) -> Option<T> {
        self.since[desk].store(self.now(), Ordering::Relaxed);
        let result = call();
        self.since[desk].store(u64::MAX, Ordering::Relaxed);
        self.calls[desk].fetch_add(1, Ordering::Relaxed);
        self.values[desk].fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
        result.ok()
    }

    fn is_open(&self) -> bool {
        !self.closing.load(Ordering::Relaxed)
    }

    /// Ends the process if a call does not return.
    fn watch(&self) {
        for (desk, since) in self.since.iter().enumerate() {
            let since = since.load(Ordering::Relaxed);
            if since != u64::MAX && self.now().saturating_sub(since) > STUCK.as_millis() as u64 {
                eprintln!("thread {desk} is stuck after {:?} calls", self.calls[desk]);
                std::process::abort();
            }
        }
    }
}

/// Sends until the end, by one sender after the other.
fn send(channel: &Spsc<bool>, desks: &Desks, mut random: Random) {
    while desks.is_open() {
        let Some(mut sender) = desks.call(0, || channel.sender()) else { continue };
        for _ in 0..1 + random.below(400) {
            desks.call(0, || match random.below(6) {
                0 => sender.send_timeout(&true, BRIEF),
                1 => sender.try_send(&true).map(drop),
                2 => sender.try_send_many(&[true; 20]).map(drop),
                3 => sender.is_closed().map(drop),
                _ => match sender.try_reserve(1 + random.below(10) as usize)? {
                    Some(loan) => {
                        loan.view().fill(false)?;
                        loan.publish_first(random.below(10) as usize)
                    }
                    None => Ok(()),
                },
            });
        }
        desks.call(0, || {
            drop(sender);
            Ok(())
        });
    }
}

/// Receives until the end, by one receiver after the other.
fn receive(channel: &Spsc<bool>, desks: &Desks, mut random: Random) {
    while desks.is_open() {
        let Some(mut receiver) = desks.call(1, || channel.receiver()) else { continue };
        for _ in 0..1 + random.below(400) {
            desks.call(1, || match random.below(6) {
                0 => receiver.recv_timeout(BRIEF).map(drop),
                1 => receiver.try_recv().map(drop),
                2 => receiver.is_closed().map(drop),
                3 => receiver.failed_deliveries().map(drop),
                _ => match receiver.try_borrow(1 + random.below(10) as usize)? {
                    Some(borrow) => {
                        let _ = borrow.view().to_vec();
                        let _ = borrow.view().get(0);
                        borrow.release_first(random.below(10) as usize)
                    }
                    None => Ok(()),
                },
            });
        }
        desks.call(1, || {
            drop(receiver);
            Ok(())
        });
    }
}

/// Child role: the ends, with the process that overwrites them as a thread.
#[test]
fn uses_an_overwritten_channel() {
    let Some(path) = role(ROLE) else { return };
    let seed = std::env::var("SHAREMAP_SEED").unwrap().parse().unwrap();
    let channels: [Spsc<bool>; 2] = [(); 2].map(|()| Spsc::open(Location::file(&path)).unwrap());
    let map = MappingMut::open(&path).unwrap();
    let (mut target, mut random) = (Target::of(&map, seed), Random::new(seed + 3));
    let desks = Desks {
        start: Instant::now(),
        since: [(); 3].map(|()| AtomicU64::new(u64::MAX)),
        calls: Default::default(),
        values: Default::default(),
        closing: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        let (desks, channels) = (&desks, &channels);
        scope.spawn(move || send(&channels[0], desks, Random::new(seed + 1)));
        scope.spawn(move || receive(&channels[1], desks, Random::new(seed + 2)));
        scope.spawn(move || {
            while desks.is_open() {
                desks.call(2, || channels[0].stats());
                desks.call(2, || Spsc::<bool>::open(Location::file(&path)).map(drop));
            }
        });
        while desks.start.elapsed() < how_long() {
            desks.watch();
            target.scribble();
            match random.below(8) {
                0 => thread::sleep(Duration::from_millis(random.below(4))),
                1..4 => thread::sleep(Duration::from_micros(random.below(200))),
                _ => thread::yield_now(),
            }
        }
        desks.closing.store(true, Ordering::Relaxed);
        while !desks.since.iter().all(|since| since.load(Ordering::Relaxed) == u64::MAX) {
            desks.watch();
            thread::yield_now();
        }
    });
    eprintln!("{:?} calls, {:?} returned a value", desks.calls, desks.values);
    let few = desks.values.iter().any(|count| count.load(Ordering::Relaxed) < 20);
    assert!(!few, "hardly any call succeeded: {:?}", desks.values);
}

/// Every call on a channel that a peer overwrites returns, and the channel works again after its words are restored.
#[test]
fn calls_return_while_a_peer_overwrites_the_channel() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("channel");
    drop(Spsc::<bool>::create_new(Location::file(&path), SLOTS as usize).unwrap());
    let image = std::fs::read(&path).unwrap();
    let given = std::env::var("SHAREMAP_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
    println!("SHAREMAP_SEED={seed}");
    let mut command = child(ROLE, &path);
    command.env("SHAREMAP_SEED", seed.to_string());
    passes(command);
    heal(&path, &image);
}

/// Restores the lanes and words of the channel and asserts that it works again.
fn heal(path: &Path, image: &[u8]) {
    let map = MappingMut::open(path).unwrap();
    let lanes = u64::from_le_bytes(image[96..104].try_into().unwrap()) as usize;
    map.bytes().write_at(lanes, &image[lanes..]).unwrap();
    let channel = Spsc::<bool>::open(Location::file(path)).unwrap();
    let (mut sender, mut receiver) = (channel.sender().unwrap(), channel.receiver().unwrap());
    for _ in 0..3 * SLOTS {
        sender.send(&true).unwrap();
        assert!(receiver.recv().unwrap());
    }
}
