//! `sharemap ls` and `sharemap rm`

use crate::run::Ran;
use serde_json::Value;
use sharemap::SharedMemory;
use std::ffi::OsStr;
use std::time::{Duration, Instant};

/// A name that no object has. It is unlinked when this value is dropped.
pub struct Name(pub String);

impl Name {
    pub fn new(beginning: &str) -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Self(format!("{beginning}sharemap-cli-{}-{number}", std::process::id()))
    }

    /// Returns the entries of `ls` for this name; `None` if the system has no list.
    pub fn listed(&self) -> Option<Vec<Value>> {
        let ran = run!("ls", &self.0, "--json");
        if ran.json()["error"]["kind"] == "Unsupported" {
            println!("skipped: {}", ran.stderr);
            return None;
        }
        Some(ran.with_code(0).json()["objects"].as_array().unwrap().clone())
    }
}

/// Removes unused objects. Retries while they are busy: commands and children of other tests may hold them
/// briefly.
#[track_caller]
fn removed(args: &[&OsStr]) -> Ran {
    let begun = Instant::now();
    loop {
        let words: Vec<&OsStr> = [OsStr::new("rm")].iter().chain(args).copied().collect();
        let ran = crate::run::run(&words);
        if ran.code != Some(5) || begun.elapsed() > Duration::from_secs(20) {
            return ran.with_code(0);
        }
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = SharedMemory::unlink(&*self.0);
    }
}

#[test]
fn objects_are_listed_with_their_holders() {
    let name = Name::new("");
    let memory = SharedMemory::create_new(&*name.0, 100_000).unwrap();
    memory.bytes().fill(1).unwrap();
    let Some(found) = name.listed() else { return };
    assert_eq!(found.len(), 1);
    let object = &found[0];
    assert_eq!(object["name"], *name.0);
    assert_eq!(object["size"], 100_000);
    assert_eq!(object["maker"], Value::Null);
    if cfg!(target_os = "linux") {
        assert_eq!(object["mode"], "600");
        assert!(object["resident"].as_u64().unwrap() >= 100_000);
        assert!(object["age_seconds"].as_u64().unwrap() < 600, "{object}");
        let holders = object["holders"].as_array().unwrap();
        let own = holders.iter().find(|holder| holder["pid"] == std::process::id()).unwrap();
        assert_eq!((&own["mapped"], &own["open"]), (&true.into(), &true.into()));
    }
    let ran = run!("ls", &name.0).with_code(0);
    assert!(ran.text().contains(&name.0) && ran.text().contains("97.66 KiB"), "{}", ran.text());
    if cfg!(target_os = "linux") {
        assert!(ran.text().contains(&std::process::id().to_string()), "{}", ran.text());
    }
    drop(memory);
    // Commands and children of other tests may hold it briefly.
    let begun = Instant::now();
    while cfg!(target_os = "linux") {
        let object = name.listed().unwrap().remove(0);
        if object["holders"].as_array().unwrap().is_empty() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{object}");
    }
}

#[test]
fn makers_are_known_by_their_names() {
    let name = Name::new("psm_");
    SharedMemory::create_new(&*name.0, 100).unwrap();
    let Some(found) = name.listed() else { return };
    assert_eq!(found[0]["maker"], "Python");
    let ran = run!("ls", "no object is called this").with_code(0);
    assert!(ran.text().contains("no shared memory"), "{}", ran.text());
}

#[test]
fn unused_objects_are_removed() {
    let (first, second) = (Name::new(""), Name::new(""));
    for name in [&first, &second] {
        SharedMemory::create_new(&*name.0, 100).unwrap();
    }
    let ran = removed(&[first.0.as_ref()]);
    assert!(ran.text().contains(&first.0), "{}", ran.text());
    let json = removed(&[second.0.as_ref(), "--json".as_ref()]).json();
    if cfg!(target_os = "linux") {
        assert_eq!(json["removed"][0]["name"], *second.0);
        assert_eq!(json["removed"][0]["size"], 100);
    }
    for name in [&first, &second] {
        assert!(SharedMemory::open(&*name.0).is_err());
        let ran = run!("rm", &name.0, "--json").with_code(3);
        assert_eq!(ran.json()["error"]["kind"], "NotFound");
        assert!(ran.stderr.contains(&name.0), "{ran:?}");
    }
    run!("rm", "no/such object").with_code(3);
}

