//! File systems with missing features: no holes (vfat, ramfs), no way to allocate space (ext2,
//! ramfs), no information about mappings of a file (overlayfs).

#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "a namespace for mounts")]
#![allow(clippy::single_range_in_vec_init, reason = "lists of one range are what is meant")]

mod common;

use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use common::{TempDir, assert_mapped, child, need_atomics, passes, pattern, role, skip};
use sharemap::inspect::ExclusiveClaim;
use sharemap::{ErrorKind, Location, MapOptions, Mapping, MappingMut, Mutex, Shared};

const IMAGE: u64 = 8 << 20;
const TOO_MUCH: u64 = 2 * IMAGE;

/// Mounts a small file system of this kind at `dir`, visible to this process only.
fn mount(kind: &str, dir: &Path) -> Result<(), String> {
    // SAFETY: takes a number; the test's thread is the only one of this process that matters.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(format!("a namespace for mounts: {}", std::io::Error::last_os_error()));
    }
    if kind == "ramfs" {
        return run(&["mount", "--make-rprivate", "/"])
            .and_then(|()| run(&["mount", "-t", kind, kind, dir.to_str().unwrap()]));
    }
    if kind == "overlay" {
        let parts = dir.with_extension("parts");
        let part = |name: &str| parts.join(name).to_str().unwrap().to_owned();
        let [lower, upper, work] = ["lower", "upper", "work"].map(part);
        std::fs::create_dir(&parts).map_err(|e| e.to_string())?;
        run(&["mount", "--make-rprivate", "/"])?;
        run(&["mount", "-t", "tmpfs", "tmpfs", parts.to_str().unwrap()])?;
        run(&["mkdir", &lower, &upper, &work])?;
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        return run(&["mount", "-t", kind, kind, "-o", &options, dir.to_str().unwrap()]);
    }
    let image = dir.with_extension("image");
    std::fs::File::create(&image)
        .and_then(|file| file.set_len(IMAGE))
        .map_err(|e| e.to_string())?;
    let (image, dir) = (image.to_str().unwrap(), dir.to_str().unwrap());
    run(&["mount", "--make-rprivate", "/"])?;
    run(&[&format!("mkfs.{kind}"), image])?;
    run(&["mount", "-t", kind, "-o", "loop", image, dir])
}

fn run(words: &[&str]) -> Result<(), String> {
    let path = "/usr/sbin:/usr/bin:/sbin:/bin";
    let output = Command::new(words[0]).args(&words[1..]).env("PATH", path).output();
    let output = output.map_err(|error| format!("{}: {error}", words[0]))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{words:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Runs the rest of a test on a file system of this kind, in a child process.
macro_rules! on {
    ($kind:literal, $test:literal) => {
        match role($test) {
            None => {
                let dir = TempDir::new();
                let inner = dir.join("fs");
                std::fs::create_dir(&inner).unwrap();
                passes(child($test, &inner));
                return;
            }
            Some(dir) => match mount($kind, &dir) {
                Ok(()) => dir,
                Err(reason) => skip!("no {} to test on: {reason}", $kind),
            },
        }
    };
}

/// Checks what holds on every file system: space is allocated from the beginning, and a full disk
/// is an error that changes nothing.
fn space(dir: &Path) {
    let new = dir.join("new");
    for result in [
        MappingMut::create_new(&new, TOO_MUCH),
        MappingMut::create(&new, TOO_MUCH),
        MappingMut::open_or_create(&new, TOO_MUCH),
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
        assert_eq!(error.path(), Some(new.as_path()));
        assert!(!new.exists(), "left behind");
    }
    let old = dir.join("old");
    std::fs::write(&old, pattern(10_000)).unwrap();
    for result in [MappingMut::create(&old, TOO_MUCH), MappingMut::open_or_create(&old, TOO_MUCH)] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::NoSpace);
        assert_eq!(std::fs::read(&old).unwrap(), pattern(10_000), "length and contents");
    }
    let mut map = MapOptions::new().reserve(4 * IMAGE as usize).open_mut(&old).unwrap();
    assert_eq!(map.grow(TOO_MUCH as usize).unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(map.resize(8 * IMAGE as usize).unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(map.bytes().to_vec().unwrap(), pattern(10_000));
    assert_eq!(std::fs::metadata(&old).unwrap().len(), 10_000);

    // The remaining space can be allocated completely, and no store then fails.
    map.grow(3_000_000).unwrap();
    assert_eq!(map.bytes().subview(10_000..).unwrap().count(0).unwrap(), 2_990_000);
    map.bytes().fill(7).unwrap();
    map.flush().unwrap();
    map.resize(2_000_000).unwrap();
    assert_eq!(map.bytes().count(7).unwrap(), 2_000_000);
    map.close().unwrap();
    assert_eq!(std::fs::read(&old).unwrap(), vec![7; 2_000_000]);

    // Fills the file system completely; every allocated byte can be written.
    let brim = dir.join("brim");
    let mut len = 4096;
    while let Ok(map) = MappingMut::create(&brim, len * 2) {
        map.bytes().fill(1).unwrap();
        map.flush().unwrap();
        len *= 2;
    }
    assert_eq!(std::fs::metadata(&brim).unwrap().len(), len, "the failed one changed nothing");
    assert!(Mapping::open(&brim).unwrap().bytes().to_vec().unwrap().iter().all(|&b| b == 1));
    assert_mapped(&brim, 0);
}

/// Asserts that punching holes is unsupported and that the whole file counts as data.
fn no_holes(path: &Path) {
    let map = MappingMut::open(path).unwrap();
    let len = map.len();
    assert_eq!(map.data_extents().unwrap(), [0..len as u64]);
    let error = map.punch_hole(4096..8192).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("no holes"), "{error}");
    assert_eq!(map.bytes().count(7).unwrap(), len, "nothing changed");
}

/// Without holes, space is allocated for sparse files as well.
#[test]
fn without_holes() {
    let dir = on!("vfat", "without_holes");
    space(&dir);
    no_holes(&dir.join("old"));
    // A sparse file is allocated all the same, so a full disk is an error at once.
    let sparse = dir.join("sparse");
    let error = MapOptions::new().sparse().create_new(&sparse, TOO_MUCH).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert!(!sparse.exists(), "left behind");
    let error = MappingMut::create_new(&sparse, 5 << 30).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::OutOfAddressSpace), "{error}");
    assert!(!sparse.exists(), "left behind");
    let map = MapOptions::new().sparse().create_new(&sparse, 50_000).unwrap();
    assert_eq!(map.bytes().count(0).unwrap(), 50_000);
    assert_eq!(map.data_extents().unwrap(), [0..50_000]);
}

