//! The sum in cache with both sides compiled for this machine's CPU. The program builds itself a
//! second time, into a directory of its own, and uses the rows of that build.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{Figure, sum};
use crate::figure::Setup;
use crate::measure::Effort;
use crate::reason::{Reason, why};
use crate::report::{self, Row};

const NAME: &str = "sum of u64, 256 KiB, native CPU";

pub const FIGURES: &[Figure] = &[Figure { name: NAME, run: rows }];

fn rows(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    if !Path::new(manifest).exists() {
        return Err("needs the source, to compile it for this CPU".into());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default() + " -Ctarget-cpu=native";
    // Compiling may use every CPU; the measurement is pinned again.
    setup.cpus.unpin().map_err(why)?;
    let built = Command::new(&cargo)
        .args(["build", "--release", "--quiet", "--manifest-path", manifest])
        .args(["--target-dir", concat!(env!("CARGO_MANIFEST_DIR"), "/target/native")])
        .env("RUSTFLAGS", flags.trim())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    setup.cpus.pin().map_err(why)?;
    if !built.status.success() {
        let message = String::from_utf8_lossy(&built.stderr);
        return Err(format!("does not build for this CPU: {}", message.trim()));
    }
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/target/native/release/sharemap-bench");
    let mut child = Command::new(program);
    child.arg("native");
    if let Some(rounds) = setup.effort.rounds {
        child.arg(rounds.to_string());
    }
    let output = child.stdin(Stdio::null()).output().map_err(why)?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(why)
}

/// Measures and prints the rows, in the second build.
pub fn child(rounds: Option<String>) -> Result<(), Reason> {
    let rounds = rounds.map(|rounds| rounds.parse()).transpose().map_err(why)?;
    let rows = sum::measure(NAME, 256 << 10, sum::NATIVE, Effort { rounds })?;
    println!("{}", report::json(&rows));
    Ok(())
}
