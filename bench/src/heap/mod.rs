//! The figures of segments: their heap, named objects and maps, one file per group. This library's side uses only
//! its safe public interface.

mod allocate;
mod build;
mod keys;
mod large;
mod named;
mod reopen;
mod text;
mod words;

use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use sharemap::containers::HashMap;
use sharemap::{Location, SharedOptions, Stored};

use crate::figure::Figure;
use crate::reason::{Reason, why};

/// The length of a new segment, and the length that it may grow to.
const NEW: u64 = 1 << 20;
const MAX: u64 = 8 << 30;

/// The hash map of a program that shares nothing and loses all with its process.
type Local<K> = hashbrown::HashMap<K, u64, FixedState>;

/// Returns all figures in the order of the report.
pub fn figures() -> Vec<Figure> {
    [
        allocate::FIGURES,
        named::FIGURES,
        build::FIGURES,
        words::FIGURES,
        large::FIGURES,
        text::FIGURES,
        reopen::FIGURES,
    ]
    .concat()
}

/// Creates a segment in memory, with a map of these entries.
fn new_map<'a, K: Stored + ?Sized + 'a>(
    options: &SharedOptions,
    entries: impl IntoIterator<Item = (&'a K, &'a u64)>,
) -> Result<HashMap<K, u64>, Reason> {
    let segment = options.create_new_segment(Location::anonymous(), NEW, MAX).map_err(why)?;
    let map = segment.hash_map("entries").map_err(why)?;
    map.extend(entries).map_err(why)?;
    Ok(map)
}

/// Times repetitions of `make`, without the time to drop what it returns.
fn time_made<T>(
    repeats: u64,
    mut make: impl FnMut() -> Result<T, Reason>,
) -> Result<Duration, Reason> {
    let mut took = Duration::ZERO;
    for _ in 0..repeats {
        let start = Instant::now();
        let made = make()?;
        took += start.elapsed();
        drop(made);
    }
    Ok(took)
}
