//! Creators that are killed leave whole objects, or nothing.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use sharemap::{ErrorKind, SharedMemory};

use super::Name;
use super::common::{child, role, skip};

const LEN: u64 = 300_000;

/// Names that are hidden until objects are whole, of objects of this process.
fn drafts(process: u32) -> usize {
    let beginning = format!(".sharemap-new-{process}-");
    let list = SharedMemory::list().unwrap();
    list.iter().filter(|object| object.name.to_string_lossy().starts_with(&beginning)).count()
}

#[test]
fn killed_creators_leave_whole_objects_or_nothing() {
    const TEST: &str = "killed::killed_creators_leave_whole_objects_or_nothing";
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
        // Wherever it is by now.
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
        // Whoever makes a hidden name next takes along what was left.
        SharedMemory::replace(&*name, 1).unwrap();
        assert_eq!(drafts(maker.id()), 0);
        SharedMemory::unlink(&*name).unwrap();
    }
    eprintln!("{whole} whole objects, {none} times nothing");
}

#[test]
fn what_is_being_made_is_not_swept() {
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
