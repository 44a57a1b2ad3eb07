//! Mappings of files on an overlay, which copies a file up before the first write by path. Each
//! test has mounts of its own.

#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "mounts file systems")]

mod common;

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::{TempDir, child, mount_tmpfs, passes, role, skip};
use sharemap::{MapOptions, Mapping, MappingCow, MappingMut, SlidingWindow};

const LEN: usize = 20_000;

/// Mounts an overlay over a file `a` of `LEN` bytes `o`, visible to this process only, and returns
/// the file's path.
fn overlay(dir: &Path) -> Result<PathBuf, String> {
    mount_tmpfs(dir, 16 << 20)?;
    let part = |name: &str| {
        let path = dir.join(name);
        std::fs::create_dir(&path).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (lower, upper, work, merged) = (part("lower"), part("upper"), part("work"), part("merged"));
    let lower_file = Path::new(&lower).join("a");
    std::fs::write(&lower_file, [b'o'; LEN]).unwrap();
    // A copy made in the same tick of the clock could not be distinguished from the original.
    let made = |path: &Path| {
        let metadata = std::fs::metadata(path).unwrap();
        (metadata.ctime(), metadata.ctime_nsec())
    };
    let probe = Path::new(&lower).join("probe");
    while {
        std::fs::write(&probe, "").unwrap();
        made(&probe) == made(&lower_file)
    } {}
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let (at, options) = (CString::new(merged.clone()).unwrap(), CString::new(options).unwrap());
    let kind = c"overlay".as_ptr();
    // SAFETY: terminated strings; only this process sees the mounts.
    if unsafe { libc::mount(kind, at.as_ptr(), kind, 0, options.as_ptr().cast()) } != 0 {
        return Err(format!("no overlay: {}", std::io::Error::last_os_error()));
    }
    Ok(Path::new(&merged).join("a"))
}

/// Overwrites all bytes of the file by its path, as other programs do.
fn overwrite(path: &Path, byte: u8) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all(&[byte; LEN]).unwrap();
}

/// After a copy-up, a read-only mapping is no longer current, and `remap` switches it to the copy.
#[test]
fn a_copy_up_is_followed() {
    const TEST: &str = "a_copy_up_is_followed";
    let Some(dir) = role(TEST) else {
        let dir = TempDir::new();
        passes(child(TEST, dir.path()));
        return;
    };
    let path = match overlay(&dir) {
        Ok(path) => path,
        Err(reason) => skip!("an overlay takes privileges: {reason}"),
    };
    let mut opened = Mapping::open(&path).unwrap();
    let mut adopted = Mapping::map(File::open(&path).unwrap()).unwrap();
    let mut part = MapOptions::new().offset(5000).len(100).open_cow(&path).unwrap();
    let mut window = SlidingWindow::open(&path, 4096).unwrap();
    assert_eq!(window.view::<u8>(0, 1).unwrap().get(0).unwrap(), b'o');
    for current in [opened.is_current(), adopted.is_current(), part.is_current()] {
        assert!(current.unwrap());
    }

    overwrite(&path, b'n');
    if opened.bytes().get(0).unwrap() == b'n' {
        skip!("this kernel's overlays show the copy in mappings of the original");
    }
    for current in [opened.is_current(), adopted.is_current(), part.is_current()] {
        assert!(!current.unwrap(), "the bytes are not those of the file");
    }
    opened.remap().unwrap();
    adopted.remap().unwrap();
    part.remap().unwrap();
    assert_eq!(opened.bytes().count(b'n').unwrap(), LEN);
    assert_eq!(adopted.bytes().count(b'n').unwrap(), LEN);
    assert_eq!(part.bytes().count(b'n').unwrap(), 100);
    assert_eq!(window.view::<u8>(10_000, 100).unwrap().count(b'n').unwrap(), 100);
    for current in [opened.is_current(), adopted.is_current(), part.is_current()] {
        assert!(current.unwrap());
    }

    // The mapping is now of the copy, so changes show at once, and only the size is compared.
    overwrite(&path, b'm');
    assert_eq!(opened.bytes().count(b'm').unwrap(), LEN);
    opened.remap().unwrap();
    assert!(opened.is_current().unwrap());
    OpenOptions::new().write(true).open(&path).unwrap().set_len(10).unwrap();
    assert!(!opened.is_current().unwrap());
    opened.remap().unwrap();
    assert_eq!(opened.bytes().to_vec().unwrap(), [b'm'; 10]);
}

/// A writable mapping is of the copy from the beginning, because opening the file for writing
/// copies it.
#[test]
fn writable_mappings_are_of_the_copy() {
    const TEST: &str = "writable_mappings_are_of_the_copy";
    let Some(dir) = role(TEST) else {
        let dir = TempDir::new();
        passes(child(TEST, dir.path()));
        return;
    };
    let path = match overlay(&dir) {
        Ok(path) => path,
        Err(reason) => skip!("an overlay takes privileges: {reason}"),
    };
    let map = MappingMut::open(&path).unwrap();
    overwrite(&path, b'n');
    assert!(map.is_current().unwrap());
    assert_eq!(map.bytes().count(b'n').unwrap(), LEN);
    map.bytes().fill(b'w').unwrap();
    let reader = MappingCow::open(&path).unwrap();
    assert_eq!(reader.bytes().count(b'w').unwrap(), LEN);
}
