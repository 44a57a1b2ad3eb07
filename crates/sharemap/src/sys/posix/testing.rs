//! Forks, signals and another program, for tests.

#![allow(unsafe_code, reason = "forks, and sends signals")]

use std::convert::Infallible;
use std::process::ExitStatus;

use crate::sys::testing::Can;

/// A forked child. Dropping the value kills the child and waits for its end.
#[derive(Debug)]
pub(crate) struct Forked(i32);

/// Runs `body` in a forked child, which then ends.
pub(crate) fn fork(body: impl FnOnce()) -> Option<Forked> {
    // SAFETY: `body` does only what this C library allows a child of a process with many threads to do,
    // and the child ends without returning.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0, "{}", std::io::Error::last_os_error());
        if child == 0 {
            libc::alarm(60);
            let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok();
            libc::_exit(i32::from(!passed));
        }
        Some(Forked(child))
    }
}

impl Forked {
    /// Returns the child's process id.
    pub(crate) fn id(&self) -> i32 {
        self.0
    }

    /// Kills the child and waits for its end.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Waits for the end of the child. Returns `true` if its body did not panic.
    pub(crate) fn passed(self) -> bool {
        let mut status = 0;
        // SAFETY: this process's own child, waited for once.
        let waited = unsafe { libc::waitpid(self.0, &mut status, 0) };
        let child = self.0;
        std::mem::forget(self);
        waited == child && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        // SAFETY: this process's own child, waited for once.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

/// Kills a process, which must exist.
pub(crate) fn kill(process: i32) {
    // SAFETY: the call takes numbers only.
    unsafe { libc::kill(process, libc::SIGKILL) };
}

/// Stops a child of this process. Returns `true` once it has stopped.
pub(crate) fn stop(child: u32) -> bool {
    let process = child as i32;
    // SAFETY: this process's own child, waited for only until it stops.
    unsafe {
        libc::kill(process, libc::SIGSTOP);
        libc::waitpid(process, std::ptr::null_mut(), libc::WUNTRACED) == process
    }
}

/// Continues a stopped child of this process.
pub(crate) fn go_on(child: u32) {
    // SAFETY: this process's own child, which has not been waited for.
    unsafe { libc::kill(child as i32, libc::SIGCONT) };
}

/// Returns `false`: a process that was started runs.
pub(crate) fn must_start_again(_: ExitStatus) -> bool {
    false
}

/// Replaces this process's program by another, which sends `telling`, like
/// [`tell`](crate::testing::child::tell), and waits for a line. Returns only if that fails.
pub(crate) fn execute(telling: &str) -> Can<Infallible> {
    use std::os::unix::process::CommandExt;
    let script = "echo \"> $0\" >&2; read line";
    let error = std::process::Command::new("sh").args(["-c", script, telling]).exec();
    Err(format!("sh cannot be executed: {error}"))
}
