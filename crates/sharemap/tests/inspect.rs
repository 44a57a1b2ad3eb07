//! Inspecting objects from outside: participants, owners, holders, waiters, and the absence of
//! users.

mod common;

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{TempDir, need_atomics};
use sharemap::inspect::{ExclusiveClaim, Inspection, LockKind, State};
use sharemap::{
    Barrier, Condvar, CountingSemaphore, ErrorKind, Location, Mutex, RwLock, Semaphore, Shared,
    SharedOptions,
};

type Locks = (Mutex<u64>, RwLock<u64>, Semaphore, Barrier, Condvar, CountingSemaphore);

fn locks() -> Locks {
    let (mutex, rwlock) = (Mutex::new(1), RwLock::new(2));
    (mutex, rwlock, Semaphore::new(3), Barrier::new(4), Condvar::new(), CountingSemaphore::new(5))
}

/// A second process that holds its locks until it is told to end or is killed.
struct Second {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Second {
    fn start(path: &std::path::Path) -> Self {
        let mut command = common::child("second_process", path);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        assert!(stdout.by_ref().lines().any(|line| line.unwrap().contains("holding")));
        Self { child, stdin, stdout }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn end(mut self) {
        self.stdin.write_all(b"end\n").unwrap();
        self.stdout.read_to_string(&mut String::new()).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

/// Child role: acquires one lock of each kind and holds them until a line arrives on standard
/// input.
#[test]
fn second_process() {
    let Some(path) = common::role("second_process") else { return };
    let shared = Shared::<Locks>::open(Location::file(path)).unwrap();
    let (mutex, rwlock, permits, barrier, ..) = &*shared;
    let held = (mutex.lock().unwrap(), rwlock.read().unwrap());
    let also = (permits.acquire().unwrap(), barrier.join().unwrap());
    println!("holding");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    drop((held, also));
}

/// Inspects repeatedly until `wanted` returns `true`, since waiters take a moment to fall asleep.
fn until(look: &Inspection, wanted: impl Fn(&Inspection) -> bool) {
    let start = Instant::now();
    while !wanted(look) {
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", look.locks());
        thread::yield_now();
    }
}

/// Owners, holders and waiters are listed with their processes.
#[test]
fn holders_and_waiters_are_listed_with_their_processes() {
    need_atomics!();
    let scratch = TempDir::new();
    let path = scratch.join("locks");
    let shared = Shared::create_new(Location::file(&path), locks).unwrap();
    let before = std::fs::read(&path).unwrap();
    let look = Inspection::open(Location::file(&path)).unwrap();
    assert_eq!(look.locks().unwrap(), []);
    let facts = look.facts().unwrap();
    assert_eq!((facts.kind, facts.version, facts.participants, facts.lanes), (1, 1, 64, 256));
    assert_eq!(facts.len, before.len() as u64);
    assert_eq!(look.state().unwrap(), State::Ready);
    assert_eq!((look.is_clean().unwrap(), look.attachments().unwrap()), (false, 1));
    assert_ne!(look.is_of_this_boot().unwrap(), Some(false), "as far as can be told");
    assert_eq!(look.has_creator().unwrap(), Some(false));
    assert_eq!(look.has_readers().unwrap(), Some(false));
    assert_eq!(look.is_unattached().unwrap(), Some(false));
    assert_eq!(std::fs::read(&path).unwrap(), before, "looking changes nothing");

    let second = Second::start(&path);
    let (own, other) = (std::process::id(), second.child.id());
    let found = look.participants().unwrap();
    assert_eq!([found[0].process, found[1].process], [own, other]);
    assert!(found.iter().all(|found| found.is_alive == Some(true) && found.start_time != 0));
    assert_eq!(found[0].id_space, found[1].id_space);
    assert!(found[0].since <= found[1].since);

    let (mutex, rwlock, _, _, condvar, signal) = &*shared;
    thread::scope(|scope| {
        scope.spawn(|| drop(mutex.lock().unwrap()));
        scope.spawn(|| drop(rwlock.write().unwrap()));
        let asleep = |kind| {
            move |look: &Inspection| {
                let found = look.locks().unwrap();
                let lock = found.iter().find(|lock| lock.kind == kind).unwrap();
                let named = if kind == LockKind::Mutex { &lock.waiters[..] } else { &[] };
                named.iter().chain(&lock.owner).any(|who| who.asleep_for.is_some())
            }
        };
        until(&look, |look| look.locks().unwrap().iter().any(|l| !l.waiters.is_empty()));
        until(&look, asleep(LockKind::Mutex));
        let found = look.locks().unwrap();
        let kinds: Vec<_> = found.iter().map(|lock| lock.kind).collect();
        let all = [LockKind::Mutex, LockKind::RwLock, LockKind::Semaphore, LockKind::Barrier];
        assert_eq!(kinds, all);
        let owner = found[0].owner.as_ref().unwrap();
        assert_eq!((owner.process, owner.participant), (Some(other), Some(1)));
        let [waiter] = &found[0].waiters[..] else { panic!("{found:?}") };
        assert_eq!((waiter.process, waiter.participant), (Some(own), Some(0)));
        assert!(!found[0].is_poisoned && !found[0].owner_died && !found[0].is_upgradable);
        let who = |found: &[sharemap::inspect::ThreadInfo]| -> Vec<_> {
            found.iter().map(|who| who.process.unwrap()).collect()
        };
        // The writer owns the lock word and waits for the reader.
        until(&look, |look| look.locks().unwrap()[1].owner.is_some());
        let found = look.locks().unwrap();
        assert_eq!(found[1].owner.as_ref().unwrap().process, Some(own));
        assert_eq!(who(&found[1].holders), [other]);
        until(&look, asleep(LockKind::RwLock));
        assert_eq!((who(&found[2].holders), who(&found[3].holders)), (vec![other], vec![other]));

        // A sleeping waiter bounds from below how long the lock has been held.
        let held = |look: &Inspection| look.locks().unwrap()[0].held_for;
        until(&look, |look| held(look) > Some(Duration::from_millis(40)));
        assert!(found[0].held_for <= held(&look));
        second.end();
    });
    until(&look, |look| look.locks().unwrap().is_empty());
    assert_eq!(look.participants().unwrap().len(), 1);

    // Condition variables and counting semaphores have waiters, but no owner.
    thread::scope(|scope| {
        scope.spawn(|| {
            let guard = mutex.lock().unwrap();
            drop(condvar.wait_while(guard, |value| *value != 7).unwrap());
        });
        scope.spawn(|| {
            for _ in 0..6 {
                signal.wait().unwrap();
            }
        });
        until(&look, |look| {
            let found = look.locks().unwrap();
            let kinds: Vec<_> = found.iter().map(|lock| lock.kind).collect();
            kinds == [LockKind::Condvar, LockKind::CountingSemaphoreOrEvent]
                && found.iter().all(|lock| lock.has_sleepers && lock.waiters.len() == 1)
        });
        assert!(look.lanes().unwrap() >= 2);
        signal.post().unwrap();
        *mutex.lock().unwrap() = 7;
        condvar.notify_all().unwrap();
    });
}

/// A member that arrived in an earlier round is not listed as arrived in the next.
#[test]
fn barrier_members_are_listed_by_round() {
    need_atomics!();
    let scratch = TempDir::new();
    let location = Location::file(scratch.join("barrier"));
    let shared = Shared::create_new(&location, || Barrier::new(2)).unwrap();
    let look = Inspection::open(&location).unwrap();
    let seen = || {
        let found = look.locks().unwrap();
        assert!(found.len() == 1 && found[0].kind == LockKind::Barrier, "{found:?}");
        (found[0].holders.len(), found[0].waiters.len())
    };
    let first = shared.join().unwrap();
    let (turn, turns) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            let second = shared.join().unwrap();
            for () in turns {
                second.wait_timeout(Duration::from_secs(20)).unwrap();
            }
        });
        // Dropping the sender ends the other thread's turns, even if this thread panics.
        let turn = turn;
        for _ in 0..2 {
            until(&look, |_| seen() == (2, 0));
            turn.send(()).unwrap();
            until(&look, |_| seen() == (1, 1));
            first.wait().unwrap();
        }
        until(&look, |_| seen() == (2, 0));
    });
    assert_eq!(seen(), (1, 0));
}

