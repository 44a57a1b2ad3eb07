//! Shares several locks in one object: a struct of locks that derives `SharedType`, and a value that
//! derives `Shareable`.
//!
//! `cargo run --example state`

use std::thread;

use sharemap::{Condvar, Event, Location, Mutex, RwLock, Shareable, Shared, SharedType};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// A value with the same layout in every process: `repr(C)`, and no pointers.
#[derive(Clone, Copy, Debug, Shareable, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Settings {
    speed: f32,
    mode: Mode,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Shareable, TryFromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(u32)]
enum Mode {
    Slow = 0,
    Fast = 1,
}

/// The initial state of the object. The derived `PlantHandle`, with a method for each field, accesses
/// the locks.
#[derive(SharedType)]
struct Plant {
    settings: RwLock<Settings>,
    jobs: Mutex<u32>,
    changed: Condvar,
    closing: Event,
}

impl Plant {
    fn new() -> Self {
        Self {
            settings: RwLock::new(Settings { speed: 1.0, mode: Mode::Slow }),
            jobs: Mutex::new(0),
            changed: Condvar::new(),
            closing: Event::manual_reset(),
        }
    }
}

fn work(plant: &PlantHandle) -> sharemap::Result<()> {
    let mut done = 0;
    loop {
        let jobs = plant.jobs().lock()?;
        let mut jobs = plant
            .changed()
            .wait_while(jobs, |jobs| *jobs == 0 && !plant.closing().is_set().unwrap_or(true))?;
        if *jobs == 0 {
            println!("a worker did {done}, at last in mode {:?}", plant.settings().read()?.mode);
            return Ok(());
        }
        *jobs -= 1;
        done += 1;
    }
}

fn main() -> sharemap::Result<()> {
    // Under a name, the workers could also be other programs.
    let plant = Shared::create_new(Location::anonymous(), Plant::new)?;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(|| work(&plant))).collect();
        for round in 0..100 {
            *plant.jobs().lock()? += 10;
            plant.changed().notify_all()?;
            if round == 50 {
                let mut settings = plant.settings().write()?;
                settings.mode = Mode::Fast;
                settings.speed *= 2.0;
            }
        }
        plant.closing().set()?;
        plant.changed().notify_all()?;
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker panicked"))
    })?;
    assert_eq!(*plant.jobs().lock()?, 0);
    println!("{:?}", *plant.settings().read()?);
    Ok(())
}
