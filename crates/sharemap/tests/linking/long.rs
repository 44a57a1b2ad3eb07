//! The programs with other optimisations and linkers, and rewritten by BOLT. Runs if SHAREMAP_LONG is
//! set.

use std::path::Path;
use std::process::Command;

use crate::build::{cargo, directory};
use crate::programs::{dies, recovers};

const HOW: &str = "takes minutes; set SHAREMAP_LONG=1 to run it";

fn is_long() -> bool {
    let long = std::env::var_os("SHAREMAP_LONG").is_some();
    if !long {
        println!("skipped: {HOW}");
    }
    long
}

/// Asserts that the built programs, with one copy of the library and with two, recover their faults.
fn check(files: &Path) {
    recovers(&files.join("plain"), &["threads"]);
    dies(&files.join("plain"), &["threads", "foreign"]);
    recovers(&files.join("two_copies"), &["old", "new", "both"]);
    dies(&files.join("two_copies"), &["new", "old", "foreign"]);
}

#[test]
fn optimisations() {
    if is_long() {
        for profile in ["fat", "small", "tiny", "fast"] {
            let files = cargo(profile, &["build", "-p", "programs", "-p", "plugin-one"], "");
            check(&files);
            let plugin = format!("open:one:{}/libplugin_one.so", files.display());
            let sequence = [&*plugin, "ours:one", "close:one", "own"];
            recovers(&files.join("host"), &sequence);
            dies(&files.join("host"), &[&sequence[..], &["foreign"]].concat());
        }
    }
}

/// Code for this machine's processor, which may use wider vectors around the guarded instructions.
#[test]
fn native_processor() {
    if is_long() {
        check(&cargo("fast", &["build", "-p", "programs"], "-Ctarget-cpu=native"));
    }
}

/// Links the programs again with `flags`, and checks them. The compiled library is reused.
fn check_linked(flags: &[&str]) {
    println!("linked with {flags:?}");
    let mut files = None;
    for program in ["plain", "two_copies"] {
        let rest = [&["rustc", "-p", "programs", "--bin", program, "--"], flags].concat();
        files = Some(cargo("fast", &rest, ""));
    }
    check(&files.unwrap());
}

#[test]
fn linkers() {
    if !is_long() {
        return;
    }
    for (linker, choice) in [
        ("ld.bfd", &["-Clinker-features=-lld", "-Clink-arg=-fuse-ld=bfd"][..]),
        ("ld.gold", &["-Clinker-features=-lld", "-Clink-arg=-fuse-ld=gold"]),
        ("mold", &["-Clinker-features=-lld", "-Clink-arg=-fuse-ld=mold"]),
        ("ld.lld", &["-Clink-arg=-fuse-ld=lld"]),
    ] {
        if Command::new(linker).arg("--version").output().is_err() {
            println!("skipped: {linker} is not installed");
            continue;
        }
        for more in ["-Clink-arg=-Wl,-O2", "-Clink-arg=-Wl,--gc-sections,-z,now,-z,relro"] {
            check_linked(&[choice, &[more]].concat());
        }
        check_linked(&[choice, &["-Ctarget-feature=+crt-static"]].concat());
        let fixed = ["-Ctarget-feature=+crt-static", "-Crelocation-model=static"];
        check_linked(&[choice, &fixed].concat());
    }
}

#[test]
fn after_bolt() {
    if !is_long() {
        return;
    }
    let names = ["llvm-bolt", "llvm-bolt-16", "llvm-bolt-19", "/usr/lib/llvm-16/bin/llvm-bolt"];
    let Some(bolt) = names.iter().find(|name| Command::new(name).arg("--version").output().is_ok())
    else {
        println!("skipped: llvm-bolt is not installed (Debian: bolt-16)");
        return;
    };
    let files = cargo("fast", &["build", "-p", "programs"], "-Clink-arg=-Wl,--emit-relocs");
    let rewritten = directory().join("bolted");
    std::fs::create_dir_all(&rewritten).unwrap();
    for program in ["plain", "two_copies"] {
        let output = Command::new(bolt)
            .arg(files.join(program))
            .arg("-o")
            .arg(rewritten.join(program))
            .args(["--reorder-blocks=ext-tsp", "--peepholes=all", "--simplify-rodata-loads"])
            .args(["--lite=0", "--icf", "--split-functions", "--eliminate-unreachable"])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{bolt}: {errors}");
    }
    check(&rewritten);
}
