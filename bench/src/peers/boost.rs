//! Boost.Interprocess, as a C++ program that is built where a compiler and Boost are installed.

use std::path::PathBuf;
use std::process::Command;

use crate::measure::{Reason, why};
use crate::peers::served::Served;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/boost.cpp");

/// A child that locks so.
pub fn start(what: &str) -> Result<Served, Reason> {
    Served::spawn(Command::new(built()?).arg(what))
}

fn built() -> Result<PathBuf, Reason> {
    let program = std::env::current_exe().map_err(why)?.with_file_name("boost-peer");
    let output = Command::new("g++")
        .args(["-O2", "-std=c++17", "-o"])
        .arg(&program)
        .args([SOURCE, "-lpthread"])
        .output()
        .map_err(|error| format!("g++ is not there: {error}"))?;
    if output.status.success() {
        return Ok(program);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let first = errors.lines().find(|line| line.contains("error")).unwrap_or("no reason given");
    Err(format!("Boost.Interprocess is not to be had (Debian: libboost1.81-dev): {first}"))
}
