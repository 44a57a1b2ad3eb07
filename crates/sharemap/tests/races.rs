//! Files that are cut short while others read and write them.
//!
//! A race is one truncation, to a multiple of the page size, of a file that three threads are busy
//! with. Eight threads, two files: each has a thread that cuts it and three that read and write. The
//! file grows again, and gets its contents back, only when all three have noticed; so nothing that
//! they read can be a zero, and what is left of the file at each moment is known to the byte. Every
//! count of bytes and every offset is checked against it.
//!
//! Base pages only. Linux zeroes what a cut takes from a large folio (several pages in one, of ext4
//! since 6.16, of XFS, of tmpfs with huge pages) before the last mapping of it is gone: about one
//! race in ten thousand then reads a zero first and faults afterwards.
//!
//! 10,000 races each on the temporary directory and on tmpfs, and some against another process. The
//! long form makes it 1,000,000, in a few minutes:
//!
//! ```text
//! SHAREMAP_LONG=1 cargo test --release -p sharemap --test races -- --nocapture
//! ```

mod common;

use std::fs::File;
use std::hint::spin_loop;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{TempDir, child, role, skip};
use sharemap::{Atomic, Error, ErrorKind, MappingMut, ViewMut, page_size};

const PAGES: usize = 8;

/// Readers and writers of a file.
const BUSY: usize = 3;

fn races(short: usize) -> usize {
    if std::env::var_os("SHAREMAP_LONG").is_some() { short * 100 } else { short }
}

/// Numbers that are the same in every run.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}

/// The word at an index: it says where it is, and has no byte of zero.
fn word(index: usize) -> u64 {
    let place = (index as u64 % 200) * 0x0001_0203_0405_0607 % 0x7f7f_7f7f_7f7f_7f7f;
    (0x0101_0101_0101_0101 + place) | 0x0101_0101_0101_0101
}

/// What the file holds whenever it is whole.
struct Whole {
    words: Vec<u64>,
    bytes: Vec<u8>,
}

impl Whole {
    fn new() -> Self {
        let words: Vec<u64> = (0..PAGES * page_size() / 8).map(word).collect();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert!(!bytes.contains(&0));
        Self { words, bytes }
    }

    /// One operation, chosen at random, on the file from somewhere on to its end. Everything that it
    /// reads is compared. Gives the offset at which it faulted, if it did.
    fn touch(&self, view: ViewMut<'_, u64>, random: &mut Random) -> Option<u64> {
        let bytes = view.cast::<u8>().unwrap();
        let page = page_size() / 8;
        let far = random.below(self.words.len() - page);
        // Mostly little, where each element is looked at: that takes its time in debug builds.
        let near =
            if random.below(16) == 0 { far } else { self.words.len() - page - random.below(99) };
        let rest = view.subview(near..).unwrap();
        let result = match random.below(12) {
            0 => self.get(view, random),
            1 => self.set(view, random),
            2 => self.read_words(view, far),
            3 => self.read_bytes(bytes, random.below(8 * far + 1)),
            4 => self.write_words(view, far),
            5 => self.write_bytes(bytes, random.below(8 * far + 1)),
            6 => view.to_vec().map(|all| right(&all, &self.words, 0)),
            7 => self.walk(rest, near),
            8 => self.fold(rest, near),
            9 => self.blocks(rest, near),
            10 => rest.find(0).map(|found| assert_eq!(found, None, "a zero")),
            _ => bytes.subview(8 * near..).unwrap().count(0).map(|zeros| assert_eq!(zeros, 0)),
        };
        let error = result.err()?;
        assert_eq!(error.kind(), ErrorKind::Fault, "{error}");
        error.offset()
    }

    fn get(&self, view: ViewMut<'_, u64>, random: &mut Random) -> Result<(), Error> {
        for _ in 0..30 {
            let index = random.below(view.len());
            self.same(view.get(index), index)?;
        }
        // So that it fails surely once the file is short.
        self.same(view.last(), view.len() - 1)
    }

    fn set(&self, view: ViewMut<'_, u64>, random: &mut Random) -> Result<(), Error> {
        for _ in 0..30 {
            let index = random.below(view.len());
            if let Err(error) = view.set(index, self.words[index]) {
                assert_eq!(error.offset(), Some(index as u64 * 8));
                return Err(error);
            }
        }
        view.set(view.len() - 1, *self.words.last().unwrap())
    }

