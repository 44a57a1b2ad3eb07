//! A living process beside the process that is killed. It is never traced. It is stopped while the
//! other runs, so no state is observed between two of its stores.

#![allow(unsafe_code, reason = "forks, and stops its child")]

use std::ffi::c_int;
use std::{fs, io, ptr, thread};

/// The work of the process beside, if there is one.
pub struct Beside<'a> {
    work: Option<&'a dyn Fn()>,
    process: Option<Process>,
    had_its_turn: bool,
}

struct Process {
    pid: libc::pid_t,
    /// The exit status, once the process has ended.
    ended: Option<c_int>,
}

impl<'a> Beside<'a> {
    pub fn new(work: Option<&'a dyn Fn()>) -> Self {
        Self { work, process: None, had_its_turn: false }
    }

    /// Starts the process and waits until it stops in `mark`, sleeps or ends.
    pub fn start(&mut self) {
        if let Some(work) = self.work.take() {
            let process = self.process.insert(Process::fork(work));
            process.rest();
        }
    }

    /// Resumes the process until it stops, sleeps or ends again; only the first call does so.
    pub fn turn(&mut self) {
        if let Some(process) = self.process.as_mut().filter(|_| !self.had_its_turn) {
            self.had_its_turn = true;
            process.signal(libc::SIGCONT);
            process.rest();
        }
    }

    /// Resumes the process until it ends, and returns an error unless it succeeded.
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

/// Runs `work` in a process that then kills itself with [`die`], unless `work` already did.
pub fn run_and_kill(work: &dyn Fn()) {
    let mut process = Process::fork(&|| {
        work();
        die();
    });
    process.wait(0);
    let status = process.ended.expect("it was waited for");
    assert!(libc::WIFSIGNALED(status), "it ended with status {status:x}");
}

/// Kills this process with SIGKILL.
pub fn die() {
    // SAFETY: takes only a number.
    unsafe { libc::raise(libc::SIGKILL) };
}

impl Process {
    fn fork(work: &dyn Fn()) -> Self {
        // SAFETY: the child has only this thread and never returns. Of what other threads may have
        // locked it uses only the allocator, which supports forks.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", io::Error::last_os_error());
        if pid == 0 {
            // SAFETY: takes only numbers.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::alarm(60);
            }
            let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err();
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(if died { 101 } else { 0 }) };
        }
        Self { pid, ended: None }
    }

    /// Waits until the process is stopped or has ended. A process that sleeps in the kernel is
    /// stopped.
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

    /// Returns `true` if the process is stopped or has ended.
    fn wait(&mut self, options: c_int) -> bool {
        if self.ended.is_some() {
            return true;
        }
        let mut status = 0;
        // SAFETY: the process is a child of this one, and the status is a local variable.
        let got = unsafe { libc::waitpid(self.pid, &mut status, options) };
        assert!(got >= 0, "waitpid: {}", io::Error::last_os_error());
        if got == self.pid && !libc::WIFSTOPPED(status) {
            self.ended = Some(status);
        }
        got == self.pid
    }

    fn signal(&self, signal: c_int) {
        if self.ended.is_none() {
            // SAFETY: the process is a child of this one and has not been reaped.
            unsafe { libc::kill(self.pid, signal) };
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.signal(libc::SIGKILL);
            // SAFETY: the process is a child of this one.
            unsafe { libc::waitpid(self.pid, ptr::null_mut(), 0) };
        }
    }
}
