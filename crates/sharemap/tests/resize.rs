//! Growth in place, resizing, and following a file that other mappings or processes change.

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use common::{TempDir, pattern, skip};
use sharemap::{ErrorKind, MapOptions, Mapping, MappingCow, MappingMut, page_size};

/// Truncates a mapped file. Returns `false` where the system does not allow that.
fn truncate(path: &std::path::Path, len: u64) -> bool {
    let file = File::options().write(true).open(path).unwrap();
    match file.set_len(len) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("skipped: this system shortens no file that is mapped: {error}");
            false
        }
    }
}

/// A mapping grows within its reservation without moving, and not past it.
#[test]
fn grows_in_place_inside_the_reservation() {
    let dir = TempDir::new();
    let path = dir.join("a");
    let map = MapOptions::new().reserve(64 << 20).create_new(&path, 1000).unwrap();
    let before = map.bytes();
    before.fill(1).unwrap();
    assert!(map.reserved() >= 64 << 20);
    for len in [1001, page_size(), page_size() + 1, 1 << 20, 64 << 20] {
        map.grow(len).unwrap();
        assert_eq!(map.len(), len);
        assert_eq!(map.bytes().as_ptr(), before.as_ptr(), "nothing moves");
        assert_eq!(map.bytes().get(len - 1).unwrap(), 0);
        map.bytes().set(len - 1, 2).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), len as u64);
    }
    assert_eq!(before.to_vec().unwrap(), [1; 1000]);
    map.flush().unwrap();
    map.grow(5).unwrap();
    assert_eq!(map.len(), 64 << 20, "a shorter length changes nothing");

    let error = map.grow(map.reserved() + 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ExceedsReservation);
    assert_eq!(error.path(), Some(path.as_path()));
    assert_eq!(error.length(), Some(map.reserved() as u64 + 1));
    assert!(error.to_string().contains(&map.reserved().to_string()), "{error}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 64 << 20, "the file is as it was");
}

/// Without a reservation, a mapping cannot grow past its last page.
#[test]
fn growth_past_the_last_page_needs_a_reservation() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(10));
    let map = MappingMut::open(&path).unwrap();
    let error = map.grow(1 << 20).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ExceedsReservation);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 10);
    let empty = dir.file("empty", "");
    let map = MapOptions::new().reserve(1 << 20).open_mut(&empty).unwrap();
    assert_eq!(map.grow(10).unwrap_err().kind(), ErrorKind::ExceedsReservation);
}

/// A mapping at an unaligned offset grows by exact bytes.
#[test]
fn growth_from_an_odd_offset() {
    let dir = TempDir::new();
    let page = page_size();
    let path = dir.file("a", pattern(2 * page));
    let offset = page + 3;
    let map = MapOptions::new().offset(offset as u64).reserve(10 * page).open_mut(&path).unwrap();
    map.grow(10 * page).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), (offset + 10 * page) as u64);
    map.bytes().set(10 * page - 1, 9).unwrap();
    assert_eq!(std::fs::read(&path).unwrap().last(), Some(&9));
}

/// Other threads can read a mapping while it grows.
#[test]
fn readers_continue_during_growth() {
    let dir = TempDir::new();
    let path = dir.join("a");
    let map = MapOptions::new().reserve(4 << 20).create_new(&path, 4096).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                let bytes = map.bytes();
                bytes.get(bytes.len() - 1).unwrap();
                bytes.get(0).unwrap();
            }
        });
        for len in (4096..=4 << 20).step_by(4096) {
            map.grow(len).unwrap();
        }
        done.store(true, Ordering::Release);
    });
    assert_eq!(map.len(), 4 << 20);
}

/// Threads that grow a mapping concurrently reach the largest of their lengths.
#[test]
fn two_growers_agree() {
    let map = MapOptions::new().reserve(8 << 20).anonymous(1).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let map = &map;
            scope.spawn(move || {
                for step in 1..=100 {
                    map.grow(step * 20_000 + thread).unwrap();
                }
            });
        }
    });
    assert_eq!(map.len(), 2_000_003);
    assert_eq!(map.bytes().count(0).unwrap(), 2_000_003);
}

/// `resize` lengthens and shortens the mapping and its file.
#[test]
fn resizes_both_ways() {
    let dir = TempDir::new();
    let contents = pattern(100_000);
    let path = dir.file("a", &contents);
    let mut map = MappingMut::open(&path).unwrap();
    map.resize(200_000).unwrap();
    assert_eq!(map.bytes().subview(..100_000).unwrap().to_vec().unwrap(), contents);
    assert_eq!(map.bytes().get(199_999).unwrap(), 0);
    map.resize(50_001).unwrap();
    assert_eq!(map.len(), 50_001);
    assert_eq!(std::fs::read(&path).unwrap(), contents[..50_001]);
    assert!(map.is_current().unwrap());
    map.resize(60_000).unwrap();
    assert_eq!(map.bytes().subview(50_001..).unwrap().count(0).unwrap(), 9_999);
    map.flush().unwrap();
    map.resize(0).unwrap();
    assert!(map.is_empty());
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
}

/// Resizing a mapping of a part of a file never truncates the file.
#[test]
fn resizing_a_part_keeps_the_rest_of_the_file() {
    let dir = TempDir::new();
    let contents = pattern(10_000);
    let path = dir.file("a", &contents);
    let mut map = MapOptions::new().offset(1000).len(2000).open_mut(&path).unwrap();
    map.resize(500).unwrap();
    assert_eq!(map.bytes().to_vec().unwrap(), contents[1000..1500]);
    map.resize(4000).unwrap();
    assert_eq!(map.bytes().to_vec().unwrap(), contents[1000..5000]);
    assert_eq!(std::fs::read(&path).unwrap(), contents);
    map.resize(9_001).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 10_001);
}

