//! Every state that a kill can leave: the shared bytes before each store to them and at each system
//! call.
//!
//! Between two stores to the object and system calls, nothing that outlives a process changes. The
//! object's pages are therefore kept read-only in the child. Each store faults, is executed alone,
//! and yields one more state. That covers a kill at every instruction, without stopping at
//! instructions that make no difference.

use std::collections::HashSet;
use std::ffi::{c_int, c_long};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::beside::Beside;
use super::image::{Image, Mask, State};
use super::plant::{Fate, Plant};
use super::tracee::{Next, Stop, Tracee};

/// A new state of the object.
pub struct Found {
    pub state: State,
    /// The number of the stop after which the object had it.
    pub stop: usize,
    /// The offset of the page that changed.
    pub page: usize,
}

/// How a watched run ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Well,
    Badly(String),
    /// The run reached the requested stop.
    Killed,
}

/// Runs a child from its first mark to its second, or to its end, and reports every new state.
pub struct Watch<'a> {
    object: PathBuf,
    mask: Mask,
    /// The hashes of the states that were found.
    met: &'a mut HashSet<u64>,
    pub plant: Option<Plant>,
    /// The stop at which the child is really killed.
    pub kill_at: Option<usize>,
    pub stops: usize,
    mappings: Vec<Mapping>,
    last: State,
    /// The offset and value of a store that is delayed until after the next.
    late: Option<(usize, u64)>,
    /// The address of the instruction that stored last, and how often it did without another between.
    repeated: (u64, usize),
}

/// A range of addresses at which the child maps the object.
struct Mapping {
    start: u64,
    end: u64,
    /// The offset in the object.
    offset: u64,
}

impl<'a> Watch<'a> {
    pub fn new(object: &Path, mask: Mask, met: &'a mut HashSet<u64>) -> Self {
        Self {
            object: object.to_path_buf(),
            mask,
            met,
            plant: None,
            kill_at: None,
            stops: 0,
            mappings: Vec::new(),
            last: None,
            late: None,
            repeated: (0, 0),
        }
    }

    /// Runs `work` in a traced child and calls `found` with each new state and the number of its
    /// stop.
    ///
    /// The work calls `mark` where it begins, and may call it where it ends. The process beside
    /// starts at the first mark, and is resumed when the child sleeps.
    pub fn run(
        &mut self,
        work: impl FnOnce(),
        beside: &mut Beside<'_>,
        mut found: impl FnMut(Found),
    ) -> End {
        let tracee = Tracee::fork(work);
        // The child runs at full speed up to the first mark.
        let mut signal = 0;
        loop {
            match tracee.go(Next::Signal, signal) {
                Stop::Mark => break,
                Stop::Signal { number, .. } => signal = number,
                end @ (Stop::Exited(_) | Stop::Killed(_)) => return Self::end(end),
                Stop::Call | Stop::Step => signal = 0,
            }
        }
        beside.start();
        self.protect(&tracee);
        self.last = Image::read(&self.object, self.mask);
        self.report(0, &mut found);
        signal = 0;
        let mut falls_asleep = false;
        while self.kill_at != Some(self.stops) {
            let stop = tracee.go_while(Next::Call, signal, || {
                if falls_asleep {
                    beside.turn();
                }
            });
            signal = 0;
            falls_asleep = false;
            self.stops += 1;
            match stop {
                Stop::Mark => return self.finish(&tracee),
                // Since the last store, nothing has changed.
                Stop::Call if !tracee.call_is_made() => falls_asleep = tracee.is_falling_asleep(),
                Stop::Call => {
                    let call = tracee.call_number();
                    if MAPS.contains(&call) {
                        self.protect(&tracee);
                    }
                    if !CHANGES_NOTHING.contains(&call) {
                        self.look(&mut found);
                    }
                }
                Stop::Signal { number: libc::SIGSEGV, code: ACCESS, address } => {
                    match self.let_through(&tracee, address) {
                        Some(at) => self.look_at(at, &mut found),
                        None => signal = libc::SIGSEGV,
                    }
                }
                Stop::Signal { number, .. } => signal = number,
                Stop::Step => {}
                end => {
                    self.look(&mut found);
                    return Self::end(end);
                }
            }
        }
        End::Killed
    }

    /// Runs the child to its end without observing states, and returns whether it succeeded.
    fn finish(&self, tracee: &Tracee) -> End {
        self.change_all(tracee, libc::PROT_READ | libc::PROT_WRITE);
        let mut signal = 0;
        loop {
            match tracee.go(Next::Signal, signal) {
                Stop::Signal { number, .. } => signal = number,
                end @ (Stop::Exited(_) | Stop::Killed(_)) => return Self::end(end),
                Stop::Call | Stop::Mark | Stop::Step => signal = 0,
            }
        }
    }

    fn end(stop: Stop) -> End {
        match stop {
            Stop::Exited(0) => End::Well,
            Stop::Exited(101) => End::Badly("it panicked; see above".to_owned()),
            other => End::Badly(format!("it ended by {other:?}")),
        }
    }

