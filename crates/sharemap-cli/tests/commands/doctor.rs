//! `sharemap doctor`

#[test]
fn what_is_found_and_the_code_agree() {
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

/// A limit that bites is found, and is code 4.
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
