//! The examples with locks exit successfully and leave no shared memory behind. `cargo test` builds
//! them; `cargo test --test examples` does not, and skips those that are missing.

mod common;

use std::process::{Command, Stdio};

use common::need_atomics;
use sharemap::SharedMemory;

fn runs(example: &str) {
    need_atomics!();
    let tests = std::env::current_exe().unwrap();
    let directory = tests.parent().unwrap().with_file_name("examples");
    let program = directory.join(format!("{example}{}", std::env::consts::EXE_SUFFIX));
    if !program.exists() {
        common::skip!("{} was not built", program.display());
    }
    let child = Command::new(&program).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = match child {
        Ok(child) => child,
        Err(error) if error.raw_os_error() == Some(8) => {
            common::skip!("child processes cannot be started here: {error}");
        }
        Err(error) => panic!("cannot start {example}: {error}"),
    };
    let id = child.id();
    let output = child.wait_with_output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{example} ended with {}\n{}", output.status, said.concat());
    let id = format!("-{id}");
    for object in SharedMemory::list().unwrap_or_default() {
        let name = object.name.to_string_lossy();
        assert!(!(name.starts_with("example-") && name.ends_with(&id)), "{example} left {name}");
    }
}

#[test]
fn shared_counter() {
    runs("shared_counter");
}

#[test]
fn state() {
    runs("state");
}

#[test]
fn taking_turns() {
    runs("taking_turns");
}

#[test]
fn readers_writers() {
    runs("readers_writers");
}
