//! `sharemap new`, `get`, `set` and `export`, and what `ls`, `stat` and `cat` tell of a segment

use crate::run::{Files, Ran, command};
use crate::shared::Name;
use serde_json::{Value, json};
use sharemap::containers::HashMap;
use sharemap::{Location, Segment};
use std::path::{Path, PathBuf};

/// Creates a segment in a file by the command.
pub fn new(files: &Files) -> PathBuf {
    let path = files.path("shop.seg");
    let ran = run!("new", &path, "--max", "64MiB").with_code(0);
    assert!(ran.text().contains("1 MiB") && ran.text().contains("64 MiB"), "{ran:?}");
    path
}

/// Opens a segment in a file.
pub fn open(path: &Path) -> Segment {
    Segment::open(Location::file(path)).unwrap()
}

/// Returns the lines of a run as JSON.
fn lines(ran: &Ran) -> Vec<Value> {
    ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn segments_are_created_once() {
    need_locks!();
    let name = Name::new("");
    // Windows has no access by groups.
    let mode = if cfg!(windows) { "600" } else { "640" };
    let sizes = ["--size", "2MiB", "--max", "8MiB"];
    let json =
        run!("new", &name.0, sizes[0], sizes[1], sizes[2], sizes[3], "--mode", mode, "--json")
            .with_code(0)
            .json();
    assert_eq!(json["name"], *name.0);
    assert_eq!(json["mode"], mode);
    assert!(json["size"].as_u64().unwrap() >= 2 << 20, "{json}");
    assert!(json["max"].as_u64().unwrap() >= 8 << 20, "{json}");
    let ran = run!("new", &name.0, "--json").with_code(1);
    assert_eq!(ran.json()["error"]["kind"], "AlreadyExists");
    Segment::open(&*name.0).unwrap();
    run!("rm", &name.0).with_code(0);
    assert!(Segment::open(&*name.0).is_err());
    for words in [["get", "x"], ["cat", "x"], ["set", "x"]] {
        let ran = run!(words[0], format!("./{}", name.0), words[1], "1").code;
        assert_ne!(ran, Some(0), "{words:?}");
        let words = if words[0] == "set" {
            vec![words[0], &name.0, words[1], "1"]
        } else {
            vec![words[0], &name.0, words[1]]
        };
        let args: Vec<&std::ffi::OsStr> = words.iter().map(AsRef::as_ref).collect();
        let ran = crate::run::run(&args).with_code(3);
        assert!(ran.stderr.contains("no shared memory"), "{ran:?}");
    }
    run!("check", &name.0).with_code(3);
    run!("export", &name.0).with_code(3);
}

/// Values that the command wrote are those that a program reads, and the other way round.
#[test]
fn named_values_have_the_type_that_a_program_sees() {
    need_locks!();
    let files = Files::new();
    let path = new(&files);
    for (name, kind, value, json) in [
        ("a u64", "u64", "18446744073709551615", json!(u64::MAX)),
        ("an i32", "i32", "-7", json!(-7)),
        ("a u128", "u128", "1", json!("1")),
        ("an f32", "f32", "0.1", json!(0.1)),
        ("an f64", "f64", "-2.5", json!(-2.5)),
        ("a bool", "bool", "true", json!(true)),
        ("a char", "char", "ä", json!("ä")),
        ("a str", "str", "an apple", json!("an apple")),
        ("an empty str", "str", "", json!("")),
        ("bytes", "bytes", "00ff10", json!("00ff10")),
        ("an array", "[u8;4]", "[1, 2, 3, 4]", json!([1, 2, 3, 4])),
        ("a long array", "[u16;20]", &format!("[{}7]", "1, ".repeat(19)), {
            let mut all = vec![1; 19];
            all.push(7);
            json!(all)
        }),
    ] {
        run!("set", &path, name, value, "--type", kind).with_code(0);
        assert_eq!(run!("get", &path, name).with_code(0).text(), format!("{value}\n"), "{name}");
        assert_eq!(run!("cat", &path, name).with_code(0).text(), format!("{value}\n"), "{name}");
        let found = run!("get", &path, name, "--json").with_code(0).json();
        assert_eq!((&found["value"], &found["type"]), (&json, &kind.into()), "{name}");
        assert_eq!(found["key"], Value::Null);
        let found = run!("cat", &path, name, "--json").with_code(0).json();
        assert_eq!((&found["value"], &found["kind"]), (&json, &"value".into()), "{name}");
    }
    let segment = open(&path);
    assert_eq!(segment.value::<u64>("a u64").unwrap(), Some(u64::MAX));
    assert_eq!(segment.value::<f32>("an f32").unwrap(), Some(0.1));
    assert_eq!(segment.value::<char>("a char").unwrap(), Some('ä'));
    assert_eq!(segment.value::<str>("a str").unwrap().as_deref(), Some("an apple"));
    assert_eq!(segment.value::<[u8]>("bytes").unwrap(), Some(vec![0, 0xff, 0x10]));
    assert_eq!(segment.value::<[u8; 4]>("an array").unwrap(), Some([1, 2, 3, 4]));
    segment.set_value("an i32", &8_i32).unwrap();
    assert_eq!(run!("get", &path, "an i32").with_code(0).text(), "8\n");
    // The type is that of the object, and needs no option.
    run!("set", &path, "an i32", "-9").with_code(0);
    assert_eq!(segment.value::<i32>("an i32").unwrap(), Some(-9));
}

#[test]
fn maps_have_the_entries_that_a_program_sees() {
    need_locks!();
    let files = Files::new();
    let path = new(&files);
    run!("set", &path, "prices", "apple", "5", "--type", "map<str,u64>").with_code(0);
    let ran = run!("set", &path, "prices", "apple", "7").with_code(0);
    assert!(ran.text().contains("before 5"), "{ran:?}");
    let segment = open(&path);
    let prices = HashMap::<str, u64>::open(&segment, "prices").unwrap();
    assert_eq!(prices.get("apple").unwrap(), Some(7));
    prices.insert("pear", &9).unwrap();
    assert_eq!(run!("get", &path, "prices", "pear").with_code(0).text(), "9\n");
    let json = run!("get", &path, "prices", "pear", "--json").with_code(0).json();
    assert_eq!((&json["key"], &json["value"]), (&"pear".into(), &9.into()));
    let ran = run!("cat", &path, "prices").with_code(0);
    let mut entries: Vec<_> = ran.text().lines().collect();
    entries.sort_unstable();
    assert_eq!(entries, ["apple: 7", "pear: 9"]);
    let json = run!("cat", &path, "prices", "--json").with_code(0).json();
    assert_eq!((&json["length"], &json["kind"]), (&2.into(), &"map".into()));
    assert_eq!((&json["type"], &json["error"]), (&"map<str,u64>".into(), &Value::Null));
    let entries = json["entries"].as_array().unwrap();
    assert!(entries.contains(&json!({ "key": "pear", "value": 9 })), "{json}");

    let json = run!("set", &path, "prices", "pear", "1", "--json").with_code(0).json();
    assert_eq!((&json["previous"], &json["value"]), (&9.into(), &1.into()));
    let json = run!("set", &path, "prices", "plum", "2", "--json").with_code(0).json();
    assert_eq!(json["previous"], Value::Null);
}

/// The types of keys and of values, each as words and as blocks.
#[test]
fn maps_of_all_lengths_are_read_and_written() {
    need_locks!();
    let files = Files::new();
    let path = new(&files);
    for (kind, key, value) in [
        ("map<u64,u64>", "5", "18446744073709551615"),
        ("map<i8,bool>", "-5", "true"),
        ("map<char,i16>", "ä", "-1"),
        ("map<str,bytes>", "", "0123456789abcdef"),
        ("map<bytes,str>", "ff", "some longer text than a word"),
        ("map<u32,str>", "7", ""),
        ("map<str,f32>", "half", "0.5"),
        ("map<u128,[u8;3]>", "340282366920938463463374607431768211455", "[1, 2, 3]"),
        (
            "map<[u8;16],[f64;3]>",
            "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]",
            "[1, 2, 3.5]",
        ),
        ("map<str,()>", "present", "()"),
    ] {
        let ran = run!("set", &path, kind, key, value, "--type", kind).with_code(0);
        assert!(!ran.text().contains("before"), "{ran:?}");
        assert_eq!(
            run!("get", &path, kind, key).with_code(0).text(),
            format!("{value}\n"),
            "{kind}"
        );
        let ran = run!("cat", &path, kind).with_code(0);
        assert_eq!(ran.text(), format!("{key}: {value}\n"), "{kind}");
        run!("cat", &path, kind, "--json").with_code(0).json();
    }
    let segment = open(&path);
    let map = HashMap::<[u8; 16], [f64; 3]>::open(&segment, "map<[u8;16],[f64;3]>").unwrap();
    let key = std::array::from_fn(|index| index as u8 + 1);
    assert_eq!(map.get(&key).unwrap(), Some([1.0, 2.0, 3.5]));
    let map = HashMap::<i8, bool>::open(&segment, "map<i8,bool>").unwrap();
    assert_eq!(map.get(&-5).unwrap(), Some(true));
    let map = HashMap::<u32, str>::open(&segment, "map<u32,str>").unwrap();
    assert_eq!(map.get(&7).unwrap().as_deref(), Some(""));
}

#[test]
fn structs_are_hexadecimal_and_not_written() {
    use sharemap::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
    #[derive(Clone, Copy, sharemap::Shareable, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[zerocopy(crate = "sharemap::zerocopy")]
    #[repr(C)]
    struct Point {
        x: u32,
        y: u32,
        z: u32,
    }

    need_locks!();
    let files = Files::new();
    let path = new(&files);
    let segment = open(&path);
    let point = Point { x: 1, y: 2, z: 255 };
    segment.create_value("point", &point).unwrap();
    HashMap::<u8, Point>::create_new(&segment, "points").unwrap().insert(&7, &point).unwrap();
    let hex = "0100000002000000ff000000";
    assert_eq!(run!("get", &path, "point").with_code(0).text(), format!("{hex}\n"));
    assert_eq!(run!("cat", &path, "points").with_code(0).text(), format!("7: {hex}\n"));
    let ran = run!("set", &path, "point", hex).with_code(1);
    assert!(ran.stderr.contains("struct"), "{ran:?}");
    let ran = run!("set", &path, "points", "7", hex).with_code(1);
    assert!(ran.stderr.contains("struct"), "{ran:?}");
}

#[test]
fn objects_are_listed_and_counted() {
    need_locks!();
    let files = Files::new();
    let path = new(&files);
    assert!(run!("ls", &path).with_code(0).text().contains("no named objects"));
    run!("set", &path, "zebra", "5", "--type", "u64").with_code(0);
    run!("set", &path, "prices", "apple", "5", "--type", "map<str,u64>").with_code(0);
    let json = run!("ls", &path, "--json").with_code(0).json();
    let [prices, zebra] = &json["named"].as_array().unwrap()[..] else { panic!("{json:#}") };
    assert_eq!((&prices["name"], &prices["kind"]), (&"prices".into(), &"map".into()));
    assert_eq!((&zebra["type"], &zebra["kind"]), (&"u64".into(), &"value".into()));
    assert!(prices["bytes"].as_u64() >= Some(8), "{json:#}");
    let ran = run!("ls", &path).with_code(0);
    for word in ["prices", "map<str,u64>", "zebra", "2 objects"] {
        assert!(ran.text().contains(word), "{word}: {ran:?}");
    }

    let json = run!("stat", &path, "--json").with_code(0).json();
    assert_eq!(json["files"].as_array().unwrap().len(), 1, "the file is shown, too");
    let stat = &json["segments"][0];
    let number = |name: &str| stat[name].as_u64().unwrap();
    assert_eq!((number("named"), &stat["state"]), (2, &"ready".into()));
    assert!(number("used") > 0 && number("used") + number("free") <= number("size"), "{stat:#}");
    assert!(number("size") <= number("max"));
    assert_eq!(number("open_changes"), 0);
    assert_eq!(stat["participants"], json!([]));
    assert!(
        stat["blocks"]
            .as_array()
            .unwrap()
            .iter()
            .any(|class| class["allocated"].as_u64() > Some(0))
    );
    let segment = open(&path);
    segment.set_value("zebra", &6_u64).unwrap();
    // The lane of this thread is not a lock.
    assert_eq!(run!("locks", &path, "--json").with_code(0).json()["locks"], json!([]));
    assert!(run!("locks", &path).with_code(0).text().contains("segment, ready"));
    let json = run!("stat", &path, "--json").with_code(0).json();
    assert_eq!(json["segments"][0]["participants"][0]["process"], std::process::id());
    let ran = run!("stat", &path).with_code(0);
    for word in ["2 named objects", "used", "not allocated", "1 of at most"] {
        assert!(ran.text().contains(word), "{word}: {ran:?}");
    }
    drop(segment);
}

/// A segment in shared memory is found by its name, and `ls` with a part of the name lists the memory.
#[test]
fn segments_in_shared_memory_are_found_by_name() {
    need_locks!();
    let name = Name::new("");
    run!("new", &name.0).with_code(0);
    run!("set", &name.0, "answer", "42", "--type", "u8").with_code(0);
    assert_eq!(run!("get", &name.0, "answer").with_code(0).text(), "42\n");
    assert_eq!(run!("cat", &name.0, "answer").with_code(0).text(), "42\n");
    assert_eq!(run!("ls", &name.0, "--json").with_code(0).json()["named"][0]["name"], "answer");
    let json = run!("stat", &name.0, "--json").with_code(0).json();
    assert_eq!((&json["files"], &json["segments"][0]["segment"]), (&json!([]), &(*name.0).into()));
    run!("check", &name.0).with_code(0);
    if cfg!(target_os = "linux") {
        let part = &name.0[..name.0.len() - 1];
        let json = run!("ls", part, "--json").with_code(0).json();
        let objects = json["objects"].as_array().unwrap();
        let found = objects.iter().find(|object| object["name"] == *name.0).unwrap();
        assert_eq!(found["kind"], "segment");
    }
}

#[test]
fn what_is_not_there_is_code_3_and_what_does_not_fit_is_code_1() {
    need_locks!();
    let files = Files::new();
    let path = new(&files);
    run!("set", &path, "answer", "42", "--type", "u8").with_code(0);
    run!("set", &path, "prices", "apple", "5", "--type", "map<str,u64>").with_code(0);
    let missing = files.path("missing.seg");
    let text = files.file("letters.txt", b"no segment at all");
    for (words, code, said) in [
        (vec!["get", "nothing"], 3, "nothing"),
        (vec!["cat", "nothing"], 3, "nothing"),
        (vec!["get", "prices", "pear"], 3, "no key pear"),
        (vec!["set", "nothing", "1"], 3, "--type"),
        (vec!["get", "prices"], 1, "KEY"),
        (vec!["set", "prices", "1"], 1, "KEY"),
        (vec!["get", "answer", "apple"], 1, "no keys"),
        (vec!["set", "answer", "apple", "1"], 1, "no keys"),
        (vec!["set", "answer", "256"], 1, "from 0 to 255"),
        (vec!["set", "answer", "1", "--type", "u16"], 1, "u16"),
        (vec!["set", "other", "1", "--type", "u7"], 1, "u7"),
        (vec!["set", "prices", "apple", "five"], 1, "five"),
    ] {
        for json in [false, true] {
            let mut args: Vec<&std::ffi::OsStr> = vec![words[0].as_ref(), path.as_ref()];
            args.extend(words[1..].iter().map(|word| std::ffi::OsStr::new(*word)));
            if json {
                args.push("--json".as_ref());
            }
            let ran = crate::run::run(&args).with_code(code);
            assert!(ran.stderr.contains(said), "{words:?}: {ran:?}");
            if json {
                assert!(ran.json()["error"]["kind"].is_string(), "{words:?}: {ran:?}");
            }
        }
    }
    assert_eq!(run!("get", &path, "answer").with_code(0).text(), "42\n", "nothing was changed");
    for words in [["get", "x"], ["cat", "x"]] {
        run!(words[0], &missing, words[1]).with_code(3);
        run!(words[0], &text, words[1]).with_code(1);
    }
    for word in ["ls", "check", "export"] {
        run!(word, &missing).with_code(3);
    }
    run!("ls", &text).with_code(1);
    run!("export", &text).with_code(1);
    assert!(!missing.exists());
}

#[test]
fn text_from_a_segment_does_not_act_on_a_terminal() {
    need_locks!();
    let files = Files::new();
    let path = new(&files);
    let segment = open(&path);
    let evil = "\u{1b}]0;title\u{7}\u{202e}";
    let map = HashMap::<str, str>::create_new(&segment, evil).unwrap();
    map.insert(evil, evil).unwrap();
    segment.create_value("value", evil).unwrap();
    for args in [
        vec!["ls"],
        vec!["stat"],
        vec!["check"],
        vec!["export"],
        vec!["get", "value"],
        vec!["get", evil, evil],
        vec!["cat", evil],
        vec!["set", evil, evil, evil],
        vec!["get", evil],
        vec!["get", "\u{1b}[31m"],
        vec!["get", evil, "\u{1b}[31m"],
    ] {
        for json in [false, true] {
            let mut words: Vec<&std::ffi::OsStr> = vec![args[0].as_ref(), path.as_ref()];
            words.extend(args[1..].iter().map(|word| std::ffi::OsStr::new(*word)));
            if json {
                words.push("--json".as_ref());
            }
            let ran = crate::run::run(&words);
            let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), ran.stderr);
            assert!(!said.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{args:?}: {said:?}");
        }
    }
    let json = run!("get", &path, "value", "--json").with_code(0).json();
    assert_eq!(json["value"], evil);
}

