//! Tests of attaching, lanes, death and recovery, with real child processes.

mod attach;
mod forks;
mod kills;
mod linear;
mod lives;
mod marks;
mod opening;
mod pids;
mod readers;
mod registry;
mod threads;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::header::{self, Header, READERS};
use super::machine::Machine;
use super::memory::{Attachment, Memory};
use super::session::{RecoverFn, Session};
use super::{ExpectedLayout, OpenOptions, Opening, create};
use crate::error::Result;
use crate::guard::{Recovery, recovery};
use crate::shm::Location;

/// Skips a test that needs atomic operations on memory that can fault, where there are none.
macro_rules! need_atomics {
    () => {
        if !crate::peer::tests::has_atomics() {
            eprintln!("skipped: faults cannot be recovered in place here");
            return;
        }
    };
}
use need_atomics;

/// Skips a test that needs memory that is zero in a forked child, where the kernel does not wipe it.
macro_rules! need_wipes {
    () => {
        if !crate::sys::fork::wipes() {
            eprintln!("skipped: this kernel does not follow advice about forks");
            return;
        }
    };
}
use need_wipes;

fn has_atomics() -> bool {
    recovery() == Recovery::InPlace
}

const KIND: u32 = 77;
const DIED: u32 = 1 << 31;

/// The path of an object in a file. Dropping the value removes the file.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sharemap-peer-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn location(&self) -> Location {
        Location::file(&self.0)
    }

    fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn create(&self) -> Arc<Session> {
        create_with(self.name(), &shape())
    }

    fn open(&self) -> Arc<Session> {
        open(self.name())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Maps the object at `path` without attaching to it.
fn memory_of(path: &Path) -> Memory {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    Memory::map(&file, Some(path), Attachment::Participant, header::LEN, 0).unwrap()
}

fn shape() -> ExpectedLayout {
    ExpectedLayout::new(KIND, [3; 16], 1024)
}

fn create_with(path: &str, shape: &ExpectedLayout) -> Arc<Session> {
    let fill = &mut |_: &Memory, _: &Header| Ok(());
    let opening =
        create::create_new(&Location::file(path), shape, &OpenOptions::separate(), release, fill);
    Arc::clone(opening.unwrap().session())
}

fn open(path: &str) -> Arc<Session> {
    let opening = create::open(&Location::file(path), &shape(), &OpenOptions::separate(), release);
    Arc::clone(opening.unwrap().session())
}

/// Recovers a minimal lock: replaces the name of the dead lane in its word by [`DIED`], and wakes all.
fn release(session: &Session, _: u64, what: u64, lane: u32) -> Result<()> {
    let at = what & !0xf;
    if session.load_32(at)? == lane + 1 {
        // First what the owner left in the second word, because the next store lets other threads in.
        session.compare_exchange_32(at + 8, lane + 1, 0)?;
        session.compare_exchange_32(at, lane + 1, DIED)?;
        session.wake(at, u32::MAX)?;
    }
    Ok(())
}

/// Opens an object, or creates it if it does not exist or was never completed.
fn open_or_create(
    location: &Location,
    shape: &ExpectedLayout,
    terms: &OpenOptions,
    release: RecoverFn,
    fill: create::Fill<'_>,
) -> Result<Arc<Opening>> {
    let mut create =
        |terms: &OpenOptions| create::create_new(location, shape, terms, release, fill);
    create::open_or(location, shape, terms, release, &mut create)
}

/// Returns `true` if no process holds a slot.
///
/// Where memory is not wiped on fork, as under emulators, a child that another test forks holds its parent's
/// slots for a moment. Then, and only then, this waits for the slot.
fn is_free(session: &Session, slot: u64) -> bool {
    const LONG: Duration = Duration::from_secs(20);
    let start = Instant::now();
    loop {
        let free = session.slots.is_free(slot).unwrap();
        if free || crate::sys::fork::wipes() || start.elapsed() > LONG {
            return free;
        }
        std::thread::yield_now();
    }
}

/// Returns `true` if a process has the object open read-only or copy-on-write.
fn has_readers(session: &Session) -> bool {
    !session.slots.is_free(READERS).unwrap()
}
