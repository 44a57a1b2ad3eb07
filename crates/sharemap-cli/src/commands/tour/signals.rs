//! Step 13: two processes take turns by a named semaphore.

use super::interrupt;
use super::peer::Action;
use super::scene::{Outcome, Scene, Step, expect, locks_work};
use crate::output::tell;
use sharemap::{CountingSemaphore, ErrorKind, Shared, SharedMemory};
use std::path::Path;
use std::time::{Duration, Instant};

pub(super) const STEP: Step =
    Step { name: "signal", title: "Writer and reader take turns by a named semaphore", run };

const ROUNDS: u64 = 1000;
const PATIENCE: Duration = Duration::from_secs(30);

/// The semaphores that the writer and the reader post.
type Turns = (CountingSemaphore, CountingSemaphore);

fn run(scene: &mut Scene<'_>) -> Outcome {
    if !locks_work(scene) {
        return Ok(());
    }
    let (name, block) = (interrupt::object("turns"), interrupt::object("turns-block"));
    let turns =
        Shared::create_new(&*name, || (CountingSemaphore::new(0), CountingSemaphore::new(1)))?;
    let memory = SharedMemory::create_new(&*block, 8)?;
    let (written, read) = &*turns;
    let reader = scene.peer(Action::ReadBySignal, Path::new(&*name))?;
    scene.did(format!(
        "program 1 created the semaphores {} and wrote {ROUNDS} numbers into shared memory, each after \
         program 2 (process {}) had read the one before",
        &*name,
        reader.id()
    ));
    let begun = Instant::now();
    for round in 0..ROUNDS {
        read.wait_timeout(PATIENCE)?;
        memory.view::<u64>()?.set(0, round * round)?;
        written.post()?;
    }
    let lines = reader.end_well()?;
    let took = begun.elapsed().as_secs_f64();
    scene.saw(format!(
        "program 2 read {} in {:.1} ms: {:.0} us a turn, its start included",
        lines.join(" "),
        took * 1e3,
        took * 1e6 / (2 * ROUNDS) as f64
    ));
    expect(lines == [right()], "the reader should have seen every number once")?;
    read.wait_timeout(PATIENCE)?;
    let error = match read.wait_timeout(Duration::from_millis(20)) {
        Err(error) if error.kind() == ErrorKind::Timeout => error,
        other => return Err(format!("it is not posted any more, but: {other:?}").into()),
    };
    scene.saw(format!("waited once more, for 20 ms: {error}"));
    Shared::<Turns>::unlink(&*name)?;
    SharedMemory::unlink(&*block)?;
    Ok(())
}

fn right() -> String {
    format!("{ROUNDS} numbers, all right")
}

/// Runs as the second process. Prints whether all numbers were right.
pub(super) fn read_by_signal(name: &Path) -> Outcome {
    let name = name.to_str().ok_or("the name is not UTF-8")?;
    let turns = Shared::<Turns>::open(name)?;
    let memory = SharedMemory::open(format!("{name}-block").as_str())?;
    let (written, read) = &*turns;
    let mut wrong = 0;
    for round in 0..ROUNDS {
        written.wait_timeout(PATIENCE)?;
        wrong += u64::from(memory.view::<u64>()?.get(0)? != round * round);
        read.post()?;
    }
    tell(if wrong == 0 { right() } else { format!("{wrong} wrong numbers") })?;
    Ok(())
}
