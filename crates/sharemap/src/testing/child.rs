//! Child processes for tests.
//!
//! A [`Second`] process is the test program started again, running one test in a *role*. The two talk
//! by lines of text, over the child's standard input and standard error. A [`Forked`] process is a
//! plain fork.

#![allow(unsafe_code, reason = "forks, and sends signals")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStderr, ChildStdin, Command, ExitStatus, Stdio};

/// The variable with a process's role: the full path of a test.
const ROLE: &str = "SHAREMAP_TEST_ROLE";
/// The variable with the role's argument.
const ARGUMENT: &str = "SHAREMAP_TEST_ARGUMENT";

/// Returns the argument if this process was started for the role `test`, a test's full path.
pub(crate) fn role(test: &str) -> Option<String> {
    (std::env::var(ROLE).as_deref() == Ok(test))
        .then(|| std::env::var(ARGUMENT).unwrap_or_default())
}

/// Returns a command that runs only `test`, by its full path. In it, [`role`] returns `argument`.
pub(crate) fn command(test: &str, argument: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(ROLE, test).env(ARGUMENT, argument);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Sends a line to the process that started this one in its role.
pub(crate) fn tell(text: &str) {
    eprintln!("> {text}");
}

/// Receives a line, in a role, from the process that started it. Returns the empty string once that
/// process has closed the connection.
pub(crate) fn listen() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// `STATUS_DLL_NOT_FOUND`: under Wine, the occasional exit status of a process that is started while
/// another is being killed.
const NOT_LOADED: i32 = 0xc000_0135_u32 as i32;

/// A child process in a role. Dropping the value kills the process and waits for its end.
pub(crate) struct Second {
    /// The command that started the process, until the process is known to run.
    command: Option<Command>,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStderr>,
}

impl Second {
    /// Starts a process in the role `test`, with `argument`.
    pub(crate) fn start(test: &str, argument: &str) -> Self {
        Self::of(command(test, argument))
    }

    /// Starts a process by a command that [`command`] has returned.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stderr.take().unwrap());
        Self { command: Some(command), child, input, output }
    }

    /// Receives the next line that the process sends by [`tell`]. Panics if the process ends.
    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            if self.output.read_line(&mut line).unwrap() == 0 {
                let ended = self.child.wait().unwrap();
                match self.command.take() {
                    Some(command) if cfg!(windows) && ended.code() == Some(NOT_LOADED) => {
                        eprintln!("a second process was not loaded; starting it again");
                        *self = Self::of(command);
                        continue;
                    }
                    _ => panic!("the second process ended: {ended}"),
                }
            }
            self.command = None;
            match line.strip_prefix("> ") {
                Some(told) => return told.trim_end().to_owned(),
                None => eprint!("{line}"),
            }
        }
    }

    /// Receives the next line, which must be `told`.
    pub(crate) fn expect(&mut self, told: &str) {
        assert_eq!(self.hear(), told);
    }

    /// Sends a line, which the process receives by [`listen`].
    pub(crate) fn say(&mut self, text: &str) {
        self.command = None;
        writeln!(self.input.as_mut().unwrap(), "{text}").unwrap();
    }

    /// Kills the process and waits for its end.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Closes the connection, at which a role ends, and waits for the end of the process.
    pub(crate) fn finish(&mut self) -> ExitStatus {
        drop(self.input.take());
        let mut rest = String::new();
        while self.output.read_line(&mut rest).unwrap() > 0 {}
        let status = self.child.wait().unwrap();
        if !status.success() {
            eprintln!("{rest}");
        }
        status
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Closes all descriptors except the first three, as other code may. Returns `false` if the system
/// has no such call. Values that own a descriptor must not be dropped afterwards.
#[cfg(target_os = "linux")]
pub(crate) fn close_all() -> bool {
    // SAFETY: the call takes numbers only, and the caller uses no descriptor afterwards.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) == 0 }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn close_all() -> bool {
    false
}

/// A forked child. Dropping the value kills the child and waits for its end.
#[derive(Debug)]
pub(crate) struct Forked(i32);

/// Runs `body` in a forked child, which then ends. Returns `None` where processes cannot be forked.
#[cfg(unix)]
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

#[cfg(not(unix))]
pub(crate) fn fork(_: impl FnOnce()) -> Option<Forked> {
    None
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
    #[cfg(unix)]
    pub(crate) fn passed(self) -> bool {
        let mut status = 0;
        // SAFETY: this process's own child, waited for once.
        let waited = unsafe { libc::waitpid(self.0, &mut status, 0) };
        let child = self.0;
        std::mem::forget(self);
        waited == child && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
    }

    #[cfg(not(unix))]
    pub(crate) fn passed(self) -> bool {
        unreachable!("no process is forked here")
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        #[cfg(unix)]
        // SAFETY: this process's own child, waited for once.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

impl Second {
    /// Stops the process. Returns `false` where processes cannot be stopped.
    #[cfg(unix)]
    pub(crate) fn stop(&self) -> bool {
        let process = self.child.id() as i32;
        // SAFETY: this process's own child, waited for only until it stops.
        unsafe {
            libc::kill(process, libc::SIGSTOP);
            libc::waitpid(process, std::ptr::null_mut(), libc::WUNTRACED) == process
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn stop(&self) -> bool {
        false
    }

    /// Continues the stopped process.
    pub(crate) fn go_on(&self) {
        #[cfg(unix)]
        // SAFETY: this process's own child, which has not been waited for.
        unsafe {
            libc::kill(self.child.id() as i32, libc::SIGCONT);
        }
    }
}
