//! Boost.Interprocess, in C++ programs that are built if a compiler and Boost are installed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::peers::served::Served;
use crate::reason::{Reason, why};

/// A program, which is built once in a run.
struct Program {
    source: &'static str,
    name: &'static str,
    built: OnceLock<Result<PathBuf, Reason>>,
}

static LOCKS: Program = Program::new("boost-peer", "boost.cpp");
static SEGMENT: Program = Program::new("boost-segment-peer", "boost_segment.cpp");

/// Starts a child that locks as `what` says.
pub fn start(what: &str) -> Result<Served, Reason> {
    Served::spawn(LOCKS.command()?.arg(what))
}

/// Creates a file with a mutex, under which several processes count.
pub fn make(path: &Path) -> Result<(), Reason> {
    let status = LOCKS.command()?.arg("make").arg(path).status().map_err(why)?;
    if status.success() { Ok(()) } else { Err(format!("the C++ program ended: {status}")) }
}

/// Starts a child that counts in the file at `path` and holds the lock for `pause` nanoseconds.
pub fn start_counting(path: &Path, pause: u64) -> Result<Served, Reason> {
    Served::spawn(LOCKS.command()?.arg("count").arg(path).arg(pause.to_string()))
}

/// Starts a child that does what `what` says in a managed segment at `path`, with `count` entries.
pub fn start_in_segment(what: &str, path: &Path, count: u64) -> Result<Served, Reason> {
    Served::spawn(SEGMENT.command()?.arg(what).arg(path).arg(count.to_string()))
}

impl Program {
    const fn new(name: &'static str, source: &'static str) -> Self {
        Self { source, name, built: OnceLock::new() }
    }

    /// Returns the command that runs the program.
    fn command(&self) -> Result<Command, Reason> {
        self.built.get_or_init(|| self.build()).clone().map(Command::new)
    }

    fn build(&self) -> Result<PathBuf, Reason> {
        let program = std::env::current_exe().map_err(why)?.with_file_name(self.name);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(self.source);
        let output = Command::new("g++")
            .args(["-O2", "-std=c++17", "-o"])
            .arg(&program)
            .arg(source)
            .arg("-lpthread")
            .output()
            .map_err(|error| format!("cannot run g++: {error}"))?;
        if output.status.success() {
            return Ok(program);
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        let first = errors.lines().find(|line| line.contains("error")).unwrap_or("no reason given");
        Err(format!("Boost.Interprocess is not installed (Debian: libboost1.81-dev): {first}"))
    }
}
