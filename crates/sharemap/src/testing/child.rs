//! Second processes for tests: this test's program again in a role, or forked.

#![allow(unsafe_code, reason = "forks, and sends signals")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStderr, ChildStdin, Command, ExitStatus, Stdio};

const ROLE: &str = "SHAREMAP_TEST_ROLE";
const ARGUMENT: &str = "SHAREMAP_TEST_ARGUMENT";

/// The argument, in a process that was started for the role `test`.
pub(crate) fn role(test: &str) -> Option<String> {
    (std::env::var(ROLE).as_deref() == Ok(test))
        .then(|| std::env::var(ARGUMENT).unwrap_or_default())
}

/// The command that runs only `test` (its full path), in which [`role`] gives it `argument`.
pub(crate) fn command(test: &str, argument: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(ROLE, test).env(ARGUMENT, argument);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// What a process in a role tells the one that started it.
pub(crate) fn tell(text: &str) {
    eprintln!("> {text}");
}

/// In a role: waits for a line from whoever started it; the empty line at the end.
pub(crate) fn listen() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// Wine's answer if its loader could not find a library of the program, which it sometimes says of a
/// program that starts while another is being killed. (`STATUS_DLL_NOT_FOUND`)
const NOT_LOADED: i32 = 0xc000_0135_u32 as i32;

/// A process in a role; killed, if it still runs, and waited for in the end.
pub(crate) struct Second {
    /// What started it, until it is known to run.
    command: Option<Command>,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStderr>,
}

impl Second {
    pub(crate) fn start(test: &str, argument: &str) -> Self {
        Self::of(command(test, argument))
    }

    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stderr.take().unwrap());
        Self { command: Some(command), child, input, output }
    }

    /// The next line it tells.
    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            if self.output.read_line(&mut line).unwrap() == 0 {
                let ended = self.child.wait().unwrap();
                match self.command.take() {
                    Some(command) if cfg!(windows) && ended.code() == Some(NOT_LOADED) => {
                        eprintln!("a second process was not loaded; it is started again");
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

    pub(crate) fn expect(&mut self, told: &str) {
        assert_eq!(self.hear(), told);
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.command = None;
        writeln!(self.input.as_mut().unwrap(), "{text}").unwrap();
    }

    /// Kills it, and returns when it is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Lets it run to its end.
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

/// Closes all descriptors but the first three, as other code may; `false` where there is no such
/// call. What has a descriptor is not to be dropped afterwards.
#[cfg(target_os = "linux")]
pub(crate) fn close_all() -> bool {
    // SAFETY: takes numbers only; the caller uses nothing that has one.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) == 0 }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn close_all() -> bool {
    false
}

/// A forked child; killed, if it still runs, and waited for in the end.
#[derive(Debug)]
pub(crate) struct Forked(i32);

/// Runs `body` in a forked child, which ends with it; `None` where nothing forks.
#[cfg(unix)]
pub(crate) fn fork(body: impl FnOnce()) -> Option<Forked> {
    // SAFETY: the child runs what a child may run after a fork of many threads with this C library,
    // and ends without returning.
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
    pub(crate) fn id(&self) -> i32 {
        self.0
    }

    /// Kills it, and returns when it is gone.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Waits for it; whether its body ended well.
    #[cfg(unix)]
    pub(crate) fn passed(self) -> bool {
        let mut status = 0;
        // SAFETY: our own child, waited for once.
        let waited = unsafe { libc::waitpid(self.0, &mut status, 0) };
        let child = self.0;
        std::mem::forget(self);
        waited == child && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
    }

    #[cfg(not(unix))]
    pub(crate) fn passed(self) -> bool {
        unreachable!("nothing forks")
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        #[cfg(unix)]
        // SAFETY: our own child, waited for once.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

impl Second {
    /// Stops it; `false` where nothing stops.
    #[cfg(unix)]
    pub(crate) fn stop(&self) -> bool {
        let process = self.child.id() as i32;
        // SAFETY: our own child, which is not waited for but until it stops.
        unsafe {
            libc::kill(process, libc::SIGSTOP);
            libc::waitpid(process, std::ptr::null_mut(), libc::WUNTRACED) == process
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn stop(&self) -> bool {
        false
    }

    /// Lets it go on after it was stopped.
    pub(crate) fn go_on(&self) {
        #[cfg(unix)]
        // SAFETY: our own child, which has not been waited for.
        unsafe {
            libc::kill(self.child.id() as i32, libc::SIGCONT);
        }
    }
}
