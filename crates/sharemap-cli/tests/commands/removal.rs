//! Tests `gc` and `rm` with files that are not objects, and with attackers that exchange names meanwhile.

#![allow(unsafe_code, reason = "an attacker of another user, and mounts of its own")]

use crate::run::{Files, Ran};
use serde_json::Value;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const ROLE: &str = "SHAREMAP_TEST_STORM";
/// The attacking user.
const STRANGER: u32 = 1000;

fn is_root() -> bool {
    // SAFETY: the call takes no pointer and changes nothing.
    unsafe { libc::geteuid() == 0 }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

fn give(path: &Path) {
    std::os::unix::fs::lchown(path, Some(STRANGER), Some(STRANGER)).unwrap();
}

fn mkfifo(path: &Path) {
    // SAFETY: the name ends with a zero.
    assert_eq!(unsafe { libc::mkfifo(c_path(path).as_ptr(), 0o600) }, 0);
}

/// Returns the bytes of an object that no process uses.
fn image() -> Vec<u8> {
    let files = Files::new();
    let path = files.path("object");
    let location = sharemap::Location::file(&path);
    drop(sharemap::Shared::create_new(location, || sharemap::Mutex::new(0_u64)).unwrap());
    std::fs::read(path).unwrap()
}

/// Runs `test` again in a process with mounts of its own and an empty /dev/shm. Returns `false`, and prints
/// the reason, if that is not possible.
fn in_own_mounts(test: &str) -> bool {
    if !is_root() {
        println!("skipped: mounts of its own, and another user, are root's");
        return false;
    }
    let script = "mount -t tmpfs -o mode=1777 tmpfs /dev/shm || exit 99; exec \"$0\" \"$@\"";
    let output = std::process::Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ROLE, "1")
        .output();
    let ran = match output {
        Ok(output) => Ran::from(output),
        Err(error) => {
            println!("skipped: no unshare(1): {error}");
            return false;
        }
    };
    if ran.code == Some(99) || ran.stderr.contains("unshare:") {
        println!("skipped: no mounts for this user: {}", ran.stderr);
        return false;
    }
    let text = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(ran.code, Some(0), "{text}\n{}", ran.stderr);
    for line in text.lines().filter(|line| line.contains("runs")) {
        println!("{line}");
    }
    true
}

fn is_inside() -> bool {
    std::env::var_os(ROLE).is_some()
}

/// Exchanges two names repeatedly as another user while `body` runs. Returns the number of exchanges.
fn attack(first: &Path, second: &Path, body: impl FnOnce()) -> u64 {
    let (first, second) = (c_path(first), c_path(second));
    let (stop, exchanged) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The system call changes the user of this thread only; the C library would change all threads.
            // SAFETY: plain numbers, and names that end with zeros.
            unsafe {
                let id = STRANGER as libc::c_long;
                assert_eq!(libc::syscall(libc::SYS_setresgid, id, id, id), 0);
                assert_eq!(libc::syscall(libc::SYS_setresuid, id, id, id), 0);
                while !stop.load(Ordering::Relaxed) {
                    let done = libc::renameat2(
                        libc::AT_FDCWD,
                        first.as_ptr(),
                        libc::AT_FDCWD,
                        second.as_ptr(),
                        libc::RENAME_EXCHANGE,
                    );
                    exchanged.fetch_add(u64::from(done == 0), Ordering::Relaxed);
                }
            }
        });
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _stop = Stop(&stop);
        body();
    });
    exchanged.into_inner()
}

fn runs() -> usize {
    if std::env::var_os("SHAREMAP_LONG").is_some_and(|long| long == "1") { 200 } else { 20 }
}

/// Returns the outcome of a command for a path, in one word.
fn outcome(command: &str, path: &Path) -> &'static str {
    let ran = match command {
        "gc" => run!("gc", "--apply", "--json", path),
        command => run!(command, path),
    };
    let json: Option<Value> = serde_json::from_slice(&ran.stdout).ok();
    let item = json.as_ref().map(|json| &json["items"][0]["verdict"]);
    match item.and_then(Value::as_str) {
        Some("removed") => "removed",
        Some("kept") => "kept",
        None if ran.code == Some(0) => "removed",
        _ if ran.stderr.contains("another file has") => "exchanged",
        _ => "refused",
    }
}

