//! The time from the kill of an owner until a waiter, which sleeps meanwhile, acquires the lock.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use sharemap::{Location, LockError, Mutex, RwLock, Shared};

use crate::figure::{Figure, Setup};
use crate::reason::{Reason, why};
use crate::report::{Row, Unit};
use crate::samples::TemporaryPath;
use crate::stats;

/// The memory that the killed process occupies besides its program. The kernel frees it page by
/// page before it releases the liveness lock.
#[derive(Clone, Copy)]
struct Resident {
    bytes: usize,
    advice: i32,
}

impl Resident {
    const fn small(mebibytes: usize) -> Self {
        Self { bytes: mebibytes << 20, advice: libc::MADV_NOHUGEPAGE }
    }

    const fn huge(mebibytes: usize) -> Self {
        Self { bytes: mebibytes << 20, advice: libc::MADV_HUGEPAGE }
    }
}

const OWNER: &str = "death of a mutex's owner, 64 MiB resident";
const HUGE: &str = "death of a mutex's owner, 64 MiB resident in huge pages";
const READER: &str = "death of a reader before a writer, 64 MiB resident";
const LARGER: &str = "death of a mutex's owner, 256 MiB resident";
const LARGEST: &str = "death of a mutex's owner, 1 GiB resident";
const CREATOR: &str = "death of a creator before it is done";

pub const FIGURES: &[Figure] = &[
    Figure { name: OWNER, run: |setup| owners(setup, OWNER, Resident::small(64), 1000) },
    Figure { name: HUGE, run: |setup| owners(setup, HUGE, Resident::huge(64), 1000) },
    Figure { name: READER, run: |setup| owners(setup, READER, Resident::small(64), 1000) },
    Figure { name: LARGER, run: |setup| owners(setup, LARGER, Resident::small(256), 200) },
    Figure { name: LARGEST, run: |setup| owners(setup, LARGEST, Resident::small(1024), 50) },
    Figure { name: CREATOR, run: |setup| creators(setup, 200) },
];

/// The longest acceptable time until the next owner acquires the lock, in milliseconds.
const LIMIT: f64 = 10.0;
const LIMIT_OF_CREATION: f64 = 50.0;

/// The offset of the liveness lock of participant 1 (see FORMAT.md). This process is participant 0.
const SLOT: i64 = (1 << 62) + 3;

type Locks = (Mutex<u64>, RwLock<u64>);

/// Returns the path of a shared memory object.
fn object_path() -> TemporaryPath {
    TemporaryPath::in_memory("death")
}

/// Times in milliseconds: from the kill until the next owner acquires the lock, the part of it
/// until the kernel has released the liveness lock, and the part after that.
#[derive(Default)]
struct Times {
    whole: Vec<f64>,
    kernel: Vec<f64>,
    after: Vec<f64>,
}

fn owners(
    setup: &Setup,
    figure: &str,
    resident: Resident,
    kills: usize,
) -> Result<Vec<Row>, Reason> {
    setup.cpus.unpin().map_err(why)?;
    let object = object_path();
    let locks = || (Mutex::new(0), RwLock::new(0));
    let shared = Shared::<Locks>::create_new(Location::file(&*object), locks).map_err(why)?;
    let slots = File::options().read(true).write(true).open(&*object).map_err(why)?;
    let (mutex, rwlock) = &*shared;
    let mut times = Times::default();
    for kill in 0..setup.effort.rounds.unwrap_or(kills) {
        let holder = Holder::start(resident, || {
            let shared = Shared::<Locks>::open(Location::file(&*object)).ok()?;
            let (mutex, rwlock) = &*shared;
            if figure == READER {
                std::mem::forget(rwlock.read().ok()?);
            } else {
                std::mem::forget(mutex.lock().ok()?);
            }
            std::mem::forget(shared);
            Some(())
        })?;
        // The waiter is asleep by then, at a varying phase of its sleep.
        let pause = Duration::from_micros(3_000 + 397 * (kill as u64 % 13));
        let (killed, had) = thread::scope(|scope| {
            let killer = scope.spawn(|| {
                thread::sleep(pause);
                holder.kill(&slots)
            });
            let had = if figure == READER {
                drop(rwlock.write().map_err(why)?);
                Instant::now()
            } else {
                match mutex.lock() {
                    Err(LockError::OwnerDied(dead)) => {
                        let had = Instant::now();
                        drop(dead.mark_consistent());
                        had
                    }
                    Err(LockError::Failed(error)) => return Err(why(error)),
                    Ok(_) => return Err("the lock was acquired without `OwnerDied`".into()),
                }
            };
            Ok((killer.join().map_err(|_| "the killer panicked")?, had))
        })?;
        let between = |from, to: Instant| to.saturating_duration_since(from).as_secs_f64() * 1e3;
        times.whole.push(between(killed.at, had));
        times.kernel.push(between(killed.at, killed.released));
        times.after.push(between(killed.released, had));
    }
    let part = |name: &str, times: &[f64], limit| row(&format!("{figure}: {name}"), times, limit);
    let limit = (resident.bytes <= 64 << 20).then_some(LIMIT);
    Ok(vec![
        part("until the next has it", &times.whole, limit),
        part("until the kernel has released its slot", &times.kernel, None),
        part("from then until the next has it", &times.after, Some(LIMIT)),
    ])
}

