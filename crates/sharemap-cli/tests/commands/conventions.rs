//! The conventions that all commands follow.

use crate::run::{Files, command};
use std::process::Stdio;

/// The commands that take one file, with their other required arguments.
const ON_FILES: &[&[&str]] =
    &[&["stat"], &["map"], &["cat"], &["hex"], &["write", "--at", "0"], &["touch"], &["evict"]];

#[test]
fn missing_files_are_code_3() {
    let files = Files::new();
    let missing = files.path("missing.bin");
    for words in ON_FILES {
        for json in [false, true] {
            let mut args: Vec<_> = words.iter().map(AsRef::as_ref).collect();
            args.push(missing.as_os_str());
            if json {
                args.push("--json".as_ref());
            }
            let ran = crate::run::run(&args).with_code(3);
            assert!(ran.stderr.contains("missing.bin"), "{ran:?}");
            if json {
                let error = &ran.json()["error"];
                assert_eq!(error["kind"], "NotFound", "{ran:?}");
                assert_eq!(error["path"].as_str(), missing.to_str(), "{ran:?}");
            } else {
                assert!(ran.stdout.is_empty(), "{ran:?}");
            }
        }
        assert!(!missing.exists(), "{words:?} made a file");
    }
}

#[test]
fn directories_are_code_1() {
    let files = Files::new();
    for words in ON_FILES {
        let mut args: Vec<_> = words.iter().map(AsRef::as_ref).collect();
        let dir = files.dir();
        args.push(dir.as_os_str());
        let ran = crate::run::run(&args).with_code(1);
        assert!(ran.stderr.contains("directory"), "{ran:?}");
    }
}

#[test]
fn denied_files_are_code_5() {
    let files = Files::new();
    let path = files.file("read-only.bin", b"x");
    let mut permissions = path.metadata().unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions.clone()).unwrap();
    if std::fs::OpenOptions::new().write(true).open(&path).is_ok() {
        println!("skipped: this user may write to everything");
    } else {
        let ran = run!("write", &path, "--at", "0").with_code(5);
        assert!(ran.stderr.contains("read-only.bin"), "{ran:?}");
    }
    #[allow(clippy::permissions_set_readonly_false)] // the directory is removed
    permissions.set_readonly(false);
    std::fs::set_permissions(&path, permissions).unwrap();
}

#[test]
fn usage_errors_are_code_2() {
    run!("no-such-command").with_code(2);
    run!("cat").with_code(2);
    run!("cat", "x", "--offset", "seven").with_code(2);
    run!("hex", "x", "--type", "u7").with_code(2);
    run!("map", "x", "-o", "picture.gif").with_code(2);
    run!("tour", "99").with_code(2);
    run!("rm").with_code(2);
    run!("write", "x").with_code(2);
    run!("new").with_code(2);
    run!("new", "x", "--mode", "rw").with_code(2);
    run!("get", "x").with_code(2);
    run!("set", "x", "y").with_code(2);
    run!("cat", "./x", "y", "--offset", "1").with_code(2);
}

#[test]
fn ranges_beyond_the_end_are_code_1() {
    let files = Files::new();
    let path = files.file("short.bin", b"12345");
    for name in ["cat", "hex", "touch"] {
        let ran = run!(name, &path, "--offset", "6").with_code(1);
        assert!(ran.stderr.contains("5 bytes"), "{ran:?}");
        run!(name, &path, "--offset", "3", "--length", "3").with_code(1);
        run!(name, &path, "--offset", "3", "--length", "18446744073709551615").with_code(1);
        run!(name, &path, "--offset", "3", "--length", "2").with_code(0);
    }
}

#[test]
fn empty_files_are_no_error() {
    let files = Files::new();
    for words in ON_FILES {
        let path = files.file("empty.bin", b"");
        let mut args: Vec<_> = words.iter().map(AsRef::as_ref).collect();
        args.push(path.as_os_str());
        crate::run::run(&args).with_code(0);
        args.push("--json".as_ref());
        crate::run::run(&args).with_code(0).json();
    }
}

#[test]
fn colours_only_where_wanted() {
    let files = Files::new();
    let path = files.file("plain.bin", &[1; 10_000]);
    let escape = |ran: &crate::run::Ran| ran.stdout.contains(&0x1b);
    assert!(!escape(&run!("stat", &path).with_code(0)), "a pipe gets no colours");
    assert!(escape(&run!("stat", &path, "--color", "always").with_code(0)));
    let no_color = |args: &[&std::ffi::OsStr]| {
        let output = command(args).env("NO_COLOR", "1").env("CLICOLOR_FORCE", "1").output();
        crate::run::Ran::from(output.unwrap())
    };
    assert!(!escape(&no_color(&["stat".as_ref(), path.as_ref()])), "NO_COLOR is respected");
}

#[test]
fn help_and_version() {
    let ran = run!("--help").with_code(0);
    for name in [
        "tour", "stat", "map", "cat", "hex", "write", "touch", "evict", "ls", "who", "locks",
        "lock", "rm", "gc", "new", "get", "set", "check", "export",
    ] {
        assert!(ran.text().contains(name), "{name} is not in the help");
        run!(name, "--help").with_code(0);
    }
    assert!(!ran.text().contains("tour-peer"), "the command of the second process is hidden");
    assert!(ran.text().contains("Exit codes"));
    assert!(run!("--version").with_code(0).text().starts_with("sharemap "));
}

#[test]
fn completions_and_manual_pages() {
    let ran = run!("completions", "bash").with_code(0);
    assert!(ran.text().contains("evict"));
    assert_eq!(run!("completions", "zsh", "--json").with_code(0).json()["shell"], "zsh");
    assert!(run!("man").with_code(0).text().contains(".TH sharemap"));
    let files = Files::new();
    let ran = run!("man", "--dir", files.dir()).with_code(0);
    assert_eq!(ran.text().lines().count(), 23, "{ran:?}");
    assert!(files.path("sharemap-hex.1").exists());
}

#[test]
fn closed_pipes_end_it_quietly() {
    let files = Files::new();
    let path = files.file("long.bin", &crate::run::varied(1 << 20));
    for words in [["cat", "--offset=0"], ["hex", "--all"], ["cat", "--json"], ["hex", "--json"]] {
        let mut child = command(&[words[0].as_ref(), path.as_ref(), words[1].as_ref()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let ran = crate::run::Ran::from(child.wait_with_output().unwrap());
        ran.with_code(0);
    }
}
