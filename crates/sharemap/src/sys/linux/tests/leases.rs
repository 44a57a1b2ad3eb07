//! Tests of opening a file on which another process holds a lease, or that loses its name meanwhile.

#![allow(unsafe_code, reason = "leases, and the signals that announce their breaks")]

use std::ffi::{CString, c_int};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use crate::error::{ErrorKind, Result};
use crate::sys::linux::exclusive::{Entry, Exclusive};
use crate::sys::linux::{file, shm};
use crate::sys::posix::file::open_named;
use crate::sys::testing::fork;
use crate::sys::{Create, FileKind, LEASE_BREAK, OpenObject, OpenRequest, Owner, Scope};

const TO_READ: OpenRequest =
    OpenRequest { write: false, create: Create::Never, exclusive: false, timeout: LEASE_BREAK };

/// The names of an object and of another file beside it. Dropping the value removes both.
struct Names {
    name: String,
    path: PathBuf,
    other: PathBuf,
}

impl Names {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sharemap-leases-{}-{number}", std::process::id());
        let (path, other) = (shm::path(&name), shm::path(&format!("{name}-other")));
        std::fs::write(&path, b"it").unwrap();
        Self { name, path, other }
    }

    fn open(&self) -> Result<File> {
        let (owner, scope, timeout) = (Owner::Own, Scope::Session, LEASE_BREAK);
        shm::open(&OpenObject { name: &self.name, write: false, owner, scope, timeout })
            .map(|it| it.file)
    }

    fn open_file(&self) -> Result<File> {
        file::open_object(&self.path, TO_READ, Owner::Own).map(|opened| opened.file)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_file(&self.other);
    }
}

static LEASE: AtomicI32 = AtomicI32::new(-1);
/// A file, and the name that it gets when the kernel starts to break the lease.
static MOVE: OnceLock<(CString, CString)> = OnceLock::new();

/// Replaces the leased file and releases the lease. The kernel sends the signal when an opening starts
/// to wait, and the process has one thread, so this runs before the opening looks the name up again.
extern "C" fn give_up(_: c_int) {
    // SAFETY: terminated names, and an open descriptor.
    unsafe {
        if let Some((from, to)) = MOVE.get() {
            libc::rename(from.as_ptr(), to.as_ptr());
        }
        libc::fcntl(LEASE.load(Ordering::Relaxed), libc::F_SETLEASE, libc::F_UNLCK);
    }
}

/// Acquires a lease, which [`give_up`] releases when an opening breaks it.
fn lease(names: &Names) -> File {
    const F_SETSIG: c_int = 10;
    let file = File::open(&names.path).unwrap();
    LEASE.store(file.as_raw_fd(), Ordering::Relaxed);
    let text = |path: &PathBuf| CString::new(path.to_str().unwrap()).unwrap();
    if names.other.symlink_metadata().is_ok() {
        MOVE.set((text(&names.other), text(&names.path))).unwrap();
    }
    // SAFETY: a handler that makes two system calls.
    unsafe {
        let handler = give_up as extern "C" fn(c_int);
        assert_ne!(libc::signal(libc::SIGUSR2, handler as libc::sighandler_t), libc::SIG_ERR);
        assert_eq!(libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGUSR2), 0);
        assert_eq!(libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK), 0);
    }
    file
}

/// Runs `body` in a process with descriptors that no child of another test has inherited.
fn in_a_child(body: impl FnOnce(&Names)) {
    assert!(fork(|| body(&Names::new())).unwrap().passed());
}

#[test]
fn an_opening_waits_for_a_lease() {
    in_a_child(|names| {
        let _lease = lease(names);
        names.open().unwrap();
    });
}

/// The name leads to a FIFO when it is looked up again. The opening does not wait for its other end.
#[test]
fn a_fifo_in_place_of_a_leased_file_does_not_block() {
    for by_name in [true, false] {
        in_a_child(|names| {
            let fifo = CString::new(names.other.to_str().unwrap()).unwrap();
            // SAFETY: a terminated name.
            assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
            let _lease = lease(names);
            if by_name {
                let error = names.open().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NotAnObject, "{error}");
                assert!(error.to_string().contains("FIFO"), "{error}");
            } else {
                let file = names.open_file().unwrap();
                assert_eq!(file::status(&file).unwrap().kind, FileKind::Special);
            }
        });
    }
}

/// The file loses its name while it is opened, as by `sharemap gc`. The opening gets the new file.
#[test]
fn a_file_that_lost_its_name_is_looked_up_again() {
    let names = Names::new();
    std::fs::write(&names.other, b"another").unwrap();
    let mut opened = 0;
    let open = || {
        opened += 1;
        let file = File::open(&names.path).unwrap();
        if opened == 1 {
            std::fs::rename(&names.other, &names.path).unwrap();
        }
        Ok(file)
    };
    let mut found = String::new();
    open_named(LEASE_BREAK, open).unwrap().0.read_to_string(&mut found).unwrap();
    assert_eq!((found.as_str(), opened), ("another", 2));

    let nameless = File::open(&names.path).unwrap();
    std::fs::remove_file(&names.path).unwrap();
    assert_eq!(names.open_file().unwrap_err().kind(), ErrorKind::NotFound);
    // A path that leads to the descriptor itself opens a file without a name.
    let own = PathBuf::from(format!("/proc/self/fd/{}", nameless.as_raw_fd()));
    let again = file::open_object(&own, TO_READ, Owner::Own).unwrap().file;
    assert_eq!(again.metadata().unwrap().ino(), nameless.metadata().unwrap().ino());
}

/// A child that was forked during the claim has a copy of the descriptor, and does not prolong the lease.
#[test]
fn a_claim_ends_when_it_is_dropped() {
    in_a_child(|names| {
        let entry = Entry::open(&names.path).unwrap().expect("no lease");
        let exclusive = Exclusive::take(entry).unwrap().expect("unused");
        let child = fork(|| {
            loop {
                // SAFETY: the call only sleeps.
                unsafe { libc::pause() };
            }
        });
        drop(exclusive);
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK).open(&names.path).unwrap();
        child.unwrap().kill();
    });
}
