//! Real processes on a segment, which are killed while they allocate and free.
//!
//! Each process attaches blocks to roots of its own and frees them again. A root is a word that only one process
//! changes, under a lock of its own. After every kill the survivors go on. At the end exactly the blocks of the
//! roots are allocated.

mod killing;
mod ledger;
mod pages;

use std::collections::BTreeSet;

use crate::error::Result;
use crate::guard::{Recovery, recovery};
use crate::peer::Machine;
use crate::segment::Segment;
use crate::segment::allocator::Freed;
use crate::segment::census;
use crate::shm::Location;
use crate::testing::child::{Second, role, tell};

/// The number of roots of each process.
const OWN: u64 = 8;
const PROCESSES: u64 = 3;
/// The blocks have lengths up to this, so that spans of many classes are used.
const LONGEST: u64 = 3000;

/// A generator of numbers from a seed (the high bits of a linear congruential generator).
#[derive(Clone, Copy, Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Returns the offset of a root: a word of the segment that holds all of them.
fn root(segment: &Segment, index: u64) -> u64 {
    segment.inner.plan.roots() + 128 + 8 * index
}

/// Attaches a block to an empty root of this process, or frees the block of a full one.
fn toggle(segment: &Segment, process: u64, random: &mut Random) -> Result<()> {
    let root = root(segment, process * OWN + random.below(OWN));
    let lock = process as u32;
    let len = 1 + random.below(LONGEST);
    segment.with(|allocator| {
        let at = segment.session().load_64(root)?;
        let (value, top) = match at {
            0 => {
                let taken = allocator.take(len)?;
                (taken.at, taken.top)
            }
            at => match allocator.prepare_free(at)? {
                Freed::Block(at, class) => (0, allocator.give(at, class)?),
                Freed::Run(_) => unreachable!("all lengths are those of blocks"),
            },
        };
        allocator.change(|change| {
            change.lock(lock..lock + 1)?;
            change.record(root, value);
            change.commit(&[top])
        })
    })
}

/// Toggles roots until the process is killed or the connection is closed.
fn work(argument: &str) -> Result<()> {
    let (name, process) = argument.split_once(' ').unwrap();
    let process: u64 = process.parse().unwrap();
    let segment = Segment::open(Location::name(name))?;
    // What an earlier process of this number left.
    segment.repair()?;
    let mut random = Random(process + 1000 * u64::from(std::process::id()));
    tell("works");
    loop {
        for _ in 0..1000 {
            toggle(&segment, process, &mut random)?;
        }
    }
}

/// Checks that exactly the blocks of the roots are allocated. No other process uses the segment.
fn check(segment: &Segment) -> usize {
    segment.repair().unwrap();
    let heap = segment.inner.plan.heap;
    let census = census::take(segment.session(), heap, &segment.inner.areas().unwrap());
    let roots: BTreeSet<u64> = (0..OWN * PROCESSES)
        .map(|index| segment.session().load_64(root(segment, index)).unwrap())
        .filter(|&at| at != 0)
        .collect();
    assert_eq!(census.unwrap().allocated, roots);
    roots.len()
}

#[test]
fn processes_killed_while_they_allocate_leak_nothing() {
    const ROLE: &str = "segment::tests::storm::processes_killed_while_they_allocate_leak_nothing";
    if let Some(argument) = role(ROLE) {
        work(&argument).unwrap();
        return;
    }
    if recovery() != Recovery::InPlace {
        eprintln!("skipped: faults cannot be recovered in place here");
        return;
    }
    let kills = match std::env::var("SHAREMAP_LONG") {
        Ok(long) if long == "1" => 10_000,
        _ => 60,
    };
    let seed = std::process::id().into();
    println!("seed {seed}");
    let name = format!("segment-storm-{}", std::process::id());
    let segment = Segment::create_new(Location::name(&name), 1 << 20, 1 << 26).unwrap();
    let start = |process: u64| {
        let mut second = Second::start(ROLE, &format!("{name} {process}"));
        second.expect("works");
        second
    };
    let mut processes: Vec<Second> = (0..PROCESSES).map(start).collect();
    let mut random = Random(seed);
    let mut left = 0;
    for kill in 0..kills {
        let victim = random.below(PROCESSES);
        for _ in 0..random.below(50_000) {
            std::hint::spin_loop();
        }
        processes[victim as usize].kill();
        if kill % 20 == 19 {
            processes.iter_mut().for_each(Second::kill);
            left += check(&segment);
            processes = (0..PROCESSES).map(start).collect();
        } else {
            processes[victim as usize] = start(victim);
        }
    }
    assert!(left > 0, "no block was attached at any check");
    drop(processes);
    println!("{kills} kills, {left} blocks attached at checks");
    crate::shm::unlink(&name).unwrap();
}
