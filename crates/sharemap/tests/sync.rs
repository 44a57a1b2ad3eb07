//! Locks between threads and between processes: what each promises, and what it says when it cannot.

mod common;

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::need_atomics;
use sharemap::{
    Barrier, Condvar, ErrorKind, Event, Location, LockError, Mutex, Once, OnceTurn, Permits,
    RwLock, Shared, SharedMemory, Signal,
};

/// A name of this test's own, unlinked at the end.
struct Name(String);

impl Name {
    fn new(test: &str) -> Self {
        let name = format!("sync-{test}-{}", std::process::id());
        let _ = SharedMemory::unlink(name.as_str());
        Self(name)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = SharedMemory::unlink(self.0.as_str());
    }
}

/// The same test binary as another process, which runs `role` on the object of this name.
fn another(role: &str, name: &Name) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["role", "--exact", "--nocapture"])
        .env("SHAREMAP_SYNC_ROLE", role)
        .env("SHAREMAP_SYNC_NAME", &name.0)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test of its own: what the other process does.
#[test]
fn role() {
    let (Ok(role), Ok(name)) =
        (std::env::var("SHAREMAP_SYNC_ROLE"), std::env::var("SHAREMAP_SYNC_NAME"))
    else {
        return;
    };
    let name = name.as_str();
    match role.as_str() {
        "count" => {
            let count = Shared::<Mutex<u64>>::open(name).unwrap();
            for _ in 0..20_000 {
                *count.lock().unwrap() += 1;
            }
        }
        "die with the mutex" => {
            let both = Shared::<(Mutex<u64>, Signal)>::open(name).unwrap();
            let (value, ready) = &*both;
            let mut guard = value.lock().unwrap();
            *guard = 99;
            ready.post().unwrap();
            loop {
                thread::park();
            }
        }
        "die with a permit" => {
            let both = Shared::<(Permits, Signal)>::open(name).unwrap();
            let (permits, ready) = &*both;
            let _permit = permits.acquire().unwrap();
            ready.post().unwrap();
            loop {
                thread::park();
            }
        }
        "die reading" => {
            let both = Shared::<(RwLock<u32>, Signal)>::open(name).unwrap();
            let (lock, ready) = &*both;
            let _reading = lock.read().unwrap();
            ready.post().unwrap();
            loop {
                thread::park();
            }
        }
        "die as a member" => {
            let both = Shared::<(Barrier, Signal)>::open(name).unwrap();
            let (barrier, ready) = &*both;
            let _member = barrier.join().unwrap();
            ready.post().unwrap();
            loop {
                thread::park();
            }
        }
        "die at it" => {
            let both = Shared::<(Once, Signal)>::open(name).unwrap();
            let (once, ready) = &*both;
            once.call::<sharemap::Error>(|_| {
                ready.post()?;
                loop {
                    thread::park();
                }
            })
            .unwrap();
        }
        other => panic!("no such role: {other}"),
    }
}

/// Kills it, and waits until the system says that it is gone.
fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn threads_count_together() {
    need_atomics!();
    let count =
        Shared::create_new(Location::anonymous(), || [Mutex::new(0_u64), Mutex::new(5)]).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    *count[0].lock().unwrap() += 1;
                    *count[1].lock().unwrap() += 2;
                }
            });
        }
    });
    assert_eq!(*count[0].lock().unwrap(), 20_000);
    assert_eq!(*count[1].lock().unwrap(), 40_005);
}

#[test]
fn processes_count_together() {
    need_atomics!();
    let name = Name::new("count");
    let count = Shared::create_new(name.0.as_str(), || Mutex::new(0_u64)).unwrap();
    let children: Vec<Child> = (0..3).map(|_| another("count", &name)).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(*count.lock().unwrap(), 60_000);
}

#[test]
fn a_dead_owner_is_told_of_and_its_value_never_seen() {
    need_atomics!();
    let name = Name::new("dead");
    let both = Shared::create_new(name.0.as_str(), || (Mutex::new(7_u64), Signal::new(0))).unwrap();
    let (value, ready) = &*both;
    let owner = another("die with the mutex", &name);
    ready.wait().unwrap();
    assert_eq!(value.try_lock().unwrap_err().kind(), ErrorKind::WouldBlock);
    let timeout = value.lock_timeout(Duration::from_millis(20)).unwrap_err();
    assert_eq!(timeout.kind(), ErrorKind::Timeout);
    kill(owner);
    // Dropping what tells of it leaves it for the next.
    for _ in 0..2 {
        let Err(LockError::OwnerDied(dead)) = value.lock() else { panic!("nobody told of it") };
        assert_eq!(*dead, 7);
    }
    assert_eq!(sharemap::Error::from(value.lock().unwrap_err()).kind(), ErrorKind::OwnerDied);
    let Err(LockError::OwnerDied(dead)) = value.lock() else { panic!("nobody told of it") };
    *dead.accept() += 1;
    assert_eq!(*value.lock().unwrap(), 8);
}

