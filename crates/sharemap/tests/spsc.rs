//! `channel::Spsc`, as its users see it: by one process and by several, after deaths, forks and errors.

#[path = "spsc/closing.rs"]
mod closing;
mod common;
#[path = "spsc/deaths.rs"]
mod deaths;
#[path = "spsc/errors.rs"]
mod errors;
#[cfg(unix)]
#[path = "spsc/forks.rs"]
mod forks;
#[path = "spsc/hostile.rs"]
mod hostile;
#[path = "spsc/model.rs"]
mod model;
#[path = "segment/peer.rs"]
mod peer;
#[path = "spsc/processes.rs"]
mod processes;
#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "hostile/random.rs"]
mod random;
#[cfg(unix)]
#[path = "spsc/stopped.rs"]
mod stopped;
#[path = "spsc/streams.rs"]
mod streams;
#[path = "spsc/told.rs"]
mod told;
#[path = "spsc/values.rs"]
mod values;
#[path = "spsc/waiting.rs"]
mod waiting;

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

use common::need_atomics;
use sharemap::channel::{Spsc, SpscReceiver, SpscSender};
use sharemap::{ErrorKind, Location, Result, UnlinkOnDrop};

/// The time after which an operation that goes on without end counts as stuck.
const STUCK: Duration = Duration::from_secs(60);
/// The timeout of a wait that is expected to fail.
const SHORT: Duration = Duration::from_millis(20);

/// Returns a channel that only this process knows, with both ends.
fn anonymous(capacity: usize) -> (Spsc<u64>, SpscSender<u64>, SpscReceiver<u64>) {
    let channel = Spsc::create_new(Location::anonymous(), capacity).unwrap();
    let (sender, receiver) = (channel.sender().unwrap(), channel.receiver().unwrap());
    (channel, sender, receiver)
}

/// A name that no other test has, of an object that is unlinked in the end.
struct Unique {
    text: String,
    _unlinked: UnlinkOnDrop,
}

impl Unique {
    fn new(name: &str) -> Self {
        let text = format!("spsc-{name}-{}", std::process::id());
        Self { _unlinked: UnlinkOnDrop::new(&text), text }
    }
}

impl From<&Unique> for Location {
    fn from(unique: &Unique) -> Self {
        Self::name(&unique.text)
    }
}

/// Asserts that an operation fails with `kind`.
#[track_caller]
fn fails<T: Debug>(kind: ErrorKind, result: Result<T>) {
    match result {
        Err(error) => assert_eq!(error.kind(), kind, "{error}"),
        Ok(value) => panic!("{value:?} instead of {kind:?}"),
    }
}

/// Waits until `is_true` returns `true`.
#[track_caller]
fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < STUCK, "{what}: not within {STUCK:?}");
        thread::yield_now();
    }
}
