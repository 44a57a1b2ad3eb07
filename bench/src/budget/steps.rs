//! Counting the instructions of a function, by single steps.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::reason::{Reason, why};

/// A word in memory that parent and child share: 1 while the child's instructions count.
pub struct Steps {
    counting: &'static AtomicU32,
}

impl Steps {
    /// Checks that children can be traced.
    pub fn new() -> Result<Self, Reason> {
        // SAFETY: maps new memory, which stays mapped.
        let counting = unsafe {
            let page = libc::mmap(
                std::ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if page == libc::MAP_FAILED {
                return Err(why(std::io::Error::last_os_error()));
            }
            AtomicU32::from_ptr(page.cast())
        };
        let steps = Self { counting };
        steps.count_of(&|_| (), 1)?;
        Ok(steps)
    }

    /// Returns the user instructions of one of the calls that `operation` makes in a loop.
    pub fn count(&self, operation: impl Fn(u32)) -> Result<u64, Reason> {
        const CALLS: u32 = 16;
        let few = self.count_of(&operation, CALLS)?;
        Ok((self.count_of(&operation, 2 * CALLS)? - few) / u64::from(CALLS))
    }

    /// Counts the instructions of `calls` calls in a forked child, once everything is warm.
    fn count_of(&self, operation: &dyn Fn(u32), calls: u32) -> Result<u64, Reason> {
        // SAFETY: the child runs the operation, which uses only its own copies and shared memory, and exits. The
        // process has one thread.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                if libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) != 0 {
                    libc::_exit(9);
                }
                // The first calls attach the child and claim its lane.
                operation(3);
                libc::raise(libc::SIGSTOP);
                self.counting.store(1, Ordering::Relaxed);
                operation(calls);
                self.counting.store(0, Ordering::Relaxed);
                libc::_exit(0);
            }
            let (mut status, mut count) = (0, 0);
            if libc::waitpid(child, &mut status, 0) != child || !libc::WIFSTOPPED(status) {
                return Err("a child may not be traced".into());
            }
            loop {
                if libc::ptrace(libc::PTRACE_SINGLESTEP, child, 0, 0) != 0 {
                    return Err(why(std::io::Error::last_os_error()));
                }
                libc::waitpid(child, &mut status, 0);
                if !libc::WIFSTOPPED(status) {
                    return Ok(count);
                }
                count += u64::from(self.counting.load(Ordering::Relaxed));
            }
        }
    }
}
