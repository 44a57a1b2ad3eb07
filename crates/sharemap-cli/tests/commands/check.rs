//! `sharemap check`

use crate::run::{Files, command};
use crate::segment::{new, open};
use serde_json::json;
use sharemap::containers::HashMap;
use std::io::{BufRead, BufReader};

/// A writer that is killed in an insert leaves the segment healthy once it is recovered.
#[test]
fn a_writer_that_was_killed_is_repaired() {
    need_locks!();
    let files = Files::new();
    let path = new(&files);
    std::fs::write(path.with_extension("acknowledged"), [0; 8]).unwrap();
    let segment = open(&path);
    let orders = HashMap::<str, str>::create_new(&segment, "orders").unwrap();
    let args = ["tour-peer".as_ref(), "insert-until-killed".as_ref(), path.as_ref()];
    let mut child = command(&args).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "ready");
    child.kill().unwrap();
    child.wait().unwrap();
    let json = run!("check", &path, "--repair", "--json").with_code(0).json();
    assert_eq!((&json["healthy"], &json["damage"]), (&true.into(), &json!([])));
    assert!(json["recovered"].as_u64() <= Some(1), "{json}");
    let last = std::fs::read(path.with_extension("acknowledged")).unwrap();
    let last = u64::from_le_bytes(last.try_into().unwrap());
    let found = orders.get("the last order").unwrap().unwrap();
    let order = |number: u64| format!("{number} ").repeat(20);
    assert!(found == order(last) || found == order(last + 1), "{last}: {found}");
}

/// Damage anywhere is an error or is found: the check neither crashes nor hangs.
#[test]
fn damage_is_found_and_located() {
    need_locks!();
    const PAGE: usize = 4096;
    let files = Files::new();
    let path = new(&files);
    let segment = open(&path);
    let map = HashMap::<str, u64>::create_new(&segment, "prices").unwrap();
    for number in 0..500 {
        map.insert(&format!("item {number}"), &number).unwrap();
    }
    drop((map, segment));
    run!("check", &path).with_code(0);
    let whole = std::fs::read(&path).unwrap();
    let damaged = files.path("damaged.seg");
    let mut found = 0;
    for at in (0..1 << 19).step_by(4 * PAGE) {
        let mut image = whole.clone();
        image[at..at + PAGE].fill(0xff);
        std::fs::write(&damaged, image).unwrap();
        let ran = run!("check", &damaged, "--json");
        let json = ran.json();
        match ran.code {
            Some(0) => assert_eq!(json["healthy"], true, "{at}: {json}"),
            Some(1) => assert_eq!(at, 0, "{at}: {json}"),
            Some(4) => {
                found += 1;
                assert_eq!(json["healthy"], false, "{at}: {json}");
                assert!(json["damage"][0]["offset"].is_u64(), "{at}: {json}");
                let text = run!("check", &damaged);
                assert!(
                    text.text().contains("damage") && text.text().contains("at offset"),
                    "{text:?}"
                );
            }
            code => panic!("{at}: {code:?}, {ran:?}"),
        }
    }
    assert!(found >= 8, "only {found} places of damage were found");
}

/// Damage that prevents the opening is said once.
#[test]
fn a_truncated_segment_is_told_once() {
    need_locks!();
    let files = Files::new();
    let path = new(&files);
    for len in [300_000, 3000, 100] {
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len).unwrap();
        let ran = run!("check", &path, "--json");
        assert_eq!(ran.code, Some(4));
        let json = ran.json();
        assert_eq!(json["damage"].as_array().unwrap().len(), 1, "{len}: {json}");
    }
}