/// Anonymous memory can be resized within its reservation, and is zero where it grows again.
#[test]
fn anonymous_memory_resizes_within_its_reservation() {
    let mut map = MapOptions::new().reserve(1 << 20).anonymous(100).unwrap();
    map.bytes().fill(7).unwrap();
    map.resize(1 << 20).unwrap();
    map.bytes().fill(7).unwrap();
    map.resize(10).unwrap();
    map.resize(100_000).unwrap();
    assert_eq!(map.bytes().count(7).unwrap(), 10, "what came back is zeros");
    assert_eq!(map.resize(2 << 20).unwrap_err().kind(), ErrorKind::ExceedsReservation);
    map.remap().unwrap();
    assert_eq!(map.len(), 100_000);
}

/// Reading past the end of a truncated file is a `Fault`, and `remap` maps the rest.
#[test]
fn a_truncated_file_is_a_fault_until_remap() {
    let dir = TempDir::new();
    let page = page_size();
    let contents = pattern(10 * page);
    let path = dir.file("a", &contents);
    let mut map = Mapping::open(&path).unwrap();
    let mut private = MappingCow::open(&path).unwrap();
    private.bytes().set(0, 0xEE).unwrap();
    assert!(map.is_current().unwrap());
    if !truncate(&path, 4 * page as u64) {
        return;
    }
    assert!(!map.is_current().unwrap());
    let error = map.bytes().to_vec().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fault);
    assert_eq!(error.offset(), Some(4 * page as u64));
    assert_eq!(error.completed(), Some(4 * page));
    assert_eq!(error.path(), Some(path.as_path()));
    assert_eq!(map.bytes().get(5 * page).unwrap_err().kind(), ErrorKind::Fault);
    let mut text = Vec::new();
    assert!(map.reader().read_to_end(&mut text).is_err());

    map.remap().unwrap();
    assert_eq!(map.bytes().to_vec().unwrap(), contents[..4 * page]);
    assert!(map.is_current().unwrap());
    private.remap().unwrap();
    assert_eq!(private.bytes().to_vec().unwrap(), contents[..4 * page], "without the edits");
}

/// `remap` maps at most the length that was requested.
#[test]
fn remap_keeps_the_requested_length() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(20_000));
    let mut map = MapOptions::new().offset(5000).len(10_000).open(&path).unwrap();
    for (file_len, expected) in [(12_000, 7000), (3000, 0), (30_000, 10_000)] {
        if !truncate(&path, file_len) {
            return;
        }
        map.remap().unwrap();
        assert_eq!(map.len(), expected);
        assert!(map.is_current().unwrap());
    }
}

/// A failed resize does not change the length that `remap` uses.
#[test]
fn a_failed_resize_keeps_the_length_for_remap() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(200));
    let mut map = MapOptions::new().len(100).open_mut(&path).unwrap();
    // More than a region can have on any system.
    map.resize(usize::MAX / 2 + 1).unwrap_err();
    assert_eq!(map.len(), 100);
    map.remap().unwrap();
    assert_eq!(map.len(), 100);
}

/// `remap` maps what another writer appended.
#[test]
fn a_mapping_follows_a_file_that_grows() {
    let dir = TempDir::new();
    let path = dir.file("a", "0123");
    let mut map = Mapping::open(&path).unwrap();
    File::options().append(true).open(&path).unwrap().write_all(b"4567").unwrap();
    assert!(!map.is_current().unwrap());
    assert_eq!(map.len(), 4);
    map.remap().unwrap();
    assert_eq!(map.bytes().to_vec().unwrap(), b"01234567");
}

/// A mapping can grow to the length that another mapping gave the file.
#[test]
fn growth_by_another_mapping_is_followed() {
    let dir = TempDir::new();
    let path = dir.join("a");
    let one = MapOptions::new().reserve(1 << 20).create_new(&path, 100).unwrap();
    let two = MapOptions::new().reserve(1 << 20).open_mut(&path).unwrap();
    one.grow(500_000).unwrap();
    one.bytes().set(499_999, 1).unwrap();
    assert!(!two.is_current().unwrap());
    two.grow(500_000).unwrap();
    assert_eq!(two.bytes().get(499_999).unwrap(), 1);
    assert!(two.is_current().unwrap());
}

/// Sealed memory cannot be resized.
#[test]
fn sealed_memory_does_not_resize() {
    if cfg!(not(target_os = "linux")) {
        skip!("seals are Linux's");
    }
    #[cfg(target_os = "linux")]
    {
        let file = common::memfd("sealed");
        file.set_len(4096).unwrap();
        common::seal(&file, libc::F_SEAL_GROW | libc::F_SEAL_SHRINK);
        let mut map = MapOptions::new().reserve(1 << 20).map_mut(&file).unwrap();
        assert_eq!(map.grow(8192).unwrap_err().kind(), ErrorKind::NotWritable);
        assert_eq!(map.resize(100).unwrap_err().kind(), ErrorKind::NotWritable);
        assert_eq!(map.len(), 4096, "still mapped as it was");
        assert_eq!(map.bytes().count(0).unwrap(), 4096);
    }
}
