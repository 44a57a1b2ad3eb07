//! `sharemap gc`

use crate::run::Files;
#[cfg(target_os = "linux")]
use crate::run::in_own_mounts;
use crate::shared::Name;
use serde_json::Value;
use sharemap::{Mutex, Shared, SharedMemory};
use std::time::{Duration, Instant};

/// Returns `true` if the kernel reports here that no process uses a file. Prints the reason if not.
fn kernel_tells() -> bool {
    let files = Files::new();
    let path = files.file("probe", b"x");
    match sharemap::inspect::ExclusiveClaim::of(sharemap::Location::file(&path)) {
        Ok(Some(_)) => true,
        other => {
            println!(
                "skipped: the kernel does not report here whether a process uses a file: {other:?}"
            );
            false
        }
    }
}

/// Returns the verdict of `gc` on an object that is no longer used. Retries while it is kept: commands and
/// children of other tests may hold it briefly.
#[track_caller]
fn unused(args: &[&str]) -> Value {
    let begun = Instant::now();
    loop {
        let item = item(args);
        if item["verdict"] != "kept" {
            return item;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{item:#}");
    }
}

/// Returns the verdict of `gc` on one object.
#[track_caller]
fn item(args: &[&str]) -> Value {
    let mut words: Vec<&std::ffi::OsStr> = vec!["gc".as_ref()];
    words.extend(args.iter().map(|arg| std::ffi::OsStr::new(*arg)));
    words.push("--json".as_ref());
    let json = crate::run::run(&words).with_code(0).json();
    let [item] = &json["items"].as_array().unwrap()[..] else { panic!("{json:#}") };
    item.clone()
}

fn exists(name: &Name) -> bool {
    SharedMemory::open(&*name.0).is_ok()
}

#[test]
fn unused_objects_are_removed_with_a_proof() {
    need_locks!();
    if !kernel_tells() {
        return;
    }
    let name = Name::new("");
    let shared = Shared::create_new(&*name.0, || Mutex::new(0_u64)).unwrap();
    for apply in [&[&*name.0][..], &[&*name.0, "--apply"]] {
        let held = item(apply);
        assert_eq!((&held["verdict"], &held["what"]), (&"kept".into(), &"object".into()));
        let reason = held["reason"].as_str().unwrap();
        assert!(reason.contains(&std::process::id().to_string()), "{reason}");
        assert_eq!(held["proof"].as_array().unwrap().len(), 0);
    }
    std::mem::forget(shared.lock().unwrap());
    drop(shared);
    assert_eq!(
        item(&[&name.0])["verdict"],
        "kept",
        "a forgotten guard holds the lock until its process ends"
    );
    let (name, other) = (Name::new(""), Name::new(""));
    for name in [&name, &other] {
        drop(Shared::create_new(&*name.0, || Mutex::new(0_u64)).unwrap());
    }
    let free = unused(&[&name.0]);
    assert_eq!(free["verdict"], "removable", "{free:#}");
    let proof = free["proof"].to_string();
    assert!(proof.contains("64 participants") && proof.contains("open or mapped"), "{proof}");
    assert!(exists(&name), "nothing is removed without --apply");
    assert_eq!(unused(&[&name.0, "--apply"])["verdict"], "removed");
    assert!(!exists(&name));
    let ran = run!("gc", &name.0, "--json").with_code(3);
    assert_eq!(ran.json()["error"]["kind"], "NotFound");
    assert!(ran.stderr.contains(&name.0), "{ran:?}");
    unused(&[&other.0]);
    let text = run!("gc", &other.0).with_code(0);
    assert!(text.text().contains("can be removed") || text.text().contains("kept"), "{text:?}");
}

#[test]
fn mapped_open_and_foreign_objects_are_kept() {
    need_locks!();
    if !kernel_tells() {
        return;
    }
    let name = Name::new("");
    drop(Shared::create_new(&*name.0, || Mutex::new(0_u64)).unwrap());
    // No participant: only the kernel knows that the object is in use.
    let raw = SharedMemory::open(&*name.0).unwrap();
    assert_eq!(item(&[&name.0, "--apply"])["verdict"], "kept");
    drop(raw);
    assert_eq!(unused(&[&name.0])["verdict"], "removable");

    let foreign = Name::new("psm_");
    let memory = SharedMemory::create_new(&*foreign.0, 5000).unwrap();
    let kept = item(&[&foreign.0, "--apply"]);
    assert_eq!((&kept["what"], &kept["verdict"]), (&"foreign".into(), &"kept".into()));
    assert!(kept["reason"].as_str().unwrap().contains("--foreign"), "{kept:#}");
    assert_eq!(item(&[&foreign.0, "--foreign", "--apply"])["verdict"], "kept");
    drop(memory);
    assert_eq!(item(&[&foreign.0, "--apply"])["verdict"], "kept");
    assert_eq!(unused(&[&foreign.0, "--foreign"])["verdict"], "removable");
    assert_eq!(unused(&[&foreign.0, "--foreign", "--apply"])["verdict"], "removed");
    assert!(!exists(&foreign));
}

/// Objects in files: complete, unfinished, and malformed.
#[test]
fn files_are_judged_by_their_contents() {
    need_locks!();
    if !kernel_tells() {
        return;
    }
    let files = Files::new();
    let path = files.path("object");
    let location = sharemap::Location::file(&path);
    drop(Shared::create_new(location, || Mutex::new(0_u64)).unwrap());
    let image = std::fs::read(&path).unwrap();
    let name = path.to_str().unwrap();
    for (at, byte, what, verdict) in [
        (128, 1, "unfinished", "removable"),
        (128, 3, "object", "removable"),
        (128, 9, "malformed", "kept"),
        (8, 2, "of another version", "kept"),
        (0, 0, "foreign", "kept"),
        (64, 1, "unknown", "kept"),
    ] {
        let mut image = image.clone();
        image[at] = byte;
        std::fs::write(&path, image).unwrap();
        let item = if verdict == "kept" { item(&[name]) } else { unused(&[name]) };
        assert_eq!((&item["what"], &item["verdict"]), (&what.into(), &verdict.into()), "{item:#}");
    }
    // The header names a participant in another container. Its liveness cannot be determined here.
    let mut elsewhere = image.clone();
    (elsewhere[132], elsewhere[160], elsewhere[168]) = (0, 2, 99);
    std::fs::write(&path, elsewhere).unwrap();
    let kept = item(&[name, "--apply"]);
    assert_eq!(kept["verdict"], "kept", "{kept:#}");
    assert!(kept["reason"].as_str().unwrap().contains("container"), "{kept:#}");
    std::fs::write(&path, image).unwrap();
    assert_eq!(unused(&[name, "--apply"])["verdict"], "removed");
    assert!(!path.exists());
    run!("gc", name).with_code(3);
}

/// A name without an object does not stop the command, which reports the other names as well.
#[test]
fn each_name_is_tried_and_reported() {
    need_locks!();
    if !kernel_tells() {
        return;
    }
    let (name, held, files) = (Name::new(""), Name::new(""), Files::new());
    drop(Shared::create_new(&*name.0, || Mutex::new(0_u64)).unwrap());
    let _shared = Shared::create_new(&*held.0, || Mutex::new(0_u64)).unwrap();
    let begun = Instant::now();
    let json = loop {
        let missing = files.path("missing");
        let ran = run!("gc", "--apply", "--json", &missing, &held.0, "no-such-object", &name.0);
        let ran = ran.with_code(3);
        assert!(ran.stderr.contains("no-such-object"), "{ran:?}");
        let json = ran.json();
        if json["items"][1]["verdict"] != "kept" {
            break json;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{json:#}");
    };
    assert_eq!(json["error"]["kind"], "NotFound", "the first: {json:#}");
    assert!(json["error"]["message"].as_str().unwrap().contains("missing"), "{json:#}");
    assert_eq!(
        (&json["items"][0]["name"], &json["items"][0]["verdict"]),
        (&(*held.0).into(), &"kept".into())
    );
    assert_eq!(
        (&json["items"][1]["name"], &json["items"][1]["verdict"]),
        (&(*name.0).into(), &"removed".into())
    );
    assert_eq!((&json["removed"], &json["kept"]), (&1.into(), &1.into()));
    let ran = run!("gc", "no-such-object", &held.0).with_code(3);
    assert!(ran.text().contains("1 object kept"), "{ran:?}");
}

#[test]
fn without_names_all_are_looked_at() {
    let ran = run!("gc", "--json");
    if ran.json()["error"]["kind"] == "Unsupported" {
        println!("skipped: {}", ran.stderr);
        return;
    }
    let foreign = Name::new("");
    SharedMemory::create_new(&*foreign.0, 100).unwrap();
    let json = run!("gc", "--json").with_code(0).json();
    let items = json["items"].as_array().unwrap();
    assert!(items.iter().any(|item| item["name"] == *foreign.0 && item["verdict"] == "kept"));
    assert_eq!(json["applied"], false);
    assert_eq!(json["removed"], 0);
}

/// Objects that a killed process leaves under generated names are removed without being named. Objects in
/// use, of other users, or under other names are kept.
#[cfg(target_os = "linux")]
#[test]
fn generated_names_go_when_no_process_has_them() {
    need_locks!();
    let script = r#"
        set -e
        mount --make-rprivate /
        mount -t tmpfs -o mode=1777 tmpfs /dev/shm && cd /dev/shm
        "$0" lock killed-0123456789abcdef.tmp -- sh -c 'kill -9 $PPID' || true
        "$0" lock healthy-0123456789abcdef.tmp -- true
        cp healthy-0123456789abcdef.tmp otherwise-0123456789ABCDEF.tmp
        cp healthy-0123456789abcdef.tmp others-0123456789abcdef.tmp
        chown 1000 others-0123456789abcdef.tmp
        head -c 5000 /dev/zero >raw-0123456789abcdef.tmp
        head -c 5000 /dev/zero >open-0123456789abcdef.tmp
        head -c 5000 /dev/zero >otherwise-0123456789abcdefg.tmp
        # What its creator has open is kept, though nothing else tells that it is wanted.
        exec 3<open-0123456789abcdef.tmp
        echo mounted
        "$0" lock held-0123456789abcdef.tmp -- "$0" gc --apply --json 3<&-
        exec 3<&-
        "$0" gc --apply --json
    "#;
    let ran = in_own_mounts(script, std::path::Path::new("/"));
    let Some(text) = ran.text().strip_prefix("mounted\n").filter(|_| ran.code == Some(0)) else {
        assert!(!ran.text().contains("mounted"), "{ran:?}");
        println!("skipped: no mounts for this user: {}", ran.stderr);
        return;
    };
    let expected = [
        [
            ("healthy-0123456789abcdef.tmp", "temporary", "removed"),
            ("held-0123456789abcdef.tmp", "temporary", "kept"),
            ("killed-0123456789abcdef.tmp", "temporary", "removed"),
            ("open-0123456789abcdef.tmp", "temporary", "kept"),
            ("others-0123456789abcdef.tmp", "temporary", "kept"),
            ("otherwise-0123456789ABCDEF.tmp", "object", "unused"),
            ("otherwise-0123456789abcdefg.tmp", "foreign", "kept"),
            ("raw-0123456789abcdef.tmp", "temporary", "removed"),
        ]
        .as_slice(),
        &[
            ("held-0123456789abcdef.tmp", "temporary", "removed"),
            ("open-0123456789abcdef.tmp", "temporary", "removed"),
            ("others-0123456789abcdef.tmp", "temporary", "kept"),
            ("otherwise-0123456789ABCDEF.tmp", "object", "unused"),
            ("otherwise-0123456789abcdefg.tmp", "foreign", "kept"),
        ],
    ];
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{text}");
    for (line, expected) in lines.into_iter().zip(expected) {
        let json: Value = serde_json::from_str(line).unwrap();
        let mut found: Vec<_> = json["items"].as_array().unwrap().iter().collect();
        found.sort_by_key(|item| item["name"].as_str());
        let told = |item: &&Value| {
            ["name", "what", "verdict"].map(|member| item[member].as_str().unwrap().to_owned())
        };
        let found: Vec<_> = found.iter().map(told).collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|&(name, what, verdict)| [name, what, verdict].map(str::to_owned))
            .collect();
        assert_eq!(found, expected, "{json:#}");
        let proof = json["items"].to_string();
        assert!(proof.contains("a generated one"), "{json:#}");
    }
}

/// A process that opens an object while `gc` repeatedly judges and removes it either gets a usable object
/// or finds none. No object is removed while a process uses it.
#[test]
fn an_object_that_has_just_been_opened_is_not_removed() {
    need_locks!();
    if !kernel_tells() {
        return;
    }
    let name = Name::new("");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..15 {
                run!("gc", "--apply", &name.0);
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let mut rounds = 0;
        while !stop.load(std::sync::atomic::Ordering::Relaxed) || rounds < 100 {
            let shared = Shared::open_or_create(&*name.0, || Mutex::new(0_u64)).unwrap();
            let mut guard = shared.lock().unwrap();
            *guard += 1;
            let value = *guard;
            drop(guard);
            // The name still refers to this object.
            let again = Shared::<Mutex<u64>>::open(&*name.0).unwrap();
            assert_eq!(*again.lock().unwrap(), value);
            rounds += 1;
        }
    });
}

/// A removal that the system refuses has another exit code than a removal that the command refuses.
#[cfg(target_os = "linux")]
#[test]
fn a_removal_that_the_system_refuses_is_code_5() {
    need_locks!();
    let files = Files::new();
    let script = r#"
        mount --make-rprivate / && mount -t tmpfs tmpfs "$1" && cd "$1" || exit 0
        "$0" lock ./object -- true && mount -o remount,ro "$1" || exit 9
        echo mounted
        exec "$0" gc --apply --json ./object
    "#;
    let ran = in_own_mounts(script, &files.dir());
    let Some(text) = ran.text().strip_prefix("mounted\n") else {
        assert_ne!(ran.code, Some(9), "{ran:?}");
        println!("skipped: no mounts for this user: {}", ran.stderr);
        return;
    };
    assert_eq!(ran.code, Some(5), "{ran:?}");
    let json: Value = serde_json::from_str(text).unwrap();
    assert!(json["error"]["message"].as_str().unwrap().contains("./object"), "{json:#}");
    assert_eq!(json["removed"], 0);
}

/// Objects on an overlay have companions, which are removed once no process needs them. The overlay exists
/// in the script only.
#[cfg(target_os = "linux")]
#[test]
fn companions_are_removed_once_they_are_not_needed() {
    need_locks!();
    let files = Files::new();
    let script = r#"
        set -e
        mount --make-rprivate /
        mount -t tmpfs tmpfs "$1" && cd "$1" && mkdir lower upper work merged
        mount -t overlay overlay merged -o lowerdir=lower,upperdir=upper,workdir=work
        mount -t tmpfs tmpfs /dev/shm
        cd merged
        echo mounted
        "$0" lock ./one -- true
        "$0" lock ./one -- "$0" gc --apply --json
        "$0" gc --json
        rm ./one; touch ./other
        "$0" gc --apply --timeout 0s --json
        "$0" gc --apply --json
        # The lock's owner dies: the next process to attach needs the companion.
        "$0" lock ./two -- sh -c 'kill -9 $PPID' || true
        "$0" gc --apply --json
        "$0" lock ./two -- true 2>/dev/null
        "$0" gc --apply --json
        "$0" lock ./two -- true
        # Another mount hides the object, which still exists.
        cd .. && mount -t tmpfs tmpfs merged
        "$0" gc --apply --json
        umount merged && cd merged
        # Raw memory: a process that has it mapped is visible if all processes are.
        head -c 5000 /dev/zero >raw
        unshare --pid --fork --mount-proc "$0" gc --foreign --json ./raw
        "$0" gc --foreign --json ./raw
        umount /dev/shm
        mount -t tmpfs tmpfs /dev/shm
        mkdir -m 700 /dev/shm/.sharemap-0; touch /dev/shm/.sharemap-0/7fff-1
        "$0" gc --apply --json
    "#;
    let ran = in_own_mounts(script, &files.dir());
    let Some(text) = ran.text().strip_prefix("mounted\n").filter(|_| ran.code == Some(0)) else {
        assert!(!ran.text().contains("mounted"), "{ran:?}");
        println!("skipped: no mounts for this user: {}", ran.stderr);
        return;
    };
    let expected = [
        ("kept", "holds its slots"),
        ("removable", "is clean"),
        ("kept", "did not end in time"),
        ("removed", "its object is gone"),
        ("kept", "died"),
        ("removed", "is clean"),
        ("kept", "not visible from here"),
        ("kept", "not visible from here"),
    ];
    // The results for raw memory, first in a new pid namespace. In a container the second result equals the
    // first. If there are processes that this user may not inspect, the memory is kept.
    let mut lines: Vec<&str> = text.lines().collect();
    let raw: Vec<Value> =
        lines.drain(7..9).map(|line| serde_json::from_str(line).unwrap()).collect();
    for (json, inside) in raw.iter().zip([true, false]) {
        let item = &json["items"][0];
        assert_eq!(item["what"], "foreign", "{item:#}");
        let why = item["reason"].as_str().unwrap_or("");
        let hidden = why.contains("not all processes");
        assert!(hidden || !inside, "{item:#}");
        let kept = hidden || why.contains("could not be inspected");
        assert_eq!(item["verdict"], if kept { "kept" } else { "removable" }, "{item:#}");
    }
    let items: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["items"][0].clone())
        .collect();
    assert_eq!(items.len(), expected.len(), "{text}");
    for (item, (verdict, why)) in items.iter().zip(expected) {
        let found = (&item["what"], &item["verdict"]);
        assert_eq!(found, (&"companion".into(), &verdict.into()), "{item:#}");
        let said = format!("{}{}", item["proof"], item["reason"]);
        assert!(said.contains(why) || why == "holds its slots", "{why}: {item:#}");
    }
}
