//! The programs built without optimisation, and how each is run.

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

/// Runs a program, and asserts that it recovered all its faults.
pub fn recovers(program: &Path, arguments: &[&str]) {
    let output = run(program, arguments);
    let what = format!("{} {arguments:?}: {}", program.display(), output.status);
    assert!(output.status.success(), "{what}\n{}", describe(&output));
    assert_eq!(output.stdout, b"recovered\n", "{what}");
}

/// Runs a program, and asserts that it died of its last fault, which is foreign, and did not fail
/// before.
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
    // A dylib and its users must link the same copy of the standard library.
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
fn plugins_loaded_and_unloaded() {
    let files = unoptimised();
    let host = files.join("host");
    let open = |name: &str| format!("open:{name}:{}/libplugin_{name}.so", files.display());
    let (one, two) = (&*open("one"), &*open("two"));
    for sequence in [
        // The host's own copy has not installed a handler.
        &[one, "ours:one", "close:one"][..],
        &[one, "close:one", two, "ours:two", "own"],
        // Other copies fault after the module with the handler was unloaded.
        &[one, "ours:one", "close:one", two, "ours:two", "own", "close:two", "own"],
        // That module is loaded again.
        &[one, "ours:one", "close:one", one, "ours:one", "own"],
        // The host's copy installed the handler first.
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
        println!("skipped: a host in C: the C compiler `cc` failed or is not installed");
        return;
    }
    recovers(&host, &[&plugin]);
    dies(&host, &[&plugin, "foreign"]);
    let output = run(&host, &[&plugin, "handler"]);
    assert_eq!(output.status.code(), Some(7), "the host's handler runs for the host's fault");
}
