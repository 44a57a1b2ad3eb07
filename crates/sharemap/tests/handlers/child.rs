//! Scenarios in child processes.

use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const SCENARIO: &str = "SHAREMAP_SCENARIO";

/// The exit of a scenario's process, and its standard error.
pub struct Outcome {
    scenario: String,
    status: ExitStatus,
    errors: String,
}

/// Returns a command that runs this program again for one scenario.
pub fn command(program: &Path, scenario: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command.env(SCENARIO, scenario).stdin(Stdio::null());
    command
}

/// Runs a scenario, given by a name and its arguments.
pub fn outcome(scenario: &str) -> Outcome {
    let program = std::env::current_exe().expect("this program has a path");
    let output = command(&program, scenario).output().expect("this program runs again");
    Outcome {
        scenario: scenario.to_owned(),
        status: output.status,
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Outcome {
    /// Returns the scenario's standard error.
    #[allow(dead_code, reason = "not for every processor")]
    pub fn errors(&self) -> &str {
        &self.errors
    }

    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.scenario.split_whitespace()
    }

    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub fn ended_with(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }

    pub fn ended_well(&self) -> &Self {
        self.ended_with(0)
    }

    pub fn died_of(&self, signal: i32) -> &Self {
        assert_eq!(self.status.signal(), Some(signal), "{self}");
        self
    }

    pub fn said(&self, what: &str) -> &Self {
        assert!(self.errors.contains(what), "not said: {what}\n{self}");
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "scenario `{}`: {}\n{}", self.scenario, self.status, self.errors)
    }
}

/// Runs the scenarios, two at a time, and calls the check for each. Panics with the list of
/// failures.
pub fn all(scenarios: &[String], judge: impl Fn(Outcome) + Sync) {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let judged = catch_unwind(AssertUnwindSafe(|| judge(outcome(scenario))));
                    if judged.is_err() {
                        failed.lock().unwrap().push(scenario);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} failed: {failed:#?}", failed.len(), scenarios.len());
}

/// Runs the scenario in the child and ends the process, without a core file, after a few minutes at
/// the latest.
pub fn run(scenario: impl Fn(&str, &[&str])) {
    let Ok(line) = std::env::var(SCENARIO) else { return };
    let words: Vec<&str> = line.split_whitespace().collect();
    let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: takes numbers and local variables.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &limit);
        libc::alarm(150);
        scenario(words[0], &words[1..]);
        libc::_exit(0);
    }
}

/// Returns `true` if faults are recovered in place here; otherwise prints what is skipped.
pub fn in_place(left_out: &str) -> bool {
    let in_place = sharemap::guard::recovery() == sharemap::guard::Recovery::InPlace;
    if !in_place {
        println!("skipped: {left_out}: accesses are system calls here");
    }
    in_place
}
