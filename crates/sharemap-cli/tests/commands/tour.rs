//! `sharemap tour`

use crate::run::Files;

#[test]
fn every_step_passes_and_nothing_is_left() {
    let files = Files::new();
    let ran = run!("tour", "--scan", "4MiB", "--json", "--dir", files.dir());
    let json = ran.json();
    for step in json["steps"].as_array().unwrap() {
        assert_eq!(step["passed"], true, "{step:#}");
        assert!(!step["notes"].as_array().unwrap().is_empty(), "{step:#}");
    }
    assert_eq!(json["passed"], json["steps"].as_array().unwrap().len());
    // Emulators accept the advice and ignore it.
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        assert!(!json["steps"][7].to_string().contains("in spite of"), "{json:#}");
    }
    assert_eq!(json["failed"], 0);
    ran.with_code(0);
    assert_eq!(std::fs::read_dir(files.dir()).unwrap().count(), 0);
}

#[test]
fn steps_can_be_chosen() {
    let ran = run!("tour", "1", "cow").with_code(0);
    assert_eq!(ran.text().matches("PASS").count(), 2, "{}", ran.text());
    assert!(ran.text().contains("2 passed, 0 failed"), "{}", ran.text());
}

#[test]
fn steps_are_listed() {
    let ran = run!("tour", "--list").with_code(0);
    let json = run!("tour", "--list", "--json").with_code(0).json();
    assert_eq!(json["steps"][4]["name"], "truncate");
    assert_eq!(ran.text().lines().count(), json["steps"].as_array().unwrap().len());
}

#[test]
fn a_directory_that_is_not_there_is_code_3() {
    let files = Files::new();
    let ran = run!("tour", "--dir", files.path("missing")).with_code(3);
    assert!(ran.stderr.contains("missing"), "{ran:?}");
}

/// With a low limit of open files, the step that opens many fails, and the tour continues.
#[test]
fn a_step_that_fails_is_code_1_and_leaves_nothing() {
    if cfg!(windows) {
        println!("skipped: Windows has no limit of open files to set for one program");
        return;
    }
    let files = Files::new();
    let script = "ulimit -n 8; exec \"$0\" tour regions open --json --dir \"$1\"";
    let output = std::process::Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_sharemap")])
        .arg(files.dir())
        .output()
        .unwrap();
    let ran = crate::run::Ran::from(output);
    let json = ran.json();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(json["steps"][0]["passed"], false, "{json:#}");
    assert!(json["steps"][0]["failure"].as_str().unwrap().contains("open files"), "{json:#}");
    assert_eq!(json["steps"][1]["passed"], true, "{json:#}");
    assert_eq!(std::fs::read_dir(files.dir()).unwrap().count(), 0);
}

/// A tour that is ended at any step removes its directory and kills its second processes.
#[cfg(unix)]
#[test]
fn ended_by_a_signal_it_leaves_nothing() {
    use std::io::{BufRead, BufReader, Read};
    use std::os::unix::process::ExitStatusExt;

    for (lines, signal) in
        [(1, libc::SIGINT), (6, libc::SIGTERM), (25, libc::SIGHUP), (45, libc::SIGINT)]
    {
        let files = Files::new();
        let dir = files.dir();
        let args =
            ["tour", "--scan", "64MiB", "--dir", dir.to_str().unwrap()].map(|arg| arg.as_ref());
        let mut child = crate::run::command_with_signals(&args).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        for _ in 0..lines {
            output.read_line(&mut String::new()).unwrap();
        }
        let kill = format!("kill -{signal} {}", child.id());
        assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(signal), "{status}");
        let left: Vec<_> = std::fs::read_dir(&dir).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.is_empty(), "{said}");
        assert_eq!(processes_of(&dir), Vec::<String>::new());
    }
}

/// Returns the running processes that have this directory as an argument, if the system lists processes.
#[cfg(unix)]
fn processes_of(dir: &std::path::Path) -> Vec<String> {
    let Ok(list) = std::fs::read_dir("/proc") else { return Vec::new() };
    let command = |entry: std::fs::DirEntry| {
        let words = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        words.contains(dir.to_str()?).then_some(words)
    };
    list.flatten().filter_map(command).collect()
}
