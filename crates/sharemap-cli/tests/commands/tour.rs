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
    assert_eq!(json["passed"], 10);
    // Emulators take the advice and do nothing; here it counts.
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
    assert_eq!(ran.text().lines().count(), 10);
    let json = run!("tour", "--list", "--json").with_code(0).json();
    assert_eq!(json["steps"][4]["name"], "truncate");
}

#[test]
fn a_directory_that_is_not_there_is_code_3() {
    let files = Files::new();
    let ran = run!("tour", "--dir", files.path("missing")).with_code(3);
    assert!(ran.stderr.contains("missing"), "{ran:?}");
}

/// With hardly any files to open, the step that opens many fails, and the rest of the tour goes on.
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