#[test]
fn everything_is_exported() {
    need_locks!();
    let files = Files::new();
    let path = new(&files);
    let segment = open(&path);
    segment.create_value("answer", &42_u8).unwrap();
    HashMap::<u32, u32>::create_new(&segment, "empty").unwrap();
    let squares = HashMap::<u32, u64>::create_new(&segment, "squares").unwrap();
    for number in 0..1000_u32 {
        squares.insert(&number, &u64::from(number).pow(2)).unwrap();
    }
    let exported = lines(&run!("export", &path).with_code(0));
    assert_eq!(exported.len(), 1003);
    assert_eq!((&exported[0]["name"], &exported[0]["value"]), (&"answer".into(), &42.into()));
    assert_eq!(
        (&exported[1]["name"], &exported[1]["type"]),
        (&"empty".into(), &"map<u32,u32>".into())
    );
    assert_eq!(exported[2]["kind"], "map");
    let mut keys: Vec<_> = exported[3..].iter().map(|line| line["key"].as_u64().unwrap()).collect();
    keys.sort_unstable();
    assert!(keys.into_iter().eq(0..1000), "each key once");
    for line in &exported[3..] {
        assert_eq!(line["name"], "squares");
        assert_eq!(line["value"].as_u64(), line["key"].as_u64().map(|key| key * key), "{line}");
    }
    let json = run!("export", &path, "--json").with_code(0).json();
    assert_eq!((&json["length"], &json["error"]), (&1003.into(), &Value::Null));
    assert_eq!(json["lines"].as_array().unwrap().len(), 1003);
    let mut child = command(&["export".as_ref(), path.as_ref()]).spawn().unwrap();
    drop(child.stdout.take());
    Ran::from(child.wait_with_output().unwrap()).with_code(0);
}
