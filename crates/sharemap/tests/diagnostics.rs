//! Compiler errors for types that cannot be elements name the missing derives and their crate.

mod common;

use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

use common::{TempDir, skip};

/// Returns the newest build of the library beside this test.
fn library() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let files = std::fs::read_dir(program.parent()?).ok()?;
    let age = |path: &PathBuf| path.metadata().and_then(|data| data.modified()).ok();
    let is_library = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("libsharemap-") && name.ends_with(".rlib")
    };
    let found = files.flatten().map(|entry| entry.path()).filter(is_library);
    found.max_by_key(|path| age(path).unwrap_or(SystemTime::UNIX_EPOCH))
}

/// Compiles a function with this body, and returns what the compiler prints. Returns `None` without a
/// compiler or a library.
fn compile(body: &str) -> Option<String> {
    let library = library()?;
    let dir = TempDir::new();
    let source = dir.file("wrong.rs", format!("pub fn wrong() {{ {body} }}"));
    let compiler = option_env!("RUSTC").unwrap_or("rustc");
    let output = Command::new(compiler)
        .args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata"])
        .arg("--out-dir")
        .arg(dir.path())
        .arg("--extern")
        .arg(format!("sharemap={}", library.display()))
        .arg("-L")
        .arg(format!("dependency={}", library.parent()?.display()))
        .arg(source)
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn missing_derives_are_named() {
    let fine = "sharemap::MappingMut::anonymous(10).unwrap().view::<u16>().unwrap();";
    match compile(fine) {
        Some(said) if said.is_empty() => {}
        Some(said) => skip!("rustc cannot use the library built for this test: {said}"),
        None => skip!("rustc cannot be run, or the library is not beside this test"),
    }
    let element = "#[derive(Clone, Copy)] #[repr(C)] pub struct Mine(u8); \
        sharemap::MappingMut::anonymous(10).unwrap().view::<Mine>().unwrap();";
    let said = compile(element).unwrap();
    for word in [
        "E0277",
        "`Mine` cannot be an element of a mapping",
        "TryFromBytes, IntoBytes, Immutable, KnownLayout",
        "sharemap::zerocopy",
    ] {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
    let pod = "sharemap::MappingMut::anonymous(10).unwrap().view::<bool>().unwrap() \
        .read_at(0, &mut [false]).unwrap();";
    let said = compile(pod).unwrap();
    for word in ["E0277", "`bool`", "`FromBytes` of `sharemap::zerocopy`", "to_vec"] {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
}
