//! Another user's process holds a lease on an object and does not release it. An inspection fails
//! at once; opening the object waits, within its timeout.

#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "becomes another user, and holds a lease")]

mod common;

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{need_atomics, role};
use sharemap::inspect::Inspection;
use sharemap::{ErrorKind, Location, Mutex, Shared, SharedMemory, SharedOptions};

const STRANGER: u32 = 61_234;
/// The time after which a wait counts as not bounded by its timeout.
const LATE: Duration = Duration::from_secs(5);

/// A process of another user that holds a lease, and is killed and reaped when the value is
/// dropped.
struct Stranger(Child);

impl Stranger {
    /// Starts the process. Returns `None` and prints the reason if it cannot hold a lease.
    fn start(path: &Path) -> Option<Self> {
        let mut command = common::child("holding_a_lease", path);
        let mut child = match command.stdout(Stdio::piped()).spawn() {
            Ok(child) => child,
            Err(error) => {
                eprintln!("skipped: this program cannot be started from itself: {error}");
                return None;
            }
        };
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stranger = Self(child);
        for line in stdout.lines().map_while(Result::ok) {
            if line.contains("holding") {
                return Some(stranger);
            }
            if line.contains("skipped: ") {
                eprintln!("{line}");
                return None;
            }
        }
        panic!("the stranger ended");
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Child role: holds a lease as another user until the process is killed.
#[test]
fn holding_a_lease() {
    let Some(path) = role("holding_a_lease") else { return };
    // SAFETY: takes only numbers; the signal of the lease is ignored.
    let leased = unsafe {
        assert_eq!(libc::setresuid(STRANGER, STRANGER, STRANGER), 0);
        libc::signal(libc::SIGIO, libc::SIG_IGN);
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).unwrap();
        // A child of another test may have inherited the descriptor, until its `exec`.
        let begun = Instant::now();
        let leased = loop {
            let leased = libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) == 0;
            if leased || begun.elapsed() > LATE {
                break leased;
            }
            std::thread::yield_now();
        };
        std::mem::forget(file);
        leased
    };
    match leased {
        true => println!("\nholding"),
        false => println!("\nskipped: no lease here: {}", std::io::Error::last_os_error()),
    }
    loop {
        std::thread::park();
    }
}

/// An object of another user with permissions for all users, unlinked when the value is dropped.
struct Object {
    name: String,
    path: PathBuf,
}

impl Object {
    /// Creates the object. Returns `None` and prints the reason if this process cannot.
    fn new(name: &str) -> Option<Self> {
        if !common::is_root() {
            eprintln!("skipped: only root makes objects of another user");
            return None;
        }
        let name = format!("leases-{name}-{}", std::process::id());
        let path = Path::new("/dev/shm").join(&name);
        drop(SharedOptions::new().mode(0o666).create_new(&*name, || Mutex::new(5_u64)).unwrap());
        chown(&path, Some(STRANGER), None).unwrap();
        Some(Self { name, path })
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Asserts that `call` returns an error of `kind` in time while the lease is held.
fn each_ends_in_time(name: &str, call: impl Fn(&Object) -> sharemap::Error, kind: ErrorKind) {
    need_atomics!();
    let Some(object) = Object::new(name) else { return };
    let Some(_stranger) = Stranger::start(&object.path) else { return };
    let begun = Instant::now();
    let error = call(&object);
    assert!(begun.elapsed() < LATE, "{error} after {:?}", begun.elapsed());
    assert_eq!(error.kind(), kind, "{error}");
    if kind == ErrorKind::Busy {
        assert!(error.to_string().contains("holds a lease on it"), "{error}");
    }
}

/// Inspecting an object by name fails at once.
#[test]
fn an_inspection_by_name_does_not_wait() {
    let look = |object: &Object| {
        let begun = Instant::now();
        let error = Inspection::open(&*object.name).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert!(error.to_string().contains("cannot be seen at the moment"), "{error}");
        error
    };
    each_ends_in_time("look", look, ErrorKind::Busy);
}

/// Inspecting an object in a file fails at once.
#[test]
fn an_inspection_of_a_file_does_not_wait() {
    let look = |object: &Object| {
        let begun = Instant::now();
        let error = Inspection::open(Location::file(&object.path)).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        error
    };
    each_ends_in_time("look-file", look, ErrorKind::Busy);
}

/// Opening an object waits for the lease for at most `open_timeout`.
#[test]
fn opening_waits_for_at_most_open_timeout() {
    const TIMEOUT: Duration = Duration::from_millis(300);
    let open = |location: Location| {
        let begun = Instant::now();
        let options = SharedOptions::new().allow_any_owner().open_timeout(TIMEOUT);
        let error = options.open::<Mutex<u64>>(location).unwrap_err();
        assert!(begun.elapsed() >= TIMEOUT, "{error} after {:?}", begun.elapsed());
        error
    };
    each_ends_in_time("use", |object| open(Location::name(&*object.name)), ErrorKind::Busy);
    each_ends_in_time("use-file", |object| open(Location::file(&object.path)), ErrorKind::Busy);
    let or_create = |object: &Object| {
        let options = SharedOptions::new().allow_any_owner().open_timeout(TIMEOUT);
        options.open_or_create(&*object.name, || Mutex::new(1_u64)).unwrap_err()
    };
    each_ends_in_time("use-or-create", or_create, ErrorKind::Busy);
}

/// An object that is rejected because of its owner is rejected without waiting for the lease.
#[test]
fn a_rejected_owner_is_not_waited_for() {
    let open = |object: &Object| Shared::<Mutex<u64>>::open(&*object.name).unwrap_err();
    each_ends_in_time("refused", open, ErrorKind::ForeignOwner);
    let open = |object: &Object| SharedMemory::open(&*object.name).unwrap_err();
    each_ends_in_time("refused-memory", open, ErrorKind::ForeignOwner);
}

/// A caller that waits gets the object when the lease is released.
#[test]
fn a_lease_that_is_released_in_time_is_waited_for() {
    need_atomics!();
    let Some(object) = Object::new("given-up") else { return };
    let Some(stranger) = Stranger::start(&object.path) else { return };
    let opened = std::thread::scope(|scope| {
        let open = || {
            SharedOptions::new()
                .allow_any_owner()
                .open_timeout(LATE)
                .open::<Mutex<u64>>(&*object.name)
        };
        let opening = scope.spawn(open);
        drop(stranger);
        opening.join().unwrap()
    });
    assert_eq!(*opened.unwrap().lock().unwrap(), 5);
}
