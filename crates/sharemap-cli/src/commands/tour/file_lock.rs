//! Step 14: two processes take turns by a file lock.

use super::peer::Action;
use super::scene::{Outcome, Scene, Step, expect, refused};
use crate::output::tell;
use sharemap::{ErrorKind, FileLock, MappingMut, ViewMut};
use std::path::Path;
use std::time::{Duration, Instant};

pub(super) const STEP: Step = Step {
    name: "file-lock",
    title: "Writer and reader take turns by a file lock, which the death of a holder releases",
    run,
};

const ROUNDS: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(30);

/// The index of the turn: even for the writer, odd for the reader.
const TURN: usize = 0;
/// The index of the number that is passed.
const NUMBER: usize = 1;

fn run(scene: &mut Scene<'_>) -> Outcome {
    let path = scene.path("turns.bin");
    let map = MappingMut::create_new(&path, 16)?;
    let lock = FileLock::open(&path)?;
    let reader = scene.peer(Action::ReadInTurns, &path)?;
    let begun = Instant::now();
    let cells = map.view::<u64>()?;
    for round in 0..ROUNDS {
        in_turn(&lock, &cells, 2 * round, || cells.set(NUMBER, round * round))?;
    }
    let lines = reader.end_well()?;
    let took = begun.elapsed();
    scene.did(
        "wrote numbers into turns.bin; a second process read each before the next was written",
    );
    let right = format!("{ROUNDS} numbers, all right");
    scene.saw(format!(
        "the reader got {} in {:.1} ms: {:.0} us a turn",
        lines.join(" "),
        took.as_secs_f64() * 1e3,
        took.as_secs_f64() * 1e6 / (2 * ROUNDS) as f64
    ));
    expect(lines == [right], "the reader should have seen every number once")?;

    let mut holder = scene.peer(Action::HoldLock, &path)?;
    holder.ready()?;
    let error = refused(lock.try_lock().map(drop), ErrorKind::WouldBlock, "a second holder")?;
    scene.did("let a second process acquire the lock and hold it");
    scene.saw(format!("tried to acquire it: {error}"));
    let allowed = Duration::from_millis(20);
    refused(lock.lock_timeout(allowed).map(drop), ErrorKind::Timeout, "a wait that is too short")?;
    drop(holder);
    let begun = Instant::now();
    lock.lock_timeout(PATIENCE)?.unlock()?;
    let took = begun.elapsed().as_secs_f64() * 1e3;
    scene.saw(format!(
        "waited 20 ms in vain; killed the holder, and acquired the lock in {took:.1} ms"
    ));
    Ok(())
}

/// Runs as the reader of the first half. Prints whether all numbers were right.
pub(super) fn read_in_turns(path: &Path) -> Outcome {
    let map = MappingMut::open(path)?;
    let lock = FileLock::open(path)?;
    let cells = map.view::<u64>()?;
    let mut right = 0;
    for round in 0..ROUNDS {
        in_turn(&lock, &cells, 2 * round + 1, || {
            right += u64::from(cells.get(NUMBER)? == round * round);
            Ok(())
        })?;
    }
    let judgement = if right == ROUNDS { "all right" } else { "some wrong" };
    tell(format!("{ROUNDS} numbers, {judgement}"))?;
    Ok(())
}

/// Runs as the holder of the second half: holds the lock until `wait` returns.
pub(super) fn hold(path: &Path, wait: impl FnOnce() -> std::io::Result<()>) -> Outcome {
    let guard = FileLock::open(path)?.lock()?;
    wait()?;
    guard.unlock()?;
    Ok(())
}

/// Waits for `turn`, calls `work` while holding the lock, and passes the turn to the other process.
fn in_turn(
    lock: &FileLock,
    cells: &ViewMut<'_, u64>,
    turn: u64,
    work: impl FnOnce() -> sharemap::Result<()>,
) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let guard = lock.lock_timeout(PATIENCE)?;
        if cells.get(TURN)? == turn {
            work()?;
            cells.set(TURN, turn + 1)?;
            return Ok(guard.unlock()?);
        }
        guard.unlock()?;
        expect(Instant::now() < deadline, "the other process should have taken its turn")?;
        std::thread::yield_now();
    }
}
