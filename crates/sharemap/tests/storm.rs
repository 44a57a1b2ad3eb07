//! Processes that share locks of every kind and are repeatedly killed while they use them. Each
//! survivor makes progress, has exclusive access where the lock promises it, finds whole values and
//! is notified of deaths. Afterwards no resource of a dead process is lost.
//!
//! On Linux, four processes, each in its own pid namespace, perform 2,000 kills, or 100,000 with
//! `SHAREMAP_LONG=1`. On all systems there are also three plain processes, with 150 kills where
//! there is nothing else. A failure prints its seed; `SHAREMAP_SEED` repeats it as far as timing
//! allows.
//!
//! No process may wait for a second. On a busy machine every process waits for a processor, so a
//! second counts only if an independent loop had its turns in that second.

mod common;
#[cfg(target_os = "linux")]
#[path = "storm/nest.rs"]
mod nest;
#[path = "storm/plain.rs"]
mod plain;
#[path = "storm/witness.rs"]
mod witness;
#[path = "storm/work.rs"]
mod work;

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::process::Child;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use common::need_atomics;
use sharemap::{ErrorKind, Shared, SharedMemory, SharedOptions};
use witness::{Name, Patience, UNKILLED, Watch, Witness};
use work::{MEMBERS, PERMITS, Parts, Random, User, parts, unless_late};

const NAME: &str = "SHAREMAP_STORM";
/// The defaults of `SharedOptions`.
const PARTICIPANTS: usize = 64;
const LANES: usize = 256;
/// The time after which a wait, or a child that reports nothing, counts as stuck.
const STUCK: Duration = Duration::from_secs(60);

fn is_long() -> bool {
    std::env::var_os("SHAREMAP_LONG").is_some_and(|long| long == "1")
}

/// The names of the shared objects, which are unlinked when the value is dropped.
struct Objects(String);

impl Objects {
    fn new(test: &str) -> Self {
        let objects = Self(format!("storm-{test}-{}", std::process::id()));
        objects.unlink();
        objects
    }

    fn of(name: &str) -> std::mem::ManuallyDrop<Self> {
        std::mem::ManuallyDrop::new(Self(name.to_owned()))
    }

    fn locks(&self) -> &str {
        &self.0
    }

    fn witness(&self) -> String {
        format!("{}-witness", self.0)
    }

    fn unlink(&self) {
        let _ = SharedMemory::unlink(self.locks());
        let _ = SharedMemory::unlink(self.witness().as_str());
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        self.unlink();
    }
}

/// A child process that is killed when the value is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn seed() -> u64 {
    let given = std::env::var("SHAREMAP_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
    println!("SHAREMAP_SEED={seed}");
    seed
}

/// Uses the object until the process is killed, detaching and attaching again at times.
fn work(objects: &Objects, witness: &Witness, me: Name, seed: u64, open_timeout: Patience) {
    let mut random = Random::new(seed ^ me.number << 8 ^ me.place as u64);
    let watch = Watch { witness, open_timeout, longest: Cell::new(Duration::ZERO) };
    loop {
        let shared = Shared::<Parts>::open(objects.locks()).unwrap();
        let user = User { shared: &shared, watch: &watch, me };
        for _ in 0..1 + random.below(100) {
            user.use_one(&mut random);
        }
    }
}

/// Repeatedly spins for about two milliseconds of an idle processor and counts the turns. Aborts
/// the process if the process that is not killed makes no progress for a minute.
fn count_turns(witness: &Witness, done: &AtomicBool) {
    const BUSY: Duration = Duration::from_millis(2);
    let spin = |turns: u64| (0..turns).for_each(|_| std::hint::spin_loop());
    // The fastest of several attempts was not preempted.
    let measure = || {
        let start = Instant::now();
        spin(10_000);
        start.elapsed()
    };
    let shortest = (0..20).map(|_| measure()).min().unwrap_or(BUSY).max(Duration::from_nanos(1));
    let turns = (BUSY.as_nanos() * 10_000 / shortest.as_nanos()) as u64;
    let (mut last, mut since) = (0, Instant::now());
    while !done.load(Ordering::Relaxed) {
        spin(turns);
        thread::sleep(BUSY);
        witness.count_turn();
        let rounds = witness.rounds(UNKILLED.place);
        if rounds != last {
            (last, since) = (rounds, Instant::now());
        }
        if since.elapsed() > Duration::from_secs(60) {
            eprintln!("the process that is not killed is stuck where it waits without end");
            std::process::abort();
        }
    }
}

