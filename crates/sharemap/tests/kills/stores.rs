//! Every state that a kill can leave behind: the shared bytes before each store to them and at each
//! system call.
//!
//! Between two stores to the object, and two system calls, nothing changes that outlives a process.
//! So the object's pages are kept unwritable in the child: each store to them stops it, is let
//! through alone, and what the object then looks like is one more state. That covers a kill at every
//! instruction, without stopping at those that make no difference.

use std::collections::HashSet;
use std::ffi::c_int;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::beside::Beside;
use super::plant::{Fate, Plant, Store};
use super::tracee::{Next, Stop, Tracee};

/// The object's bytes; `None` where there is no object.
pub type Image = Option<Vec<u8>>;

/// What is left out of comparisons: identities and times, which differ from run to run.
pub type Mask = fn(&mut [u8]);

/// How a run under watch ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Well,
    Badly(String),
    /// At the stop that was asked for.
    Killed,
}

/// Runs a child from its first mark to its second, or to its end, and hands on every new state.
pub struct Watch<'a> {
    object: PathBuf,
    mask: Mask,
    /// Masked states that were met.
    met: &'a mut HashSet<Image>,
    pub plant: Option<Plant>,
    /// A stop at which the child is killed for real.
    pub kill_at: Option<usize>,
    pub stops: usize,
    /// Where the child has the object mapped.
    mappings: Vec<(u64, u64)>,
    last: Option<Image>,
    /// A store that is to happen after the next: where, and what.
    late: Option<(usize, u64)>,
}

impl<'a> Watch<'a> {
    pub fn new(object: &Path, mask: Mask, met: &'a mut HashSet<Image>) -> Self {
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
        }
    }

    /// The child's work is to call `mark` where it begins, and may call it where it ends. The
    /// process beside begins at the first, and has its turn when the child sleeps. Hands on each new
    /// state, with the number of the stop.
    pub fn run(
        &mut self,
        work: impl FnOnce(),
        beside: &mut Beside<'_>,
        mut found: impl FnMut(Image, usize),
    ) -> End {
        let tracee = Tracee::fork(work);
        // Up to the first mark, at full speed.
        let mut signal = 0;
        loop {
            match tracee.go(Next::Call, signal) {
                Stop::Mark => break,
                Stop::Signal { number, .. } => signal = number,
                end @ (Stop::Exited(_) | Stop::Killed(_)) => return Self::end(end),
                Stop::Call | Stop::Step => signal = 0,
            }
        }
        beside.start();
        self.protect(&tracee);
        self.look(&mut found);
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
                Stop::Call => {
                    let maps = [libc::SYS_mmap, libc::SYS_mremap, libc::SYS_munmap];
                    if maps.contains(&tracee.call_number()) && tracee.call_is_made() {
                        self.protect(&tracee);
                    }
                    falls_asleep = tracee.is_falling_asleep();
                    self.look(&mut found);
                }
                Stop::Signal { number: libc::SIGSEGV, code: ACCESS, address }
                    if self.let_through(&tracee, address) =>
                {
                    let late = self.judge();
                    self.look(&mut found);
                    if let Some((at, value)) = late {
                        self.set(at, value);
                        self.look(&mut found);
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

    /// What follows the second mark is not of interest, but has to go well.
    fn finish(&self, tracee: &Tracee) -> End {
        self.change_all(tracee, libc::PROT_READ | libc::PROT_WRITE);
        let mut signal = 0;
        loop {
            match tracee.go(Next::Call, signal) {
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

    /// The state as it is; handed on if it is new.
    fn look(&mut self, found: &mut impl FnMut(Image, usize)) {
        let image = fs::read(&self.object).ok();
        if self.last.as_ref() == Some(&image) {
            return;
        }
        let mut masked = image.clone();
        if let Some(bytes) = &mut masked {
            (self.mask)(bytes);
        }
        self.last = Some(image.clone());
        if self.met.insert(masked) {
            found(image, self.stops);
        }
    }

    /// Does with the store that was let through what is to become of it. Gives one that is to happen
    /// now: where, and what.
    fn judge(&mut self) -> Option<(usize, u64)> {
        let plant = self.plant?;
        let (old, new) = (self.last.as_ref()?.as_ref()?, fs::read(&self.object).ok()?);
        let store = Store::between(old, &new)?;
        match plant(store) {
            Fate::Kept => return self.late.take(),
            Fate::Dropped => {}
            Fate::Late => self.late = Some((store.at, store.after)),
        }
        self.set(store.at, store.before);
        None
    }

    fn set(&self, at: usize, value: u64) {
        let object = fs::File::options().write(true).open(&self.object).unwrap();
        object.write_all_at(&value.to_le_bytes(), at as u64).unwrap();
    }

    /// One store to the object; `false` if the fault is another one.
    fn let_through(&self, tracee: &Tracee, address: u64) -> bool {
        let holds = |(start, end): &&(u64, u64)| (*start..*end).contains(&address);
        let Some(&(start, end)) = self.mappings.iter().find(holds) else { return false };
        change(tracee, start, end, libc::PROT_READ | libc::PROT_WRITE);
        let other = tracee.step();
        assert_eq!(other, None, "a store to the object");
        change(tracee, start, end, libc::PROT_READ);
        true
    }

    fn protect(&mut self, tracee: &Tracee) {
        self.mappings = self.mappings_of(tracee);
        self.change_all(tracee, libc::PROT_READ);
    }

    fn change_all(&self, tracee: &Tracee, protection: c_int) {
        for &(start, end) in &self.mappings {
            change(tracee, start, end, protection);
        }
    }

    /// Where the child has the object mapped, to be read at least, and shared.
    fn mappings_of(&self, tracee: &Tracee) -> Vec<(u64, u64)> {
        let maps = fs::read_to_string(format!("/proc/{}/maps", tracee.pid())).unwrap_or_default();
        let object = self.object.to_str().expect("a path in UTF-8");
        let hex = |text| u64::from_str_radix(text, 16).expect("an address");
        maps.lines()
            .filter(|line| line.ends_with(object))
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                let (start, end) = words.next()?.split_once('-')?;
                let permissions = words.next()?;
                (permissions.starts_with('r') && permissions.ends_with('s'))
                    .then(|| (hex(start), hex(end)))
            })
            .collect()
    }
}

const ACCESS: c_int = 2; // SEGV_ACCERR

fn change(tracee: &Tracee, start: u64, end: u64, protection: c_int) {
    let result = tracee.call(libc::SYS_mprotect, [start, end - start, protection as u64]);
    assert_eq!(result, 0, "mprotect in the child");
}
