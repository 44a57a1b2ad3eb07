//! `sharemap cat`

use crate::run::{Files, command, truncation_works, varied};
use std::fs::OpenOptions;
use std::io::Read;

#[test]
fn prints_the_file() {
    let files = Files::new();
    let contents = varied(300_000);
    let path = files.file("data.bin", &contents);
    assert_eq!(run!("cat", &path).with_code(0).stdout, contents);
    let ran = run!("cat", &path, "--offset", "0x1003", "--length", "64KiB").with_code(0);
    assert_eq!(ran.stdout, &contents[0x1003..0x1003 + 65536]);
    assert!(run!("cat", &path, "--offset", "300000").with_code(0).stdout.is_empty());
}

#[test]
fn json_is_base64() {
    let files = Files::new();
    let path = files.file("hello.txt", b"Hello, mapped world!");
    let json = run!("cat", &path, "--json", "--offset", "7").with_code(0).json();
    assert_eq!(json["offset"], 7);
    assert_eq!(json["length"], 13);
    assert_eq!(json["encoding"], "base64");
    assert_eq!(json["data"], "bWFwcGVkIHdvcmxkIQ==");
    assert!(json["error"].is_null());
}

/// The end of the file is moved while the program waits for its reader; every byte before it is
/// printed, and none behind.
#[test]
fn a_file_cut_off_is_an_error_with_the_offset() {
    if !truncation_works() {
        return;
    }
    const KEPT: usize = (1 << 20) + 100;
    for json in [false, true] {
        let files = Files::new();
        let contents = varied(2 << 20);
        let path = files.file("cut.bin", &contents);
        let option = if json { "--json" } else { "--offset=0" };
        let mut child = command(&["cat".as_ref(), path.as_ref(), option.as_ref()]).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut printed = vec![0];
        stdout.read_exact(&mut printed).unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(KEPT as u64).unwrap();
        stdout.read_to_end(&mut printed).unwrap();
        let mut ran = crate::run::Ran::from(child.wait_with_output().unwrap()).with_code(1);
        assert!(ran.stderr.contains(&format!("offset {KEPT}")), "{}", ran.stderr);
        ran.stdout = printed;
        if json {
            let value = ran.json();
            assert_eq!(value["length"], KEPT);
            assert_eq!(value["error"]["kind"], "Fault");
            assert_eq!(value["error"]["offset"], KEPT);
        } else {
            assert_eq!(ran.stdout.len(), KEPT);
            assert!(ran.stdout == contents[..KEPT], "bytes before the end are as they were");
        }
    }
}

/// Such files say that they are empty.
#[cfg(target_os = "linux")]
#[test]
fn what_the_system_makes_up_is_refused() {
    for command in ["cat", "hex"] {
        let ran = run!(command, "/proc/version").with_code(1);
        assert!(ran.stderr.contains("/proc/version"), "{ran:?}");
        assert!(ran.stdout.is_empty(), "{ran:?}");
    }
}
