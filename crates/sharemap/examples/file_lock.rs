//! Counts its own runs in a file, under a lock, however many of them run at once.
//!
//! `cargo run --example file_lock -- counter.bin`

use std::time::Duration;

use sharemap::{ErrorKind, FileLock, MappingMut};

fn main() -> sharemap::Result<()> {
    let path = std::env::args_os().nth(1).unwrap_or_else(|| "counter.bin".into());
    let map = MappingMut::open_or_create(&path, 8)?;
    let lock = FileLock::open(&path)?;
    let guard = match lock.lock_timeout(Duration::from_secs(5)) {
        Err(error) if error.kind() == ErrorKind::Timeout => {
            eprintln!("somebody else has it, and keeps it: {error}");
            return Ok(());
        }
        guard => guard?,
    };
    let runs = map.view::<u64>()?;
    runs.set(0, runs.get(0)? + 1)?;
    println!("run number {}", runs.get(0)?);
    guard.unlock()
}