    /// The element at an index: right, or a fault there.
    fn same(&self, item: Result<u64, Error>, index: usize) -> Result<(), Error> {
        match item {
            Ok(value) => {
                assert_eq!(value, self.words[index], "word {index}");
                Ok(())
            }
            Err(error) => {
                assert_eq!(error.offset(), Some(index as u64 * 8));
                Err(error)
            }
        }
    }

    fn read_words(&self, view: ViewMut<'_, u64>, start: usize) -> Result<(), Error> {
        let mut out = vec![0; view.len() - start];
        let Err(error) = view.read_at(start, &mut out) else {
            right(&out, &self.words[start..], start);
            return Ok(());
        };
        let completed = error.completed().unwrap();
        assert_eq!((start + completed) as u64, error.offset().unwrap() / 8);
        right(&out[..completed], &self.words[start..start + completed], start);
        untouched_or_right(&out[completed..], &self.words[start + completed..]);
        Err(error)
    }

    fn read_bytes(&self, view: ViewMut<'_, u8>, start: usize) -> Result<(), Error> {
        let mut out = vec![0; view.len() - start];
        let Err(error) = view.read_at(start, &mut out) else {
            right(&out, &self.bytes[start..], start);
            return Ok(());
        };
        let completed = error.completed().unwrap();
        assert_eq!((start + completed) as u64, error.offset().unwrap());
        right(&out[..completed], &self.bytes[start..start + completed], start);
        untouched_or_right(&out[completed..], &self.bytes[start + completed..]);
        Err(error)
    }

    /// An iterator ends with its error, and counts up to it.
    fn walk(&self, view: ViewMut<'_, u64>, start: usize) -> Result<(), Error> {
        let mut iter = view.iter();
        let mut count = 0;
        for item in iter.by_ref() {
            if let Err(error) = self.same(item, start + count) {
                assert!(iter.next().is_none());
                return Err(error);
            }
            count += 1;
        }
        assert_eq!(count, view.len());
        Ok(())
    }

    fn fold(&self, view: ViewMut<'_, u64>, start: usize) -> Result<(), Error> {
        let end = view.iter().try_fold(start, |index, item| {
            self.same(item, index)?;
            Ok::<_, Error>(index + 1)
        })?;
        assert_eq!(end, self.words.len());
        Ok(())
    }

    fn blocks(&self, view: ViewMut<'_, u64>, start: usize) -> Result<(), Error> {
        let mut done = start;
        let blocks = view.blocks::<32>();
        let rest = blocks.remainder();
        for block in blocks {
            let block = block.inspect_err(|error| {
                let offset = error.offset().unwrap() as usize / 8;
                assert!((done..done + 32).contains(&offset), "the first block that is not whole");
            })?;
            assert!(block[..] == self.words[done..done + 32], "the block at {done}");
            done += 32;
        }
        rest.iter().enumerate().try_for_each(|(at, item)| self.same(item, done + at))
    }

    fn write_words(&self, view: ViewMut<'_, u64>, start: usize) -> Result<(), Error> {
        view.write_at(start, &self.words[start..]).inspect_err(|error| {
            let end = start + error.completed().unwrap();
            assert_eq!(end as u64, error.offset().unwrap() / 8);
        })
    }

    fn write_bytes(&self, view: ViewMut<'_, u8>, start: usize) -> Result<(), Error> {
        view.write_at(start, &self.bytes[start..]).inspect_err(|error| {
            assert_eq!((start + error.completed().unwrap()) as u64, error.offset().unwrap());
        })
    }
}

/// Everything that was read is what the file held.
#[track_caller]
fn right<T: PartialEq + std::fmt::Debug>(out: &[T], expected: &[T], start: usize) {
    if out != expected {
        let at = out.iter().zip(expected).position(|(value, expected)| value != expected);
        let wrong = out.iter().zip(expected).filter(|(value, expected)| value != expected).count();
        let at = at.expect("of the same length");
        panic!(
            "{:?} and not {:?} at {at} + {start}; {wrong} of {} differ",
            out[at],
            expected[at],
            out.len()
        );
    }
}

/// What lies behind the bytes counted was read before the cut, or was not written.
fn untouched_or_right<T: PartialEq + Default + Copy>(out: &[T], expected: &[T]) {
    let blank = [T::default(); 256];
    for (out, expected) in out.chunks(256).zip(expected.chunks(256)) {
        if out != expected && out != &blank[..out.len()] {
            let mut pairs = out.iter().zip(expected);
            assert!(pairs.all(|(value, expected)| value == expected || *value == blank[0]));
        }
    }
}

