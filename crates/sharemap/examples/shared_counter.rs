//! Processes count together: each adds to one number under a lock, and none of the additions is lost,
//! even if one of them is killed. This program starts itself as the others.
//!
//! `cargo run --example shared_counter`

use std::process::Command;

use sharemap::{LockError, Mutex, MutexHandle, Shared};

const PROCESSES: u64 = 2;
const EACH: u64 = 100_000;

fn main() -> sharemap::Result<()> {
    match std::env::args().nth(1) {
        Some(name) => count(&*Shared::<Mutex<u64>>::open(name.as_str())?),
        None => start(),
    }
}

fn start() -> sharemap::Result<()> {
    let name = format!("example-counter-{}", std::process::id());
    let counter = Shared::create_new(name.as_str(), || Mutex::new(0_u64))?;
    let program = std::env::current_exe()?;
    let others = (0..PROCESSES).map(|_| Command::new(&program).arg(&name).spawn());
    let others = others.collect::<Result<Vec<_>, _>>();
    // Whoever has it open has it; the name is wanted until then.
    let waited =
        others.map(|others| others.into_iter().try_for_each(|mut one| one.wait().map(drop)));
    Shared::<Mutex<u64>>::unlink(name.as_str())?;
    waited??;
    let total = *counter.lock()?;
    println!("{PROCESSES} processes added up to {total}");
    assert_eq!(total, PROCESSES * EACH);
    Ok(())
}

fn count(counter: &MutexHandle<u64>) -> sharemap::Result<()> {
    for _ in 0..EACH {
        match counter.lock() {
            Ok(mut number) => *number += 1,
            // Its owner was killed. The number is whole: the last that was written.
            Err(LockError::OwnerDied(last)) => *last.accept() += 1,
            Err(LockError::Failed(error)) => return Err(error),
        }
    }
    println!("process {} has added {EACH}", std::process::id());
    Ok(())
}
