//! Counts in several processes: each adds to one number under a mutex, and no completed addition is
//! lost, even if a process is killed. This program starts itself as the other processes.
//!
//! `cargo run --example shared_counter`

use std::process::Command;

use sharemap::{Location, Mutex, MutexHandle, Shared, UnlinkOnDrop};

const PROCESSES: u64 = 2;
const EACH: u64 = 100_000;

fn main() -> sharemap::Result<()> {
    match std::env::args().nth(1) {
        Some(name) => count(&*Shared::<Mutex<u64>>::open(name)?),
        None => start(),
    }
}

fn start() -> sharemap::Result<()> {
    // Unlinks the name when it is dropped, also after an error.
    let name = UnlinkOnDrop::new(Location::unique("example-counter")?);
    let counter = Shared::create_new(&name, || Mutex::new(0_u64))?;
    let program = std::env::current_exe()?;
    let others =
        (0..PROCESSES).map(|_| Command::new(&program).arg(name.location().to_string()).spawn());
    for mut other in others.collect::<Result<Vec<_>, _>>()? {
        other.wait()?;
    }
    let total = *counter.lock()?;
    println!("{PROCESSES} processes added up to {total}");
    assert_eq!(total, PROCESSES * EACH);
    Ok(())
}

fn count(counter: &MutexHandle<u64>) -> sharemap::Result<()> {
    for _ in 0..EACH {
        // If an owner was killed, the number is the last that was written back. It is whole, so
        // there is nothing to repair.
        *counter.lock_or_recover(|_| ())? += 1;
    }
    println!("process {} has added {EACH}", std::process::id());
    Ok(())
}