#[test]
fn a_poisoned_mutex_is_repaired() {
    need_atomics!();
    let value = Shared::create_new(Location::anonymous(), || Mutex::new(1_u32)).unwrap();
    let panicked = thread::scope(|scope| {
        scope
            .spawn(|| {
                let mut guard = value.lock().unwrap();
                *guard = 2;
                std::panic::resume_unwind(Box::new(()));
            })
            .join()
    });
    assert!(panicked.is_err());
    let Err(LockError::OwnerDied(dead)) = value.lock() else { panic!("nobody told of it") };
    assert_eq!(*dead, 1);
    dead.poison().unwrap();
    assert_eq!(value.lock().unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(value.try_lock().unwrap_err().kind(), ErrorKind::Poisoned);
    drop(value.repair().unwrap());
    assert_eq!(value.lock().unwrap_err().kind(), ErrorKind::Poisoned);
    *value.repair().unwrap().accept() = 3;
    assert_eq!(*value.lock().unwrap(), 3);
}

#[test]
fn what_one_holds_is_a_deadlock() {
    need_atomics!();
    let both = Shared::create_new(Location::anonymous(), || (Mutex::new(0_u8), RwLock::new(0_u8)))
        .unwrap();
    let (mutex, lock) = &*both;
    let guard = mutex.lock().unwrap();
    assert_eq!(mutex.lock().unwrap_err().kind(), ErrorKind::Deadlock);
    guard.unlock().unwrap();
    let reading = lock.read().unwrap();
    assert_eq!(lock.write().unwrap_err().kind(), ErrorKind::Deadlock);
    drop(lock.read().unwrap());
    drop(reading);
    let writing = lock.write().unwrap();
    assert_eq!(lock.read().unwrap_err().kind(), ErrorKind::Deadlock);
    drop(writing);
    let upgradable = lock.upgradable().unwrap();
    let reading = lock.read().unwrap();
    let (upgradable, error) = upgradable.upgrade().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadlock);
    drop(reading);
    *upgradable.upgrade().unwrap() = 4;
    assert_eq!(*lock.read().unwrap(), 4);
}

#[test]
fn more_locks_than_a_lane_holds() {
    need_atomics!();
    let many = Shared::create_new(Location::anonymous(), || [Mutex::new(0_u16); 40]).unwrap();
    let mut guards: Vec<_> = many.iter().map(|mutex| mutex.lock().unwrap()).collect();
    assert_eq!(many[0].lock().unwrap_err().kind(), ErrorKind::Deadlock);
    assert_eq!(many[39].lock().unwrap_err().kind(), ErrorKind::Deadlock);
    guards.iter_mut().for_each(|guard| **guard += 1);
    drop(guards);
    assert!(many.iter().all(|mutex| *mutex.lock().unwrap() == 1));
}

#[test]
fn readers_and_writers_exclude_each_other() {
    need_atomics!();
    let lock = Shared::create_new(Location::anonymous(), || RwLock::new([0_u64; 8])).unwrap();
    let inside = AtomicU32::new(0);
    thread::scope(|scope| {
        for writer in 0..2 {
            let (lock, inside) = (&lock, &inside);
            scope.spawn(move || {
                for _ in 0..2_000 {
                    let mut guard = if writer == 0 {
                        lock.write().unwrap()
                    } else {
                        lock.upgradable().unwrap().upgrade().unwrap()
                    };
                    assert_eq!(inside.swap(1, Ordering::SeqCst), 0);
                    guard.iter_mut().for_each(|n| *n += 1);
                    inside.store(0, Ordering::SeqCst);
                }
            });
            scope.spawn(move || {
                for _ in 0..2_000 {
                    let value = lock.read().unwrap();
                    assert_eq!(inside.load(Ordering::SeqCst), 0);
                    assert!(value.iter().all(|n| *n == value[0]));
                }
            });
        }
    });
    assert_eq!(*lock.read().unwrap(), [4_000; 8]);
}

