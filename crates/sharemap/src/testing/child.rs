//! Child processes for tests.
//!
//! A [`Second`] process is the test program started again, running one test in a *role*. The two talk
//! by lines of text, over the child's standard input and standard error. What only some systems can do with
//! processes is in `sys::testing`.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, Command, ExitStatus, Stdio};

use crate::sys::testing;

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
                    Some(command) if testing::must_start_again(ended) => {
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

    /// Kills the process. Returns what it wrote to standard error since the last line that was received.
    pub(crate) fn last_words(&mut self) -> String {
        self.kill();
        let mut rest = String::new();
        let _ = self.output.read_to_string(&mut rest);
        rest
    }

    /// Stops the process. Returns `false` where processes cannot be stopped.
    pub(crate) fn stop(&self) -> bool {
        testing::stop(self.child.id())
    }

    /// Continues the stopped process.
    pub(crate) fn go_on(&self) {
        testing::go_on(self.child.id());
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

/// A process that need not be this process's child. Dropping the value kills it.
#[derive(Debug)]
pub(crate) struct Stray(i32);

impl Stray {
    /// Takes the process with this id.
    pub(crate) fn new(process: i32) -> Self {
        assert!(process > 0);
        Self(process)
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        testing::kill(self.0);
    }
}
