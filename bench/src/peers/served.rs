//! Sides that need a process of their own: a child that runs operations on request and reports how
//! long they took.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::reason::{Reason, why};

/// Runs the given number of times and returns the elapsed time.
pub type Operation = Box<dyn FnMut(u64) -> Duration>;

/// A child process that runs the operations of one peer.
pub struct Served {
    child: Child,
    requests: Option<ChildStdin>,
    answers: ChildStdout,
}

impl Served {
    /// Starts this program again as the peer of that name, on the CPUs that this process may use.
    pub fn start(peer: &str) -> Result<Self, Reason> {
        let program = std::env::current_exe().map_err(why)?;
        Self::spawn(Command::new(program).args(["serve", peer]))
    }

    /// Starts this program again as the peer of that name, with the file at `path`.
    pub fn start_in_file(peer: &str, path: &Path) -> Result<Self, Reason> {
        let program = std::env::current_exe().map_err(why)?;
        Self::spawn(Command::new(program).args(["serve", peer]).arg(path))
    }

    /// Starts this program again as one of several processes that count together.
    pub fn start_counting(peer: &str, path: &Path, pause: u64) -> Result<Self, Reason> {
        let program = std::env::current_exe().map_err(why)?;
        let mut command = Command::new(program);
        Self::spawn(command.args(["serve", peer]).arg(path).arg(pause.to_string()))
    }

    /// Starts a program that speaks the protocol of `child::serve`.
    pub fn spawn(command: &mut Command) -> Result<Self, Reason> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(why)?;
        let requests = child.stdin.take();
        let answers = child.stdout.take().ok_or("the peer has no output")?;
        Ok(Self { child, requests, answers })
    }

    /// Runs `repeats` operations in the child and returns how long they took.
    pub fn run(&mut self, repeats: u64) -> Result<Duration, Reason> {
        self.ask(repeats)?;
        self.answer()
    }

    /// Requests `repeats` operations without waiting for them.
    pub fn ask(&mut self, repeats: u64) -> Result<(), Reason> {
        let requests = self.requests.as_mut().ok_or("the peer has no input")?;
        requests.write_all(&repeats.to_le_bytes()).map_err(why)
    }

    /// Waits for the requested operations and returns how long they took.
    pub fn answer(&mut self) -> Result<Duration, Reason> {
        let mut answer = [0; 8];
        let read = self.answers.read_exact(&mut answer);
        read.map_err(|error| format!("the peer's process ended: {error}"))?;
        Ok(Duration::from_nanos(u64::from_le_bytes(answer)))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // The child exits at the end of its input.
        drop(self.requests.take());
        let _ = self.child.wait();
    }
}