    /// Reads the current state and reports it if it is new.
    fn look(&mut self, found: &mut impl FnMut(Found)) {
        let page = match (&mut self.last, fs::read(&self.object)) {
            (Some(image), Ok(bytes)) => image.replace(&bytes),
            (last @ Some(_), Err(_)) => {
                *last = None;
                Some(0)
            }
            (last @ None, Ok(_)) => {
                *last = Image::read(&self.object, self.mask);
                Some(0)
            }
            (None, Err(_)) => None,
        };
        if let Some(page) = page {
            self.report(page, found);
        }
    }

    /// Reads what a store at the offset `at` may have changed, and reports a new state. A planted
    /// mistake is applied to the store before.
    fn look_at(&mut self, at: usize, found: &mut impl FnMut(Found)) {
        let Ok(object) = File::options().read(true).write(true).open(&self.object) else { return };
        let Some(image) = &mut self.last else { return };
        let Some(store) = image.reread(&object, at) else { return };
        let mut set = |at: usize, value: u64| {
            object.write_all_at(&value.to_le_bytes(), at as u64).unwrap();
            image.reread(&object, at);
        };
        let mut late = None;
        match self.plant.map_or(Fate::Kept, |plant| plant(store)) {
            // A delayed store is due now.
            Fate::Kept => late = self.late.take(),
            Fate::Dropped => set(store.at, store.before),
            Fate::Late => {
                self.late = Some((store.at, store.after));
                set(store.at, store.before);
            }
        }
        self.report(store.at, found);
        if let Some((at, value)) = late {
            object.write_all_at(&value.to_le_bytes(), at as u64).unwrap();
            if let Some(image) = &mut self.last {
                image.reread(&object, at);
            }
            self.report(at, found);
        }
    }

    /// Reports the current state if it is new. `at` is the offset of what has changed.
    fn report(&mut self, at: usize, found: &mut impl FnMut(Found)) {
        if self.met.insert(self.last.as_ref().map_or(0, Image::hash)) {
            found(Found { state: self.last.clone(), stop: self.stops, page: at / 4096 * 4096 });
        }
    }

    /// Executes one store to the object. Returns its offset; `None` if the fault has another cause.
    ///
    /// A copy by one instruction, when it has become long, makes many stores at once. All of them lie
    /// in the page of the first, and the next.
    fn let_through(&mut self, tracee: &Tracee, address: u64) -> Option<usize> {
        let holds = |mapping: &&Mapping| (mapping.start..mapping.end).contains(&address);
        let mapping = self.mappings.iter().find(holds)?;
        let instruction = tracee.instruction();
        let (last, count) = self.repeated;
        let count = if last == instruction { count + 1 } else { 0 };
        self.repeated = (instruction, count);
        mapping.change(tracee, libc::PROT_READ | libc::PROT_WRITE);
        if count < LONG || !tracee.copy(AT_ONCE) {
            let other = tracee.step();
            assert_eq!(other, None, "a store to the object");
        }
        mapping.change(tracee, libc::PROT_READ);
        Some((address - mapping.start + mapping.offset) as usize)
    }

    fn protect(&mut self, tracee: &Tracee) {
        self.mappings = self.mappings_of(tracee);
        self.change_all(tracee, libc::PROT_READ);
    }

    fn change_all(&self, tracee: &Tracee, protection: c_int) {
        for mapping in &self.mappings {
            mapping.change(tracee, protection);
        }
    }

    /// Returns where the child maps the object shared and at least readable.
    fn mappings_of(&self, tracee: &Tracee) -> Vec<Mapping> {
        let maps = fs::read_to_string(format!("/proc/{}/maps", tracee.pid())).unwrap_or_default();
        let object = self.object.to_str().expect("a path in UTF-8");
        let hex = |text| u64::from_str_radix(text, 16).expect("a number");
        maps.lines()
            .filter(|line| line.ends_with(object))
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                let (start, end) = words.next()?.split_once('-')?;
                let (permissions, offset) = (words.next()?, words.next()?);
                (permissions.starts_with('r') && permissions.ends_with('s')).then(|| Mapping {
                    start: hex(start),
                    end: hex(end),
                    offset: hex(offset),
                })
            })
            .collect()
    }
}

impl Mapping {
    fn change(&self, tracee: &Tracee, protection: c_int) {
        let arguments = [self.start, self.end - self.start, protection as u64];
        let result = tracee.call(libc::SYS_mprotect, arguments);
        assert_eq!(result, 0, "mprotect in the child");
    }
}

const ACCESS: c_int = 2; // SEGV_ACCERR

/// The number of stores after which a copy is long, and of the stores that it then makes at once.
const LONG: usize = 256;
const AT_ONCE: u64 = 4000;

/// The system calls after which the child may map the object elsewhere, or writably.
const MAPS: [c_long; 4] = [libc::SYS_mmap, libc::SYS_mremap, libc::SYS_munmap, libc::SYS_mprotect];

/// Frequent system calls that change no file, so that a large object need not be read after each.
/// None of them can store to the object's pages, which are read-only.
const CHANGES_NOTHING: [c_long; 24] = [
    libc::SYS_brk,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_newfstatat,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readlink,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_sched_yield,
    libc::SYS_statx,
];
