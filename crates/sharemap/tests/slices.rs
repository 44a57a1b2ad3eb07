//! Guarded slices: what they show, which memory has them, and what they report when pages are lost.
//!
//! `storm.rs` has the races with truncations: 2,000 of each form, and 200,000 in the long form:
//!
//! ```text
//! SHAREMAP_LONG=1 cargo test --release -p sharemap --test slices -- --nocapture
//! ```

#![allow(unsafe_code, reason = "the tests give the promises of guarded slices")]

mod common;
#[cfg(target_os = "linux")]
#[path = "slices/hostile.rs"]
mod hostile;
#[cfg(target_os = "linux")]
#[path = "slices/limits.rs"]
mod limits;
#[path = "slices/losses.rs"]
mod losses;
#[cfg(target_os = "linux")]
#[path = "hostile/random.rs"]
#[allow(dead_code, reason = "the storm uses a part of it")]
mod random;
#[path = "slices/regions.rs"]
mod regions;
#[cfg(target_os = "linux")]
#[path = "slices/storm.rs"]
mod storm;

use sharemap::guard::{self, Recovery};
use sharemap::{ErrorKind, GuardedSlice, Pod, View};

/// Returns `false`, after printing why, where the system has no guarded slices.
fn has_slices() -> bool {
    let has = cfg!(not(windows)) && guard::recovery() == Recovery::InPlace;
    if !has {
        let map = sharemap::Mapping::open(std::env::current_exe().unwrap()).unwrap();
        // SAFETY: nothing reads the slice.
        let error = unsafe { map.bytes().guarded_slice() }.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        eprintln!("skipped: {error}");
    }
    has
}

/// Waits until the clock of the directory's file system advances. Kernels before 6.13 give two changes in
/// one tick the same time.
fn next_tick(dir: &common::TempDir) {
    let path = dir.file("tick", []);
    let time = || std::fs::metadata(&path).unwrap().modified().unwrap();
    let before = time();
    while time() == before {
        std::fs::write(&path, []).unwrap();
        std::thread::yield_now();
    }
}

/// Returns a guarded slice of the view.
fn guarded<T: Pod>(view: View<'_, T>) -> GuardedSlice<T> {
    // SAFETY: the tests read numbers only, of which any bytes are values, and expect every value. Where a
    // file is cut and grows again, they expect an error.
    unsafe { view.guarded_slice() }.unwrap()
}
