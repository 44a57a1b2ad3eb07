//! `sharemap doctor`

#[test]
fn the_exit_code_agrees_with_the_checks() {
    let ran = run!("doctor", "--json");
    let json = ran.json();
    let checks = json["checks"].as_array().unwrap();
    assert!(!checks.is_empty());
    let number = |verdict: &str| checks.iter().filter(|check| check["verdict"] == verdict).count();
    assert_eq!(json["problems"], number("problem"), "{json:#}");
    assert_eq!(json["notes"], number("note"), "{json:#}");
    assert_eq!(ran.code, Some(if number("problem") > 0 { 4 } else { 0 }), "{json:#}");
    assert!(ran.stderr.is_empty(), "{ran:?}");
    for check in checks {
        assert_eq!(check["why"].is_null(), check["verdict"] == "ok", "{check:#}");
    }
    if cfg!(target_os = "linux") {
        let names: Vec<_> = checks.iter().filter_map(|check| check["name"].as_str()).collect();
        for name in ["shared memory", "locked memory", "mappings", "membarrier"] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
    }
    let quiet = run!("doctor", "--quiet", "--json").json();
    assert!(quiet["checks"].as_array().unwrap().iter().all(|check| check["verdict"] != "ok"));
    assert!(run!("doctor").text().lines().last().unwrap().contains("problem"));
}

/// A limit that causes failures is a problem, with exit code 4.
#[cfg(target_os = "linux")]
#[test]
fn a_limit_that_bites_is_code_4() {
    let script = "ulimit -f 1000 && exec \"$0\" doctor --json";
    let output = std::process::Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_sharemap")])
        .output()
        .unwrap();
    let ran = crate::run::Ran::from(output);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    let json = ran.json();
    let check =
        json["checks"].as_array().unwrap().iter().find(|check| check["name"] == "file size");
    assert_eq!(check.unwrap()["verdict"], "problem", "{json:#}");
}

/// A companion directory must belong to the user in its name.
#[cfg(target_os = "linux")]
#[test]
fn a_squatted_directory_is_a_problem() {
    use std::os::unix::fs::PermissionsExt;

    struct Folder(String);
    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir(&self.0);
        }
    }
    let check = || {
        let json = run!("doctor", "--json").json();
        let checks = json["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == "companions").cloned()
    };
    // No system has a user with this number.
    let folder = Folder(format!("/dev/shm/.sharemap-{}", 4_294_900_000_u32 - std::process::id()));
    std::fs::create_dir(&folder.0).unwrap();
    std::fs::set_permissions(&folder.0, std::fs::Permissions::from_mode(0o777)).unwrap();
    let found = check().expect("it is found");
    assert_eq!(found["verdict"], "problem", "{found:#}");
    assert!(found["found"].as_str().unwrap().contains(&folder.0), "{found:#}");
    let remedy = found["remedy"].as_str().unwrap();
    assert!(remedy.contains("rm -r") && remedy.contains(&folder.0), "{found:#}");
    let name = folder.0.clone();
    drop(folder);
    let found = check().map(|check| check["found"].to_string());
    assert!(!found.is_some_and(|found| found.contains(&name)));
}

/// Each flaw of /dev/shm is a problem with a remedy.
#[cfg(target_os = "linux")]
#[test]
fn flaws_of_dev_shm_are_problems() {
    use crate::run::{Files, in_own_mounts};
    let files = Files::new();
    for (set_up, found, remedy) in [
        (
            "mount -t tmpfs -o mode=1777,nr_inodes=2 tmpfs /dev/shm; touch /dev/shm/x",
            "0 more",
            "nr_inodes",
        ),
        ("mount -t tmpfs -o mode=1777,ro tmpfs /dev/shm", "read-only", "remount,rw"),
        ("mount -t tmpfs -o mode=0755 tmpfs /dev/shm", "mode 0755", "chmod 1777"),
        ("mount -t tmpfs -o mode=0777 tmpfs /dev/shm", "mode 0777", "chmod 1777"),
        ("mount -t tmpfs tmpfs /dev", "is missing", "mkdir /dev/shm"),
        ("mount -t tmpfs tmpfs /dev; mkdir -m 1777 /dev/shm", "not a file system", "mount a tmpfs"),
        ("mount -t tmpfs -o mode=1777,size=1m tmpfs /dev/shm", "1 MiB free", "remount,size"),
        ("mount -t tmpfs -o mode=1777,size=1g tmpfs /dev/shm", "1 GiB free", ""),
        ("mount -t ramfs -o mode=1777 ramfs /dev/shm; chmod 1777 /dev/shm", "no limit", ""),
    ] {
        let script = format!("{set_up}; echo mounted; \"$0\" doctor --json");
        let ran = in_own_mounts(&format!("set -e; {script}"), &files.dir());
        let Some(json) = ran.text().strip_prefix("mounted\n") else {
            println!("skipped: no mounts for this user: {}", ran.stderr);
            return;
        };
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        let checks = json["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == "shared memory").unwrap();
        assert!(check["found"].as_str().unwrap().contains(found), "{set_up}: {check:#}");
        let (verdict, code) = if remedy.is_empty() { ("ok", None) } else { ("problem", Some(4)) };
        assert_eq!(check["verdict"], verdict, "{set_up}: {check:#}");
        assert!(code.is_none() || ran.code == code, "{ran:?}");
        assert!(check["remedy"].as_str().unwrap_or("").contains(remedy), "{set_up}: {check:#}");
    }
}