fn tell(what: &str, exchanges: u64, outcomes: &[&str]) {
    let count = |wanted: &str| outcomes.iter().filter(|found| **found == wanted).count();
    println!(
        "{what}: {} runs, {exchanges} exchanges, {} removed, {} kept, {} found exchanged, {} refused",
        outcomes.len(),
        count("removed"),
        count("kept"),
        count("exchanged"),
        count("refused"),
    );
}

/// Another user exchanges the directory of an object, or one above it, with a link to a directory that
/// contains another object. The other object is not removed.
#[test]
fn no_link_is_followed_that_takes_a_directorys_place() {
    need_locks!();
    if !is_inside() {
        in_own_mounts("removal::no_link_is_followed_that_takes_a_directorys_place");
        return;
    }
    let (files, image) = (Files::new(), image());
    let (base, victim) = (files.path("base"), files.path("victim"));
    std::fs::create_dir_all(base.join("dir/deep")).unwrap();
    std::fs::create_dir_all(victim.join("deep")).unwrap();
    std::os::unix::fs::symlink(&victim, base.join("link")).unwrap();
    for path in
        [files.dir(), base.clone(), base.join("dir"), base.join("dir/deep"), base.join("link")]
    {
        give(&path);
    }
    let wanted = [victim.join("object"), victim.join("deep/object")];
    for path in &wanted {
        std::fs::write(path, &image).unwrap();
    }
    let (dir, link) = (base.join("dir"), base.join("link"));
    for (command, place) in
        [("gc", "object"), ("rm", "object"), ("gc", "deep/object"), ("rm", "deep/object")]
    {
        let mut outcomes = Vec::new();
        let mut exchanges = 0;
        for _ in 0..runs() {
            let real = if dir.symlink_metadata().unwrap().is_dir() { &dir } else { &link };
            std::fs::write(real.join(place), &image).unwrap();
            exchanges += attack(&dir, &link, || outcomes.push(outcome(command, &dir.join(place))));
            for path in &wanted {
                assert_eq!(std::fs::read(path).unwrap().len(), image.len(), "{outcomes:?}");
            }
        }
        tell(&format!("{command} {place}, directory and link"), exchanges, &outcomes);
        assert!(outcomes.contains(&"removed") || outcomes.contains(&"refused"), "{outcomes:?}");
        assert!(exchanges > 0);
    }
}

/// Another user exchanges an object with a file that was never judged. That file is kept, under one of the
/// two names, or in a directory from which the next `gc` moves it back.
#[test]
fn no_file_is_removed_that_takes_an_objects_place() {
    need_locks!();
    if !is_inside() {
        in_own_mounts("removal::no_file_is_removed_that_takes_an_objects_place");
        return;
    }
    let (files, image) = (Files::new(), image());
    let dir = files.path("dir");
    std::fs::create_dir(&dir).unwrap();
    let (object, raw) = (dir.join("object"), dir.join("raw"));
    std::fs::write(&raw, b"precious").unwrap();
    let precious = raw.metadata().unwrap().ino();
    for path in [&files.dir(), &dir, &raw] {
        give(path);
    }
    let is_there = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.ino() == precious);
    for command in ["gc", "rm"] {
        let (mut outcomes, mut exchanges, mut moved) = (Vec::new(), 0, 0);
        for _ in 0..runs() {
            if is_there(&object) {
                std::fs::rename(&object, &raw).unwrap();
            }
            std::fs::write(&object, &image).unwrap();
            give(&object);
            exchanges += attack(&object, &raw, || outcomes.push(outcome(command, &object)));
            if !is_there(&object) && !is_there(&raw) {
                moved += 1;
                let json = run!("gc", "--apply", "--json", &object).json();
                assert_eq!(json["items"][0]["verdict"], "restored", "{json:#}");
            }
            assert!(is_there(&object) || is_there(&raw), "{outcomes:?}");
            let left = std::fs::read_dir(&dir).unwrap().count();
            assert!(left <= 2, "nothing is left over: {outcomes:?}");
        }
        tell(
            &format!("{command}, object and raw file ({moved} moved back later)"),
            exchanges,
            &outcomes,
        );
        assert!(exchanges > 0);
    }
}

