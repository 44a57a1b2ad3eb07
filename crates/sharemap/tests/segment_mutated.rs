//! Segments with slightly mutated bytes, and segments that a peer overwrites: opening, checks and reads return, with a
//! value or an error. No process crashes, panics, or hangs.
//!
//! 200 images, or 100,000 with `SHAREMAP_LONG=1`; the peer overwrites for three seconds, or ten minutes. A failure
//! prints the seed of its image, with which `SHAREMAP_SEED` begins.

mod common;
#[path = "segment_mutated/image.rs"]
mod image;
#[path = "segment_mutated/uses.rs"]
mod uses;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{TempDir, child, need_atomics, repeated, role};
use image::{Image, Random};
use sharemap::{Location, MappingMut, Segment};

/// The longest time of one image. A check of a segment with a lock that is never released waits for ten seconds.
fn limit() -> Duration {
    let is_emulated = std::env::var_os("SHAREMAP_EMULATED").is_some();
    Duration::from_secs(if is_emulated { 400 } else { 40 })
}

fn is_long() -> bool {
    std::env::var_os("SHAREMAP_LONG").is_some_and(|long| long == "1")
}

fn seed() -> u64 {
    let given = std::env::var("SHAREMAP_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| u64::from(std::process::id()) << 20)
}

/// A child process that is killed when the value is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Aborts the process if `progress` stays the same for longer than the limit.
fn watch(progress: &'static AtomicU64) {
    thread::spawn(|| {
        let (mut last, mut since) = (progress.load(Ordering::Relaxed), Instant::now());
        loop {
            thread::sleep(Duration::from_millis(100));
            let now = progress.load(Ordering::Relaxed);
            if now != last {
                (last, since) = (now, Instant::now());
            }
            if since.elapsed() > limit() {
                eprintln!("no progress for {:?} at {now}", since.elapsed());
                std::process::abort();
            }
        }
    });
}

/// The image, or operation, that this process is at.
static PROGRESS: AtomicU64 = AtomicU64::new(0);

/// Child role: mutates and uses images, with the seeds of a range.
#[test]
fn uses_images() {
    let Some(argument) = role("uses_images") else { return };
    let argument = argument.to_str().unwrap().to_owned();
    let words: Vec<&str> = argument.split(' ').collect();
    let number = |index: usize| words[index].parse::<u64>().unwrap();
    let (first, count) = (number(1), number(2));
    let directory = Path::new(words[0]);
    let images = ["whole", "killed"].map(|name| Image::load(&directory.join(name)));
    let path = directory.join(format!("mutated-{first}"));
    PROGRESS.store(first, Ordering::Relaxed);
    watch(&PROGRESS);
    let mut outcome = uses::Outcome::default();
    for seed in first..first + count {
        PROGRESS.store(seed, Ordering::Relaxed);
        let mut random = Random::new(seed);
        let image = &images[random.below(2) as usize];
        std::fs::write(&path, image.mutated(&mut random)).unwrap();
        let used = std::panic::catch_unwind(|| {
            let mut outcome = uses::Outcome::default();
            uses::everything(&Location::file(&path), &mut Random::new(!seed), &mut outcome);
            outcome
        });
        match used {
            Ok(used) => outcome.add(&used),
            Err(_) => {
                eprintln!("the image with SHAREMAP_SEED={seed} made a thread panic");
                std::process::exit(9);
            }
        }
    }
    println!("{outcome:?}");
    assert!(outcome.opened > count / 4, "hardly anything opened: {outcome:?}");
}

/// Creates a segment that a process used which was killed. Nothing is recovered yet.
fn make_killed(path: &Path) {
    drop(image::create(path));
    let mut process =
        Running(child("fills_until_killed", path).stdout(Stdio::piped()).spawn().unwrap());
    let output = BufReader::new(process.0.stdout.take().unwrap());
    assert!(output.lines().map_while(Result::ok).any(|line| line.contains("> works")));
    thread::sleep(Duration::from_millis(30));
}

/// Opening, checks and reads of mutated images return.
#[test]
fn mutated_images_are_used_without_harm() {
    need_atomics!();
    let directory = TempDir::new();
    Image::make_whole(&directory.join("whole"));
    make_killed(&directory.join("killed"));
    let (seed, count) = (seed(), repeated(100_000, 200));
    println!("SHAREMAP_SEED={seed}");
    // Most of the time they wait for locks that nobody releases.
    let workers = if is_long() { 32 } else { 4 };
    let start = |worker: u64| {
        let first = seed + worker * (count / workers);
        let argument = format!("{} {first} {}", directory.path().display(), count / workers);
        let mut command = child("uses_images", argument);
        Running(command.stdout(Stdio::inherit()).spawn().unwrap())
    };
    let running: Vec<Running> = (0..workers).map(start).collect();
    for mut worker in running {
        let status = worker.0.wait().unwrap();
        assert!(status.success(), "a process that used mutated images ended with {status}");
    }
}

/// Child role: fills a segment until it is killed.
#[test]
fn fills_until_killed() {
    let Some(path) = role("fills_until_killed") else { return };
    let segment = Segment::open(Location::file(&path)).unwrap();
    println!("> works");
    for round in 0.. {
        image::fill(&segment, round);
    }
}

/// Child role: overwrites a segment.
#[test]
fn scribbles() {
    let Some(path) = role("scribbles") else { return };
    let image = Image::load(&path);
    let map = MappingMut::open(&path).unwrap();
    let bytes = map.bytes();
    let mut random = Random::new(seed());
    println!("> works");
    loop {
        for _ in 0..1 + random.below(20) {
            let (at, word) = image.mutation(&mut random);
            bytes.write_at(at, &word).unwrap();
        }
        thread::sleep(Duration::from_micros(random.below(400)));
        if random.below(3) == 0 {
            image.restore(&bytes, &mut random);
        }
    }
}

/// Child role: threads that open, read, check and change a segment that a peer overwrites.
#[test]
fn lives_with_a_scribbler() {
    let Some(path) = role("lives_with_a_scribbler") else { return };
    static READS: AtomicU64 = AtomicU64::new(0);
    static DONE: AtomicBool = AtomicBool::new(false);
    watch(&READS);
    let how_long = Duration::from_secs(if is_long() { 600 } else { 3 });
    let start = Instant::now();
    // A writer may wait for a lock that names a living lane: it is left behind.
    for writer in 0..2 {
        let path = path.clone();
        thread::spawn(move || {
            let mut random = Random::new(writer);
            while !DONE.load(Ordering::Relaxed) {
                if let Ok(segment) = Segment::open(Location::file(&path)) {
                    for round in 0..20 {
                        uses::change(&segment, round, &mut random);
                    }
                }
            }
        });
    }
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let path = path.clone();
            thread::spawn(move || {
                let mut outcome = uses::Outcome::default();
                while start.elapsed() < how_long {
                    uses::reads_only(&Location::file(&path), &mut outcome);
                    READS.fetch_add(1, Ordering::Relaxed);
                }
                outcome
            })
        })
        .collect();
    for reader in readers {
        match reader.join() {
            Ok(outcome) => println!("{outcome:?}"),
            Err(_) => std::process::exit(9),
        }
    }
    DONE.store(true, Ordering::Relaxed);
    std::process::exit(0);
}

/// Reads return while a peer overwrites the segment, and the segment works again once its bytes are restored.
#[test]
fn reads_return_while_a_peer_overwrites_the_segment() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("segment");
    Image::make_whole(&path);
    let image = std::fs::read(&path).unwrap();
    println!("SHAREMAP_SEED={}", seed());
    let start = |test: &str| {
        let mut command = child(test, &path);
        Running(command.env("SHAREMAP_SEED", seed().to_string()).spawn().unwrap())
    };
    let mut scribbler = start("scribbles");
    let mut victim = start("lives_with_a_scribbler");
    let status = victim.0.wait().unwrap();
    assert!(scribbler.0.try_wait().unwrap().is_none(), "the scribbler gave up");
    assert!(status.success(), "a process beside a scribbler ended with {status}");
    drop(scribbler);
    std::fs::write(&path, image).unwrap();
    let segment = Segment::open(Location::file(&path)).unwrap();
    let report = segment.check().unwrap();
    assert!(report.is_healthy(), "{report:?}");
    image::fill(&segment, 7);
}
