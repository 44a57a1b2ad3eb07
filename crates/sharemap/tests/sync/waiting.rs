//! What is waited for: conditions, permits, members, events, and what is done once.

use super::*;

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

#[test]
fn permits_of_the_dead_come_back() {
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
    // A read-only attachment counts the dead holder's permit, and recovers nothing.
    soon("the permit of the dead", || looking.0.available().unwrap() == 1);
    assert_eq!(looking.0.available().unwrap(), 1);
    soon("the permit that is given back", || permits.available().unwrap() == 1);
    let theirs = permits.try_acquire().unwrap();
    assert_eq!((permits.available().unwrap(), looking.0.available().unwrap()), (0, 0));
    drop((mine, theirs));
    assert_eq!(looking.0.available().unwrap(), 2);
    assert_eq!(permits.available().unwrap(), 2);
}

#[test]
fn permits_are_never_too_many() {
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

#[test]
fn events_let_through_all_or_one() {
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

/// The number of a barrier's round, which a peer may set to the last there is, begins anew.
#[test]
fn after_the_last_round_of_a_barrier_comes_the_first() {
    need_atomics!();
    let scratch = common::TempDir::new();
    let path = scratch.join("barrier");
    drop(Shared::create_new(Location::file(&path), || Barrier::new(2)).unwrap());
    let mut image = std::fs::read(&path).unwrap();
    let payload = usize::try_from(u64::from_le_bytes(image[104..112].try_into().unwrap())).unwrap();
    // The last round, in which nobody died, and the one before that was not restarted.
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
