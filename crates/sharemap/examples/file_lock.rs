//! Counts the runs of this program in a file. A lock on the file lets any number of them run at once.
//!
//! `cargo run --example file_lock -- counter.bin`

use std::time::Duration;

use sharemap::{ErrorKind, FileLock, MappingMut};

fn main() -> sharemap::Result<()> {
    let path = std::env::args_os().nth(1).unwrap_or_else(|| "counter.bin".into());
    let map = MappingMut::open_or_create(&path, 8)?;
    let lock = FileLock::open(&path)?;
    // The kernel releases the lock of a process that dies. A process that hangs keeps it, so the wait
    // has a limit.
    let guard = match lock.lock_timeout(Duration::from_secs(5)) {
        Err(error) if error.kind() == ErrorKind::Timeout => {
            eprintln!("another process holds the lock: {error}");
            return Ok(());
        }
        guard => guard?,
    };
    let runs = map.view::<u64>()?;
    runs.set(0, runs.get(0)? + 1)?;
    println!("run number {}", runs.get(0)?);
    // Dropping the guard releases the lock, too, but `unlock` returns its errors.
    guard.unlock()
}
