//! Files that are cut short, or change, while slices of them exist.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use sharemap::{ErrorKind, GuardedSlice, MapOptions, Mapping, page_size};

use crate::common::{TempDir, check, pattern};
use crate::{guarded, has_slices, next_tick};

/// Opens a file for changing it.
fn writer(path: &Path) -> File {
    File::options().write(true).open(path).unwrap()
}

/// Asserts that the slice shows `bytes` up to `left` and zeros from there on.
fn shows(slice: &GuardedSlice<u8>, bytes: &[u8], left: usize) {
    assert_eq!(slice[..left], bytes[..left]);
    assert!(slice[left..].iter().all(|byte| *byte == 0));
}

/// Every cut, to page borders and within pages, from the end, the middle, or at once: the bytes that are
/// left are right, the others are zeros, and the first lost byte is reported.
#[test]
fn lost_bytes_are_zeros_and_are_reported() {
    if !has_slices() {
        return;
    }
    let dir = TempDir::new();
    let page = page_size();
    let bytes = pattern(6 * page + 100);
    let path = dir.file("a", &bytes);
    for (offset, cut) in [
        (0, 6 * page),
        (0, 5 * page + 1),
        (0, page),
        (0, 1),
        (0, 0),
        (page, 2 * page),
        (page + 5, page + 100),
        (10, 2 * page - 1),
        (3 * page + 7, 3),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        let map = MapOptions::new().offset(offset as u64).open(&path).unwrap();
        let (expected, cut_at) = (&bytes[offset..], cut.saturating_sub(offset));
        // Read first, from the end and in the middle; or not at all before the cut.
        for touched in [0, 1, 2] {
            std::fs::write(&path, &bytes).unwrap();
            let slice = guarded(map.bytes());
            if touched == 1 {
                shows(&slice, expected, expected.len());
            }
            writer(&path).set_len(cut as u64).unwrap();
            if touched == 2 {
                for at in (cut_at..expected.len()).rev().step_by(page / 2) {
                    assert_eq!(slice[at], 0);
                }
            }
            shows(&slice, expected, cut_at);
            let lost = (offset + cut_at) as u64;
            // Within the last page that is left, no fault tells.
            let is_fault = cut.next_multiple_of(page) < bytes.len();
            assert_eq!(slice.fault(), is_fault.then_some(lost), "{offset} {cut}");
            for result in [slice.check(), slice.clone().check(), slice.finish()] {
                check(result.unwrap_err(), ErrorKind::Fault, &path, &[&lost.to_string()]);
            }
        }
    }
}

/// One fault serves the whole slice: of 4,096 lost pages every second one is read, in any order, and few
/// mappings are made.
#[test]
fn one_fault_replaces_all_lost_pages() {
    if !has_slices() {
        return;
    }
    let page = page_size();
    let dir = TempDir::new();
    let path = dir.file("a", []);
    let file = writer(&path);
    let mappings = || std::fs::read_to_string("/proc/self/maps").map(|maps| maps.lines().count());
    for order in 0..3 {
        file.set_len(4096 * page as u64).unwrap();
        let slice = guarded(Mapping::open(&path).unwrap().bytes());
        file.set_len(page as u64).unwrap();
        let before = mappings();
        for step in 0..2048 {
            let at = [step, 2047 - step, step * 769 % 2048][order];
            assert_eq!(slice[(2 * at + 1) * page], 0);
        }
        if let (Ok(before), Ok(after)) = (before, mappings()) {
            // Other tests map and unmap at the same time.
            assert!(after < before + 1000, "{before} mappings became {after}");
        }
        assert_eq!(slice.fault(), Some(page as u64));
    }
}

