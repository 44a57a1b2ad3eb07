//! A process that may write an object scribbles over all of it, and cuts its file short now and then,
//! while others attach, lock, wait and leave. Values may be wrong and locks may stick until their timeouts; but whatever is asked for
//! ends, with an error at worst, and nobody crashes.
//!
//! Three seconds; with `SHAREMAP_LONG=1`, ten minutes. A failure prints its seed, and `SHAREMAP_SEED`
//! repeats what is scribbled, if not when.

#[path = "hostile/all.rs"]
mod all;
mod common;
#[path = "hostile/places.rs"]
mod places;
#[path = "hostile/random.rs"]
mod random;
#[path = "hostile/scribbler.rs"]
mod scribbler;
#[path = "hostile/victims.rs"]
mod victims;

use std::fs::OpenOptions;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use all::{All, first};
use common::{TempDir, child, need_atomics, passes, role};
use sharemap::{Location, MappingMut, Shared, SharedOptions};

fn how_long() -> Duration {
    let long = std::env::var_os("SHAREMAP_LONG").is_some_and(|long| long == "1");
    Duration::from_secs(if long { 600 } else { 3 })
}

fn seed() -> u64 {
    let given = std::env::var("SHAREMAP_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| u64::from(std::process::id()))
}

/// A process that does not outlive its value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Not a test of its own: the process that scribbles.
#[test]
fn scribbling() {
    if let Some(path) = role("scribbling") {
        scribbler::scribble(&path, seed(), how_long());
    }
}

/// Not a test of its own: the process that has to live with it.
#[test]
fn living_with_it() {
    if let Some(path) = role("living_with_it") {
        victims::live(&path, seed(), how_long());
    }
}

#[test]
fn a_peer_that_scribbles_does_no_more_than_that() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("object");
    let small = SharedOptions::new().participants(60).lanes(40);
    drop(small.create_new(Location::file(&path), first).unwrap());
    let image = std::fs::read(&path).unwrap();
    let seed = seed();
    println!("SHAREMAP_SEED={seed}");
    let command = |test| {
        let mut command = child(test, &path);
        command.env("SHAREMAP_SEED", seed.to_string());
        command
    };
    let mut scribbler = match command("scribbling").spawn() {
        Ok(scribbler) => Running(scribbler),
        Err(error) if error.raw_os_error() == Some(8) => {
            common::skip!("this program cannot be started from itself: {error}");
        }
        Err(error) => panic!("the scribbler does not start: {error}"),
    };
    passes(command("living_with_it"));
    assert!(scribbler.0.try_wait().unwrap().is_none(), "the scribbler gave up");
    drop(scribbler);
    heal(&path, &image);
}

/// With its bytes as they were, the object works as it did.
fn heal(path: &Path, image: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(image.len() as u64).unwrap();
    MappingMut::open(path).unwrap().bytes().write_at(0, image).unwrap();
    let all = Shared::<All>::open(Location::file(path)).unwrap();
    let ((mutex, lock, ..), (permits, ..), (event, _, once)) = &*all;
    assert_eq!(*mutex.lock().unwrap(), [1; 3]);
    assert_eq!(*lock.write().unwrap(), [2; 3]);
    drop(permits.acquire().unwrap());
    event.set().unwrap();
    event.wait().unwrap();
    once.call(|_| sharemap::Result::Ok(())).unwrap();
}
