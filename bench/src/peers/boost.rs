//! Boost.Interprocess, in a C++ program that is built if a compiler and Boost are installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::peers::served::Served;
use crate::reason::{Reason, why};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/boost.cpp");

/// Starts a child that locks as `what` says.
pub fn start(what: &str) -> Result<Served, Reason> {
    Served::spawn(Command::new(built()?).arg(what))
}

/// Creates a file with a mutex, under which several processes count.
pub fn make(path: &Path) -> Result<(), Reason> {
    let status = Command::new(built()?).arg("make").arg(path).status().map_err(why)?;
    if status.success() { Ok(()) } else { Err(format!("the C++ program ended: {status}")) }
}

/// Starts a child that counts in the file at `path` and holds the lock for `pause` nanoseconds.
pub fn start_counting(path: &Path, pause: u64) -> Result<Served, Reason> {
    Served::spawn(Command::new(program()?).arg("count").arg(path).arg(pause.to_string()))
}

fn program() -> Result<PathBuf, Reason> {
    Ok(std::env::current_exe().map_err(why)?.with_file_name("boost-peer"))
}

fn built() -> Result<PathBuf, Reason> {
    let program = program()?;
    let output = Command::new("g++")
        .args(["-O2", "-std=c++17", "-o"])
        .arg(&program)
        .args([SOURCE, "-lpthread"])
        .output()
        .map_err(|error| format!("cannot run g++: {error}"))?;
    if output.status.success() {
        return Ok(program);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let first = errors.lines().find(|line| line.contains("error")).unwrap_or("no reason given");
    Err(format!("Boost.Interprocess is not installed (Debian: libboost1.81-dev): {first}"))
}
