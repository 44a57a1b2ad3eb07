//! Guards a large table in place with a reader-writer lock: many threads read it at once, and a thread
//! that changes it excludes all others. Readers never see half of a change.
//!
//! `cargo run --example readers_writers`

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use sharemap::{Location, RwLock, RwLockSliceHandle, Shared};

/// The number of elements: 1.6 MB, too much to be copied for each read.
const LEN: usize = 200_000;
const CHANGES: u64 = 20;

fn main() -> sharemap::Result<()> {
    // Under a name or in a file, other processes could open the table, too.
    let table = Shared::create_new(Location::anonymous(), || RwLock::<[u64]>::zeroed(LEN))?;
    let done = AtomicBool::new(false);
    let looks = thread::scope(|scope| {
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(|| read(&table, &done))).collect();
        let written = write(&table);
        done.store(true, Ordering::Release);
        let looks = readers.into_iter().map(|reader| reader.join().expect("a reader panicked"));
        let looks = looks.sum::<sharemap::Result<u64>>();
        written.and(looks)
    })?;
    println!(
        "{looks} looks at {LEN} numbers, which changed {CHANGES} times: never half of a change"
    );
    // Without the lock, each number is whole, but two numbers may be from different moments.
    println!("the last one is {}", table.view_unlocked().get(LEN - 1)?);
    Ok(())
}

fn write(table: &RwLockSliceHandle<u64>) -> sharemap::Result<()> {
    for change in 1..=CHANGES {
        // If a writer died, the table may be half-changed; the change below overwrites all of it.
        let guard = table.write_or_recover(|_| Ok(()))?;
        guard.view().fill(change)?;
    }
    Ok(())
}

fn read(table: &RwLockSliceHandle<u64>, done: &AtomicBool) -> sharemap::Result<u64> {
    let mut looks = 0;
    while !done.load(Ordering::Acquire) {
        let guard = table.read_or_recover(|half| half.fill(0))?;
        let view = guard.view();
        let first = view.get(0)?;
        let same = view.iter().try_fold(true, |same, number| number.map(|n| same && n == first))?;
        assert!(same, "half of a change");
        looks += 1;
    }
    Ok(looks)
}
