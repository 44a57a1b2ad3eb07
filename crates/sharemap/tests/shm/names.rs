//! Names: the kinds of location, generated names, and unlinking.

use std::path::{Path, PathBuf};

use sharemap::{ErrorKind, Location, Mutex, Shared, SharedMemory, UnlinkOnDrop, unlink};

use super::Name;
use super::common::{TempDir, child, passes, role, skip};

/// A string is a name, and a `Path` is a file.
#[test]
fn a_string_is_a_name_and_a_path_is_a_file() {
    let text = String::from("jobs");
    let name = Location::name("jobs");
    assert_eq!(
        [Location::from("jobs"), Location::from(&text), Location::from(text)],
        [name.clone(), name.clone(), name]
    );
    let path = PathBuf::from("jobs");
    let file = Location::file("jobs");
    assert_eq!(
        [Location::from(Path::new("jobs")), Location::from(&path), Location::from(path)],
        [file.clone(), file.clone(), file]
    );
}

/// Generated names are unique and recognizable, and their prefixes are checked.
#[test]
fn generated_names_are_unique_and_recognizable() {
    let one = Location::unique("jobs").unwrap();
    let other = Location::unique("jobs").unwrap();
    assert_ne!(one, other);
    assert!(one.to_string().starts_with("jobs-"), "{one}");
    assert!(one.is_temporary() && other.is_temporary());
    let longest = "x".repeat(179);
    assert!(Location::unique(&longest).unwrap().is_temporary());
    let kind = |prefix: &str| Location::unique(prefix).unwrap_err().kind();
    assert_eq!(kind(""), ErrorKind::NameEmpty);
    assert_eq!(kind("a/b"), ErrorKind::NameCharacter);
    assert_eq!(kind(&format!("{longest}x")), ErrorKind::NameTooLong);
    for name in [
        "jobs",
        "jobs.tmp",
        "-0123456789abcdef.tmp",
        "jobs-0123456789abcde.tmp",
        "jobs-0123456789ABCDEF.tmp",
        "jobs-0123456789abcdefg.tmp",
        "jobs-0123456789abcdef",
        ".jobs-0123456789abcdef.tmp",
        "a/jobs-0123456789abcdef.tmp",
        "\\xff-0123456789abcdef.tmp",
    ] {
        assert!(!Location::name(name).is_temporary(), "{name}");
    }
    assert!(Location::name("a-b-0123456789abcdef.tmp").is_temporary());
    assert!(!Location::file("jobs-0123456789abcdef.tmp").is_temporary());
}

/// An object at any location can be unlinked without its type.
#[test]
fn any_location_is_unlinked_without_its_type() {
    let name = Name::new();
    let directory = TempDir::new();
    let path = directory.join("file");
    for location in [Location::name(&*name), Location::file(&path)] {
        match Shared::create_new(&location, || Mutex::new(0_u8)) {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                skip!("no locks in shared objects here: {error}");
            }
            made => drop(made.unwrap()),
        }
        unlink(&location).unwrap();
        let gone = unlink(&location).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
        assert!(gone.to_string().contains(&location.to_string()), "{gone}");
    }
    std::fs::write(&path, "no object").unwrap();
    SharedMemory::unlink(path.as_path()).unwrap();
    assert!(!path.exists());
    assert_eq!(unlink(Location::anonymous()).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(unlink("a/b").unwrap_err().kind(), ErrorKind::NameCharacter);
}

fn exists(location: &Location) -> bool {
    match SharedMemory::open_read_only(location) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => panic!("{error}"),
    }
}

/// A guard unlinks its name when dropped, unless the name is kept.
#[test]
fn a_guard_unlinks_unless_it_is_kept() {
    let guard = UnlinkOnDrop::new(Location::unique("sharemap-guard").unwrap());
    let memory = SharedMemory::create_new(&guard, 100).unwrap();
    let location = guard.location().clone();
    assert!(exists(&location));
    drop(guard);
    assert!(!exists(&location));
    memory.bytes().set(0, 1).unwrap();

    let memory = SharedMemory::create_new(&location, 100).unwrap();
    let kept = UnlinkOnDrop::new(&location).keep();
    assert_eq!(kept, location);
    assert!(exists(&location));
    UnlinkOnDrop::new(kept).unlink().unwrap();
    assert!(!exists(&location));
    let missing = UnlinkOnDrop::new(&location).unlink().unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    // Dropping the guard of a missing name is no error.
    drop(UnlinkOnDrop::new(&location));
    drop(memory);
}

/// Another process can open a generated name by its text, and the name is recognizable as
/// temporary.
#[test]
fn another_process_finds_a_generated_name() {
    const ROLE: &str = "names::another_process_finds_a_generated_name";
    if let Some(name) = role(ROLE) {
        let location = Location::name(Name::given(&name));
        assert!(location.is_temporary());
        assert_eq!(SharedMemory::open(&location).unwrap().bytes().get(5).unwrap(), 7);
        return;
    }
    let guard = UnlinkOnDrop::new(Location::unique("sharemap-child").unwrap());
    let memory = SharedMemory::create_new(&guard, 100).unwrap();
    memory.bytes().set(5, 7).unwrap();
    assert!(passes(child(ROLE, guard.location().to_string())));
}

/// A guard unlinks nothing when it is dropped in a forked child.
#[cfg(unix)]
#[test]
fn a_forked_childs_guard_unlinks_nothing() {
    let guard = UnlinkOnDrop::new(Location::unique("sharemap-fork").unwrap());
    let _memory = SharedMemory::create_new(&guard, 100).unwrap();
    let location = guard.location().clone();
    // SAFETY: the child only drops the guard, which at most unlinks, and exits.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        drop(guard);
        // SAFETY: exits the child at once.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: the child belongs to this process.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    assert!(exists(&location), "the child unlinked its parent's object");
    drop(guard);
    assert!(!exists(&location));
}
