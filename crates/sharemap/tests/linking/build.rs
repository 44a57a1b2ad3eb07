//! Builds the test programs in a workspace that this module writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

const PROFILES: &str = r#"
[profile.dev]
debug = false
incremental = false

[profile.fat]
inherits = "release"
lto = "fat"
codegen-units = 1
panic = "abort"
strip = true

[profile.small]
inherits = "release"
opt-level = "s"
panic = "abort"

[profile.tiny]
inherits = "release"
opt-level = "z"
lto = "thin"
strip = true

[profile.fast]
inherits = "release"
opt-level = 3
"#;

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/linking")
}

/// Returns the directory of the workspace and of everything built in it.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("linking")
}

fn write(path: &Path, contents: &str) {
    if fs::read_to_string(path).is_ok_and(|now| now == contents) {
        return;
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
}

fn package(name: &str, rest: &str) {
    let head = format!("[package]\nname = \"{name}\"\nversion = \"0.0.9\"\nedition = \"2024\"\n");
    let tail = "[lints.rust]\nunexpected_cfgs = { level = \"allow\", priority = 1 }\n";
    write(&directory().join(name).join("Cargo.toml"), &(head + rest + tail));
}

fn workspace() {
    let library = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = |name: &str| sources().join(name).display().to_string();
    let library_line = format!("sharemap = {{ path = \"{}\" }}\n", library.display());

    let members = r#"members = ["sharemap-old", "shared", "plugin-one", "plugin-two", "programs", "with-dylib"]"#;
    write(
        &directory().join("Cargo.toml"),
        &format!("[workspace]\nresolver = \"3\"\n{members}\n{PROFILES}"),
    );
    // Cargo removes unneeded packages from `Cargo.lock`. A second copy tells whether the original
    // changed.
    let lock = fs::read_to_string(library.join("../../Cargo.lock")).unwrap();
    let copied = directory().join("Cargo.lock.copied");
    if !fs::read_to_string(&copied).is_ok_and(|now| now == lock) {
        write(&directory().join("Cargo.lock"), &lock);
        write(&copied, &lock);
    }

    // The same library as a package of another name stands for another version.
    let manifest = fs::read_to_string(library.join("Cargo.toml")).unwrap();
    let from = manifest.find("[dependencies]").unwrap();
    let to = manifest.find("[dev-dependencies]").unwrap();
    let crates = library.parent().unwrap().display().to_string();
    let dependencies = manifest[from..to].replace("\"../", &format!("\"{crates}/"));
    package(
        "sharemap-old",
        &format!("[lib]\npath = \"{}\"\n{dependencies}", library.join("src/lib.rs").display(),),
    );
    package(
        "shared",
        &format!(
            "[lib]\ncrate-type = [\"dylib\"]\npath = \"{}\"\n[dependencies]\n{library_line}",
            source("shared.rs"),
        ),
    );
    for name in ["plugin-one", "plugin-two"] {
        package(
            name,
            &format!(
                "[lib]\ncrate-type = [\"cdylib\"]\npath = \"{}\"\n[dependencies]\n{library_line}",
                source("plugin.rs"),
            ),
        );
    }
    let programs: String = ["plain", "two_copies", "host"]
        .iter()
        .map(|name| {
            let path = source(&format!("{name}.rs"));
            format!("[[bin]]\nname = \"{name}\"\npath = \"{path}\"\n")
        })
        .collect();
    package(
        "programs",
        &format!(
            "{programs}[dependencies]\n{library_line}libc = \"0.2\"\n\
             sharemap-old = {{ path = \"../sharemap-old\" }}\n"
        ),
    );
    package(
        "with-dylib",
        &format!(
            "[[bin]]\nname = \"with_dylib\"\npath = \"{}\"\n\
             [dependencies]\n{library_line}shared = {{ path = \"../shared\" }}\n",
            source("with_dylib.rs"),
        ),
    );
}

/// Runs cargo in the workspace, and returns the directory of the profile's files. `rustflags` are
/// added to those of this test, and select a target directory of their own.
pub fn cargo(profile: &str, arguments: &[&str], rustflags: &str) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    static WORKSPACE: OnceLock<()> = OnceLock::new();
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    WORKSPACE.get_or_init(workspace);
    let name: String = rustflags.chars().filter(char::is_ascii_alphanumeric).collect();
    let target = directory().join(format!("target{name}"));
    let inherited = std::env::var("RUSTFLAGS").unwrap_or_default();
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(directory())
        .arg(arguments[0])
        .args(["--offline", "--quiet", "--profile", profile, "--target-dir"])
        .arg(&target)
        .args(&arguments[1..])
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    if !inherited.is_empty() || !rustflags.is_empty() {
        command.env("RUSTFLAGS", format!("{inherited} {rustflags}"));
    }
    let output = command.output().expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo {arguments:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    target.join(if profile == "dev" { "debug" } else { profile })
}

/// Builds the programs of the fast suite, except the one with a dylib, and returns their directory.
pub fn unoptimised() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let packages = ["build", "-p", "programs", "-p", "plugin-one", "-p", "plugin-two"];
    BUILT.get_or_init(|| cargo("dev", &packages, "")).clone()
}
