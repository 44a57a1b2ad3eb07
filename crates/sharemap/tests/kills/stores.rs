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
use std::path::{Path, PathBuf};

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
}

/// Runs a child from its first mark to its second, or to its end, and hands on every new state.
pub struct Watch<'a> {
    object: PathBuf,
    mask: Mask,
    /// Masked states that were met.
    met: &'a mut HashSet<Image>,
    pub stops: usize,
}

impl<'a> Watch<'a> {
    pub fn new(object: &Path, mask: Mask, met: &'a mut HashSet<Image>) -> Self {
        Self { object: object.to_path_buf(), mask, met, stops: 0 }
    }

    /// The child's work is to call `mark` where it begins, and may call it where it ends.
    pub fn run(&mut self, work: impl FnOnce(), mut found: impl FnMut(Image)) -> End {
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
        self.protect(&tracee);
        self.look(&mut found);
        signal = 0;
        loop {
            let stop = tracee.go(Next::Call, signal);
            signal = 0;
            self.stops += 1;
            match stop {
                Stop::Mark => break,
                Stop::Call => {
                    let maps = [libc::SYS_mmap, libc::SYS_mremap, libc::SYS_munmap];
                    if maps.contains(&tracee.call_number()) && tracee.call_is_made() {
                        self.protect(&tracee);
                    }
                    self.look(&mut found);
                }
                Stop::Signal { number: libc::SIGSEGV, code: ACCESS, address }
                    if self.let_through(&tracee, address) =>
                {
                    self.look(&mut found);
                }
                Stop::Signal { number, .. } => signal = number,
                Stop::Step => {}
                end => {
                    self.look(&mut found);
                    return Self::end(end);
                }
            }
        }
        // What follows the second mark is not of interest, but has to go well.
        self.unprotect(&tracee);
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
    fn look(&mut self, found: &mut impl FnMut(Image)) {
        let image = fs::read(&self.object).ok();
        let mut masked = image.clone();
        if let Some(bytes) = &mut masked {
            (self.mask)(bytes);
        }
        if self.met.insert(masked) {
            found(image);
        }
    }

    /// One store to the object; `false` if the fault is another one.
    fn let_through(&self, tracee: &Tracee, address: u64) -> bool {
        let Some((start, end)) = self
            .mappings(tracee)
            .into_iter()
            .find(|(start, end)| (*start..*end).contains(&address))
        else {
            return false;
        };
        let all = libc::PROT_READ | libc::PROT_WRITE;
        change(tracee, start, end, all);
        let other = tracee.step();
        assert_eq!(other, None, "a store to the object");
        change(tracee, start, end, libc::PROT_READ);
        true
    }

    fn protect(&self, tracee: &Tracee) {
        for (start, end) in self.mappings(tracee) {
            change(tracee, start, end, libc::PROT_READ);
        }
    }

    fn unprotect(&self, tracee: &Tracee) {
        for (start, end) in self.mappings(tracee) {
            change(tracee, start, end, libc::PROT_READ | libc::PROT_WRITE);
        }
    }

    /// Where the child has the object mapped, to be read at least, and shared.
    fn mappings(&self, tracee: &Tracee) -> Vec<(u64, u64)> {
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
