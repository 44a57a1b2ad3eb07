//! The programs, built once without optimisation.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::build::{cargo, directory, unoptimised};

pub const SIGSEGV: i32 = 11;

fn run(program: &Path, arguments: &[&str]) -> Output {
    let libraries = program.parent().unwrap();
    let standard = Command::new("rustc").args(["--print", "target-libdir"]).output();
    let standard = standard.map_or_else(|_| Vec::new(), |output| output.stdout);
    let standard = String::from_utf8_lossy(&standard).trim().to_string();
    let path = format!("{}:{}/deps:{standard}", libraries.display(), libraries.display());
    let shell = format!("ulimit -c 0; exec '{}' \"$@\"", program.display());
    let mut command = Command::new("sh");
    command.args(["-c", &shell, "sh"]).args(arguments).env("LD_LIBRARY_PATH", path);
    command.output().expect("the program runs")
}

fn describe(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a program whose faults are all to be recovered.
pub fn recovers(program: &Path, arguments: &[&str]) {
    let output = run(program, arguments);
    let what = format!("{} {arguments:?}: {}", program.display(), output.status);
    assert!(output.status.success(), "{what}\n{}", describe(&output));
    assert_eq!(output.stdout, b"recovered\n", "{what}");
}

/// Runs a program that is to die of its last, foreign, fault, and of nothing before.
pub fn dies(program: &Path, arguments: &[&str]) {
    let output = run(program, arguments);
    let what = format!("{} {arguments:?}: {}", program.display(), output.status);
    assert_eq!(output.status.signal(), Some(SIGSEGV), "{what}\n{}", describe(&output));
    assert!(!describe(&output).contains("panicked"), "{what}\n{}", describe(&output));
}

#[test]
fn a_plain_program() {
    let plain = unoptimised().join("plain");
    recovers(&plain, &["threads"]);
    dies(&plain, &["threads", "foreign"]);
}

#[test]
fn a_rust_dylib() {
    // A dylib and its users have to agree on one copy of the standard library.
    let files = cargo("dev", &["build", "-p", "with-dylib"], "-Cprefer-dynamic");
    let program = files.join("with_dylib");
    recovers(&program, &[]);
    dies(&program, &["foreign"]);
}

#[test]
fn two_versions_in_one_program() {
    let program = unoptimised().join("two_copies");
    recovers(&program, &["old", "new", "both", "old"]);
    recovers(&program, &["new", "old", "both", "new"]);
    recovers(&program, &["both"]);
    dies(&program, &["old", "new", "foreign"]);
    dies(&program, &["new", "old", "foreign"]);
}

#[test]
fn plugins_that_come_and_go() {
    let files = unoptimised();
    let host = files.join("host");
    let open = |name: &str| format!("open:{name}:{}/libplugin_{name}.so", files.display());
    let (one, two) = (&*open("one"), &*open("two"));
    for sequence in [
        // The host has no copy at work yet.
        &[one, "ours:one", "close:one"][..],
        &[one, "close:one", two, "ours:two", "own"],
        // The handler's module is unloaded, and others fault.
        &[one, "ours:one", "close:one", two, "ours:two", "own", "close:two", "own"],
        // It comes back.
        &[one, "ours:one", "close:one", one, "ours:one", "own"],
        // The host was first.
        &["own", one, "ours:one", "close:one", "own", two, "ours:two", one, "ours:one"],
    ] {
        recovers(&host, sequence);
        dies(&host, &[sequence, &["foreign"]].concat());
    }
}

#[test]
fn a_host_in_c() {
    let files = unoptimised();
    let plugin = files.join("libplugin_one.so").display().to_string();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/linking/host.c");
    let host = directory().join("host-in-c");
    let compiled = Command::new("cc").arg("-o").arg(&host).arg(source).arg("-ldl").status();
    if !compiled.is_ok_and(|status| status.success()) {
        println!("skipped: a host in C: there is no C compiler (cc)");
        return;
    }
    recovers(&host, &[&plugin]);
    dies(&host, &[&plugin, "foreign"]);
    let output = run(&host, &[&plugin, "handler"]);
    assert_eq!(output.status.code(), Some(7), "its own handler gets its own fault");
}
