//! Uncontended locks.

use std::cell::RefCell;
use std::hint::black_box;

use sharemap::{Location, Mutex, RwLock, Shared};

use crate::figure::{Figure, Setup};
use crate::measure::Contest;
use crate::peers::boost;
use crate::peers::pthread::{self, Robust, Semaphore};
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};

const LOCK: &str = "lock and unlock, with a counter";
const NESTED: &str = "two locks of one object, nested, with counters";
const READ: &str = "lock for reading, and unlock";
const WRITE: &str = "lock for writing, and unlock";

pub const FIGURES: &[Figure] = &[
    Figure { name: LOCK, run: lock },
    Figure { name: NESTED, run: nested },
    Figure { name: READ, run: read },
    Figure { name: WRITE, run: write },
];

fn lock(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let ours = Shared::create_new(Location::anonymous(), || Mutex::new(0_u64)).map_err(why)?;
    let std = std::sync::Mutex::new(0_u64);
    let parking_lot = parking_lot::Mutex::new(0_u64);
    let paths = [setup.dir.join("pthread-mutex"), setup.dir.join("pthread-robust")];
    let [shared, robust] =
        [(&paths[0], Robust::No), (&paths[1], Robust::Yes)].map(|(path, robust)| {
            let _ = std::fs::remove_file(path);
            let mutex = pthread::Mutex::create(path, robust);
            let _ = std::fs::remove_file(path);
            mutex
        });
    let (shared, robust) = (shared?, robust?);
    let semaphore = Semaphore::new(1)?;
    let counter = RefCell::new(0_u64);
    let mut contest = Contest::new()
        .side("Mutex", || {
            let mut count = black_box(&ours).lock().map_err(why)?;
            *count = count.wrapping_add(1);
            Ok(())
        })
        .side("std::sync::Mutex", || {
            let mut count = black_box(&std).lock().map_err(why)?;
            *count = count.wrapping_add(1);
            Ok(())
        })
        .side("parking_lot", || {
            let mut count = black_box(&parking_lot).lock();
            *count = count.wrapping_add(1);
            Ok(())
        })
        .side("pthread, shared", || black_box(&shared).count(|| ()))
        .side("pthread, shared, robust", || black_box(&robust).count(|| ()))
        .side("sem_t, named", || {
            black_box(&semaphore).wait();
            let mut count = counter.borrow_mut();
            *count = black_box(count.wrapping_add(1));
            black_box(&semaphore).post();
            Ok(())
        });
    let boost = boost::start("mutex");
    let missing = boost.as_ref().err().cloned();
    if let Ok(mut boost) = boost {
        contest = contest.timed_side("Boost interprocess_mutex", move |repeats| boost.run(repeats));
    }
    let outcome = contest.run(setup.effort)?;
    let row = |peer, goal| {
        let figure = format!("{LOCK}: {peer}");
        outcome.row(&figure, Unit::Nanoseconds, "Mutex", peer, goal)
    };
    let mut rows = vec![
        row("std::sync::Mutex", Some(Goal::at_most(0.75))),
        row("parking_lot", None),
        row("pthread, shared", None),
        row("pthread, shared, robust", None),
        row("sem_t, named", None),
    ];
    rows.push(match missing {
        None => row("Boost interprocess_mutex", None),
        Some(reason) => Row::skipped(&format!("{LOCK}: Boost interprocess_mutex"), reason),
    });
    Ok(rows)
}

/// Two mutexes at once: the outer one has the lane's first slot, the inner one the second.
fn nested(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let both = || (Mutex::new(0_u64), Mutex::new(0_u64));
    let ours = Shared::create_new(Location::anonymous(), both).map_err(why)?;
    let std = (std::sync::Mutex::new(0_u64), std::sync::Mutex::new(0_u64));
    let outcome = Contest::new()
        .side("Mutex", || {
            let (outer, inner) = &**black_box(&ours);
            let mut outer = outer.lock().map_err(why)?;
            let mut inner = inner.lock().map_err(why)?;
            *outer = outer.wrapping_add(1);
            *inner = inner.wrapping_add(1);
            Ok(())
        })
        .side("std::sync::Mutex", || {
            let (outer, inner) = black_box(&std);
            let mut outer = outer.lock().map_err(why)?;
            let mut inner = inner.lock().map_err(why)?;
            *outer = outer.wrapping_add(1);
            *inner = inner.wrapping_add(1);
            Ok(())
        })
        .run(setup.effort)?;
    let peer = "std::sync::Mutex";
    let figure = format!("{NESTED}: {peer}");
    let goal = Some(Goal::at_most(1.2));
    Ok(vec![outcome.row(&figure, Unit::Nanoseconds, "Mutex", peer, goal)])
}

fn read(setup: &Setup) -> Result<Vec<Row>, Reason> {
    readers_and_writers(setup, READ, "read", 0.65, Some(Goal::at_most(0.75)))
}

fn write(setup: &Setup) -> Result<Vec<Row>, Reason> {
    readers_and_writers(setup, WRITE, "write", 0.6, None)
}

fn readers_and_writers(
    setup: &Setup,
    figure: &str,
    what: &'static str,
    pthread_goal: f64,
    std_goal: Option<Goal>,
) -> Result<Vec<Row>, Reason> {
    let ours = Shared::create_new(Location::anonymous(), || RwLock::new(0_u64)).map_err(why)?;
    let std = std::sync::RwLock::new(0_u64);
    let pthread = pthread::RwLock::new()?;
    let reads = what == "read";
    let contest = Contest::new();
    let mut contest = if reads {
        contest
            .side("RwLock", || {
                black_box(*black_box(&ours).read().map_err(why)?);
                Ok(())
            })
            .side("std::sync::RwLock", || {
                black_box(*black_box(&std).read().map_err(why)?);
                Ok(())
            })
            .side("pthread_rwlock_t", || {
                black_box(&pthread).read().map(|value| {
                    black_box(value);
                })
            })
    } else {
        contest
            .side("RwLock", || {
                let mut count = black_box(&ours).write().map_err(why)?;
                *count = count.wrapping_add(1);
                Ok(())
            })
            .side("std::sync::RwLock", || {
                let mut count = black_box(&std).write().map_err(why)?;
                *count = count.wrapping_add(1);
                Ok(())
            })
            .side("pthread_rwlock_t", || black_box(&pthread).write())
    };
    let boost = boost::start(what);
    let missing = boost.as_ref().err().cloned();
    if let Ok(mut boost) = boost {
        contest = contest.timed_side("Boost sharable_mutex", move |repeats| boost.run(repeats));
    }
    let outcome = contest.run(setup.effort)?;
    let row = |peer, goal| {
        outcome.row(&format!("{figure}: {peer}"), Unit::Nanoseconds, "RwLock", peer, goal)
    };
    let mut rows = vec![
        row("pthread_rwlock_t", Some(Goal::at_most(pthread_goal))),
        row("std::sync::RwLock", std_goal),
    ];
    rows.push(match missing {
        None => row("Boost sharable_mutex", None),
        Some(reason) => Row::skipped(&format!("{figure}: Boost sharable_mutex"), reason),
    });
    Ok(rows)
}
