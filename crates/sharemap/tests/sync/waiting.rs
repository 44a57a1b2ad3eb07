//! Condition variables, semaphores, barriers, events and one-time calls.

use super::*;

/// Jobs pass through a condition variable without loss, a bounded wait times out, and a foreign
/// mutex is rejected.
#[test]
fn jobs_go_through_a_condition_variable() {
    need_atomics!();
    let queue = Shared::create_new(Location::anonymous(), || {
        (Mutex::new(0_u32), Condvar::new(), CountingSemaphore::new(0))
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
    let (guard, result) = changed.wait_timeout_while(guard, short, |jobs| *jobs == 0).unwrap();
    assert!(result.timed_out() && *guard == 0);
    assert!(start.elapsed() >= short);
    let other = Shared::create_new(Location::anonymous(), Condvar::new).unwrap();
    assert_eq!(other.wait(guard).unwrap_err().kind(), ErrorKind::Invalid);
    drop(jobs.try_lock().unwrap());
}

/// A dead holder's permit is returned to the semaphore.
#[test]
fn a_dead_holders_permit_is_returned() {
    need_atomics!();
    let name = Name::new("permits");
    let both =
        Shared::create_new(name.0.as_str(), || (Semaphore::new(2), CountingSemaphore::new(0)))
            .unwrap();
    let (permits, ready) = &*both;
    let mine = permits.acquire().unwrap();
    let holder = another("die with a permit", &name);
    ready.wait().unwrap();
    assert_eq!(permits.available().unwrap(), 0);
    assert_eq!(permits.try_acquire().unwrap_err().kind(), ErrorKind::WouldBlock);
    let timeout = permits.acquire_timeout(Duration::from_millis(20)).unwrap_err();
    assert_eq!(timeout.kind(), ErrorKind::Timeout);
    let looking =
        Shared::<(Semaphore, CountingSemaphore)>::open_read_only(name.0.as_str()).unwrap();
    assert_eq!(looking.0.available().unwrap(), 0, "the holder lives");
    kill(holder);
    // A read-only attachment counts the dead holder's permit as available, but recovers nothing.
    soon("the permit of the dead", || looking.0.available().unwrap() == 1);
    assert_eq!(looking.0.available().unwrap(), 1);
    soon("the permit that is given back", || permits.available().unwrap() == 1);
    let theirs = permits.try_acquire().unwrap();
    assert_eq!((permits.available().unwrap(), looking.0.available().unwrap()), (0, 0));
    drop((mine, theirs));
    assert_eq!(looking.0.available().unwrap(), 2);
    assert_eq!(permits.available().unwrap(), 2);
}

/// At most as many threads hold a permit as there are permits.
#[test]
fn permits_limit_the_number_of_holders() {
    need_atomics!();
    let permits = Shared::create_new(Location::anonymous(), || Semaphore::new(2)).unwrap();
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

/// A barrier releases its members together, and is broken by the death of one until it is
/// restarted.
#[test]
fn a_barrier_releases_together_and_breaks_on_a_death() {
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
    let both = Shared::create_new(name.0.as_str(), || (Barrier::new(2), CountingSemaphore::new(0)))
        .unwrap();
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

/// A manual-reset event releases all waiters, an auto-reset event one for each `set`.
#[test]
fn events_release_all_or_one() {
    need_atomics!();
    let events =
        Shared::create_new(Location::anonymous(), || (Event::manual_reset(), Event::auto_reset()))
            .unwrap();
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
    all.try_wait().unwrap();
    all.reset().unwrap();
    for event in [all, one] {
        assert!(!event.is_set().unwrap());
        assert_eq!(event.try_wait().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    let timeout = one.wait_timeout(Duration::from_millis(5)).unwrap_err();
    assert_eq!(timeout.kind(), ErrorKind::Timeout);
}

/// A one-time call runs until it succeeds, then never again. A death during the call is reported to
/// the next caller.
#[test]
fn a_one_time_call_succeeds_once() {
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
    let both =
        Shared::create_new(name.0.as_str(), || (Once::new(), CountingSemaphore::new(0))).unwrap();
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
    assert_eq!(told, Some(OnceState::PreviousOwnerDied));
}

/// The round number of a barrier, which a peer may overwrite with the last possible one, wraps
/// around.
#[test]
fn the_round_of_a_barrier_wraps_around() {
    need_atomics!();
    let scratch = common::TempDir::new();
    let path = scratch.join("barrier");
    drop(Shared::create_new(Location::file(&path), || Barrier::new(2)).unwrap());
    let mut image = std::fs::read(&path).unwrap();
    let payload = usize::try_from(u64::from_le_bytes(image[104..112].try_into().unwrap())).unwrap();
    // The last round number, with no death and no restart recorded.
    image[payload..payload + 4].copy_from_slice(&0xffff_fffc_u32.to_le_bytes());
    std::fs::write(&path, image).unwrap();
    let shared = Shared::<Barrier>::open(Location::file(&path)).unwrap();
    let pass = || {
        let member = shared.join().unwrap();
        (0..3).filter(|_| member.wait_timeout(Duration::from_secs(20)).unwrap()).count()
    };
    let last = thread::scope(|scope| {
        let other = scope.spawn(pass);
        pass() + other.join().unwrap()
    });
    assert_eq!(last, 3, "one came last in each round");
}
