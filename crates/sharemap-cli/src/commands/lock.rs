//! `sharemap lock`: runs a command under a named lock.

use super::objects;
use crate::failure::{Failure, complain};
use crate::output::Output;
use crate::{system, units};
use serde::Serialize;
use sharemap::inspect::Inspection;
use sharemap::{
    Element, Error, ErrorKind, Location, LockError, LockResult, Mutex, MutexGuard, MutexHandle,
    Shareable, Shared, SharedOptions,
};
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The environment variable that tells the command that the last owner died.
const OWNER_DIED: &str = "SHAREMAP_LOCK_OWNER_DIED";
/// The numbers of participants and of lanes of a lock that this command creates.
const ROOM: u32 = 1_024;

/// Runs a command while holding a named lock.
///
/// The lock is a shared mutex of a u64, which is created if it does not exist. A mutex of another
/// integer type, or of bool, can be used as well. The value of the mutex is not changed. The owner of
/// the lock is the `sharemap lock` process, not the command: the command inherits no descriptor and no
/// memory of the lock. If `sharemap lock` is killed, the next process acquires the lock, even if the
/// command still runs.
///
/// If the last owner died while holding the lock, a message on standard error reports it, and the
/// environment of the command contains SHAREMAP_LOCK_OWNER_DIED=1. If the command succeeds, the lock
/// is marked consistent. If the command fails, the next owner is notified again.
///
/// If the name of the lock is unlinked during the wait, the lock that has the name afterwards is
/// acquired instead, within the same timeout. If the name is unlinked while the lock is held, a
/// second command can run at the same time as the first.
///
/// A lock that this command creates has room for 1,024 processes at a time. While a lock has no room,
/// the command waits within the same timeout. The order in which waiting processes get room is
/// unspecified.
///
/// Exits with the status of the command, or with 128 plus the number of the signal that ended it.
/// SIGINT, SIGTERM and SIGHUP are forwarded to the command. Exits with status 5 if the lock cannot be
/// acquired within the timeout.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The name of the lock, or a path with a separator.
    #[arg(value_name = "NAME")]
    name: String,
    /// Waits for at most this long [default: no limit].
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = units::parse_duration,
        conflicts_with = "try_once"
    )]
    timeout: Option<Duration>,
    /// Does not wait for the lock.
    #[arg(long = "try")]
    try_once: bool,
    /// Accepts a lock that belongs to another user. That user must be trusted to follow the
    /// protocol.
    #[arg(long)]
    allow_any_owner: bool,
    /// The command and its arguments. With --json, its output goes to standard error.
    #[arg(value_name = "COMMAND", required = true, last = true)]
    command: Vec<OsString>,
}

impl Args {
    /// Returns the options for opening or creating the lock.
    fn options(&self) -> SharedOptions {
        let options = SharedOptions::new().participants(ROOM).lanes(ROOM);
        if self.allow_any_owner { options.allow_any_owner() } else { options }
    }
}

#[derive(Serialize)]
struct Report {
    name: String,
    owner_died: bool,
    waited_seconds: f64,
    held_seconds: f64,
    /// The exit code of the command; `None` if a signal ended it.
    exit_code: Option<i32>,
    signal: Option<i32>,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let location = objects::location(&args.name);
    let task = Task { args, location, begun: Instant::now() };
    // In each further round, another process has unlinked the lock since it was opened.
    let mut round = 1;
    while task.attempt(output)? == Turn::Missed {
        if task.is_over(round) {
            let name = &args.name;
            return Err(Failure::Busy(format!(
                "cannot lock {name}: its name was unlinked in each of {round} attempts; stop the \
                     process that removes it"
            )));
        }
        round += 1;
    }
    Ok(())
}

/// Returns `true` if the object exists, but holds another type than the one asked for.
fn is_other_type(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::WrongType | ErrorKind::WrongSize | ErrorKind::WrongKind)
}

/// The result of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The command ran while holding the lock, and succeeded.
    Ended,
    /// The lock was acquired, but its name had been unlinked. The command did not run.
    Missed,
}

