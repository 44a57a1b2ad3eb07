//! A hostile process overwrites all of an object, and sometimes truncates its file, while other
//! processes attach, lock, wait and detach. Values may be wrong and locks may stay held until a
//! timeout, but every call returns, at worst with an error, and no process crashes.
//!
//! The test takes three seconds, or ten minutes with `SHAREMAP_LONG=1`. A failure prints its seed.
//! `SHAREMAP_SEED` repeats the sequence of writes, but not their timing.

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

/// A child process that is killed when the value is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Child role: the process that overwrites the object.
#[test]
fn scribbling() {
    if let Some(path) = role("scribbling") {
        scribbler::scribble(&path, seed(), how_long());
    }
}

/// Child role: a process with several threads that use the object meanwhile.
#[test]
fn using_the_object() {
    if let Some(path) = role("using_the_object") {
        victims::live(&path, seed(), how_long());
    }
}

/// Every operation on an object that a peer overwrites returns, and the object works again after
/// its bytes are restored.
#[test]
fn operations_return_while_a_peer_overwrites_the_object() {
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
    passes(command("using_the_object"));
    assert!(scribbler.0.try_wait().unwrap().is_none(), "the scribbler gave up");
    drop(scribbler);
    heal(&path, &image);
}

/// Restores the bytes of the object and asserts that it works again.
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
