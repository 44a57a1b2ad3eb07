//! Each mapping is unmapped exactly once, as counted in the system's list of mappings.

mod common;

use std::fs::File;
use std::sync::Arc;

use common::{TempDir, assert_mapped, pattern};
use sharemap::{
    FileContents, HugePages, MapOptions, Mapping, MappingCow, MappingMut, SlidingWindow, View,
};

/// Dropping or closing a mapping unmaps it once.
#[test]
fn dropping_and_closing_unmap_once() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(10_000));
    assert_mapped(&path, 0);
    let one = Mapping::open(&path).unwrap();
    let two = MapOptions::new().offset(5000).len(2).open_mut(&path).unwrap();
    let three = MappingCow::open(&path).unwrap();
    assert_mapped(&path, 3);
    drop(two);
    assert_mapped(&path, 2);
    one.close().unwrap();
    three.close().unwrap();
    assert_mapped(&path, 0);
}

/// A mapping stays valid after its file was closed and removed.
#[test]
fn a_mapping_outlives_its_file() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(10_000));
    let file = File::open(&path).unwrap();
    let map = Mapping::map(&file).unwrap();
    drop(file);
    // Some systems do not remove mapped files. Where they do, the mapping stays readable.
    let _ = std::fs::remove_file(&path);
    assert_eq!(map.bytes().to_vec().unwrap(), pattern(10_000));
}

/// An owned view keeps its mapping alive.
#[test]
fn owned_views_keep_it_mapped() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(1000));
    let map = Arc::new(Mapping::open(&path).unwrap());
    let view = map.owned_view::<u8>().unwrap();
    let again = view.clone();
    drop(map);
    drop(view);
    assert_mapped(&path, 1);
    assert_eq!(again.as_view().len(), 1000);
    drop(again);
    assert_mapped(&path, 0);
}

/// A mapping that is moved stays mapped once.
#[test]
fn a_moved_mapping_stays_mapped_once() {
    fn through(map: Mapping) -> Box<Option<Mapping>> {
        Box::new(Some(map))
    }
    let dir = TempDir::new();
    let path = dir.file("a", pattern(1000));
    let mut held = through(Mapping::open(&path).unwrap());
    assert_mapped(&path, 1);
    let map = held.take().unwrap();
    drop(held);
    assert_mapped(&path, 1);
    assert_eq!(map.bytes().len(), 1000);
    drop(map);
    assert_mapped(&path, 0);
}

/// A panic unmaps the mapping.
#[test]
fn a_panic_unmaps() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(1000));
    let result = std::panic::catch_unwind(|| {
        let _map = MappingMut::open(&path).unwrap();
        assert_mapped(&path, 1);
        std::panic::resume_unwind(Box::new("unwinds"));
    });
    assert!(result.is_err());
    assert_mapped(&path, 0);
}

/// A failed call leaves nothing mapped.
#[test]
fn failures_leave_nothing_mapped() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(1001));
    assert!(MapOptions::new().offset(2000).open(&path).is_err());
    assert!(MapOptions::new().len(2000).open(&path).is_err());
    assert!(MapOptions::new().huge_pages(HugePages::Reserved).open(&path).is_err());
    assert!(MappingMut::create_new(&path, 5000).is_err());
    let map = Mapping::open(&path).unwrap();
    assert!(map.view::<u64>().is_err());
    drop(map);
    assert_mapped(&path, 0);
}

/// Sliding windows map one part at a time, and windows and file contents unmap it when dropped.
#[test]
fn windows_and_contents_unmap() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(1_000_000));
    let mut window = SlidingWindow::open(&path, 100_000).unwrap();
    for offset in (0..1_000_000).step_by(50_000) {
        let view: View<'_, u8> = window.view(offset, 1).unwrap();
        view.get(0).unwrap();
        assert_mapped(&path, 1);
    }
    drop(window);
    let contents = FileContents::open(&path).unwrap();
    assert_mapped(&path, 1);
    drop(contents);
    assert_mapped(&path, 0);
}

/// Remapping and resizing keep one mapping, or none of an empty file.
#[test]
fn remapping_and_resizing_keep_one_mapping() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(100_000));
    let mut map = MappingMut::open(&path).unwrap();
    map.remap().unwrap();
    map.resize(300_000).unwrap();
    map.resize(10).unwrap();
    assert_mapped(&path, 1);
    map.resize(0).unwrap();
    assert_mapped(&path, 0);
    map.resize(5).unwrap();
    assert_mapped(&path, 1);
    drop(map);
    assert_mapped(&path, 0);
}

/// Dropping a mapping flushes nothing, and loses no change.
#[test]
fn dropping_flushes_nothing_and_loses_nothing() {
    let dir = TempDir::new();
    let path = dir.file("a", [0; 100]);
    MappingMut::open(&path).unwrap().bytes().fill(5).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), [5; 100]);
}
