//! Step 15: processes count under a lock that has a name; one of them dies with it.

use super::peer::{Action, Peer};
use super::scene::{Scene, expect};
use super::{Outcome, Step, interrupt, locks_work};
use sharemap::inspect::Inspection;
use sharemap::{ErrorKind, LockError, Mutex, MutexGuard, MutexHandle, Shared};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

pub(super) const STEP: Step = Step {
    name: "lock",
    title: "Processes count under a named lock; its holder is killed, and the next is told",
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
        "let process {process} take the lock and write 7 into its copy of the number"
    ));
    let owner = Inspection::open(&*name)?.locks()?.first().and_then(|lock| lock.owner.clone());
    expect(
        owner.and_then(|owner| owner.process) == Some(process),
        "its holder should be seen from outside",
    )?;
    match count.lock_timeout(Duration::from_millis(20)) {
        Err(LockError::Failed(error)) if error.kind() == ErrorKind::Timeout => {
            scene.saw(format!("asked for it, for 20 ms: {error}"));
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
        "had the lock in {took:.2} ms, and was told that its owner died; the number is {}, the last \
         whole one",
        *died
    ));
    expect(*died == total, "what the dead one had not released should not be seen")?;
    let mut number = died.mark_consistent();
    *number += 1;
    number.unlock()?;
    let next = *lock(&count)?;
    scene.saw(format!("accepted it and went on: {next}; the next owner was told nothing"));
    expect(next == total + 1, "counting should go on")?;
    Shared::<Mutex<u64>>::unlink(&*name)?;
    Ok(())
}

/// Of somebody's death it makes an error.
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
    Ok(Shared::open(name.to_str().ok_or("the name is no text")?)?)
}

/// A second process of the first half.
pub(super) fn count(name: &Path) -> Outcome {
    add(&open(name)?)
}

/// The one of the second half.
pub(super) fn hold(name: &Path, wait: impl FnOnce() -> std::io::Result<()>) -> Outcome {
    let count = open(name)?;
    let mut number = lock(&count)?;
    *number = 7;
    wait()?;
    number.unlock()?;
    Ok(())
}
