//! `sharemap stat`

use crate::run::{Files, varied};

#[test]
fn tells_size_and_pages() {
    let files = Files::new();
    let path = files.file("data.bin", &varied(1_000_003));
    let json = run!("stat", &path, "--json").with_code(0).json();
    let stat = &json["files"][0];
    assert_eq!(json["command"], "stat");
    assert_eq!(stat["path"].as_str(), path.to_str());
    assert_eq!(stat["size"], 1_000_003);
    let number = |name: &str| stat[name].as_u64().unwrap();
    let pages = 1_000_003u64.div_ceil(number("page_size"));
    assert_eq!(number("pages"), pages);
    assert_eq!(number("resident") + number("absent") + number("unknown"), pages);
    if cfg!(target_os = "linux") {
        // The file has just been written by this user, so it is in memory and its pages are visible.
        assert_eq!(number("resident"), pages, "{stat}");
        assert!(stat["file_system"].is_string(), "{stat}");
    }
    assert!(!stat["advice"].as_array().unwrap().is_empty());
}

#[test]
fn text_has_size_pages_and_advice() {
    let files = Files::new();
    let small = files.file("small.bin", b"small");
    let empty = files.file("empty.bin", b"");
    let ran = run!("stat", &small, &empty).with_code(0);
    for word in
        ["small.bin", "5 bytes", "1 page", "read() is faster", "empty.bin", "nothing to map"]
    {
        assert!(ran.text().contains(word), "{word}: {}", ran.text());
    }
}

#[test]
fn holes_are_distinguished_from_data() {
    let files = Files::new();
    let path = files.file("holes.bin", &[1; 65536]);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(64 << 20).unwrap();
    let json = run!("stat", &path, "--json").with_code(0).json();
    let stat = &json["files"][0];
    match stat["data"]["bytes"].as_u64() {
        None => println!("skipped: this system does not report holes"),
        Some(bytes) => assert!((65536..=64 << 20).contains(&bytes), "{stat}"),
    }
}

/// The advice is for the device, not for the file system that contains its node.
#[cfg(target_os = "linux")]
#[test]
fn a_block_device_is_no_file_of_devtmpfs() {
    use crate::run::{Files, in_own_mounts};
    let files = Files::new();
    let script = r#"
        set -e
        cd "$1"
        head -c 67108864 /dev/zero >disk
        loop=$(losetup --find --show disk)
        trap 'losetup --detach "$loop"' EXIT
        echo ready
        "$0" evict "$loop" >/dev/null || true
        "$0" stat --json "$loop"
    "#;
    let ran = in_own_mounts(script, &files.dir());
    let Some(json) = ran.text().strip_prefix("ready\n") else {
        println!("skipped: no loop devices for this user: {}", ran.stderr);
        return;
    };
    let json: serde_json::Value = serde_json::from_str(json).expect(json);
    let stat = &json["files"][0];
    assert_eq!((&stat["size"], &stat["block_device"]), (&(64 << 20).into(), &true.into()));
    assert_eq!(stat["file_system"], serde_json::Value::Null, "{stat:#}");
    let advice = stat["advice"].as_array().unwrap();
    assert!(advice.iter().all(|hint| hint["advice"] != "HugePage"), "{stat:#}");
}

/// A file that cannot be mapped is still measured, and the advice is to read it.
#[cfg(target_os = "linux")]
#[test]
fn the_advice_for_a_file_that_cannot_be_mapped_is_read() {
    let attribute = "/sys/kernel/mm/transparent_hugepage/enabled";
    if !std::path::Path::new(attribute).exists() {
        println!("skipped: no {attribute} here");
        return;
    }
    let json = run!("stat", attribute, "--json").with_code(0).json();
    let stat = &json["files"][0];
    assert_eq!((&stat["size"], &stat["unknown"]), (&4096.into(), &1.into()), "{stat:#}");
    assert!(stat["advice"][0]["what"].as_str().unwrap().contains("read()"), "{stat:#}");
}
