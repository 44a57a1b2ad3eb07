//! `sharemap touch` and `sharemap evict`

use crate::run::{Files, varied};

#[test]
fn touched_pages_are_in_memory() {
    let files = Files::new();
    let path = files.file("data.bin", &varied(1_000_000));
    let json = run!("touch", &path, "--json").with_code(0).json();
    assert_eq!(json["length"], 1_000_000);
    match json["resident_after"].as_u64() {
        Some(resident) => assert_eq!(json["pages"], resident),
        None => println!("not checked: this system does not report which pages are in memory"),
    }
    let text = run!("touch", &path, "--offset", "4096", "--length", "1").with_code(0);
    assert!(text.text().contains("1 page"), "{text:?}");
}

#[test]
fn evicted_files_keep_their_bytes() {
    let files = Files::new();
    let contents = varied(1_000_000);
    let path = files.file("data.bin", &contents);
    let ran = run!("evict", &path, "--json");
    if ran.code != Some(0) {
        assert_eq!(ran.json()["error"]["kind"], "Unsupported");
        println!("skipped: {}", ran.stderr);
        return;
    }
    let json = ran.with_code(0).json();
    if let (Some(before), Some(after)) =
        (json["resident_before"].as_u64(), json["resident_after"].as_u64())
    {
        assert!(after <= before, "{json}");
    }
    assert!(run!("cat", &path).with_code(0).stdout == contents);
}
