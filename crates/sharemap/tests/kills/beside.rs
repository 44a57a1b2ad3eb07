//! A living process beside the one that is killed. It is never traced; it is at rest, stopped,
//! whenever the other runs, so that no state is seen in between two of its stores.

#![allow(unsafe_code, reason = "forks, and stops its child")]

use std::ffi::c_int;
use std::{fs, io, ptr, thread};

/// What it does, if there is to be one.
pub struct Beside<'a> {
    work: Option<&'a dyn Fn()>,
    process: Option<Process>,
    had_its_turn: bool,
}

struct Process {
    pid: libc::pid_t,
    /// Its status, when it has ended.
    ended: Option<c_int>,
}

impl<'a> Beside<'a> {
    pub fn new(work: Option<&'a dyn Fn()>) -> Self {
        Self { work, process: None, had_its_turn: false }
    }

    /// Lets it begin, and come to rest: it calls `mark`, or sleeps, or ends.
    pub fn start(&mut self) {
        if let Some(work) = self.work.take() {
            let process = self.process.insert(Process::fork(work));
            process.rest();
        }
    }

    /// Lets it go on to where it rests next, once.
    pub fn turn(&mut self) {
        if let Some(process) = self.process.as_mut().filter(|_| !self.had_its_turn) {
            self.had_its_turn = true;
            process.signal(libc::SIGCONT);
            process.rest();
        }
    }

    /// Lets it run to its end, which is to be a good one.
    pub fn finish(mut self) -> Result<(), String> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        while process.ended.is_none() {
            process.signal(libc::SIGCONT);
            process.wait(libc::WUNTRACED);
        }
        match process.ended {
            Some(0) => Ok(()),
            status => {
                Err(format!("the process beside it ended with status {status:x?}; see above"))
            }
        }
    }
}

/// Lets a process do this, and [`die`] at its end, if it did not before.
pub fn run_and_kill(work: &dyn Fn()) {
    let mut process = Process::fork(&|| {
        work();
        die();
    });
    process.wait(0);
    let status = process.ended.expect("it was waited for");
    assert!(libc::WIFSIGNALED(status), "it ended with status {status:x}");
}

/// Ends this process by SIGKILL.
pub fn die() {
    // SAFETY: takes a number only.
    unsafe { libc::raise(libc::SIGKILL) };
}

impl Process {
    fn fork(work: &dyn Fn()) -> Self {
        // SAFETY: the child has this thread only, touches nothing that others may have locked but
        // the allocator, which knows of forks, and never returns.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", io::Error::last_os_error());
        if pid == 0 {
            // SAFETY: takes numbers only.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::alarm(60);
            }
            let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err();
            // SAFETY: ends the child, without what the parent registered for its own end.
            unsafe { libc::_exit(if died { 101 } else { 0 }) };
        }
        Self { pid, ended: None }
    }

    /// Until it is stopped, or has ended. One that sleeps in the kernel is stopped.
    fn rest(&mut self) {
        let sleeps = format!("{} ", libc::SYS_futex);
        while self.ended.is_none() && !self.wait(libc::WUNTRACED | libc::WNOHANG) {
            let call = fs::read_to_string(format!("/proc/{}/syscall", self.pid));
            if call.is_ok_and(|call| call.starts_with(&sleeps)) {
                self.signal(libc::SIGSTOP);
                self.wait(libc::WUNTRACED);
                return;
            }
            thread::yield_now();
        }
    }

    /// Whether it is stopped, or ended.
    fn wait(&mut self, options: c_int) -> bool {
        if self.ended.is_some() {
            return true;
        }
        let mut status = 0;
        // SAFETY: our own child; the status is ours.
        let got = unsafe { libc::waitpid(self.pid, &mut status, options) };
        assert!(got >= 0, "waitpid: {}", io::Error::last_os_error());
        if got == self.pid && !libc::WIFSTOPPED(status) {
            self.ended = Some(status);
        }
        got == self.pid
    }

    fn signal(&self, signal: c_int) {
        if self.ended.is_none() {
            // SAFETY: our own child, which has not been waited for to its end.
            unsafe { libc::kill(self.pid, signal) };
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.signal(libc::SIGKILL);
            // SAFETY: our own child.
            unsafe { libc::waitpid(self.pid, ptr::null_mut(), 0) };
        }
    }
}