/// Without holes and without a way to allocate space, a file can still grow.
#[test]
fn without_holes_or_a_way_to_allocate() {
    let dir = on!("ramfs", "without_holes_or_a_way_to_allocate");
    let path = dir.join("a");
    let map = MapOptions::new().reserve(1 << 20).create_new(&path, 10_000).unwrap();
    map.grow(300_000).unwrap();
    assert_eq!(map.bytes().count(0).unwrap(), 300_000);
    map.bytes().fill(7).unwrap();
    drop(map);
    assert_eq!(std::fs::read(&path).unwrap(), vec![7; 300_000]);
    no_holes(&path);
}

/// Without a way to allocate space, zeros are written instead.
#[test]
fn without_a_way_to_allocate() {
    let dir = on!("ext2", "without_a_way_to_allocate");
    space(&dir);
    let path = dir.join("sparse");
    let map = MapOptions::new().sparse().create_new(&path, 200_000).unwrap();
    map.bytes().set(100_000, 1).unwrap();
    map.flush().unwrap();
    let extents = map.data_extents().unwrap();
    assert!(extents.iter().any(|part| part.contains(&100_000)), "{extents:?}");
    assert!(!extents.iter().any(|part| part.contains(&10)), "{extents:?}");
    match map.punch_hole(98_304..110_592) {
        Ok(()) => assert_eq!(map.bytes().count(0).unwrap(), 200_000),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert_eq!(map.bytes().get(100_000).unwrap(), 1, "nothing changed");
        }
    }
    // Growth writes zeros, so that the new part has no holes.
    let full = dir.join("full");
    let map = MapOptions::new().reserve(1 << 20).create_new(&full, 1000).unwrap();
    map.grow(100_000).unwrap();
    assert_eq!(map.data_extents().unwrap(), [0..100_000]);
}

/// On an overlay only the object itself shows its participants, as the kernel does not report
/// mappings. No exclusive claim is granted if the object is malformed or truncated.
#[test]
fn an_object_with_unknown_participants_is_not_claimed() {
    need_atomics!();
    let dir = on!("overlay", "an_object_with_unknown_participants_is_not_claimed");
    let path = dir.join("object");
    let location = Location::file(&path);
    let shared = Shared::create_new(&location, || Mutex::new(1_u8)).unwrap();
    // The process is attached only by its mapping.
    let null = std::fs::File::open("/dev/null").unwrap();
    // SAFETY: both descriptors are open; the mapping is not accessed through its descriptor.
    assert!(unsafe { libc::dup2(null.as_raw_fd(), shared.file().unwrap().as_raw_fd()) } >= 0);
    let ask = || ExclusiveClaim::of(&location).map(|found| found.is_some());
    assert!(!ask().unwrap());
    let image = std::fs::read(&path).unwrap();
    // Writes the bytes in place and closes the file again.
    let write = |bytes: &[u8]| {
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        file.write_all_at(bytes, 0).unwrap();
    };
    let image_but = |at: usize, byte: u8| {
        let mut image = image.clone();
        image[at] = byte;
        image
    };
    for (bytes, kind) in [
        (image_but(8, 2), ErrorKind::WrongVersion),
        (image_but(64, 1), ErrorKind::Malformed),
        (image[..400].to_vec(), ErrorKind::Truncated),
        (image[..17].to_vec(), ErrorKind::Truncated),
    ] {
        write(&bytes);
        let error = ask().unwrap_err();
        assert_eq!((error.kind(), error.path()), (kind, Some(path.as_path())), "{error}");
    }
    write(&image);
    assert!(!ask().unwrap());
    let raw = Location::file(dir.join("raw"));
    for bytes in [vec![7; 5000], vec![7; 3], vec![]] {
        std::fs::write(dir.join("raw"), bytes).unwrap();
        assert!(!ExclusiveClaim::of(&raw).unwrap().unwrap().sees_mappings());
    }
}
