//! A module imports only from modules to its left, and only `sys` depends on the operating system.

#[path = "common/layers.rs"]
mod names;

use std::fs;
use std::path::{Path, PathBuf};

use names::LAYERS;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Returns each source file of the crate with its layer. `lib.rs`, the tests' own `testing`, and
/// `compile_fail.rs` belong to none.
fn files() -> Vec<(Option<usize>, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    assert!(paths.len() > 20, "only {} source files found", paths.len());
    paths
        .into_iter()
        .map(|path| {
            let relative = path.strip_prefix(&root).unwrap().to_path_buf();
            let first = relative.iter().next().unwrap().to_str().unwrap();
            let noun = first.trim_end_matches(".rs");
            let layer = LAYERS.iter().position(|layer| *layer == noun);
            let exempt = ["lib", "compile_fail", "testing"].contains(&noun);
            assert!(layer.is_some() || exempt, "{} is in no layer", relative.display());
            let text = fs::read_to_string(&path).unwrap();
            (layer, relative, text)
        })
        .collect()
}

/// Returns the layers that a line names as `crate::LAYER`, also inside braces.
fn named(line: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for part in line.split("crate::").skip(1) {
        let part = part.trim_start_matches('{');
        for item in part.split(',') {
            let word =
                item.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            names.push(word);
            if !line.contains("crate::{") {
                break;
            }
        }
    }
    names
}

/// A module imports only from the layers to its left.
#[test]
fn modules_import_only_from_the_left() {
    let mut imports = 0;
    for (layer, path, text) in files() {
        let Some(layer) = layer else { continue };
        for (number, line) in text.lines().enumerate() {
            let code = line.trim_start();
            if code.starts_with("//") {
                continue;
            }
            for name in named(line) {
                let Some(other) = LAYERS.iter().position(|layer| *layer == name) else {
                    continue;
                };
                imports += 1;
                assert!(
                    other <= layer,
                    "{}:{}: `{}` is above `{}`: {line}",
                    path.display(),
                    number + 1,
                    LAYERS[other],
                    LAYERS[layer],
                );
            }
        }
    }
    assert!(imports > 30, "only {imports} imports found: has their form changed?");
}

/// Only `sys` contains conditions on the operating system.
#[test]
fn only_sys_depends_on_the_operating_system() {
    // Conditions on the system, and modules that exist on some systems only.
    let words = [
        "target_os",
        "cfg(unix",
        "cfg(windows",
        "cfg(not(unix",
        "cfg(not(windows",
        "cfg!(unix",
        "cfg!(windows",
        "std::os::",
        "libc::",
        "windows_sys::",
    ];
    for (layer, path, text) in files() {
        if layer.is_some_and(|layer| LAYERS[layer] == "sys") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            assert!(
                !words.iter().any(|word| line.contains(word)),
                "{}:{}: {line}",
                path.display(),
                number + 1
            );
        }
    }
}

/// All backends of `sys` have the files of the contract.
#[test]
fn backends_have_the_same_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sys");
    for backend in ["linux", "macos", "windows"] {
        // The files of the contract. A backend may have further files of its own.
        for name in [
            "mod.rs",
            "map.rs",
            "file.rs",
            "fault.rs",
            "process.rs",
            "pass.rs",
            "create_atomic.rs",
            "wait.rs",
            "fence.rs",
            "liveness.rs",
            "fork.rs",
            "shm.rs",
            "slice.rs",
            "exclusive.rs",
            "testing.rs",
        ] {
            assert!(root.join(backend).join(name).exists(), "{backend} has no {name}");
        }
    }
}
