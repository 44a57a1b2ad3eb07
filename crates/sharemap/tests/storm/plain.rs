//! Workers that are started and killed as ordinary processes, for systems without nests.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::witness::{Name, Patience, Witness};
use super::work::Random;
use super::{NAME, Objects, Running, seed, survive, work};

const WORKERS: usize = 3;
const WHO: &str = "SHAREMAP_STORM_WHO";
/// Longer than any operation takes, even under an emulator or with services between the processes.
const PATIENCE: Patience = Patience { time: Duration::from_secs(10), turns: 0 };

/// Child role: a worker, which runs until it is killed.
#[test]
fn worker() {
    let (Ok(name), Ok(who)) = (std::env::var(NAME), std::env::var(WHO)) else { return };
    let mut who = who.split(' ').map(|number| number.parse::<u64>().unwrap());
    let mut next = || who.next().unwrap();
    let (me, seed) = (Name { place: next() as usize, number: next() }, next());
    let objects = Objects::of(&name);
    let witness = Witness::open(&objects.witness());
    let worked = std::panic::catch_unwind(|| work(&objects, &witness, me, seed, PATIENCE));
    if let Err(panic) = worked {
        witness.fail();
        std::panic::resume_unwind(panic);
    }
}

pub fn storm(kills: u64) {
    let seed = seed();
    let mut random = Random::new(seed);
    let objects = Objects::new("plain");
    let witness = Witness::create(&objects.witness());
    let start = |me: Name| {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["plain::worker", "--exact", "--nocapture", "--test-threads=1"])
            .env(NAME, objects.locks())
            .env(WHO, format!("{} {} {seed}", me.place, me.number))
            .stdout(Stdio::null())
            .spawn();
        (me, Running(child.unwrap()))
    };
    let mut workers: Vec<(Name, Running)> = Vec::new();
    let (mut kill, mut before) = (0, 0);
    survive(&objects, &witness, PATIENCE, || {
        if workers.is_empty() {
            workers.extend((0..WORKERS).map(|place| start(Name { place, number: 1 })));
        }
        let rounds = || (0..WORKERS).map(|place| witness.rounds(place)).sum::<u64>();
        // Waits until the workers made some progress, so that the next death hits a busy process.
        if rounds() < before {
            return true;
        }
        before = rounds() + 1 + random.below(30);
        let (me, victim) = &mut workers[random.below(WORKERS as u64) as usize];
        // A worker that ended by itself detected a violation.
        if let Some(status) = victim.0.try_wait().unwrap() {
            panic!("a worker ended before kill {kill}: {status}");
        }
        witness.doom(*me);
        victim.0.kill().unwrap();
        victim.0.wait().unwrap();
        kill += 1;
        if kill == kills {
            workers.iter().for_each(|(me, _)| witness.doom(*me));
            workers.clear();
            return false;
        }
        let next = Name { number: me.number + 1, ..*me };
        (*me, *victim) = start(next);
        true
    });
    println!("{kills} kills of plain processes");
}
