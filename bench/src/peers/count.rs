//! The work of each of several processes that count under one lock.

use std::hint::{black_box, spin_loop};
use std::path::Path;
use std::time::{Duration, Instant};

use sharemap::{Location, Mutex, Shared};

use crate::peers::pthread;
use crate::peers::served::Operation;
use crate::reason::{Reason, why};

pub const OURS: &str = "count: Mutex";
pub const PTHREAD: &str = "count: pthread";
pub const SEMAPHORE: &str = "count: sem_t";

/// Attaches to the lock at `path`. The returned operation increments its counter and holds the lock
/// for `pause` nanoseconds.
pub fn prepare(peer: &str, path: &Path, pause: u64) -> Result<Operation, Reason> {
    let pause = Duration::from_nanos(pause);
    Ok(match peer {
        OURS => {
            let shared = Shared::<Mutex<u64>>::open(Location::file(path)).map_err(why)?;
            Box::new(move |repeats| {
                timed(repeats, || {
                    let mut count = black_box(&shared).lock().expect("no owner dies");
                    *count = count.wrapping_add(1);
                    spend(pause);
                })
            })
        }
        PTHREAD => {
            let mutex = pthread::Mutex::open(path)?;
            Box::new(move |repeats| {
                timed(repeats, || {
                    black_box(&mutex).count(|| spend(pause)).expect("no owner dies");
                })
            })
        }
        SEMAPHORE => {
            let semaphore = pthread::CountingSemaphore::open(path)?;
            Box::new(move |repeats| timed(repeats, || black_box(&semaphore).count(|| spend(pause))))
        }
        _ => return Err(format!("no peer is named {peer}")),
    })
}

fn timed(repeats: u64, mut operation: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..repeats {
        operation();
    }
    start.elapsed()
}

#[inline]
fn spend(time: Duration) {
    if time.is_zero() {
        return;
    }
    let start = Instant::now();
    while start.elapsed() < time {
        spin_loop();
    }
}
