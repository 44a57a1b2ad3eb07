//! Step 15: processes count under a named lock, and the owner of the lock dies.

use super::interrupt;
use super::peer::{Action, Peer};
use super::scene::{Outcome, Scene, Step, expect, locks_work};
use sharemap::inspect::Inspection;
use sharemap::{ErrorKind, LockError, Mutex, MutexGuard, MutexHandle, Shared};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

pub(super) const STEP: Step = Step {
    name: "lock",
    title: "Processes count under a named lock; its owner is killed, the next one is notified",
    run,
};

const EACH: u64 = 5000;
const PROCESSES: u64 = 3;
const PATIENCE: Duration = Duration::from_secs(30);

fn run(scene: &mut Scene<'_>) -> Outcome {
    if !locks_work(scene) {
        return Ok(());
    }
    let name = interrupt::object("count");
    let path = Path::new(&*name);
    let count = Shared::create_new(&*name, || Mutex::new(0_u64))?;
    let begun = Instant::now();
    let others: Result<Vec<Peer>, Box<dyn Error>> =
        (1..PROCESSES).map(|_| scene.peer(Action::CountUnderLock, path)).collect();
    add(&count)?;
    for other in others? {
        other.end_well()?;
    }
    let took = begun.elapsed().as_secs_f64() * 1e3;
    let total = *lock(&count)?;
    scene.did(format!(
        "{PROCESSES} processes added 1 to the number under the lock {}, {EACH} times each",
        &*name
    ));
    scene.saw(format!("the number is {total}, after {took:.0} ms"));
    expect(total == PROCESSES * EACH, "no addition should be lost")?;

    let mut holder = scene.peer(Action::DieWithLock, path)?;
    holder.ready()?;
    let process = holder.id();
    scene.did(format!(
        "let process {process} acquire the lock and write 7 into its copy of the number"
    ));
    let owner = Inspection::open(&*name)?.locks()?.first().and_then(|lock| lock.owner.clone());
    expect(
        owner.and_then(|owner| owner.process) == Some(process),
        "its owner should be visible from outside",
    )?;
    match count.lock_timeout(Duration::from_millis(20)) {
        Err(LockError::Failed(error)) if error.kind() == ErrorKind::Timeout => {
            scene.saw(format!("waited 20 ms for it: {error}"));
        }
        other => return Err(format!("it is held, but: {other:?}").into()),
    }
    drop(holder);
    let begun = Instant::now();
    let died = match count.lock_timeout(PATIENCE) {
        Err(LockError::OwnerDied(died)) => died,
        other => return Err(format!("its owner died, but: {other:?}").into()),
    };
    let took = begun.elapsed().as_secs_f64() * 1e3;
    scene.did(format!("killed process {process}"));
    scene.saw(format!(
        "acquired the lock in {took:.2} ms, and was notified that its owner died; the number is {}, \
         as last written back",
        *died
    ));
    expect(
        *died == total,
        "a value that the dead owner had not written back should not be visible",
    )?;
    let mut number = died.mark_consistent();
    *number += 1;
    number.unlock()?;
    let next = *lock(&count)?;
    scene.saw(format!(
        "marked it consistent and continued: {next}; the next owner was not notified"
    ));
    expect(next == total + 1, "the count should continue")?;
    Shared::<Mutex<u64>>::unlink(&*name)?;
    Ok(())
}

/// Acquires the mutex. The death of an owner is an error here.
fn lock(count: &MutexHandle<u64>) -> sharemap::Result<MutexGuard<'_, u64>> {
    Ok(count.lock_timeout(PATIENCE)?)
}

fn add(count: &Shared<Mutex<u64>>) -> Outcome {
    for _ in 0..EACH {
        *lock(count)? += 1;
    }
    Ok(())
}

fn open(name: &Path) -> Result<Shared<Mutex<u64>>, Box<dyn Error>> {
    Ok(Shared::open(name.to_str().ok_or("the name is not UTF-8")?)?)
}

/// Runs as a second process of the first half.
pub(super) fn count(name: &Path) -> Outcome {
    add(&open(name)?)
}

/// Runs as the owner of the second half: holds the lock until `wait` returns.
pub(super) fn hold(name: &Path, wait: impl FnOnce() -> std::io::Result<()>) -> Outcome {
    let count = open(name)?;
    let mut number = lock(&count)?;
    *number = 7;
    wait()?;
    number.unlock()?;
    Ok(())
}