#[test]
fn objects_that_a_process_holds_are_kept_unless_forced() {
    if !cfg!(target_os = "linux") {
        println!("skipped: this system does not report holders");
        return;
    }
    let (held, free) = (Name::new(""), Name::new(""));
    let memory = SharedMemory::create_new(&*held.0, 100).unwrap();
    SharedMemory::create_new(&*free.0, 100).unwrap();
    let ran = run!("rm", &held.0, &free.0).with_code(5);
    assert!(ran.stderr.contains(&std::process::id().to_string()), "{ran:?}");
    assert!(ran.stderr.contains("--force"), "{ran:?}");
    assert!(SharedMemory::open(&*held.0).is_ok());
    assert!(SharedMemory::open(&*free.0).is_err(), "the others are removed nevertheless");
    let also = Name::new("");
    SharedMemory::create_new(&*also.0, 100).unwrap();
    let begun = Instant::now();
    loop {
        let json = run!("rm", &held.0, &also.0, "--json").with_code(5).json();
        assert_eq!(json["error"]["kind"], "Busy");
        if let [object] = &json["removed"].as_array().unwrap()[..] {
            assert_eq!(object["name"], *also.0, "the removed object is reported nevertheless");
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{json:#}");
    }
    let ran = run!("rm", "--force", &held.0).with_code(0);
    assert!(ran.text().contains("still held by"), "{}", ran.text());
    assert!(SharedMemory::open(&*held.0).is_err());
    memory.bytes().set(0, 1).unwrap();
}

/// A participant is recognized by its slot, wherever the object is stored.
#[test]
fn objects_with_participants_are_kept_unless_forced() {
    need_locks!();
    let files = crate::run::Files::new();
    let name = Name::new("");
    let make = || sharemap::Mutex::new(0_u8);
    let named = sharemap::Shared::create_new(&*name.0, make).unwrap();
    let path = files.path("object");
    let in_file = sharemap::Shared::create_new(sharemap::Location::file(&path), make).unwrap();
    if name.listed().is_some() {
        run!("rm", &name.0).with_code(5);
    }
    run!("rm", &path).with_code(5);
    drop((named, in_file));
    removed(&[name.0.as_ref()]);
    removed(&[path.as_ref()]);
}

/// A participant may be alive if its liveness cannot be determined from here.
#[test]
fn objects_of_unknown_use_are_kept_unless_forced() {
    need_locks!();
    let files = crate::run::Files::new();
    let path = files.path("object");
    let make = || sharemap::Mutex::new(0_u8);
    drop(sharemap::Shared::create_new(sharemap::Location::file(&path), make).unwrap());
    let mut image = std::fs::read(&path).unwrap();
    let at = usize::try_from(u64::from_le_bytes(image[88..96].try_into().unwrap())).unwrap();
    // Unclean, with a participant, and with slots on a companion that is not visible here.
    (image[132], image[160], image[168], image[at]) = (0, 2, 99, 1);
    std::fs::write(&path, image).unwrap();
    let ran = run!("rm", &path).with_code(5);
    assert!(ran.stderr.contains("container") && ran.stderr.contains("--force"), "{ran:?}");
    assert!(path.exists());
    run!("rm", "--force", &path).with_code(0);
    assert!(!path.exists());
}

#[test]
#[cfg(target_os = "linux")]
fn names_of_others_are_removed_too() {
    let name = Name::new("").0.clone();
    let path = std::path::Path::new("/dev/shm").join(format!("{name} with spaces"));
    std::fs::write(&path, b"x").unwrap();
    removed(&[format!("{name} with spaces").as_ref()]);
    assert!(!path.exists());
}

#[test]
fn objects_in_files_are_removed_and_other_files_are_not() {
    let files = crate::run::Files::new();
    let other = files.file("letters.txt", b"not shared at all");
    let ran = run!("rm", &other).with_code(1);
    assert!(ran.stderr.contains("not a shared object"), "{ran:?}");
    assert!(other.exists());
    let object = files.file("object", b"\x89SHM\r\n\x1a\n and more");
    if cfg!(target_os = "linux") {
        let held = std::fs::File::open(&object).unwrap();
        run!("rm", &object).with_code(5);
        drop(held);
    }
    removed(&[object.as_ref()]);
    assert!(!object.exists());
    run!("rm", &object).with_code(3);
}