/// Runs the process that is not killed, and asserts that every operation succeeds in time.
/// `goes_on` is called between rounds; it kills workers or checks on the killers, and returns
/// `false` at the end.
fn survive(
    objects: &Objects,
    witness: &Witness,
    open_timeout: Patience,
    mut goes_on: impl FnMut() -> bool,
) {
    let shared = Shared::create_new(objects.locks(), parts).unwrap();
    let watch = Watch { witness, open_timeout, longest: Cell::new(Duration::ZERO) };
    let user = User { shared: &shared, watch: &watch, me: UNKILLED };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| count_turns(witness, &done));
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while goes_on() {
                assert!(!witness.has_failed(), "a process found something wrong, and said what");
                user.use_all();
            }
            user.use_all();
        }));
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
    });
    println!(
        "{} rounds by the one not killed; its longest wait {:?}",
        witness.rounds(UNKILLED.place),
        watch.longest.get()
    );
    nothing_is_lost(&shared, objects);
}

/// Asserts that dead processes leaked no permits, memberships, lanes or participants.
fn nothing_is_lost(shared: &Shared<Parts>, objects: &Objects) {
    let ((mutex, _, lock, permits), (.., barrier)) = &**shared;
    let all: Vec<_> = (0..PERMITS).map(|_| permits.acquire_timeout(STUCK).unwrap()).collect();
    assert_eq!(permits.try_acquire().unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(all);
    barrier.restart().unwrap();
    let members: Vec<_> = (0..MEMBERS).map(|_| barrier.join().unwrap()).collect();
    assert_eq!(barrier.join().unwrap_err().kind(), ErrorKind::Busy);
    drop(members);

    drop(lock.read_timeout(STUCK).unwrap());
    let others = LANES - 1;
    let meet = Barrier::new(others);
    thread::scope(|scope| {
        for _ in 0..others {
            scope.spawn(|| {
                let reading = lock.read_timeout(STUCK);
                meet.wait();
                drop(reading.unwrap());
            });
        }
    });

    // A free participant can be locked for a moment by another process that looks for one.
    let more: Vec<_> = (1..PARTICIPANTS).map(|_| Attached::start(objects, STUCK / 2)).collect();
    let more: Vec<_> = more.into_iter().map(|one| one.expect(ATTACHED, objects)).collect();
    Attached::start(objects, Duration::from_millis(100)).expect(NO_PLACE, objects);
    drop(more);
    drop(mutex.lock_timeout(STUCK).unwrap());
    assert!(unless_late(permits.acquire_timeout(Duration::ZERO)).is_some());
}

const ATTACHED: &str = "attached";
const NO_PLACE: &str = "there is no place";

/// A child process that attaches to the object, if a participant is free within `open_timeout`.
struct Attached {
    report: Receiver<Option<&'static str>>,
    open_timeout: Duration,
    running: Running,
}

impl Attached {
    fn start(objects: &Objects, open_timeout: Duration) -> Self {
        let argument = format!("{} {}", open_timeout.as_millis(), objects.locks());
        let mut command = common::child("attaches", argument);
        let piped = std::process::Stdio::piped;
        let mut child = command.stdin(piped()).stdout(piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, report) = mpsc::channel();
        // The thread ends with the child, which the owner of this value kills.
        thread::spawn(move || {
            let known =
                |line: String| [ATTACHED, NO_PLACE].into_iter().find(|told| line.contains(told));
            let _ = sender.send(output.lines().map_while(Result::ok).find_map(known));
        });
        Self { report, open_timeout, running: Running(child) }
    }

    /// Asserts that the child reports `expected`, and returns it.
    ///
    /// Under an emulator, a child that reports nothing is replaced once, and its state is printed. qemu's user
    /// mode has been seen to leave one in thousands of children stuck before it attached.
    fn expect(self, expected: &str, objects: &Objects) -> Self {
        let report = self.report.recv_timeout(STUCK).ok();
        if report.is_some() || !common::emulated() {
            assert_eq!(report, Some(Some(expected)), "{}", self.state());
            return self;
        }
        let message = format!("a child is stuck under the emulator: {}\n", self.state());
        // Not `eprintln`, which the test harness captures.
        let _ = std::io::stderr().write_all(message.as_bytes());
        let second = Self::start(objects, self.open_timeout);
        drop(self);
        let report = second.report.recv_timeout(STUCK).ok();
        assert_eq!(report, Some(Some(expected)), "{}", second.state());
        second
    }

    /// Describes what the child and its threads do, as far as the system tells.
    fn state(&self) -> String {
        let process = format!("/proc/{}", self.running.0.id());
        let text = |path: String| {
            let bytes = std::fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
        };
        let mut state = format!("{process}: {}", text(format!("{process}/cmdline")));
        let threads = std::fs::read_dir(format!("{process}/task")).into_iter().flatten();
        for thread in threads.flatten().map(|entry| entry.path().display().to_string()) {
            let [wchan, syscall, status] =
                ["wchan", "syscall", "stat"].map(|file| text(format!("{thread}/{file}")));
            state.push_str(&format!("\n  {thread}: {wchan}; {syscall}; {status}"));
        }
        state
    }
}

/// Child role: attaches, reports the result, and stays attached until the process is killed.
#[test]
fn attaches() {
    let Some(argument) = common::role("attaches") else { return };
    let (open_timeout, name) = argument.to_str().unwrap().split_once(' ').unwrap();
    let open_timeout = Duration::from_millis(open_timeout.parse().unwrap());
    let opened = SharedOptions::new().open_timeout(open_timeout).open::<Parts>(name);
    println!(
        "{}",
        match &opened {
            Ok(_) => ATTACHED,
            Err(error) if error.kind() == ErrorKind::TooManyProcesses => NO_PLACE,
            Err(error) => panic!("{error}"),
        }
    );
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

/// Returns `true` if workers are forked by nests.
fn has_nests() -> bool {
    #[cfg(target_os = "linux")]
    return !common::emulated();
    #[cfg(not(target_os = "linux"))]
    false
}

/// Survivors make progress while forked workers are killed.
#[test]
fn survivors_make_progress() {
    need_atomics!();
    #[cfg(target_os = "linux")]
    if has_nests() {
        return nest::storm(if is_long() { 100_000 } else { 2_000 });
    }
    eprintln!("skipped: no forked workers in namespaces of their own here");
}

/// Survivors make progress while ordinary processes are killed.
#[test]
fn survivors_make_progress_among_plain_processes() {
    need_atomics!();
    plain::storm(if has_nests() && !is_long() { 30 } else { 150 });
}

/// The witness, on which the storm relies, detects each kind of violation.
#[test]
fn the_witness_detects_violations() {
    use witness::{Alone, Told};
    need_atomics!();
    let objects = Objects::new("witness");
    let witness = Witness::create(&objects.witness());
    let [a, b, c, d] = [0, 1, 2, 3].map(|place| Name { place, number: 7 });
    let wrong = |what: &str, act: &dyn Fn()| {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        assert!(caught.is_err(), "{what} went unnoticed");
    };
    for what in [Alone::Mutex, Alone::Writer, Alone::Upgrader, Alone::Once] {
        witness.enter(what, a, Told::Nothing);
        wrong("a second owner", &|| witness.enter(what, b, Told::OfDeath));
        witness.doom(b);
        if what == Alone::Upgrader {
            witness.enter(what, c, Told::Nothing);
        } else {
            wrong("a death not told", &|| witness.enter(what, c, Told::Nothing));
        }
        witness.leave(what, c);
    }
    witness.check(Alone::Mutex, &[0; 6], Told::Nothing);
    wrong("half a value", &|| witness.check(Alone::Mutex, &[0, 0, 0, 1, 1, 1], Told::OfDeath));
    witness.begin(Alone::Mutex, &[0; 6]);
    witness.check(Alone::Mutex, &[1; 6], Told::Nothing);
    witness.check(Alone::Mutex, &[0; 6], Told::OfDeath);
    wrong("a value not replaced", &|| witness.check(Alone::Mutex, &[0; 6], Told::Nothing));
    wrong("a value that no worker wrote", &|| witness.check(Alone::Mutex, &[2; 6], Told::OfDeath));

    witness.start_reading(a, Told::Nothing);
    wrong("a writer beside a reader", &|| witness.check_nobody_reads(c));
    witness.stop_reading(a);
    witness.check_nobody_reads(c);
    witness.enter(Alone::Writer, a, Told::Nothing);
    wrong("a reader beside a writer", &|| witness.start_reading(c, Told::OfDeath));

    witness.take_permit(a, 2);
    witness.take_permit(b, 2);
    witness.take_permit(c, 2);
    wrong("a permit too many", &|| witness.take_permit(d, 2));

    let open_timeout = Patience { time: Duration::from_millis(1), turns: 0 };
    let watch = Watch { witness: &witness, open_timeout, longest: Cell::new(Duration::ZERO) };
    wrong("a wait without end", &|| {
        watch.wait("nothing", |time| {
            thread::sleep(time);
            None::<()>
        });
    });
}
