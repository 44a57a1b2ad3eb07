//! Nests: processes that fork workers in a pid namespace of their own and kill them.
//!
//! A forked worker costs a fraction of starting a program. Each nest kills at its own pace, so
//! workers also die while other workers die, and while they recover them.

#![allow(unsafe_code, reason = "forks, kills, and makes namespaces")]

use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::witness::{Name, Patience, Witness};
use super::work::Random;
use super::{NAME, Objects, Running, seed, survive, work};

const WHO: &str = "SHAREMAP_STORM_NEST";
const NESTS: usize = 4;
/// A second with 100 turns: what a loop that needs a third of a processor completed in a second
/// beside five busy processes on two processors.
const PATIENCE: Patience = Patience { time: Duration::from_secs(1), turns: 100 };

/// Child role: a nest.
#[test]
fn nest() {
    let (Ok(name), Ok(who)) = (std::env::var(NAME), std::env::var(WHO)) else { return };
    let mut who = who.split(' ').map(|number| number.parse::<u64>().unwrap());
    let mut next = || who.next().unwrap();
    let (place, kills, seed) = (next() as usize, next(), next());
    end_with_parent();
    let objects = Objects::of(&name);
    // Installs the handler in this process, so that the workers inherit it.
    let _ = sharemap::guard::recovery();
    // A namespace needs a single-threaded process to create it, and a first process in it. The
    // forks provide both.
    let maker = fork(|| {
        if let Err(error) = own_namespace() {
            eprintln!("skipped: no pid namespace of its own: {error}");
        }
        end_with_parent();
        let first = fork(|| {
            end_with_parent();
            kill_workers(&objects, place, kills, seed);
        });
        assert!(ended_well(first));
    });
    assert!(ended_well(maker));
}

/// Forks a worker and kills it, `kills` times.
fn kill_workers(objects: &Objects, place: usize, kills: u64, seed: u64) {
    const NAP: Duration = Duration::from_micros(100);
    let witness = Witness::open(&objects.witness());
    let mut random = Random::new(seed ^ (place as u64) << 32);
    for number in 1..=kills {
        let me = Name { place, number };
        let rounds = witness.rounds(place);
        let worker = fork(|| {
            end_with_parent();
            let worked = std::panic::catch_unwind(|| work(objects, &witness, me, seed, PATIENCE));
            if worked.is_err() {
                witness.fail();
            }
        });
        // One in eight workers dies while attaching. The others are killed only after some rounds,
        // however busy the machine is.
        let wanted = if random.below(8) == 0 { 0 } else { 1 + random.below(30) };
        while witness.rounds(place) < rounds + wanted && !witness.has_failed() {
            std::thread::sleep(NAP);
        }
        std::thread::sleep(Duration::from_micros(random.below(300)));
        witness.doom(me);
        // SAFETY: the worker is a child of this process and has not been waited for yet.
        unsafe { libc::kill(worker, libc::SIGKILL) };
        let status = wait(worker);
        let killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
        assert!(killed && !witness.has_failed(), "worker {me:?} ended before it was killed");
    }
}

pub fn storm(kills: u64) {
    let seed = seed();
    let objects = Objects::new("nests");
    let witness = Witness::create(&objects.witness());
    let each = kills / NESTS as u64;
    let mut nests: Vec<Running> = Vec::new();
    survive(&objects, &witness, PATIENCE, || {
        if nests.is_empty() {
            nests.extend((0..NESTS).map(|place| {
                let child = Command::new(std::env::current_exe().unwrap())
                    .args(["nest::nest", "--exact", "--nocapture", "--test-threads=1"])
                    .env(NAME, objects.locks())
                    .env(WHO, format!("{place} {each} {seed}"))
                    .stdout(Stdio::null())
                    .spawn();
                Running(child.unwrap())
            }));
        }
        let mut working = false;
        for Running(child) in &mut nests {
            match child.try_wait().unwrap() {
                Some(status) => assert!(status.success(), "a nest ended with {status}"),
                None => working = true,
            }
        }
        working
    });
    println!("{} kills in {NESTS} nests", each * NESTS as u64);
}

/// Creates a pid namespace for the children of this single-threaded process.
fn own_namespace() -> io::Result<()> {
    let check = |result: i32| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: takes only numbers.
    if check(unsafe { libc::unshare(libc::CLONE_NEWPID) }).is_ok() {
        return Ok(());
    }
    // SAFETY: takes no arguments.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    // SAFETY: takes only numbers.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) })?;
    // Maps the user and group to themselves, as they own the objects.
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

/// Requests that the system kills this process when its parent ends.
fn end_with_parent() {
    // SAFETY: takes only numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Forks a child that runs `body` and exits.
fn fork(body: impl FnOnce()) -> i32 {
    // SAFETY: the child runs only what this C library allows after a fork, and exits without
    // returning.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0, "{}", io::Error::last_os_error());
        if child == 0 {
            let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok();
            libc::_exit(i32::from(!passed));
        }
        child
    }
}

fn wait(child: i32) -> i32 {
    let mut status = 0;
    // SAFETY: the child belongs to this process and is waited for once.
    let waited = unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(waited, child, "{}", io::Error::last_os_error());
    status
}

fn ended_well(child: i32) -> bool {
    let status = wait(child);
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}