#[test]
fn a_dead_reader_holds_nobody_up() {
    need_atomics!();
    let name = Name::new("reader");
    let both =
        Shared::create_new(name.0.as_str(), || (RwLock::new(1_u32), Signal::new(0))).unwrap();
    let (lock, ready) = &*both;
    let reader = another("die reading", &name);
    ready.wait().unwrap();
    assert_eq!(lock.try_write().unwrap_err().kind(), ErrorKind::WouldBlock);
    let timeout = lock.write_timeout(Duration::from_millis(20)).unwrap_err();
    assert_eq!(timeout.kind(), ErrorKind::Timeout);
    drop(lock.try_read().unwrap());
    kill(reader);
    *lock.write().unwrap() = 2;
}

#[test]
fn jobs_go_through_a_condition_variable() {
    need_atomics!();
    let queue = Shared::create_new(Location::anonymous(), || {
        (Mutex::new(0_u32), Condvar::new(), Signal::new(0))
    })
    .unwrap();
    let (jobs, changed, done) = &*queue;
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let guard = jobs.lock().unwrap();
                    let mut guard = changed.wait_while(guard, |jobs| *jobs == 0).unwrap();
                    *guard -= 1;
                    drop(guard);
                    done.post().unwrap();
                }
            });
        }
        for round in 0..750 {
            *jobs.lock().unwrap() += 2;
            if round % 2 == 0 {
                changed.notify_all().unwrap();
            } else {
                changed.notify_one().unwrap();
                changed.notify_one().unwrap();
            }
        }
        for _ in 0..1_500 {
            done.wait().unwrap();
        }
    });
    let guard = jobs.lock().unwrap();
    let start = Instant::now();
    let short = Duration::from_millis(30);
    let guard = changed.wait_timeout_while(guard, short, |jobs| *jobs == 0).unwrap();
    assert_eq!(*guard, 0);
    assert!(start.elapsed() >= short);
    let other = Shared::create_new(Location::anonymous(), Condvar::new).unwrap();
    assert_eq!(other.wait(guard).unwrap_err().kind(), ErrorKind::Invalid);
    drop(jobs.try_lock().unwrap());
}

#[test]
fn permits_of_the_dead_come_back() {
    need_atomics!();
    let name = Name::new("permits");
    let both = Shared::create_new(name.0.as_str(), || (Permits::new(2), Signal::new(0))).unwrap();
    let (permits, ready) = &*both;
    let mine = permits.acquire().unwrap();
    let holder = another("die with a permit", &name);
    ready.wait().unwrap();
    assert_eq!(permits.available().unwrap(), 0);
    assert_eq!(permits.try_acquire().unwrap_err().kind(), ErrorKind::WouldBlock);
    let timeout = permits.acquire_timeout(Duration::from_millis(20)).unwrap_err();
    assert_eq!(timeout.kind(), ErrorKind::Timeout);
    kill(holder);
    let theirs = permits.acquire().unwrap();
    drop((mine, theirs));
    assert_eq!(permits.available().unwrap(), 2);
}

#[test]
fn permits_are_never_too_many() {
    need_atomics!();
    let permits = Shared::create_new(Location::anonymous(), || Permits::new(2)).unwrap();
    let holders = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    let permit = permits.acquire().unwrap();
                    assert!(holders.fetch_add(1, Ordering::SeqCst) < 2);
                    holders.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                }
            });
        }
    });
    assert_eq!(permits.available().unwrap(), 2);
}

#[test]
fn a_barrier_is_passed_together_and_breaks_with_a_death() {
    need_atomics!();
    let barrier = Shared::create_new(Location::anonymous(), || Barrier::new(3)).unwrap();
    let come = AtomicU32::new(0);
    let last = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let member = loop {
                    match barrier.join() {
                        Err(error) if error.kind() == ErrorKind::Busy => {}
                        joined => break joined.unwrap(),
                    }
                };
                for round in 1..=200 {
                    come.fetch_add(1, Ordering::SeqCst);
                    let opened = member.wait().unwrap();
                    last.fetch_add(u32::from(opened), Ordering::SeqCst);
                    assert!(come.load(Ordering::SeqCst) >= 3 * round);
                }
            });
        }
    });
    assert_eq!(last.into_inner(), 200);

    let name = Name::new("barrier");
    let both = Shared::create_new(name.0.as_str(), || (Barrier::new(2), Signal::new(0))).unwrap();
    let (barrier, ready) = &*both;
    let member = barrier.join().unwrap();
    let other = another("die as a member", &name);
    ready.wait().unwrap();
    assert_eq!(barrier.join().unwrap_err().kind(), ErrorKind::Busy);
    let timeout = member.wait_timeout(Duration::from_millis(20)).unwrap_err();
    assert_eq!(timeout.kind(), ErrorKind::Timeout);
    kill(other);
    assert_eq!(member.wait().unwrap_err().kind(), ErrorKind::Broken);
    assert_eq!(member.wait().unwrap_err().kind(), ErrorKind::Broken);
    barrier.restart().unwrap();
    let second = barrier.join().unwrap();
    assert_eq!(member.wait_timeout(Duration::ZERO).unwrap_err().kind(), ErrorKind::Timeout);
    assert!(second.wait().unwrap());
}