/// No command removes FIFOs, links or directories.
#[test]
fn nothing_but_regular_files_is_removed() {
    need_locks!();
    if !is_inside() {
        in_own_mounts("removal::nothing_but_regular_files_is_removed");
        return;
    }
    let (files, image) = (Files::new(), image());
    files.file("object", &image);
    for dir in [PathBuf::from("/dev/shm"), files.dir()] {
        let target = files.path("object");
        mkfifo(&dir.join("fifo"));
        std::os::unix::fs::symlink(&target, dir.join("link")).unwrap();
        std::fs::create_dir(dir.join("folder")).unwrap();
        for (name, why) in [("fifo", "FIFO"), ("link", "link"), ("folder", "directory")] {
            let path = dir.join(name);
            let name =
                if dir == Path::new("/dev/shm") { OsStr::new(name) } else { path.as_os_str() };
            for args in [&["rm"][..], &["rm", "--force"]] {
                let words: Vec<_> = args.iter().map(OsStr::new).chain([name]).collect();
                let ran = crate::run::run(&words).with_code(1);
                assert!(ran.stderr.contains(why), "{ran:?}");
            }
            let json = run!("gc", "--apply", "--foreign", "--json", name).with_code(0).json();
            assert_eq!(json["items"][0]["verdict"], "kept", "{json:#}");
            assert!(json["items"][0]["reason"].as_str().unwrap().contains(why), "{json:#}");
            assert!(path.symlink_metadata().is_ok());
        }
        assert!(dir.join("fifo").metadata().unwrap().file_type().is_fifo());
    }
    // No command removes a file through a link to its directory.
    std::os::unix::fs::symlink(files.dir(), files.path("there")).unwrap();
    let ran = run!("rm", files.path("there").join("object")).with_code(1);
    assert!(ran.stderr.contains("symbolic link"), "{ran:?}");
    assert!(files.path("object").exists());
}

fn verdicts(json: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = json["items"].as_array().unwrap().iter();
    items.map(|item| (text(&item["name"]), text(&item["verdict"]), text(&item["reason"]))).collect()
}

#[track_caller]
fn verdict(json: &Value, name: &str) -> (String, String) {
    let all = verdicts(json);
    let found = all.iter().find(|(found, ..)| found == name);
    let (_, verdict, reason) = found.unwrap_or_else(|| panic!("no {name} in {json:#}"));
    (verdict.clone(), reason.clone())
}