fn creators(setup: &Setup, kills: usize) -> Result<Vec<Row>, Reason> {
    setup.cpus.unpin().map_err(why)?;
    let mut times = Vec::new();
    for _ in 0..setup.effort.rounds.unwrap_or(kills) {
        let object = object_path();
        let holder = Holder::start_with(Resident::small(64), |ready| {
            let made = Shared::create_new(Location::file(&*object), || {
                ready();
                loop {
                    thread::park();
                }
                #[allow(unreachable_code, reason = "says what is never made")]
                Mutex::new(0_u64)
            });
            made.is_ok().then_some(())
        })?;
        let at = Instant::now();
        holder.send_kill();
        let made =
            Shared::open_or_create(Location::file(&*object), || Mutex::new(1_u64)).map_err(why)?;
        times.push(at.elapsed().as_secs_f64() * 1e3);
        if *made.lock().map_err(why)? != 1 {
            return Err("the dead creator's value".into());
        }
    }
    Ok(vec![row(CREATOR, &times, Some(LIMIT_OF_CREATION))])
}

/// Returns the row of the 99th percentile, with the median and the maximum as its spread.
fn row(figure: &str, times: &[f64], limit: Option<f64>) -> Row {
    let unit = Unit::Milliseconds;
    let [half, most, all] = [0.5, 0.99, 1.0].map(|part| stats::percentile(times, part));
    Row {
        figure: format!("{figure}: p99"),
        unit: unit.name().to_owned(),
        better: unit.better().to_owned(),
        ours: Some(most),
        spread: Some([half, all]),
        peer: limit,
        peer_name: if limit.is_some() { "ms at most" } else { "" }.to_owned(),
        ratio: limit.map(|limit| most / limit),
        goal: limit.map(|_| 1.0),
        met: limit.map(|limit| most <= limit),
        skipped: None,
        rounds: times.len(),
        ..Row::skipped(figure, "")
    }
}

/// The times of a kill and of the release of the victim's liveness lock.
struct Killed {
    at: Instant,
    released: Instant,
}

/// A child that holds a lock and occupies memory, until it is killed.
struct Holder(libc::pid_t);

impl Holder {
    fn start(resident: Resident, take: impl FnOnce() -> Option<()>) -> Result<Self, Reason> {
        Self::start_with(resident, |ready| {
            take()?;
            ready();
            loop {
                thread::park();
            }
        })
    }

    /// Starts a child that runs `work`, and waits until `work` calls its argument.
    fn start_with(
        resident: Resident,
        work: impl FnOnce(&dyn Fn()) -> Option<()>,
    ) -> Result<Self, Reason> {
        let mut ends = [0; 2];
        // SAFETY: the array has room for two descriptors.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
            return Err(why(std::io::Error::last_os_error()));
        }
        let [from, to] = ends;
        // SAFETY: this process has one thread at the moment; the child does its work and exits.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: takes only numbers.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let done = fill(resident).and_then(|()| {
                work(&|| {
                    // SAFETY: writes one byte to the pipe created above.
                    unsafe { libc::write(to, [1_u8].as_ptr().cast(), 1) };
                })
            });
            // SAFETY: exits without returning into the parent's code.
            unsafe { libc::_exit(i32::from(done.is_none())) };
        }
        // SAFETY: this process owns both ends of the pipe and closes each once.
        let ready = unsafe {
            libc::close(to);
            let ready = child > 0 && libc::read(from, [0_u8].as_mut_ptr().cast(), 1) == 1;
            libc::close(from);
            ready
        };
        let holder = Self(child);
        if ready { Ok(holder) } else { Err("the process failed before it was killed".into()) }
    }

    fn send_kill(&self) {
        // SAFETY: the child belongs to this process and is not reaped before the drop.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
    }

    /// Kills the child and polls until its liveness lock is released.
    fn kill(&self, slots: &File) -> Killed {
        let at = Instant::now();
        self.send_kill();
        loop {
            // SAFETY: plain integers, for which zeros are values.
            let mut lock: libc::flock = unsafe { std::mem::zeroed() };
            lock.l_type = libc::F_WRLCK as libc::c_short;
            lock.l_start = SLOT;
            lock.l_len = 1;
            // SAFETY: the command takes this structure.
            let asked = unsafe { libc::fcntl(slots.as_raw_fd(), libc::F_OFD_GETLK, &mut lock) };
            if asked != 0 || lock.l_type == libc::F_UNLCK as libc::c_short {
                return Killed { at, released: Instant::now() };
            }
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if self.0 > 0 {
            self.send_kill();
            // SAFETY: the child belongs to this process and is reaped once.
            unsafe { libc::waitpid(self.0, std::ptr::null_mut(), 0) };
        }
    }
}

/// Allocates memory with every page in use.
fn fill(Resident { bytes: len, advice }: Resident) -> Option<()> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: creates a mapping of `len` bytes that is never unmapped.
    unsafe {
        let base = libc::mmap(std::ptr::null_mut(), len, access, flags, -1, 0);
        if base == libc::MAP_FAILED {
            return None;
        }
        libc::madvise(base, len, advice);
        for at in (0..len).step_by(4096) {
            base.cast::<u8>().add(at).write_volatile(1);
        }
    }
    Some(())
}
