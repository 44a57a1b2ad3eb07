//! `sharemap who` and `sharemap locks`

use crate::run::Files;
use crate::shared::Name;
use serde_json::Value;
use sharemap::{Condvar, Mutex, RwLock, Shared, SharedMemory};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

#[test]
fn owners_and_waiters_are_shown_with_times() {
    need_locks!();
    let name = Name::new("");
    let make = || (Mutex::new(0_u64), RwLock::new(1_u8), Condvar::new());
    let shared = Shared::create_new(&*name.0, make).unwrap();
    let (mutex, rwlock, _) = &*shared;
    let ran = run!("locks", &name.0, "--for", "0").with_code(0);
    assert!(ran.text().contains("no thread holds"), "{}", ran.text());
    let (held, reading) = (mutex.lock().unwrap(), rwlock.read().unwrap());
    let json = run!("locks", &name.0, "--json").with_code(0).json();
    assert_eq!((text(&json["kind"]), text(&json["state"])), ("locks", "ready"));
    let [first, second] = &json["locks"].as_array().unwrap()[..] else { panic!("{json:#}") };
    assert_eq!((text(&first["kind"]), text(&second["kind"])), ("mutex", "rwlock"));
    assert_eq!(first["owner"]["process"], std::process::id());
    assert_eq!(first["owner"]["alive"], true);
    assert_eq!(first["held_at_least_seconds"], Value::Null, "without a waiter the time is unknown");
    // On a slow machine, the first look may come when the time is almost over. Then observe for longer.
    let seen = first["seen_held_seconds"].as_f64().unwrap();
    if seen < 0.05 {
        let json = run!("locks", &name.0, "--for", "5s", "--json").with_code(0).json();
        assert!(json["locks"][0]["seen_held_seconds"].as_f64().unwrap() >= 0.05, "{json:#}");
    }
    assert!(json["looks"].as_u64().unwrap() >= 2 && json["seconds"].as_f64().unwrap() >= 0.1);
    assert_eq!(second["owner"], Value::Null);
    assert_eq!(second["holders"][0]["process"], std::process::id());
    if is_recognised() {
        assert_eq!(first["owner"]["pid"], std::process::id());
        assert!(text(&first["owner"]["program"]).starts_with("commands"), "{first:#}");
    }
    thread::scope(|scope| {
        scope.spawn(|| drop(mutex.lock().unwrap()));
        let begun = Instant::now();
        loop {
            // A single look does not show to which owner the time belongs: the lock may have changed its owner just now.
            let json = run!("locks", &name.0, "--for", "0", "--json").with_code(0).json();
            let first = &json["locks"][0];
            assert_eq!(
                (&json["looks"], &first["held_at_least_seconds"]),
                (&1.into(), &Value::Null)
            );
            let noted = first["waiters"][0]["asleep_seconds"].as_f64() > Some(0.05);
            let json = run!("locks", &name.0, "--for", "20ms", "--json").with_code(0).json();
            let first = &json["locks"][0];
            // A waiter may be awake between two sleeps, so the loop retries.
            if noted && first["held_at_least_seconds"].as_f64() > Some(0.05) {
                assert_eq!(first["waiters"][0]["process"], std::process::id());
                assert!(first["waiters"][0]["asleep_seconds"].as_f64() > Some(0.05));
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{json:#}");
        }
        let ran = run!("locks", &name.0).with_code(0);
        assert!(ran.text().contains("owner"), "{}", ran.text());
        assert!(ran.text().contains("mutex at offset"), "{}", ran.text());
        assert!(ran.text().contains("waiter"), "{}", ran.text());
        drop((held, reading));
    });
}

/// Returns `true` if other processes see the same start time of this process as the process itself. An
/// emulator invents a start time for the emulated program, but other programs see the real one.
fn is_recognised() -> bool {
    if !cfg!(target_os = "linux") {
        return false;
    }
    let own = std::fs::read_to_string("/proc/self/stat").unwrap();
    let seen = Command::new("cat").arg(format!("/proc/{}/stat", std::process::id())).output();
    let seen = String::from_utf8(seen.unwrap().stdout).unwrap();
    let recognised = start_time(&own).is_some() && start_time(&own) == start_time(&seen);
    if !recognised {
        eprintln!("skipped: other processes see another start time of this process");
    }
    recognised
}

/// Returns the start time in the `stat` line of a process.
fn start_time(stat: &str) -> Option<&str> {
    stat.rsplit(')').next()?.split_whitespace().nth(19)
}

#[test]
fn participants_and_holders_are_shown() {
    need_locks!();
    let name = Name::new("");
    let shared = Shared::create_new(&*name.0, || Mutex::new(0_u64)).unwrap();
    let json = run!("who", &name.0, "--json").with_code(0).json();
    assert_eq!((text(&json["kind"]), text(&json["state"])), ("locks", "ready"));
    let [own] = &json["participants"].as_array().unwrap()[..] else { panic!("{json:#}") };
    assert_eq!((&own["process"], &own["alive"]), (&std::process::id().into(), &true.into()));
    assert!(own["since_seconds"].as_u64().unwrap() < 600);
    assert_eq!((&json["readers"], &json["creator"]), (&false.into(), &false.into()));
    let ran = run!("who", &name.0).with_code(0);
    assert!(ran.text().contains("participant"), "{}", ran.text());
    assert!(ran.text().contains("alive"), "{}", ran.text());
    if cfg!(target_os = "linux") {
        let holders = json["holders"].as_array().unwrap();
        assert!(holders.iter().any(|h| h["pid"] == std::process::id() && h["mapped"] == true));
    } else {
        assert_eq!(json["holders"], Value::Null);
    }
    drop(shared);
    let json = run!("who", &name.0, "--json").with_code(0).json();
    assert_eq!(json["participants"].as_array().unwrap().len(), 0);
    assert!(run!("who", &name.0).with_code(0).text().contains("none"));
}

#[test]
fn who_shows_holders_of_raw_memory_files_and_programs() {
    let name = Name::new("");
    let memory = SharedMemory::create_new(&*name.0, 100).unwrap();
    let files = Files::new();
    let open = files.file("open.bin", b"some text");
    let kept = std::fs::File::open(&open).unwrap();
    let program = std::env::current_exe().unwrap();
    for (object, mapped) in
        [(name.0.as_ref(), true), (open.as_os_str(), false), (program.as_os_str(), true)]
    {
        let json = run!("who", object, "--json").with_code(0).json();
        assert_eq!((&json["kind"], &json["participants"]), (&Value::Null, &Value::Null));
        if !cfg!(target_os = "linux") {
            assert_eq!(json["holders"], Value::Null);
            continue;
        }
        let holders = json["holders"].as_array().unwrap();
        let own = holders.iter().find(|holder| holder["pid"] == std::process::id()).unwrap();
        assert_eq!(own["mapped"], mapped, "{object:?}: {own}");
        let ran = run!("who", object).with_code(0);
        assert!(ran.text().contains(&std::process::id().to_string()), "{}", ran.text());
    }
    drop((memory, kept));
    for command in ["who", "locks"] {
        let ran = run!(command, "no-such-object", "--json").with_code(3);
        assert_eq!(ran.json()["error"]["kind"], "NotFound");
        assert!(ran.stderr.contains("no-such-object"), "{ran:?}");
        run!(command, files.path("missing")).with_code(3);
    }
    let ran = run!("locks", &open).with_code(1);
    assert!(ran.stderr.contains("open.bin"), "{ran:?}");
}

#[test]
fn the_list_shows_kinds_states_and_participants() {
    need_locks!();
    let (name, raw) = (Name::new(""), Name::new(""));
    let shared = Shared::create_new(&*name.0, || Mutex::new(0_u64)).unwrap();
    SharedMemory::create_new(&*raw.0, 100).unwrap();
    let Some(found) = name.listed() else { return };
    assert_eq!((text(&found[0]["kind"]), text(&found[0]["state"])), ("locks", "ready"));
    assert_eq!((&found[0]["attached"], &found[0]["dead"]), (&1.into(), &0.into()));
    assert_eq!((&found[0]["readers"], text(&found[0]["maker"])), (&false.into(), "sharemap"));
    let ran = run!("ls", &name.0).with_code(0);
    assert!(ran.text().contains("locks") && ran.text().contains("ready"), "{}", ran.text());
    let found = raw.listed().unwrap();
    assert_eq!((text(&found[0]["kind"]), &found[0]["attached"]), ("raw", &Value::Null));
    drop(shared);
    assert_eq!(name.listed().unwrap()[0]["attached"], 0);
}