/// Dead participants are listed as dead, and an inspection does not recover them.
#[test]
fn dead_participants_are_listed_and_not_recovered() {
    need_atomics!();
    let scratch = TempDir::new();
    let path = scratch.join("locks");
    let shared = Shared::create_new(Location::file(&path), locks).unwrap();
    let second = Second::start(&path);
    let process = second.child.id();
    second.kill();
    let look = Inspection::open(Location::file(&path)).unwrap();
    for _ in 0..2 {
        let found = look.participants().unwrap();
        assert_eq!((found[0].is_alive, found[1].is_alive), (Some(true), Some(false)));
        let lock = &look.locks().unwrap()[0];
        assert_eq!(lock.owner.as_ref().unwrap().process, Some(process));
        assert!(!lock.owner_died, "no owner has been notified yet");
    }
    let recover = match shared.0.lock() {
        Err(sharemap::LockError::OwnerDied(recover)) => recover,
        other => panic!("{other:?}"),
    };
    let lock = look.locks().unwrap().remove(0);
    assert_eq!(lock.owner.as_ref().unwrap().process, Some(std::process::id()));
    assert!(lock.owner_died);
    assert_eq!(look.participants().unwrap().len(), 1, "it has been cleared away");
    recover.poison().unwrap();
    thread::scope(|scope| {
        // A thread that finds the mutex poisoned is a waiter only until its call fails. It is joined, as the end of the
        // scope does not wait until a thread has released its lane.
        scope.spawn(|| assert!(shared.0.lock().is_err())).join().unwrap();
    });
    drop(shared);
    assert!(look.is_clean().unwrap());
    assert_eq!(look.is_unattached().unwrap(), Some(true));
    assert_eq!(look.participants().unwrap(), []);
}

