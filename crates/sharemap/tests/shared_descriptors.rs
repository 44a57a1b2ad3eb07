//! Descriptors shared between the regions of one file.

#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "sets a limit")]

mod common;

use std::fs::File;

use common::{TempDir, child, limit, passes, pattern, role};
use sharemap::{MapOptions, Mapping, MappingMut, SlidingWindow, page_size};

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Many regions of a few files, opened by path or by descriptor, share a few descriptors. Each
/// region still operates on its own file.
#[test]
fn regions_of_one_file_share_a_descriptor() {
    const TEST: &str = "regions_of_one_file_share_a_descriptor";
    let Some(dir) = role(TEST) else {
        let dir = TempDir::new();
        for name in ["a", "b"] {
            dir.file(name, pattern(3 * page_size()));
        }
        passes(child(TEST, dir.path()));
        return;
    };
    limit!(RLIMIT_NOFILE, 64);
    let before = open_descriptors();
    let (a, b) = (dir.join("a"), dir.join("b"));
    let (mut read, mut written, mut windows) = (Vec::new(), Vec::new(), Vec::new());
    let file = File::open(&a).unwrap();
    for number in 0..300 {
        read.push(Mapping::open(&a).unwrap());
        read.push(Mapping::map(&file).unwrap());
        written.push(MappingMut::open(if number % 2 == 0 { &a } else { &b }).unwrap());
        windows.push(SlidingWindow::open(&b, page_size()).unwrap());
    }
    assert!(open_descriptors() < 32, "{} are open", open_descriptors());

    // Operations that use the shared descriptor reach the right file.
    for (number, map) in written.iter().enumerate() {
        assert_eq!(
            map.bytes().get(page_size() + 1).unwrap(),
            pattern(3 * page_size())[page_size() + 1]
        );
        map.flush_range_async(number % 7..page_size()).unwrap();
    }
    written[299].resize(2 * page_size()).unwrap();
    for (number, map) in written.iter_mut().enumerate().take(299) {
        assert_eq!(map.is_current().unwrap(), number % 2 == 0, "only b was cut");
        map.remap().unwrap();
        assert_eq!(map.len(), if number % 2 == 0 { 3 } else { 2 } * page_size());
    }
    assert_eq!(std::fs::metadata(&a).unwrap().len(), 3 * page_size() as u64);
    // A new file of the same name is a different file, though the old one is still open.
    std::fs::remove_file(&a).unwrap();
    std::fs::write(&a, "new").unwrap();
    assert_eq!(Mapping::open(&a).unwrap().bytes().to_vec().unwrap(), b"new");
    assert_eq!(read[0].len(), 3 * page_size());

    drop((read, written, windows, file));
    assert_eq!(open_descriptors(), before, "all are closed");
    // Regions that close their file keep no descriptor at all.
    let closed = MapOptions::new().close_file();
    let mut maps = Vec::new();
    for number in 0..100 {
        let path = dir.join(number.to_string());
        maps.push(closed.create_new(&path, 100).unwrap());
        maps.push(closed.open_mut(&path).unwrap());
    }
    assert_eq!(open_descriptors(), before);
}

/// Threads that concurrently map and unmap the same files get regions of the right file.
#[test]
fn descriptors_are_shared_between_threads() {
    let dir = TempDir::new();
    let paths: Vec<_> =
        (0..3_usize).map(|number| dir.file(&number.to_string(), vec![number as u8; 100])).collect();
    let keep: Vec<_> = (0..10).map(|_| File::open(&paths[0]).unwrap()).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..2000 {
                    let number = round % paths.len();
                    let mut map = Mapping::open(&paths[number]).unwrap();
                    map.remap().unwrap();
                    assert_eq!(map.bytes().get(99).unwrap(), number as u8);
                    assert!(map.is_current().unwrap());
                }
            });
        }
    });
    drop(keep);
}