/// Threads that lose pages at the same moment all continue, and the first lost byte is the smallest.
#[test]
fn threads_lose_the_same_pages_together() {
    const THREADS: usize = 8;
    if !has_slices() {
        return;
    }
    let page = page_size();
    let dir = TempDir::new();
    let bytes = pattern(16 * page);
    let path = dir.file("a", &bytes);
    let mut file = writer(&path);
    for round in 0..200 {
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(&bytes).unwrap();
        let map = Mapping::open(&path).unwrap();
        let slice = guarded(map.bytes());
        file.set_len(2 * page as u64).unwrap();
        let together = Barrier::new(THREADS);
        thread::scope(|scope| {
            for number in 0..THREADS {
                let (slice, together, bytes) = (slice.clone(), &together, &bytes);
                scope.spawn(move || {
                    let at = 2 * page + if round % 2 == 0 { 0 } else { number * page };
                    together.wait();
                    assert_eq!((slice[at], slice[1]), (0, bytes[1]));
                    assert_eq!(slice.fault(), Some(2 * page as u64));
                    // The mapping tells the truth, whatever the slice shows.
                    assert_eq!(map_error(&slice), ErrorKind::Fault);
                });
            }
        });
        assert_eq!(map.bytes().get(3 * page).unwrap_err().kind(), ErrorKind::Fault);
    }
}

fn map_error(slice: &GuardedSlice<u8>) -> ErrorKind {
    slice.check().unwrap_err().kind()
}

/// Threads make, lose and drop slices of their own, so that slots and addresses are reused all the time.
#[test]
fn slices_come_and_go_beside_losses() {
    if !has_slices() {
        return;
    }
    let rounds = if std::env::var_os("SHAREMAP_LONG").is_some() { 50_000 } else { 500 };
    let page = page_size();
    let dir = TempDir::new();
    thread::scope(|scope| {
        for number in 0..4 {
            let path = dir.file(&number.to_string(), []);
            scope.spawn(move || {
                let file = writer(&path);
                let mut kept = Vec::new();
                for round in 0..rounds {
                    let pages = 2 + (round * 7 + number) % 30;
                    file.set_len((pages * page) as u64).unwrap();
                    let slice = guarded(Mapping::open(&path).unwrap().bytes());
                    let cut = 1 + round % (pages - 1);
                    file.set_len((cut * page) as u64).unwrap();
                    let at = cut * page + (round * 31) % ((pages - cut) * page);
                    assert_eq!((slice[at], slice.fault()), (0, Some((cut * page) as u64)));
                    kept.push((slice, cut));
                    if kept.len() > 40 {
                        let (slice, cut) = kept.swap_remove(round % 40);
                        assert_eq!(slice.fault(), Some((cut * page) as u64));
                    }
                }
            });
        }
    });
}

/// A file that was cut and grew again has its length, and a slice that nobody read meanwhile has no fault.
/// The time of the change tells.
#[test]
fn a_file_that_grew_again_is_reported() {
    if !has_slices() {
        return;
    }
    let dir = TempDir::new();
    let path = dir.file("a", vec![7; 3 * page_size()]);
    let slice = guarded(Mapping::open(&path).unwrap().bytes());
    next_tick(&dir);
    let file = writer(&path);
    file.set_len(10).unwrap();
    file.set_len(3 * page_size() as u64).unwrap();
    assert_eq!((slice[9], slice[10], slice[2 * page_size()]), (7, 0, 0));
    assert_eq!(slice.fault(), None);
    let error = slice.check().unwrap_err();
    check(error, ErrorKind::Changed, &path, &["the file was changed meanwhile"]);
}

/// Renaming, unlinking and changes of the mode change the file's time, too.
#[cfg(unix)]
#[test]
fn changes_of_metadata_count_as_changes() {
    if !has_slices() {
        return;
    }
    let dir = TempDir::new();
    let path = dir.file("a", pattern(100));
    let slice = guarded(Mapping::open(&path).unwrap().bytes());
    slice.check().unwrap();
    next_tick(&dir);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(slice[..], pattern(100));
    assert_eq!(slice.finish().unwrap_err().kind(), ErrorKind::Changed);
}
