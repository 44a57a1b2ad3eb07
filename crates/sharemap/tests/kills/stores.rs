//! Every state that a kill can leave: the shared bytes before each store to them and at each system
//! call.
//!
//! Between two stores to the object and system calls, nothing that outlives a process changes. The
//! object's pages are therefore kept read-only in the child. Each store faults, is executed alone,
//! and yields one more state. That covers a kill at every instruction, without stopping at
//! instructions that make no difference.

use std::collections::HashSet;
use std::ffi::c_int;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::beside::Beside;
use super::plant::{Fate, Plant, Store};
use super::tracee::{Next, Stop, Tracee};

/// The bytes of the object; `None` if there is no object.
pub type Image = Option<Vec<u8>>;

/// Blanks bytes that differ between runs, such as identities and times, before states are compared.
pub type Mask = fn(&mut [u8]);

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
    /// The masked states that were found.
    met: &'a mut HashSet<Image>,
    pub plant: Option<Plant>,
    /// The stop at which the child is really killed.
    pub kill_at: Option<usize>,
    pub stops: usize,
    /// The address ranges at which the child maps the object.
    mappings: Vec<(u64, u64)>,
    last: Option<Image>,
    /// The offset and value of a store that is delayed until after the next.
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

    /// Runs `work` in a traced child and calls `found` with each new state and the number of its
    /// stop.
    ///
    /// The work calls `mark` where it begins, and may call it where it ends. The process beside
    /// starts at the first mark, and is resumed when the child sleeps.
    pub fn run(
        &mut self,
        work: impl FnOnce(),
        beside: &mut Beside<'_>,
        mut found: impl FnMut(Image, usize),
    ) -> End {
        let tracee = Tracee::fork(work);
        // The child runs at full speed up to the first mark.
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

    /// Runs the child to its end without observing states, and returns whether it succeeded.
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

    /// Reads the current state and reports it if it is new.
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

    /// Applies the planted mistake to the store that was just executed. Returns the offset and
    /// value of a delayed store that is due now.
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

    /// Executes one store to the object. Returns `false` if the fault has another cause.
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

    /// Returns the address ranges at which the child maps the object shared and at least readable.
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
