//! Files that are cut while other threads read slices of them.
//!
//! In each race, one thread cuts a file, at a page border or within a page. In the second form, the file
//! grows again at once, with zeros or with its contents. Meanwhile three threads make slices of the whole
//! file, or share one, compare every byte, and ask `check` and `finish`. A slice that shows anything but
//! the contents must not be accepted.

use std::fs::File;
use std::hint::spin_loop;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;

use sharemap::{GuardedSlice, Mapping, MappingMut, page_size};

use crate::common::{TempDir, child, emulated, memfd, mount_tmpfs, passes, pattern, role, skip};
use crate::has_slices;
use crate::hostile::huge_file;
use crate::random::Random;

const READERS: usize = 3;

fn races() -> usize {
    match std::env::var_os("SHAREMAP_LONG") {
        Some(_) => 200_000,
        None if emulated() => 500,
        None => 2_000,
    }
}

/// What happens to the file after it was cut, while the slices are read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Cut,
    Regrown,
}

#[derive(Default)]
struct Counts {
    right: AtomicU64,
    refused: AtomicU64,
    /// Slices with a wrong byte that were accepted.
    wrong: AtomicU64,
    lost: AtomicU64,
}

fn below(random: &mut Random, end: usize) -> usize {
    random.below(end as u64) as usize
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

struct Race<'a> {
    file: &'a File,
    bytes: &'a [u8],
    /// The number of changes of the file so far: odd while it is not whole.
    changes: AtomicU64,
    /// `true` if changes in one tick of the kernel's clock have the same time. The file is then cut in a
    /// later tick than that of its last change.
    has_coarse_times: bool,
    /// A slice that the readers may share.
    shared: Mutex<Option<GuardedSlice<u8>>>,
    /// The beginning and the end of a race.
    barrier: Barrier,
    counts: Counts,
}

impl Race<'_> {
    /// Makes a slice while the file is whole; `None` if it is not.
    fn slice(&self) -> Option<GuardedSlice<u8>> {
        let before = self.changes.load(Ordering::SeqCst);
        let map = Mapping::map(self.file).ok()?;
        // SAFETY: the readers compare bytes, and expect every value. The file grows again after it was
        // cut, which breaks the promise on purpose; an error must tell.
        let slice = unsafe { map.bytes().guarded_slice() }.ok()?;
        let whole = before % 2 == 0 && self.changes.load(Ordering::SeqCst) == before;
        (whole && slice.len() == self.bytes.len()).then_some(slice)
    }

    /// Reads all of a slice, twice, and asks whether that counts.
    fn read(&self, random: &mut Random) {
        self.barrier.wait();
        let shared = self.shared.lock().unwrap().clone();
        let slice = if random.one_in(2) { shared } else { self.slice() };
        if let Some(slice) = slice {
            self.read_once(&slice, random, |slice| slice.check());
            self.read_once(&slice.clone(), random, |_| slice.finish());
        }
        self.barrier.wait();
    }

    fn read_once(
        &self,
        slice: &GuardedSlice<u8>,
        random: &mut Random,
        ask: impl FnOnce(&GuardedSlice<u8>) -> sharemap::Result<()>,
    ) {
        // From a random place on, so that the first lost page is not always the first one read.
        let start = below(random, slice.len());
        let parts = [start..slice.len(), 0..start];
        let right = parts.into_iter().all(|part| slice[part.clone()] == self.bytes[part]);
        let counts = &self.counts;
        if slice.fault().is_some() {
            count(&counts.lost);
        }
        match ask(slice) {
            Err(_) => count(&counts.refused),
            Ok(()) if right => count(&counts.right),
            Ok(()) => count(&counts.wrong),
        }
    }

    fn cut(&self, form: Form, unit: usize, random: &mut Random) {
        let len = self.bytes.len();
        // hugetlbfs has whole pages only.
        let within_a_page = unit == page_size() && random.one_in(2);
        let at = if within_a_page { below(random, len) } else { below(random, len / unit) * unit };
        if self.has_coarse_times {
            next_tick_of_the_kernel();
        }
        *self.shared.lock().unwrap() = self.slice();
        self.barrier.wait();
        (0..random.below(5000)).for_each(|_| spin_loop());
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.file.set_len(at as u64).unwrap();
        if form == Form::Regrown {
            (0..random.below(2) * random.below(5000)).for_each(|_| spin_loop());
            self.file.set_len(len as u64).unwrap();
            if random.one_in(2) {
                self.restore(at);
            }
        }
        self.barrier.wait();
        self.restore(at);
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// Restores the contents from `at` on: by writing or, on hugetlbfs, through a mapping.
    fn restore(&self, at: usize) {
        if self.file.write_all_at(&self.bytes[at..], at as u64).is_err() {
            self.file.set_len(self.bytes.len() as u64).unwrap();
            let map = MappingMut::map(self.file).unwrap();
            map.bytes().write_at(at, &self.bytes[at..]).unwrap();
        }
    }
}

