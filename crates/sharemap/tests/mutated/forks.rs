//! Runs each image in a forked child, several at a time, and checks how the children end.

#![allow(unsafe_code, reason = "forks, and waits for children")]

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sharemap::{Location, SharedMemory, ViewMut};

use crate::image::{self, Image};
use crate::operations::{
    Clock, Measure, NOW, OPERATIONS, OUTCOME, RECORD, SLOWEST, SLOWEST_NS, TEXT,
};
use crate::random::Random;

/// The longest acceptable duration of an operation.
const LIMIT: Duration = Duration::from_secs(1);
const AT_A_TIME: usize = 8;

/// The results of all images.
#[derive(Debug, Default)]
pub struct Storm {
    pub images: u64,
    pub opened: u64,
    /// The number of images that could not be opened, by kind of error.
    pub refused: BTreeMap<String, u64>,
    operations: u64,
    slowest: Option<Slowest>,
    took: Duration,
}

#[derive(Clone, Debug)]
struct Slowest {
    took: Duration,
    operation: String,
    image: &'static str,
    seed: u64,
}

/// The results of a child that succeeded.
struct Ended {
    operations: u64,
    outcome: String,
    slowest: Slowest,
}

impl Storm {
    /// Mutates and uses `count` images, with the seeds from `seed` on.
    pub fn run(images: &[Image], seed: u64, count: u64) -> Self {
        let records = SharedMemory::anonymous((AT_A_TIME * RECORD) as u64).unwrap();
        let (next, storm) = (AtomicU64::new(0), Mutex::new(Self::default()));
        let begun = Instant::now();
        println!("SHAREMAP_SEED={seed}");
        std::thread::scope(|scope| {
            for worker in 0..AT_A_TIME {
                let record =
                    records.bytes().subview(worker * RECORD..(worker + 1) * RECORD).unwrap();
                let (next, storm) = (&next, &storm);
                scope.spawn(move || {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return;
                        }
                        let seed = seed.wrapping_add(number);
                        let image = &images[(seed % images.len() as u64) as usize];
                        let ended = settled(image, seed, worker, record);
                        storm.lock().unwrap().add(ended);
                    }
                });
            }
        });
        let mut storm = storm.into_inner().unwrap();
        storm.took = begun.elapsed();
        storm
    }

    fn add(&mut self, ended: Ended) {
        self.images += 1;
        self.operations += ended.operations;
        match ended.outcome.as_str() {
            "opened" => self.opened += 1,
            kind => *self.refused.entry(kind.to_owned()).or_default() += 1,
        }
        if self.slowest.as_ref().is_none_or(|slowest| slowest.took < ended.slowest.took) {
            self.slowest = Some(ended.slowest);
        }
    }
}

impl fmt::Display for Storm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { images, opened, refused, operations, took, .. } = self;
        write!(
            f,
            "{images} images, {opened} opened, refused {refused:?}, {operations} operations"
        )?;
        if let Some(Slowest { took, operation, image, seed }) = &self.slowest {
            write!(f, ", the slowest {operation:?} of an image {image:?} (seed {seed}): {took:?}")?;
        }
        write!(f, ", all in {took:?}")
    }
}

/// Runs one image. If it was slow, runs it again and excludes the time that other processes took.
fn settled(image: &Image, seed: u64, worker: usize, record: ViewMut<'_, u8>) -> Ended {
    let ended = in_a_child(image, seed, worker, record, Measure::Elapsed);
    if ended.slowest.took < LIMIT {
        return ended;
    }
    let again = in_a_child(image, seed, worker, record, Measure::Own);
    assert!(again.slowest.took < LIMIT, "too slow: {:?}, {:?}", ended.slowest, again.slowest);
    again
}

fn in_a_child(
    image: &Image,
    seed: u64,
    worker: usize,
    record: ViewMut<'_, u8>,
    measure: Measure,
) -> Ended {
    let name =
        format!("mutated-{}-{}-{worker}", std::process::id(), image.name().replace(' ', "-"));
    let path = image::directory().join(name);
    let clock = Clock::new(record, measure);
    // SAFETY: the child runs only what this C library allows after a fork of a threaded program,
    // and exits without returning.
    let child = unsafe {
        match libc::fork() {
            0 => {
                let used = || use_image(image, seed, &path, &clock);
                libc::_exit(i32::from(catch_unwind(AssertUnwindSafe(used)).is_err()));
            }
            child => child,
        }
    };
    assert!(child > 0, "{}", std::io::Error::last_os_error());
    let mut status = 0;
    // SAFETY: the child belongs to this process and is reaped once. Its alarm ends it at the
    // latest.
    let waited = unsafe { libc::waitpid(child, &mut status, 0) };
    let _ = std::fs::remove_file(&path);
    let text = |at: usize| {
        let mut bytes = [0; TEXT];
        record.read_at(at, &mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned()
    };
    let number = |at: usize| {
        let mut bytes = [0; 8];
        record.read_at(at, &mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    };
    let ended_well = waited == child && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
    let how = match libc::WIFSIGNALED(status) {
        true if libc::WTERMSIG(status) == libc::SIGALRM => "did not end".to_owned(),
        true => format!("died by signal {}", libc::WTERMSIG(status)),
        false => format!("ended with {}", libc::WEXITSTATUS(status)),
    };
    let name = image.name();
    assert!(ended_well, "an image {name:?} (seed {seed}) {how} in {:?}", text(NOW));
    Ended {
        operations: number(OPERATIONS),
        outcome: text(OUTCOME),
        slowest: Slowest {
            took: Duration::from_nanos(number(SLOWEST_NS)),
            operation: text(SLOWEST),
            image: name,
            seed,
        },
    }
}

/// Writes a mutated image to a file and uses the object by its name or its path. Runs in the child.
fn use_image(image: &Image, seed: u64, path: &Path, clock: &Clock<'_>) {
    let random = &mut Random::new(seed);
    std::fs::write(path, image.mutated(random)).unwrap();
    let name = path.file_name().and_then(|name| name.to_str()).unwrap();
    let has_name = path.starts_with("/dev/shm") && random.one_in(2);
    let location = if has_name { Location::name(name) } else { Location::file(path) };
    (image.use_it)(clock, &location, random);
}