/// The command to run, the lock to hold, and the start of the wait.
struct Task<'a> {
    args: &'a Args,
    location: Location,
    begun: Instant,
}

impl Task<'_> {
    /// Runs the command while holding the lock that has the name now, creating it if there is none.
    fn attempt(&self, output: &mut Output) -> Result<Turn, Failure> {
        let first = match self.options().open_or_create(&self.location, || Mutex::new(0_u64)) {
            Ok(lock) => return self.run(&lock, output),
            Err(error) if is_other_type(&error) => error,
            Err(error) => return Err(self.refused(error)),
        };
        // The other types that a lock may have been created with.
        let others = [
            Self::find::<u32>,
            Self::find::<u16>,
            Self::find::<u8>,
            Self::find::<i64>,
            Self::find::<i32>,
            Self::find::<i16>,
            Self::find::<i8>,
            Self::find::<bool>,
            Self::find::<u128>,
            Self::find::<i128>,
        ];
        for find in others {
            match find(self, output) {
                Err(Failure::Library(error)) if is_other_type(&error) => {}
                other => return other,
            }
        }
        Err(Failure::refused(format!(
            "cannot run a command under {}: it is not a mutex of an integer or of bool: {first}",
            self.args.name
        )))
    }

    /// Returns `true` if no attempt may follow attempt number `round`.
    fn is_over(&self, round: u32) -> bool {
        /// The number of attempts with `--try`.
        const ROUNDS: u32 = 8;
        match self.args.timeout {
            _ if self.args.try_once => round >= ROUNDS,
            Some(timeout) => self.begun.elapsed() >= timeout,
            None => false,
        }
    }

    /// Opens the lock as a mutex of `T`, and runs the command while holding it.
    fn find<T: Element + Shareable>(&self, output: &mut Output) -> Result<Turn, Failure> {
        match self.options().open::<Mutex<T>>(&self.location) {
            Ok(lock) => self.run(&lock, output),
            Err(error) if is_other_type(&error) => Err(error.into()),
            Err(error) => Err(self.refused(error)),
        }
    }

    /// Returns the rest of the timeout; `None` if there is no limit.
    fn time_left(&self) -> Option<Duration> {
        let timeout = if self.args.try_once { Some(Duration::ZERO) } else { self.args.timeout };
        timeout.map(|timeout| timeout.saturating_sub(self.begun.elapsed()))
    }

    /// Returns the options for opening the lock within the rest of the timeout.
    fn options(&self) -> SharedOptions {
        self.args.options().open_timeout(self.time_left().unwrap_or(Duration::MAX))
    }

    /// Acquires `lock`, runs the command if the lock still has its name, and releases the lock.
    fn run<T: Element + Shareable>(
        &self,
        lock: &Shared<Mutex<T>>,
        output: &mut Output,
    ) -> Result<Turn, Failure> {
        let (guard, died) = match self.take(lock) {
            Ok(guard) => (Some(guard), None),
            Err(LockError::OwnerDied(died)) => (None, Some(died)),
            Err(LockError::Failed(error)) => return Err(self.refused(error)),
        };
        // The name may have been unlinked during the wait, and may refer to another lock now. A command
        // that ran under this lock would not exclude the holders of that one.
        if !lock.is_linked()? {
            // Dropping an `OwnerDiedGuard` leaves the lock in the state `OwnerDied` for the next owner.
            drop(died);
            if let Some(guard) = guard {
                guard.unlock()?;
            }
            return Ok(Turn::Missed);
        }
        let owner_died = died.is_some();
        if owner_died {
            complain(format!("the last owner of {} died while holding it", self.args.name));
        }
        let waited_seconds = self.begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let status = self.command(owner_died, output)?;
        let held_seconds = begun.elapsed().as_secs_f64();
        match (guard, died) {
            (Some(guard), _) => guard.unlock()?,
            (None, Some(died)) if status.success() => died.mark_consistent().unlock()?,
            // The command failed: the next owner is notified as well.
            (None, died) => drop(died),
        }
        let (exit_code, signal) = (status.code(), system::signal(status));
        if output.json() {
            let name = self.args.name.clone();
            let report =
                Report { name, owner_died, waited_seconds, held_seconds, exit_code, signal };
            output.object(&report)?;
        }
        match exit_code.unwrap_or(128 + signal.unwrap_or(0)) {
            0 => Ok(Turn::Ended),
            code => Err(Failure::Ended(code)),
        }
    }

    /// Acquires `lock` within the rest of the timeout.
    fn take<'l, T: Element + Shareable>(
        &self,
        lock: &'l MutexHandle<T>,
    ) -> LockResult<MutexGuard<'l, T>> {
        const NAP: Duration = Duration::from_millis(10);
        loop {
            let result = match self.time_left() {
                _ if self.args.try_once => lock.try_lock(),
                Some(left) => lock.lock_timeout(left),
                None => lock.lock(),
            };
            match result {
                // The call itself waits only about 100 ms for a lane.
                Err(LockError::Failed(error))
                    if error.kind() == ErrorKind::TooManyThreads
                        && self.time_left() != Some(Duration::ZERO) =>
                {
                    std::thread::sleep(NAP);
                }
                result => return result,
            }
        }
    }

    /// Returns the failure of opening or acquiring the lock, with the current owner if it is known.
    fn refused(&self, error: Error) -> Failure {
        let name = &self.args.name;
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::Timeout => {
                let by =
                    self.owner().map_or(String::new(), |process| format!(" by process {process}"));
                let remedy = match self.args.try_once {
                    true => "omit --try to wait for it",
                    false => "wait longer, or end its owner",
                };
                Failure::Busy(format!("cannot lock {name}: the lock is held{by}; {remedy}"))
            }
            ErrorKind::TooManyProcesses | ErrorKind::TooManyThreads => {
                Failure::Busy(self.crowded(&error))
            }
            _ => error.into(),
        }
    }

    /// Returns the message for a lock without room for this process.
    fn crowded(&self, error: &Error) -> String {
        const MOST_NAMED: usize = 8;
        let name = &self.args.name;
        let look = Inspection::open(&self.location).ok();
        let facts = look.as_ref().and_then(Inspection::facts);
        let count = |count: Option<u32>| count.map_or(String::new(), |count| format!("{count} "));
        let taken = match error.kind() {
            ErrorKind::TooManyThreads => {
                format!("{}lanes, one for each thread,", count(facts.map(|facts| facts.lanes)))
            }
            _ => format!("{}places for processes", count(facts.map(|facts| facts.participants))),
        };
        let processes = look.as_ref().and_then(|look| look.participants().ok()).unwrap_or_default();
        let mut by: Vec<_> =
            processes.iter().take(MOST_NAMED).map(|found| found.process.to_string()).collect();
        if processes.len() > MOST_NAMED {
            by.push("…".into());
        }
        let by =
            if by.is_empty() { by.concat() } else { format!(", by process {}", by.join(", ")) };
        format!(
            "cannot lock {name}: all {taken} are in use{by}; wait longer, end one of these processes, \
             or remove {name} while no process uses it: `sharemap lock` then re-creates it with room \
             for {ROOM} processes"
        )
    }

    /// Returns the process id of the owner, if the lock is still held.
    fn owner(&self) -> Option<u32> {
        let locks = Inspection::open(&self.location).ok()?.locks().ok()?;
        locks.into_iter().find_map(|lock| lock.owner?.process)
    }

    /// Runs the command and waits until it ends.
    #[allow(clippy::disallowed_methods, reason = "the output is the command's own")]
    fn command(&self, owner_died: bool, output: &Output) -> Result<ExitStatus, Failure> {
        let [program, arguments @ ..] = &self.args.command[..] else {
            return Err(Failure::refused("no command was given"));
        };
        let mut command = Command::new(program);
        command.args(arguments).env_remove(OWNER_DIED);
        if owner_died {
            command.env(OWNER_DIED, "1");
        }
        if output.json() {
            command.stdout(Stdio::from(std::io::stderr()));
        }
        system::run_to_end(&mut command)
            .map_err(|error| Failure::file("run", Path::new(program), error))
    }
}
