//! `sharemap hex`

use crate::run::{Files, command, truncation_works, varied};
use serde_json::json;
use std::fs::OpenOptions;
use std::io::Read;

#[test]
fn bytes_with_their_characters() {
    let files = Files::new();
    let path = files.file("hello.txt", b"Hello, mapped world!\n");
    let ran = run!("hex", &path).with_code(0);
    let expected = "\
00000000  48 65 6c 6c 6f 2c 20 6d  61 70 70 65 64 20 77 6f  |Hello, mapped wo|
00000010  72 6c 64 21 0a                                    |rld!.|
00000015
";
    assert_eq!(ran.text(), expected);
}

#[test]
fn numbers_of_a_type() {
    let files = Files::new();
    let numbers = [1.5f32, -2.0, 1e30, 0.1, 7.0];
    let little: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let path = files.file("floats.bin", &little);
    let ran = run!("hex", &path, "--type", "f32", "--columns", "2").with_code(0);
    let expected = "\
00000000             1.5             -2
00000008            1e30            0.1
00000010               7
00000014
";
    assert_eq!(ran.text(), expected);

    let big: Vec<u8> = [1i64, -2].iter().flat_map(|number| number.to_be_bytes()).collect();
    let path = files.file("big.bin", &big);
    let json = run!("hex", &path, "-t", "i64", "-e", "be", "--json").with_code(0).json();
    assert_eq!(json["type"], "i64");
    assert_eq!(json["endian"], "be");
    assert_eq!(json["rows"], json!([{"offset": 0, "values": [1, -2]}]));
    assert_eq!(json["holes"], json!([]));
}

#[test]
fn every_type_reads_its_own() {
    let files = Files::new();
    let path = files.file("ones.bin", &[0xff; 8]);
    for (name, value) in [
        ("u8", json!([255, 255, 255, 255, 255, 255, 255, 255])),
        ("i8", json!([-1, -1, -1, -1, -1, -1, -1, -1])),
        ("u16", json!([65535, 65535, 65535, 65535])),
        ("i16", json!([-1, -1, -1, -1])),
        ("u32", json!([u32::MAX, u32::MAX])),
        ("i32", json!([-1, -1])),
        ("u64", json!([u64::MAX])),
        ("i64", json!([-1])),
        ("f32", json!(["NaN", "NaN"])),
        ("f64", json!(["NaN"])),
    ] {
        let json = run!("hex", &path, "--type", name, "--json").with_code(0).json();
        assert_eq!(json["rows"][0]["values"], value, "{name}");
    }
}

#[test]
fn ranges_and_bytes_left_over() {
    let files = Files::new();
    let path = files.file("range.bin", &varied(100));
    let args = ["--offset", "1", "--length", "6", "--type", "u32"];
    let ran = run!("hex", &path, args[0], args[1], args[2], args[3], args[4], args[5]).with_code(0);
    let first = u32::from_le_bytes(varied(100)[1..5].try_into().unwrap());
    let expected = format!("00000001  {first:>10}  2 bytes left over: 23 2a\n00000007\n");
    assert_eq!(ran.text(), expected);
}

#[test]
fn equal_rows_are_left_out() {
    let files = Files::new();
    let path = files.file("zeros.bin", &[0; 1 << 20]);
    let ran = run!("hex", &path).with_code(0);
    let lines: Vec<_> = ran.text().lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[1..], ["*", "00100000"]);
    let ran = run!("hex", &path, "--all").with_code(0);
    assert_eq!(ran.text().lines().count(), (1 << 16) + 1);
}

/// The file is truncated while the program waits for its reader. The lost bytes are one hole, and the bytes
/// before it are complete.
#[test]
fn bytes_that_cannot_be_read_are_a_hole() {
    if !truncation_works() {
        return;
    }
    const SIZE: usize = 1 << 20;
    const KEPT: usize = (512 << 10) + 100;
    for json in [false, true] {
        let files = Files::new();
        let contents = varied(SIZE);
        let path = files.file("cut.bin", &contents);
        let option = if json { "--json" } else { "--all" };
        let mut child = command(&["hex".as_ref(), path.as_ref(), option.as_ref()]).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut printed = vec![0];
        stdout.read_exact(&mut printed).unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(KEPT as u64).unwrap();
        stdout.read_to_end(&mut printed).unwrap();
        let mut ran = crate::run::Ran::from(child.wait_with_output().unwrap()).with_code(1);
        assert!(ran.stderr.contains("1 hole"), "{}", ran.stderr);
        ran.stdout = printed;
        if json {
            let value = ran.json();
            let hole = &value["holes"][0];
            assert_eq!(value["holes"].as_array().unwrap().len(), 1);
            assert_eq!(hole["offset"], KEPT);
            assert_eq!(hole["length"], SIZE - KEPT);
            assert!(!hole["reason"].as_str().unwrap().is_empty());
            let rows = value["rows"].as_array().unwrap();
            let values = rows.iter().filter_map(|row| row["values"].as_array()).flatten();
            let bytes: Vec<u8> = values.map(|value| value.as_u64().unwrap() as u8).collect();
            assert!(bytes == contents[..KEPT], "bytes before the hole are unchanged");
        } else {
            let lines: Vec<_> = ran.text().lines().collect();
            assert_eq!(lines.len(), KEPT / 16 + 1 + 2);
            let hole = lines[lines.len() - 2];
            assert!(hole.starts_with(&format!("{KEPT:08x}  hole of 511.90 KiB: ")), "{hole}");
            assert_eq!(lines[lines.len() - 1], format!("{SIZE:08x}"));
        }
    }
}

/// Files that cannot be mapped are read.
#[test]
fn streams_are_read() {
    use crate::run::run_with_input;
    let words = ["hex", "-", "--offset", "1", "--columns", "4"].map(AsRef::as_ref);
    let ran = run_with_input(&words, b"0123456").with_code(0);
    let expected = "\
00000001  31 32 33 34  |1234|
00000005  35 36        |56|
00000007
";
    assert_eq!(ran.text(), expected);
    let json =
        run_with_input(&["hex", "-", "--json"].map(AsRef::as_ref), b"01").with_code(0).json();
    assert_eq!((&json["length"], &json["rows"][0]["values"]), (&json!(null), &json!([48, 49])));
    // The input ends before the given length.
    let words = ["hex", "-", "--length", "7", "--json"].map(AsRef::as_ref);
    let ran = run_with_input(&words, b"0123");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(ran.json()["holes"][0]["length"], 3);
    if cfg!(target_os = "linux") {
        let ran = run!("hex", "/proc/version", "--length", "5").with_code(0);
        assert!(ran.text().contains("|Linux|"), "{ran:?}");
        let ran = run!("hex", "/dev/zero", "--offset", "3", "--length", "2").with_code(0);
        assert!(ran.text().starts_with("00000003  00 00"), "{ran:?}");
        assert_eq!(run!("hex", "/dev/null").with_code(0).text(), "00000000\n");
    }
}
