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

/// The file is truncated while the program waits for its reader. Every byte before the new end is
/// printed, and no byte after it.
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

/// Files that cannot be mapped, or that state no length, are read.
#[cfg(target_os = "linux")]
#[test]
fn files_that_cannot_be_mapped_are_read() {
    let version = std::fs::read("/proc/version").unwrap();
    assert_eq!(run!("cat", "/proc/version").with_code(0).stdout, version);
    let part = run!("cat", "/proc/version", "--offset", "6", "--length", "7").with_code(0);
    assert_eq!(part.stdout, version[6..13]);
    let json = run!("cat", "/proc/version", "--json").with_code(0).json();
    assert_eq!(json["length"], version.len());
    // What needs a mapping names a command that reads.
    for file in ["/proc/version", "/dev/zero"] {
        let ran = run!("stat", file).with_code(1);
        assert!(ran.stderr.contains("sharemap cat"), "{ran:?}");
    }
    let ran = run!("cat", "/proc/version", "--offset", "1MiB").with_code(1);
    assert!(ran.stderr.contains(&format!("{} bytes", version.len())), "{ran:?}");
    assert!(run!("cat", "/dev/null").with_code(0).stdout.is_empty());
    // The input has no end, and none is needed.
    assert_eq!(run!("cat", "/dev/zero", "--length", "100000").with_code(0).stdout, [0; 100_000]);
    // The system states another length than the file has.
    let attribute = "/sys/kernel/mm/transparent_hugepage/enabled";
    if let Ok(contents) = std::fs::read(attribute) {
        assert_eq!(run!("cat", attribute).with_code(0).stdout, contents);
    }
    let types = "/sys/kernel/btf/vmlinux";
    match std::fs::read(types) {
        Ok(contents) => {
            assert!(run!("cat", types).with_code(0).stdout == contents);
            let part = run!("cat", types, "--offset", "5001", "--length", "70000").with_code(0);
            assert!(part.stdout == contents[5001..75_001]);
        }
        Err(error) => println!("not checked: {types}: {error}"),
    }
}

#[test]
fn standard_input_is_a_file() {
    use crate::run::run_with_input;
    let contents = varied(300_000);
    let cat = |options: &[&str], input: &[u8]| {
        let words = ["cat", "-"].iter().chain(options).map(AsRef::as_ref).collect::<Vec<_>>();
        run_with_input(&words, input)
    };
    assert!(cat(&[], &contents).with_code(0).stdout == contents);
    assert!(cat(&["--offset", "5", "--length", "70000"], &contents).stdout == contents[5..70_005]);
    assert!(cat(&[], b"").with_code(0).stdout.is_empty());
    let short = cat(&["--length", "11"], b"0123456789").with_code(1);
    assert_eq!(short.stdout, b"0123456789", "what there was is printed");
    assert!(short.stderr.contains("standard input at offset 10"), "{short:?}");
    let json = cat(&["--json"], b"Hello, piped world!").with_code(0).json();
    assert_eq!((&json["path"], &json["length"]), (&"standard input".into(), &19.into()));
    let beyond = cat(&["--offset", "11"], b"0123456789").with_code(1);
    assert!(beyond.stderr.contains("10 bytes"), "{beyond:?}");
}

/// A file may be larger than the available address space.
#[cfg(target_os = "linux")]
#[test]
fn no_more_is_mapped_than_there_is_room_for() {
    use std::os::unix::fs::FileExt;
    const AT: u64 = 6 << 30;
    let files = Files::new();
    let path = files.path("large.bin");
    let file = std::fs::File::create(&path).unwrap();
    if let Err(error) = file.set_len(8 << 30) {
        println!("skipped: no sparse files here: {error}");
        return;
    }
    file.write_all_at(b"in the middle", AT).unwrap();
    for (script, expected) in [
        (r#""$0" cat "$1" --offset 6GiB --length 13"#, "in the middle"),
        (r#""$0" hex "$1" --offset 6GiB --length 2"#, "180000000  69 6e"),
        (r#""$0" hex "$1" --offset 8589934590"#, "1fffffffe  00 00"),
        (r#""$0" stat "$1""#, "8 GiB"),
        (r#""$0" touch "$1" --offset 6GiB --length 13"#, "1 page (13 bytes)"),
    ] {
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("ulimit -v 1000000 && {script}")])
            .args([env!("CARGO_BIN_EXE_sharemap").as_ref(), path.as_os_str()])
            .output()
            .unwrap();
        let ran = crate::run::Ran::from(output).with_code(0);
        assert!(ran.text().contains(expected), "{script}: {ran:?}");
    }
}
