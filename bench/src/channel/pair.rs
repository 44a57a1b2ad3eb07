//! A pair of processes that exchange messages, each on a processor of its own.
//!
//! A sample counts only if neither process was preempted in it.

use std::cell::RefCell;
use std::hint;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::measure::Cpus;
use crate::peers::futex::Turn;
use crate::peers::shared::Shared;
use crate::reason::{Reason, why};

/// One side's part of so many messages.
pub type Work = Box<dyn FnMut(u64) -> Result<(), Reason>>;

/// Makes the work of a side, in the process that does it.
pub type Make<'a> = &'a dyn Fn() -> Result<Work, Reason>;

/// Where the two processes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processors {
    /// On one.
    Same,
    /// On one each.
    Different,
}

/// How often a sample is taken again before a pair gives up.
const TRIES: u32 = 200;
/// The longest wait for the other process.
const PATIENCE: Duration = Duration::from_secs(20);

/// The words by which the parent starts a sample, and the child ends it. All zeros at first.
#[repr(C, align(128))]
struct Control {
    /// Wakes the child for a sample, of this number.
    start: Turn,
    number: AtomicU32,
    messages: AtomicU64,
    replies: Replies,
}

#[repr(C, align(128))]
struct Replies {
    /// The number of the sample that the child is ready for, that it has finished, and that it has counted.
    ready: AtomicU32,
    done: AtomicU32,
    counted: AtomicU32,
    /// How often the child was preempted in the sample.
    preempted: AtomicU64,
}

/// A running pair. The parent's side is in this process.
pub struct Pair {
    control: Shared<Control>,
    child: libc::pid_t,
    work: RefCell<Work>,
    filters: bool,
}

impl Pair {
    /// Starts the child, and makes both sides. Pins this thread.
    pub fn start(
        cpus: &Cpus,
        processors: Processors,
        near: Make<'_>,
        far: Make<'_>,
    ) -> Result<Self, Reason> {
        let control = Shared::<Control>::new()?;
        match processors {
            Processors::Same => cpus.pin(),
            Processors::Different => cpus.pin_to_other(),
        }
        .map_err(why)?;
        // SAFETY: this process has one thread, and the child does only its work.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: takes only numbers.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let code = match far().and_then(|work| serve(control.get(), work)) {
                Ok(()) => 0,
                Err(reason) => {
                    eprintln!("sharemap-bench: the other process: {reason}");
                    1
                }
            };
            // SAFETY: ends the child without the destructors of its parent's values.
            unsafe { libc::_exit(code) };
        }
        if child < 0 {
            return Err(format!("fork: {}", std::io::Error::last_os_error()));
        }
        cpus.pin().map_err(why)?;
        let filters = processors == Processors::Different;
        let idle: Work = Box::new(|_| Ok(()));
        // Dropped, the pair kills the child, also if the near side cannot be made.
        let pair = Self { control, child, work: RefCell::new(idle), filters };
        *pair.work.borrow_mut() = near()?;
        Ok(pair)
    }

    /// Returns the time for so many messages, from the first to the last, of a sample in which no process was preempted.
    pub fn run(&self, messages: u64) -> Result<Duration, Reason> {
        for _ in 0..TRIES {
            let (took, preempted) = self.sample(messages)?;
            if !(self.filters && preempted) {
                return Ok(took);
            }
        }
        Err(format!("a process was preempted in each of {TRIES} samples"))
    }

    /// Makes one sample. Returns `true` if a process was preempted in it.
    fn sample(&self, messages: u64) -> Result<(Duration, bool), Reason> {
        let Control { start: wake, number: last, messages: count, replies } = self.control.get();
        count.store(messages, Ordering::Relaxed);
        let number = last.load(Ordering::Relaxed) + 1;
        last.store(number, Ordering::Release);
        wake.give();
        self.await_reply(&replies.ready, number, std::thread::yield_now)?;
        let before = preemptions();
        let start = Instant::now();
        (self.work.borrow_mut())(messages)?;
        self.await_reply(&replies.done, number, hint::spin_loop)?;
        let took = start.elapsed();
        let here = preemptions() - before;
        self.await_reply(&replies.counted, number, std::thread::yield_now)?;
        Ok((took, here + replies.preempted.load(Ordering::Relaxed) > 0))
    }

    fn await_reply(&self, word: &AtomicU32, number: u32, pause: fn()) -> Result<(), Reason> {
        let (mut looks, mut start) = (0_u32, None);
        while word.load(Ordering::Acquire) != number {
            pause();
            looks = looks.wrapping_add(1);
            // The clock is looked at rarely.
            if looks % 1024 == 0 {
                let start = *start.get_or_insert_with(Instant::now);
                if start.elapsed() > PATIENCE {
                    return Err("the other process does not reply".into());
                }
            }
        }
        Ok(())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // SAFETY: the child belongs to this process and is waited for once.
        unsafe {
            libc::kill(self.child, libc::SIGKILL);
            libc::waitpid(self.child, std::ptr::null_mut(), 0);
        }
    }
}

/// Makes the child's part of each sample.
fn serve(control: &Control, mut work: Work) -> Result<(), Reason> {
    let Control { start, number, messages, replies } = control;
    loop {
        start.take();
        let last = number.load(Ordering::Acquire);
        let before = preemptions();
        replies.ready.store(last, Ordering::Release);
        work(messages.load(Ordering::Relaxed))?;
        replies.done.store(last, Ordering::Release);
        replies.preempted.store(preemptions() - before, Ordering::Relaxed);
        replies.counted.store(last, Ordering::Release);
    }
}

/// Returns how often this thread lost its processor to another.
fn preemptions() -> u64 {
    // SAFETY: zeros are a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: writes the usage.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) };
    usage.ru_nivcsw as u64
}