/// Without names, only objects that no process can want are removed, as recognized by directory, form of
/// the name, owner and contents. Other objects are listed, and are removed by name or on request.
#[test]
fn without_names_only_garbage_goes() {
    need_locks!();
    if !is_inside() {
        in_own_mounts("removal::without_names_only_garbage_goes");
        return;
    }
    let shm = Path::new("/dev/shm");
    let image = image();
    let write = |name: &str, bytes: &[u8]| {
        let path = shm.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let private =
        |name: &str| std::fs::DirBuilder::new().mode(0o700).create(shm.join(name)).unwrap();
    let mut half_made = image.clone();
    half_made[128] = 1;
    let mut other_boot = image.clone();
    other_boot[144] ^= 1;
    private(".sharemap-0");
    private(".sharemap-7");
    let gone = ".sharemap-gone-0123456789abcdef0123456789abcdef";
    private(gone);
    // The directory has the form that a removal gives it.
    let marked = std::fs::Permissions::from_mode(0o1700);
    std::fs::set_permissions(shm.join(gone), marked).unwrap();
    // The objects that are removed, and those that are kept.
    write(".sharemap-new-4000000-0-17", b"half");
    write("half-made", &half_made);
    write(".sharemap-new-x/t.txt", b"text");
    write(".sharemap-new-4000000-0-17x", b"text");
    write("dir/.sharemap-new-4000000-0-17", b"text");
    write(".sharemap-0/7fff-1", b"not empty");
    write(".sharemap-0/7FFF-1", b"");
    write(".sharemap-7/7fff-1", b"");
    write("healthy", &image);
    write("of-other-boot", &other_boot);
    write("raw", b"raw");
    give(&write("of-other", &image));
    write(&format!("{gone}/interrupted"), &image);
    write(".sharemap-gone-x/kept", b"text");

    let json = run!("gc", "--json").with_code(0).json();
    assert_eq!((&json["removed"], &json["removable"]), (&0.into(), &2.into()), "{json:#}");
    assert_eq!(verdict(&json, &format!("/dev/shm/{gone}")).0, "restorable");
    let json = run!("gc", "--apply", "--json").with_code(0).json();
    let is = |name: &str, expected: &str, why: &str| {
        let (verdict, reason) = verdict(&json, name);
        assert_eq!(verdict, expected, "{name}: {json:#}");
        assert!(reason.contains(why), "{name}: {reason}");
    };
    is(&format!("/dev/shm/{gone}"), "restored", "");
    is(".sharemap-new-4000000-0-17", "removed", "");
    is("half-made", "removed", "");
    is(".sharemap-new-x/t.txt", "kept", "not made by sharemap");
    is(".sharemap-new-4000000-0-17x", "kept", "not made by sharemap");
    is("dir/.sharemap-new-4000000-0-17", "kept", "not made by sharemap");
    is(".sharemap-0/7fff-1", "kept", "not made by sharemap");
    is(".sharemap-0/7FFF-1", "kept", "not made by sharemap");
    is(".sharemap-7/7fff-1", "kept", "not made by sharemap");
    is(".sharemap-gone-x/kept", "kept", "not made by sharemap");
    is("raw", "kept", "--foreign");
    is("healthy", "unused", "--unused");
    is("of-other-boot", "unused", "--unused");
    is("interrupted", "unused", "--unused");
    is("of-other", "kept", "user 1000");
    assert_eq!((&json["removed"], &json["unused"]), (&2.into(), &3.into()), "{json:#}");
    let item = |name: &str| {
        let items = json["items"].as_array().unwrap();
        items.iter().find(|item| item["name"] == name).unwrap().clone()
    };
    assert!(item("healthy")["age_seconds"].as_u64().unwrap() < 3600);
    let text = run!("gc").with_code(0).text().to_owned();
    assert!(text.contains("not used for") && text.contains("3 unused"), "{text}");

    // A process may want raw memory as well.
    let json = run!("gc", "--apply", "--foreign", "--json").with_code(0).json();
    assert_eq!(verdict(&json, "raw").0, "unused", "{json:#}");
    run!("gc", "--older-than", "1d").with_code(2);
    run!("gc", "--unused", "healthy").with_code(2);
    let args = ["gc", "--apply", "--unused", "--older-than", "1d", "--json"];
    let json = crate::run::run(&args.map(OsStr::new)).with_code(0).json();
    assert_eq!((&json["removed"], &json["unused"]), (&0.into(), &3.into()), "{json:#}");
    let json = run!("gc", "--apply", "--unused", "--json").with_code(0).json();
    assert_eq!(json["removed"], 3, "{json:#}");
    assert_eq!(verdict(&json, "of-other").0, "kept", "{json:#}");
    let json = run!("gc", "--apply", "--json", "of-other").with_code(0).json();
    assert_eq!(verdict(&json, "of-other").0, "removed", "root's by name: {json:#}");
}

/// The next removal of the same object completes a removal that was killed: it moves the file back first.
#[test]
fn interrupted_removals_go_back() {
    need_locks!();
    let (files, image) = (Files::new(), image());
    let gone = files.path(".sharemap-gone-00000000000000000000000000000000");
    let (object, moved) = (files.path("object"), gone.join("object"));
    let interrupt = || {
        std::fs::DirBuilder::new().mode(0o1700).create(&gone).unwrap();
        std::fs::write(&moved, &image).unwrap();
    };
    interrupt();
    let json = run!("gc", "--json", &object).with_code(0).json();
    assert_eq!(json["items"][0]["verdict"], "restorable", "{json:#}");
    assert!(moved.exists() && !object.exists(), "nothing is changed without --apply");
    // A name that is in use again is not overwritten.
    std::fs::write(&object, b"another").unwrap();
    let json = run!("gc", "--apply", "--json", &object).with_code(0).json();
    assert_eq!(json["items"][0]["verdict"], "kept", "{json:#}");
    let reason = json["items"][0]["reason"].as_str().unwrap();
    assert!(reason.contains(moved.to_str().unwrap()), "{reason}");
    assert_eq!(std::fs::read(&object).unwrap(), b"another");
    std::fs::remove_file(&object).unwrap();
    run!("gc", "--apply", "--json", &object).with_code(0);
    assert!(!gone.exists(), "the file was moved back");
    let begun = std::time::Instant::now();
    // A child that another test has forked but not yet executed may hold the object briefly.
    while object.exists() && begun.elapsed() < std::time::Duration::from_secs(20) {
        run!("gc", "--apply", "--json", &object);
    }
    assert!(!object.exists());
}