/// A thread that fails ends the program: the others would wait for it for ever.
struct EndsAll;

impl Drop for EndsAll {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::exit(101);
        }
    }
}

/// Where the file ends now, for those who are busy with it.
struct Rounds {
    /// Cuts so far; behind the next one the file has `left` bytes.
    cuts: AtomicU64,
    left: AtomicUsize,
    barrier: Barrier,
}

/// Works on the file until it has been cut, and once more, which has to fail where it now ends.
fn keep_busy(whole: &Whole, view: ViewMut<'_, u64>, rounds: &Rounds, random: &mut Random) {
    let before = rounds.cuts.load(Ordering::Acquire);
    rounds.barrier.wait();
    let left = rounds.left.load(Ordering::Acquire) as u64;
    loop {
        let cut = rounds.cuts.load(Ordering::Acquire) != before;
        let fault = whole.touch(view, random);
        // Others share the processor: those who cut are to come in between.
        thread::yield_now();
        if let Some(offset) = fault {
            assert!(offset >= left, "a fault at {offset}, where the file has {left} bytes");
        }
        if cut {
            assert!(fault.is_some(), "the file has {left} bytes, and nothing failed");
            break;
        }
    }
    rounds.barrier.wait();
}

/// The contents back, behind what is left of the file; a page at a time, which keeps the system from
/// putting several into one large folio.
fn restore(file: &mut File, whole: &Whole, left: usize) {
    file.seek(SeekFrom::Start(left as u64)).unwrap();
    for page in whole.bytes[left..].chunks(page_size()) {
        file.write_all(page).unwrap();
    }
}

