//! `sharemap write`

use crate::run::{Files, run_with_input, varied};

#[test]
fn writes_at_an_offset_and_flushes() {
    let files = Files::new();
    let path = files.file("data.bin", &[b'.'; 20]);
    let args = ["write".as_ref(), path.as_ref(), "--at".as_ref(), "5".as_ref()];
    let ran = run_with_input(&args, b"hello").with_code(0);
    assert!(ran.text().contains("wrote 5 bytes at offset 5"), "{ran:?}");
    assert!(ran.text().contains("flushed to the disk"), "{ran:?}");
    assert_eq!(std::fs::read(&path).unwrap(), b".....hello..........");
}

#[test]
fn says_when_it_does_not_flush() {
    let files = Files::new();
    let path = files.file("data.bin", &[b'.'; 4]);
    let args = ["write".as_ref(), path.as_ref(), "--at=0".as_ref(), "--no-flush".as_ref()];
    let ran = run_with_input(&args, b"ab").with_code(0);
    assert!(ran.text().contains("not flushed"), "{ran:?}");
    assert_eq!(std::fs::read(&path).unwrap(), b"ab..");
    let json = [&args[..], &["--json".as_ref()]].concat();
    let json = run_with_input(&json, b"cd").with_code(0).json();
    assert_eq!(json["flushed"], false);
    assert_eq!(json["length"], 2);
    assert_eq!(json["size"], 4);
}

#[test]
fn beyond_the_end_nothing_is_written() {
    let files = Files::new();
    let path = files.file("data.bin", &[b'.'; 10]);
    for (at, input) in [("8", &b"abc"[..]), ("11", b"a"), ("18446744073709551615", b"a")] {
        let args = ["write".as_ref(), path.as_ref(), "--at".as_ref(), at.as_ref()];
        let ran = run_with_input(&args, input).with_code(1);
        assert!(ran.stderr.contains("10 bytes"), "{ran:?}");
        assert!(ran.stderr.contains("nothing was written"), "{ran:?}");
        assert!(ran.stderr.contains("--grow"), "{ran:?}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), [b'.'; 10]);
}

#[test]
fn grows_when_asked_to() {
    let files = Files::new();
    let path = files.file("data.bin", b"begin");
    let input = varied(3 << 20);
    let args = ["write", "--at", "100", "--grow", "--json"].map(AsRef::as_ref);
    let args = [&args[..], &[path.as_ref()]].concat();
    let json = run_with_input(&args, &input).with_code(0).json();
    assert_eq!(json["length"], 3 << 20);
    assert_eq!(json["size"], (3 << 20) + 100);
    assert_eq!(json["grown_by"], (3 << 20) + 95);
    let contents = std::fs::read(&path).unwrap();
    assert!(contents[..5] == *b"begin" && contents[5..100] == [0; 95] && contents[100..] == input);
}

#[test]
fn growth_that_is_too_much_changes_nothing() {
    let files = Files::new();
    let path = files.file("data.bin", b"begin");
    // A pebibyte is more than the disk or the address space has.
    let args = ["write".as_ref(), path.as_ref(), "--at=1024TiB".as_ref(), "--grow".as_ref()];
    let ran = run_with_input(&args, b"end").with_code(1);
    assert!(ran.stderr.contains("data.bin"), "{ran:?}");
    assert_eq!(std::fs::read(&path).unwrap(), b"begin");
}

#[test]
fn nothing_to_write_is_no_error() {
    let files = Files::new();
    let path = files.file("data.bin", b"begin");
    let args = ["write".as_ref(), path.as_ref(), "--at=5".as_ref()];
    let ran = run_with_input(&args, b"").with_code(0);
    assert!(ran.text().contains("wrote 0 bytes"), "{ran:?}");
}