/// The maximum number of lanes, each announcing the maximum number of distinct locks, is listed in
/// linear time.
#[test]
fn full_lanes_are_listed_in_linear_time() {
    need_atomics!();
    const LANES: usize = 65_535;
    const SLOTS: usize = 7;
    const LIMIT: Duration = Duration::from_secs(20);
    let scratch = TempDir::new();
    let path = scratch.join("crowded");
    let options = SharedOptions::new().participants(1).lanes(LANES as u32);
    let make = || Mutex::<[u128]>::zeroed(LANES * SLOTS);
    drop(options.create_new(Location::file(&path), make).unwrap());
    let facts = Inspection::open(Location::file(&path)).unwrap().facts().unwrap();
    // Participant 0 is in use, and owns every lane.
    let mut tables = 1_u32.to_le_bytes().to_vec();
    tables.resize(64, 0);
    for lane in 0..LANES {
        tables.extend(1_u64.to_le_bytes());
        for slot in 0..SLOTS {
            let at = facts.payload_at + 16 * (lane * SLOTS + slot) as u64;
            tables.extend((at | 1).to_le_bytes());
        }
    }
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let mut tables_at = std::io::BufWriter::new(file);
    tables_at.seek(SeekFrom::Start(512)).unwrap();
    tables_at.write_all(&tables).unwrap();
    drop(tables_at);

    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let look = Inspection::open(Location::file(path)).unwrap();
        sender.send((look.locks().unwrap(), look.lanes().unwrap()))
    });
    let (locks, lanes) = receiver.recv_timeout(LIMIT).expect("it takes longer than is linear");
    assert_eq!((locks.len(), lanes as usize), (LANES * SLOTS, LANES));
    assert!(locks.is_sorted_by(|one, two| one.offset < two.offset));
    let last = locks.last().unwrap();
    assert_eq!((last.waiters[0].lane as usize, last.waiters.len()), (LANES - 1, 1));
}