/// Whether mapped files can be cut here.
fn can_cut(file: &mut File, whole: &Whole) -> bool {
    match file.set_len(0) {
        Ok(()) => {
            restore(file, whole, 0);
            true
        }
        Err(error) if cfg!(windows) => {
            eprintln!("skipped: this system does not cut a mapped file short: {error}");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// So many races for one file, by a thread that cuts it and those that are busy with it.
fn race_for(file: &mut File, whole: &Whole, map: &MappingMut, races: usize, seed: u64) {
    let view = map.view::<u64>().unwrap();
    let rounds = Rounds {
        cuts: AtomicU64::new(0),
        left: AtomicUsize::new(0),
        barrier: Barrier::new(BUSY + 1),
    };
    thread::scope(|scope| {
        for number in 1..=BUSY as u64 {
            let rounds = &rounds;
            scope.spawn(move || {
                let _ends = EndsAll;
                let mut random = Random(seed * 1000 + number);
                for _ in 0..races {
                    keep_busy(whole, view, rounds, &mut random);
                }
            });
        }
        let _ends = EndsAll;
        let mut random = Random(seed * 1000 + 999);
        for _ in 0..races {
            let left = random.below(PAGES) * page_size();
            rounds.left.store(left, Ordering::Release);
            rounds.barrier.wait();
            for _ in 0..random.below(500) {
                spin_loop();
            }
            file.set_len(left as u64).unwrap();
            rounds.cuts.fetch_add(1, Ordering::AcqRel);
            rounds.barrier.wait();
            restore(file, whole, left);
        }
    });
}

/// Two files, eight threads.
fn race_on(what: &str, races: usize, file: impl Fn(&str) -> File) {
    let whole = Whole::new();
    let mut files = ["a", "b"].map(|name| {
        let mut file = file(name);
        restore(&mut file, &whole, 0);
        let map = MappingMut::map(&file).unwrap();
        (file, map)
    });
    if !can_cut(&mut files[0].0, &whole) {
        return;
    }
    thread::scope(|scope| {
        for (number, (file, map)) in files.iter_mut().enumerate() {
            let whole = &whole;
            scope.spawn(move || race_for(file, whole, map, races / 2, number as u64 + 1));
        }
    });
    eprintln!("{races} races on {what}");
}

fn create(path: &Path) -> File {
    File::options().read(true).write(true).create_new(true).open(path).unwrap()
}

#[test]
fn cut_by_other_threads() {
    let dir = TempDir::new();
    race_on("the temporary directory", races(10_000), |name| create(&dir.join(name)));
}

/// Under transparent huge pages of tmpfs a cut can show zeros for a while: base pages only.
#[cfg(target_os = "linux")]
#[test]
fn cut_by_other_threads_on_tmpfs() {
    let huge = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    if huge.is_ok_and(|huge| !huge.contains("[never]") && !huge.contains("[advise]")) {
        skip!("this system gives huge pages to shared memory");
    }
    race_on("memory files", races(10_000), |_| memory_file());
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "the standard library has no memory files")]
fn memory_file() -> File {
    use std::os::fd::FromRawFd;
    // SAFETY: a new descriptor, or -1, which is looked at.
    unsafe {
        let descriptor = libc::memfd_create(c"races".as_ptr(), libc::MFD_CLOEXEC);
        assert!(descriptor >= 0, "{}", std::io::Error::last_os_error());
        File::from_raw_fd(descriptor)
    }
}

/// Waits until a shared word is at least so much; gives it. Ends where the other process seems to
/// be gone.
fn wait_for(word: Atomic<'_, u64>, least: u64) -> u64 {
    let patience = Instant::now() + Duration::from_secs(60);
    while Instant::now() < patience {
        let now = word.load(Ordering::Acquire).unwrap();
        if now >= least {
            return now;
        }
        thread::yield_now();
    }
    panic!("waited a minute for step {least}");
}

const OVER: u64 = u64::MAX;

/// Another process cuts the file. They share three words: its steps (odd: it is about to cut; even:
/// it has), where it cuts, and how many cuts have been noticed.
#[test]
fn cut_by_another_process() {
    const NAME: &str = "cut_by_another_process";
    let whole = Whole::new();
    if let Some(dir) = role(NAME) {
        let turn = MappingMut::open(dir.join("turn")).unwrap();
        let mut file = File::options().write(true).open(dir.join("a")).unwrap();
        return cut_by_turns(&mut file, &whole, turn.view().unwrap());
    }
    let dir = TempDir::new();
    let path = dir.file("a", &whole.bytes);
    let map = MappingMut::open(&path).unwrap();
    if map.recovery() == sharemap::guard::Recovery::Syscall {
        skip!("no atomics where accesses are system calls");
    }
    if !can_cut(&mut File::options().write(true).open(&path).unwrap(), &whole) {
        return;
    }
    let turn = MappingMut::create_new(dir.join("turn"), 4096).unwrap();
    let mut other = match child(NAME, dir.path()).spawn() {
        Ok(other) => other,
        Err(error) => skip!("this program cannot be started from itself: {error}"),
    };
    let races = races(500);
    let (words, turn) = (map.view::<u64>().unwrap(), turn.view::<u64>().unwrap());
    let mut random = Random(77);
    for race in 0..races as u64 {
        wait_for(turn.atomic(0).unwrap(), 2 * race + 1);
        let left = turn.get(1).unwrap();
        loop {
            let cut = turn.atomic_load(0, Ordering::Acquire).unwrap() == 2 * race + 2;
            let fault = whole.touch(words, &mut random);
            assert!(fault.is_none_or(|offset| offset >= left), "{fault:?} of {left} bytes");
            if cut {
                assert!(fault.is_some(), "the file has {left} bytes, and nothing failed");
                break;
            }
            assert!(other.try_wait().unwrap().is_none(), "the other process has ended");
        }
        turn.atomic(2).unwrap().fetch_add(1, Ordering::AcqRel).unwrap();
    }
    turn.atomic(2).unwrap().store(OVER, Ordering::SeqCst).unwrap();
    assert!(other.wait().unwrap().success());
    eprintln!("{races} races against another process");
}

/// The other process.
fn cut_by_turns(file: &mut File, whole: &Whole, turn: ViewMut<'_, u64>) {
    let (steps, noticed) = (turn.atomic(0).unwrap(), turn.atomic(2).unwrap());
    let mut random = Random(78);
    let mut left = whole.bytes.len();
    for cuts in 0.. {
        if wait_for(noticed, cuts) == OVER {
            return;
        }
        restore(file, whole, left);
        left = random.below(PAGES) * page_size();
        turn.set(1, left as u64).unwrap();
        steps.fetch_add(1, Ordering::AcqRel).unwrap();
        for _ in 0..random.below(500) {
            spin_loop();
        }
        file.set_len(left as u64).unwrap();
        steps.fetch_add(1, Ordering::AcqRel).unwrap();
    }
}