#[test]
fn events_let_through_all_or_one() {
    need_atomics!();
    let events =
        Shared::create_new(Location::anonymous(), || (Event::manual(), Event::auto())).unwrap();
    let (all, one) = &*events;
    let through = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                all.wait().unwrap();
                one.wait().unwrap();
                through.fetch_add(1, Ordering::SeqCst);
            });
        }
        all.set().unwrap();
        for number in 1..=3 {
            one.set().unwrap();
            while through.load(Ordering::SeqCst) < number {
                thread::yield_now();
            }
        }
    });
    assert!(all.try_wait().unwrap());
    all.reset().unwrap();
    assert!(!all.is_set().unwrap());
    assert!(!one.try_wait().unwrap());
    let timeout = one.wait_timeout(Duration::from_millis(5)).unwrap_err();
    assert_eq!(timeout.kind(), ErrorKind::Timeout);
}

#[test]
fn what_is_to_be_done_once_is_done_once() {
    need_atomics!();
    let once = Shared::create_new(Location::anonymous(), Once::new).unwrap();
    let times = AtomicU32::new(0);
    let failed = once.call(|_| Err(std::io::Error::other("not yet")));
    assert_eq!(failed.unwrap_err().to_string(), "not yet");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let done = once.call(|_| {
                    times.fetch_add(1, Ordering::SeqCst);
                    sharemap::Result::Ok(())
                });
                done.unwrap();
                assert_eq!(times.load(Ordering::SeqCst), 1);
            });
        }
    });
    assert!(once.is_done().unwrap());

    let name = Name::new("once");
    let both = Shared::create_new(name.0.as_str(), || (Once::new(), Signal::new(0))).unwrap();
    let (once, ready) = &*both;
    let doer = another("die at it", &name);
    ready.wait().unwrap();
    kill(doer);
    let mut told = None;
    once.call(|turn| {
        told = Some(turn);
        sharemap::Result::Ok(())
    })
    .unwrap();
    assert_eq!(told, Some(OnceTurn::AfterDeath));
}

#[test]
fn waits_are_cancelled() {
    need_atomics!();
    let both =
        Shared::create_new(Location::anonymous(), || (Mutex::new(0_u8), Signal::new(0))).unwrap();
    let (mutex, signal) = &*both;
    let guard = mutex.lock().unwrap();
    let kinds = thread::scope(|scope| {
        let locks = scope.spawn(|| mutex.lock().map(drop).unwrap_err().kind());
        let waits = scope.spawn(|| signal.wait().unwrap_err().kind());
        both.cancel();
        [locks.join().unwrap(), waits.join().unwrap()]
    });
    assert_eq!(kinds, [ErrorKind::Cancelled; 2]);
    both.resume();
    drop(guard);
    drop(mutex.lock().unwrap());
}

#[test]
fn another_type_is_refused() {
    need_atomics!();
    let name = Name::new("type");
    let name = name.0.as_str();
    let _first = Shared::create_new(name, || Mutex::new(0_u32)).unwrap();
    let again = Shared::create_new(name, || Mutex::new(0_u32)).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    let wrong = |error: sharemap::Error| assert_eq!(error.kind(), ErrorKind::WrongType);
    wrong(Shared::<Mutex<i32>>::open(name).unwrap_err());
    wrong(Shared::<Mutex<[u8; 4]>>::open(name).unwrap_err());
    let size = Shared::<Mutex<[u64; 4]>>::open(name).unwrap_err();
    assert_eq!(size.kind(), ErrorKind::Size);
    let none = Shared::<Signal>::open("sync-there-is-none").unwrap_err();
    assert_eq!(none.kind(), ErrorKind::NotFound);
}

#[test]
fn an_object_cut_short_is_a_fault() {
    need_atomics!();
    let directory = common::TempDir::new();
    let path = directory.join("cut");
    let mutex = Shared::create_new(Location::file(&path), || Mutex::new(0_u32)).unwrap();
    drop(mutex.lock().unwrap());
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    match file.set_len(0) {
        Err(error) if cfg!(windows) => {
            common::skip!("this system does not cut a mapped file short: {error}");
        }
        cut => cut.unwrap(),
    }
    let error = mutex.lock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fault);
}
