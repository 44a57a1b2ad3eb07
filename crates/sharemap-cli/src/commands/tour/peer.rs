//! The second processes of the tour: this program, run again with a hidden command. `task` has what they do.

use super::interrupt;
use crate::text::lossless;
use clap::ValueEnum;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// The time after which a second process without output counts as stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// The task of a second process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Action {
    /// Writes 1000 numbers.
    WriteNumbers,
    /// Reads the numbers, and attempts to read one more.
    ReadNumbers,
    /// Truncates the file to half its size when told to.
    CutInHalf,
    /// Reads a file without the library while it is truncated.
    ReadRaw,
    /// Sums a file through a mapping, and reports time, faults and memory.
    ScanMapping,
    /// Sums a file through a mapping that is populated first.
    ScanPopulated,
    /// Sums a file by read().
    ScanRead,
    /// Touches one page in a thousand.
    TouchFew,
    /// Reads numbers, each before the next is written.
    ReadInTurns,
    /// Acquires a file lock and holds it.
    HoldLock,
    /// Reads numbers in shared memory, each when a semaphore is posted.
    ReadBySignal,
    /// Adds to a number under a lock.
    CountUnderLock,
    /// Acquires that lock and holds it.
    DieWithLock,
    /// Fills a map in a segment.
    FillMap,
    /// Reads a map in a segment while it is filled.
    ReadMap,
    /// Inserts into a map in a segment, until it is killed.
    InsertUntilKilled,
    /// Reads a greeting in shared memory of this name, and answers it there.
    AnswerByName,
    /// Reads a greeting in inherited shared memory, and answers it there.
    AnswerByDescriptor,
}

/// A running second process, which is killed when this value is dropped.
pub(super) struct Peer {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    complaints: Receiver<String>,
}

impl Peer {
    /// Starts a second process for `action`.
    pub(super) fn start(action: Action, path: &Path) -> Result<Self, Box<dyn Error>> {
        Self::start_with(action, path, |_| Ok(()))
    }

    /// Starts a second process that inherits what `hand_on` passes. The result of `hand_on` is kept until
    /// the process runs.
    pub(super) fn start_with<T>(
        action: Action,
        path: &Path,
        hand_on: impl FnOnce(&mut Command) -> sharemap::Result<T>,
    ) -> Result<Self, Box<dyn Error>> {
        let name = action.to_possible_value();
        let name = name.as_ref().map_or("", |value| value.get_name());
        let program = std::env::current_exe()?;
        let mut command = Command::new(&program);
        command.args(["tour-peer", name]).arg(path);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let handed_on = hand_on(&mut command)?;
        let mut child = interrupt::enlist(|| command.spawn())
            .map_err(|error| format!("cannot run {}: {error}", lossless(&program)))?;
        drop(handed_on);
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let mut stderr = child.stderr.take().ok_or("no standard error")?;
        let (say, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if say.send(line).is_err() {
                    break;
                }
            }
        });
        let (complain, complaints) = channel();
        thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            complain.send(text)
        });
        Ok(Self { child, stdin, lines, complaints })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the next line that the process prints; `None` when it has ended.
    pub(super) fn line(&mut self) -> Result<Option<String>, Box<dyn Error>> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err("the second process is stuck".into()),
        }
    }

    /// Waits until the process reports that its setup is complete.
    pub(super) fn ready(&mut self) -> Result<(), Box<dyn Error>> {
        match self.line()?.as_deref() {
            Some("ready") => Ok(()),
            _ => Err(format!("the second process failed: {}", self.complaint()).into()),
        }
    }

    /// Tells the process to continue.
    pub(super) fn go(&mut self) -> io::Result<()> {
        match self.stdin.take() {
            Some(mut stdin) => stdin.write_all(b"go\n"),
            None => Ok(()),
        }
    }

    /// Waits until the process ends. Returns the remaining lines and the exit status.
    pub(super) fn end(mut self) -> Result<(Vec<String>, ExitStatus), Box<dyn Error>> {
        let mut lines = Vec::new();
        while let Some(line) = self.line()? {
            lines.push(line);
        }
        let status = self.wait()?;
        Ok((lines, status))
    }

    /// Waits until the process ends. Returns the remaining lines, or an error unless it succeeded.
    pub(super) fn end_well(mut self) -> Result<Vec<String>, Box<dyn Error>> {
        let mut lines = Vec::new();
        while let Some(line) = self.line()? {
            lines.push(line);
        }
        if self.wait()?.success() {
            return Ok(lines);
        }
        Err(format!("the second process failed: {}", self.complaint()).into())
    }

    fn wait(&mut self) -> io::Result<ExitStatus> {
        interrupt::dismiss(&self.child);
        self.child.wait()
    }

    fn complaint(&mut self) -> String {
        let text = self.complaints.recv_timeout(PATIENCE).unwrap_or_default();
        text.trim().strip_prefix("sharemap: ").unwrap_or(text.trim()).to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Unless the step failed, the process has ended already, or is meant to be killed.
        let _ = self.child.kill();
        let _ = self.wait();
    }
}
