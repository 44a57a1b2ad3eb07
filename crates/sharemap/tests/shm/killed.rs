//! Creators that are killed leave complete objects or none.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use sharemap::{ErrorKind, SharedMemory};

use super::Name;
use super::common::{child, role, skip};

const LEN: u64 = 300_000;

/// Returns the number of hidden names, which objects of `process` have until they are complete.
fn drafts(process: u32) -> usize {
    let beginning = format!(".sharemap-new-{process}-");
    let list = SharedMemory::list().unwrap();
    list.iter().filter(|object| object.name.to_string_lossy().starts_with(&beginning)).count()
}

/// A killed creator leaves a complete object or none, and its hidden name is removed by the next
/// creator.
#[test]
fn killed_creators_leave_complete_objects_or_none() {
    const TEST: &str = "killed::killed_creators_leave_complete_objects_or_none";
    const ROUNDS: u32 = 40;
    if let Some(name) = role(TEST) {
        let name = Name::given(&name);
        println!("\nready");
        loop {
            SharedMemory::replace(&*name, LEN).unwrap().bytes().fill(1).unwrap();
            SharedMemory::unlink(&*name).unwrap();
            SharedMemory::create_new(&*name, LEN).unwrap();
        }
    }
    let name = Name::new();
    let (mut whole, mut none) = (0, 0);
    for round in 0..ROUNDS {
        let mut maker = match child(TEST, &*name).stdout(Stdio::piped()).spawn() {
            Ok(maker) => maker,
            Err(error) => skip!("this program cannot be started from itself: {error}"),
        };
        let mut lines = BufReader::new(maker.stdout.take().unwrap()).lines();
        while lines.next().is_some_and(|line| line.unwrap() != "ready") {}
        // The kill hits the creator at any point.
        std::thread::sleep(Duration::from_micros(u64::from(round) * 131 % 5000));
        maker.kill().unwrap();
        maker.wait().unwrap();
        match SharedMemory::open(&*name) {
            Ok(memory) => {
                assert_eq!(memory.len() as u64, LEN);
                memory.bytes().fill(2).unwrap();
                whole += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
                none += 1;
            }
        }
        // The next creator of a hidden name removes those of dead processes.
        SharedMemory::replace(&*name, 1).unwrap();
        assert_eq!(drafts(maker.id()), 0);
        SharedMemory::unlink(&*name).unwrap();
    }
    eprintln!("{whole} whole objects, {none} times nothing");
}

/// An object that is being created by a living process is not removed.
#[test]
fn objects_being_created_are_not_removed() {
    let names: Vec<Name> = (0..4).map(|_| Name::new()).collect();
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| {
                for _ in 0..500 {
                    let memory = SharedMemory::replace(&**name, 5000).unwrap();
                    assert_eq!(SharedMemory::open(&**name).unwrap().len(), 5000);
                    drop(memory);
                }
            });
        }
    });
    assert_eq!(drafts(std::process::id()), 0);
}
