//! Processes count together: each adds to one number under a lock, and none of the additions is lost,
//! even if one of them is killed. This program starts itself as the others.
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
    // The name is unlinked at the end, whatever happens before.
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
        // If an owner was killed, the number is whole, the last that was written: nothing to repair.
        *counter.lock_or_recover(|_| ())? += 1;
    }
    println!("process {} has added {EACH}", std::process::id());
    Ok(())
}
