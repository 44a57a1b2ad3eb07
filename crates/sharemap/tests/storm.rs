//! Processes that share locks and are killed in the middle of using them, over and over. Whoever
//! lives gets on, finds whole values, and is told of deaths.
//!
//! 150 kills; with `SHAREMAP_LONG=1`, 20,000. A failure prints its seed; `SHAREMAP_SEED` repeats it as
//! far as timing allows.

mod common;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::need_atomics;
use sharemap::{ErrorKind, LockError, Mutex, Permits, RwLock, Shared, SharedMemory, Signal};

type Parts = (Mutex<[u64; 6]>, RwLock<[u64; 6]>, Permits, Signal);

const NAME: &str = "SHAREMAP_STORM";
const WORKERS: usize = 3;
const PERMITS: u32 = 2;
/// Longer than anything may take, also on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(10);

fn parts() -> Parts {
    (Mutex::new([0; 6]), RwLock::new([0; 6]), Permits::new(PERMITS), Signal::new(0))
}

fn assert_whole(value: &[u64; 6]) {
    assert!(value.iter().all(|n| *n == value[0]), "half a value: {value:?}");
}

/// One use of everything, of which each must be had in time.
fn use_all(shared: &Shared<Parts>, round: u64) {
    let (mutex, lock, permits, done) = &**shared;
    let mut guard = match mutex.lock_timeout(PATIENCE) {
        Ok(guard) => guard,
        Err(LockError::OwnerDied(dead)) => dead.accept(),
        Err(LockError::Failed(error)) => panic!("{error}"),
    };
    assert_whole(&guard);
    guard.iter_mut().for_each(|n| *n += 1);
    guard.unlock().unwrap();
    match round % 3 {
        0 => {
            let mut guard = match lock.write_timeout(PATIENCE) {
                Ok(guard) => guard,
                Err(LockError::OwnerDied(dead)) => dead.accept(),
                Err(LockError::Failed(error)) => panic!("{error}"),
            };
            assert_whole(&guard);
            guard.iter_mut().for_each(|n| *n += 1);
        }
        1 => match lock.read_timeout(PATIENCE) {
            Ok(guard) => assert_whole(&guard),
            Err(LockError::OwnerDied(dead)) => assert_whole(&dead),
            Err(LockError::Failed(error)) => panic!("{error}"),
        },
        _ => drop(permits.acquire_timeout(PATIENCE).unwrap()),
    }
    done.post().unwrap();
}

/// Not a test of its own: what the others do until they are killed.
#[test]
fn worker() {
    let Ok(name) = std::env::var(NAME) else { return };
    let shared = Shared::<Parts>::open(name.as_str()).unwrap();
    for round in u64::from(std::process::id()).. {
        use_all(&shared, round);
    }
}

/// A worker, which does not outlive its value.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(name: &str) -> Worker {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["worker", "--exact", "--nocapture", "--test-threads=1"])
        .env(NAME, name)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Worker(child.unwrap())
}

#[test]
fn whoever_lives_gets_on() {
    need_atomics!();
    if std::env::var_os(NAME).is_some() {
        return;
    }
    let long = std::env::var_os("SHAREMAP_LONG").is_some_and(|long| long == "1");
    let kills = if long { 20_000 } else { 150 };
    let seed = std::env::var("SHAREMAP_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut random = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {random}");
    let name = format!("storm-{}", std::process::id());
    let _ = SharedMemory::unlink(name.as_str());
    let shared = Shared::create_new(name.as_str(), parts).unwrap();
    let mut workers: Vec<Worker> = (0..WORKERS).map(|_| start(&name)).collect();
    let (_, _, permits, done) = &*shared;
    let mut slowest = Duration::ZERO;
    for kill in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Some progress by somebody, so that deaths hit busy processes.
        for _ in 0..1 + (random >> 40) % 50 {
            done.wait_timeout(Duration::from_secs(10)).unwrap();
        }
        let victim = (random >> 33) as usize % WORKERS;
        // A worker that stopped by itself found something wrong.
        if let Some(status) = workers[victim].0.try_wait().unwrap() {
            panic!("a worker ended before kill {kill}: {status}");
        }
        workers[victim].0.kill().unwrap();
        workers[victim].0.wait().unwrap();
        let start_of_use = Instant::now();
        use_all(&shared, kill);
        slowest = slowest.max(start_of_use.elapsed());
        workers[victim] = start(&name);
    }
    for worker in &mut workers {
        assert!(worker.0.try_wait().unwrap().is_none(), "a worker ended by itself");
    }
    drop(workers);
    println!("{kills} kills; the slowest use after one took {slowest:?}");
    // Nothing that the dead had is lost.
    let all: Vec<_> = (0..PERMITS).map(|_| permits.acquire_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(permits.try_acquire().unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(all);
    use_all(&shared, 0);
    drop(shared);
    SharedMemory::unlink(name.as_str()).unwrap();
}