/// Runs the races of one form on a file, which is empty, and whose pages have `unit` bytes.
fn race(what: &str, file: &File, len: usize, unit: usize, races: usize, form: Form) {
    let seed = std::env::var("SHAREMAP_SEED").map_or(1, |seed| seed.parse().unwrap());
    let bytes: Vec<u8> = pattern(len).into_iter().map(|byte| byte | 1).collect();
    let race = Race {
        file,
        bytes: &bytes,
        changes: AtomicU64::new(0),
        has_coarse_times: !has_fine_times(file),
        shared: Mutex::default(),
        barrier: Barrier::new(READERS + 1),
        counts: Counts::default(),
    };
    race.restore(0);
    thread::scope(|scope| {
        for number in 0..READERS as u64 {
            let race = &race;
            scope.spawn(move || {
                let mut random = Random::new(seed * 100 + number);
                (0..races).for_each(|_| race.read(&mut random));
            });
        }
        let mut random = Random::new(seed * 100 + 99);
        (0..races).for_each(|_| race.cut(form, unit, &mut random));
    });
    let slice = race.slice().unwrap();
    assert!(slice[..] == bytes[..]);
    slice.finish().unwrap();
    let counts = [&race.counts.right, &race.counts.refused, &race.counts.lost, &race.counts.wrong];
    let [right, refused, lost, wrong] = counts.map(|count| count.load(Ordering::Relaxed));
    eprintln!(
        "SHAREMAP_SEED={seed}, {races} races on {what}, {form:?}: {right} readings accepted, {refused} \
         refused ({lost} after a fault), {wrong} wrong"
    );
    assert_eq!(wrong, 0, "accepted although a byte was wrong");
    assert!(refused > 0, "no race");
}

/// Returns `true` if two changes in quick succession have different times, when the time of the first was
/// queried.
fn has_fine_times(file: &File) -> bool {
    let changed = |len| {
        use std::os::unix::fs::MetadataExt;
        file.set_len(len).unwrap();
        let status = file.metadata().unwrap();
        (status.ctime(), status.ctime_nsec())
    };
    // A multiple of the size of a huge page, since hugetlbfs has no other.
    let mut times: Vec<_> = (0..20).map(|round| changed((round % 2) << 30)).collect();
    file.set_len(0).unwrap();
    times.dedup();
    times.len() == 20
}

/// Waits until the clock advances by which the kernel stamps files.
fn next_tick_of_the_kernel() {
    let now = || {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the call only writes `time`.
        let result = unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &mut time) };
        assert_eq!(result, 0);
        (time.tv_sec, time.tv_nsec)
    };
    let before = now();
    while now() == before {
        thread::yield_now();
    }
}

fn race_in_both_forms(what: &str, file: &File, len: usize, unit: usize, races: usize) {
    race(what, file, len, unit, races, Form::Cut);
    race(what, file, len, unit, races, Form::Regrown);
}

fn create(path: &Path) -> File {
    File::options().read(true).write(true).create_new(true).open(path).unwrap()
}

/// In the temporary directory, usually ext4.
#[test]
fn no_loss_goes_unnoticed() {
    if !has_slices() {
        return;
    }
    let dir = TempDir::new();
    let file = create(&dir.join("a"));
    race_in_both_forms("the temporary directory", &file, 16 * page_size(), page_size(), races());
}

/// In shared memory.
#[test]
fn no_loss_goes_unnoticed_on_tmpfs() {
    if !has_slices() {
        return;
    }
    let file = memfd("slices");
    race_in_both_forms("shared memory", &file, 16 * page_size(), page_size(), races());
}

/// On transparent huge pages: two of them, cut at every place.
#[test]
fn no_loss_goes_unnoticed_on_huge_pages() {
    const NAME: &str = "storm::no_loss_goes_unnoticed_on_huge_pages";
    let Some(dir) = role(NAME) else {
        if has_slices() {
            let dir = TempDir::new();
            passes(child(NAME, dir.path()));
        }
        return;
    };
    if let Err(reason) = mount_tmpfs(&dir, 64 << 20) {
        skip!("a file system with huge pages takes privileges: {reason}");
    }
    let path = std::ffi::CString::new(dir.to_str().unwrap()).unwrap();
    let (none, options) = (std::ptr::null(), c"huge=always");
    // SAFETY: terminated strings; only this process sees the mount.
    let remounted = unsafe {
        libc::mount(none, path.as_ptr(), none, libc::MS_REMOUNT, options.as_ptr().cast())
    };
    if remounted != 0 {
        skip!("no huge pages on tmpfs: {}", std::io::Error::last_os_error());
    }
    let file = create(&dir.join("a"));
    race_in_both_forms("transparent huge pages", &file, 4 << 20, page_size(), races() / 10);
}

/// On reserved huge pages, where the system has some.
#[test]
fn no_loss_goes_unnoticed_on_reserved_huge_pages() {
    const PAGES: usize = 2;
    if !has_slices() {
        return;
    }
    let Some((file, unit)) = huge_file(PAGES) else {
        skip!("too few huge pages are reserved (vm.nr_hugepages)");
    };
    race_in_both_forms("reserved huge pages", &file, PAGES * unit, unit, races() / 20);
}