/// Locations without an object are rejected; an object without a header counts as being created.
#[test]
fn locations_without_an_object_are_rejected() {
    need_atomics!();
    let scratch = TempDir::new();
    let kind = |location: Location| Inspection::open(location).unwrap_err().kind();
    assert_eq!(kind(Location::file(scratch.join("missing"))), ErrorKind::NotFound);
    assert_eq!(kind(Location::name("a/b")), ErrorKind::NameCharacter);
    assert_eq!(kind(Location::anonymous()), ErrorKind::NotFound);
    let raw = scratch.file("raw", [7; 4096]);
    assert_eq!(kind(Location::file(raw)), ErrorKind::NotAnObject);
    let short = scratch.file("short", b"\x89SHM\r\n\x1a\n");
    assert_eq!(kind(Location::file(short)), ErrorKind::Truncated);
    // A file of zeros may be an object at the beginning of its creation.
    let empty = Inspection::open(Location::file(scratch.file("zeros", [0; 4096]))).unwrap();
    assert_eq!((empty.facts(), empty.state().unwrap()), (None, State::Creating));
    assert_eq!(empty.has_creator().unwrap(), Some(false));
    assert_eq!((empty.participants().unwrap(), empty.locks().unwrap()), (vec![], vec![]));
    assert_eq!(empty.is_unattached().unwrap(), Some(true));
}

/// Creates an object with one lock and overwrites its bytes at `at`.
fn scribbled(scratch: &TempDir, at: usize, bytes: &[u8]) -> (PathBuf, usize) {
    let path = scratch.join("scribbled");
    let _ = std::fs::remove_file(&path);
    drop(Shared::create_new(Location::file(&path), || Mutex::new(1_u64)).unwrap());
    let mut image = std::fs::read(&path).unwrap();
    image[at..at + bytes.len()].copy_from_slice(bytes);
    std::fs::write(&path, image).unwrap();
    (path, at)
}

/// Impossible contents are `Malformed`, with the offset of the offending bytes.
#[test]
fn malformed_contents_are_reported_with_their_offset() {
    need_atomics!();
    let scratch = TempDir::new();
    let probe = scratch.join("probe");
    drop(Shared::create_new(Location::file(&probe), || Mutex::new(1_u64)).unwrap());
    let image = std::fs::read(&probe).unwrap();
    let word = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap()) as usize;
    let (participants, lanes, payload) = (word(88), word(96), word(104));
    let ask = |path: &PathBuf| {
        let look = Inspection::open(Location::file(path))?;
        look.state()?;
        look.participants()?;
        look.locks()
    };
    // A lane owned by participant 0, with one announcement.
    let lane = |announcement: u64| {
        let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(announcement.to_le_bytes());
        bytes
    };
    let cases: [(usize, Vec<u8>, usize); 9] = [
        (128, vec![9, 0, 0, 0], 128),
        (112, vec![0xff; 8], 120),
        (participants, vec![2, 0, 0, 0], participants),
        (lanes, vec![65, 0, 0, 0], lanes),
        (lanes, vec![0xff; 4], lanes),
        (lanes, lane(payload as u64 | 14), lanes + 8),
        (lanes, lane(1 << 40 | 1), lanes + 8),
        (lanes, lane(64 | 1), lanes + 8),
        (lanes, lane((payload as u64 + 32) | 2), lanes + 8),
    ];
    for (at, bytes, expected) in cases {
        let (path, _) = scribbled(&scratch, at, &bytes);
        let error = ask(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{at}: {error}");
        assert_eq!(error.offset(), Some(expected as u64), "{at}: {error}");
        assert!(error.to_string().contains("scribbled"), "{error}");
    }
    // A lock word with an impossible owner, for a lock that a thread announces.
    let (path, _) = scribbled(&scratch, lanes, &lane(payload as u64 | 1));
    let mut image = std::fs::read(&path).unwrap();
    image[payload..payload + 2].copy_from_slice(&[0xff, 0xff]);
    std::fs::write(&path, image).unwrap();
    let error = ask(&path).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Malformed, Some(payload as u64)));
    // A newer format version has its own kind.
    let (path, _) = scribbled(&scratch, 8, &[2]);
    assert_eq!(ask(&path).unwrap_err().kind(), ErrorKind::WrongVersion);
}

