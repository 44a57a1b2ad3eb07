//! Second processes for tests: this test's program again, in a role.

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

/// A process in a role; killed, if it still runs, and waited for in the end.
pub(crate) struct Second {
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
        Self { child, input, output }
    }

    #[allow(dead_code, reason = "for systems with signals")]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line it tells.
    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            if self.output.read_line(&mut line).unwrap() == 0 {
                panic!("the second process ended: {:?}", self.child.wait());
            }
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