/// An object that no process has open or mapped can be claimed exclusively and removed.
#[test]
fn unused_objects_can_be_claimed_and_removed() {
    need_atomics!();
    let scratch = TempDir::new();
    let path = scratch.join("object");
    let location = Location::file(&path);
    match ExclusiveClaim::of(&location) {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            eprintln!("skipped: {error}");
            return;
        }
        other => assert_eq!(other.unwrap_err().kind(), ErrorKind::NotFound),
    }
    let shared = Shared::create_new(&location, || Mutex::new(1_u64)).unwrap();
    assert!(ExclusiveClaim::of(&location).unwrap().is_none(), "this process has it");
    drop(shared);
    let file = std::fs::File::open(&path).unwrap();
    assert!(ExclusiveClaim::of(&location).unwrap().is_none(), "it is open elsewhere");
    drop(file);
    let map = sharemap::Mapping::open(&path).unwrap();
    assert!(ExclusiveClaim::of(&location).unwrap().is_none(), "it is mapped elsewhere");
    drop(map);
    let unused = ExclusiveClaim::of(&location).unwrap().unwrap();
    assert!(ExclusiveClaim::of(&location).unwrap().is_none(), "one at a time");
    drop(unused);
    drop(Shared::<Mutex<u64>>::open(&location).unwrap());
    assert!(ExclusiveClaim::of(&location).unwrap().unwrap().remove().unwrap());
    assert!(!path.exists());
}

/// A process that opens an object during an exclusive claim blocks until the claim ends, then gets
/// the object.
#[cfg(target_os = "linux")]
#[test]
fn an_opener_waits_for_an_exclusive_claim() {
    need_atomics!();
    let name = format!("inspect-meanwhile-{}", std::process::id());
    let name = name.as_str();
    drop(Shared::create_new(name, || Mutex::new(1_u64)).unwrap());
    let scratch = TempDir::new();
    let path = scratch.join("object");
    drop(Shared::create_new(Location::file(&path), || Mutex::new(1_u64)).unwrap());
    for location in [Location::name(name), Location::file(&path)] {
        let unused = ExclusiveClaim::of(&location).unwrap().expect("it is not in use");
        let opening = thread::spawn({
            let location = location.clone();
            move || Shared::<Mutex<u64>>::open(location).map(|shared| *shared.lock().unwrap())
        });
        // The opener blocks in the kernel, which lists the lease that it breaks.
        let start = Instant::now();
        while !lease_is_breaking(&location) {
            assert!(start.elapsed() < Duration::from_secs(20));
            thread::yield_now();
        }
        assert!(!unused.remove().unwrap(), "a process waits to open it");
        assert_eq!(opening.join().unwrap().unwrap(), 1);
    }
    sharemap::SharedMemory::unlink(name).unwrap();
}

/// Returns `true` if the kernel lists a lease on the object that another process asked to break.
#[cfg(target_os = "linux")]
fn lease_is_breaking(location: &Location) -> bool {
    use std::os::unix::fs::MetadataExt;
    let path = match location.to_string() {
        path if path.starts_with('/') => PathBuf::from(path),
        name => PathBuf::from("/dev/shm").join(name),
    };
    let inode = format!(":{} ", std::fs::metadata(path).unwrap().ino());
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    locks
        .lines()
        .any(|line| line.contains("LEASE") && line.contains("BREAKING") && line.contains(&inode))
}
