//! Holes in files, and files much larger than their contents.

mod common;

use common::{TempDir, pattern};
use sharemap::{ErrorKind, MapOptions, Mapping, MappingMut, Result, SlidingWindow};

const MIB: usize = 1 << 20;

fn supported<T>(what: &str, result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            eprintln!("skipped: {what}: {error}");
            None
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

/// Returns the storage that a file occupies, where the system reports it.
fn stored(path: &std::path::Path) -> Option<u64> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Some(std::fs::metadata(path).unwrap().blocks() * 512)
    }
    #[cfg(not(unix))]
    {
        eprintln!("skipped: std does not say what {} takes", path.display());
        None
    }
}

/// Creation allocates the storage of a file, unless it is sparse.
#[test]
fn storage_is_allocated_unless_sparse() {
    let dir = TempDir::new();
    let (full, sparse) = (dir.join("full"), dir.join("sparse"));
    let len = 4 * MIB as u64;
    MappingMut::create_new(&full, len).unwrap();
    MapOptions::new().sparse().create_new(&sparse, len).unwrap();
    assert_eq!(std::fs::metadata(&sparse).unwrap().len(), len);
    if let (Some(full), Some(sparse)) = (stored(&full), stored(&sparse)) {
        assert!(full >= len, "{full}");
        assert!(sparse < len, "{sparse}");
    }
}

/// Growth allocates storage.
#[test]
fn growth_allocates_storage() {
    let dir = TempDir::new();
    let path = dir.join("a");
    let map = MapOptions::new().reserve(8 * MIB).create_new(&path, 10).unwrap();
    map.grow(4 * MIB).unwrap();
    if let Some(stored) = stored(&path) {
        assert!(stored >= 4 * MIB as u64, "{stored}");
    }
}

/// A punched hole reads as zeros and frees its storage.
#[test]
fn a_hole_reads_as_zeros_and_frees_its_storage() {
    let dir = TempDir::new();
    let mut expected = pattern(4 * MIB);
    let path = dir.file("a", &expected);
    let map = MapOptions::new().offset(3).open_mut(&path).unwrap();
    let before = stored(&path);
    if supported("holes", map.punch_hole(MIB - 7..3 * MIB)).is_none() {
        return;
    }
    expected[MIB - 4..3 * MIB + 3].fill(0);
    assert_eq!(map.bytes().to_vec().unwrap(), expected[3..]);
    drop(map);
    assert_eq!(std::fs::read(&path).unwrap(), expected);
    if let (Some(before), Some(after)) = (before, stored(&path)) {
        assert!(after + MIB as u64 <= before, "{before} {after}");
    }
    let map = MappingMut::open(&path).unwrap();
    map.punch_hole(5..5).unwrap();
    assert_eq!(map.punch_hole(..5 * MIB).unwrap_err().kind(), ErrorKind::OutOfBounds);
}

/// `data_extents` returns the ranges with data, cut to the mapping.
#[test]
fn extents_are_the_ranges_with_data() {
    let dir = TempDir::new();
    let path = dir.join("a");
    let map = MapOptions::new().sparse().create_new(&path, 64 * MIB as u64).unwrap();
    map.bytes().set(20 * MIB, 1).unwrap();
    map.bytes().set(50 * MIB + 5, 1).unwrap();
    map.flush().unwrap();
    let Some(extents) = supported("extents", map.data_extents()) else {
        return;
    };
    for byte in [20 * MIB as u64, 50 * MIB as u64 + 5] {
        assert!(extents.iter().any(|range| range.contains(&byte)), "{byte} in {extents:?}");
    }
    assert!(extents.windows(2).all(|pair| pair[0].end < pair[1].start), "{extents:?}");
    let part = MapOptions::new().offset(50 * MIB as u64 + 2).len(100).open(&path).unwrap();
    let extents = part.data_extents().unwrap();
    assert_eq!(extents.len(), 1);
    assert_eq!(extents[0], 50 * MIB as u64 + 2..50 * MIB as u64 + 102);
}

/// Querying the extents keeps the position of the caller's descriptor.
#[test]
fn querying_extents_keeps_the_position() {
    use std::io::{Read, Seek};
    let dir = TempDir::new();
    let path = dir.file("a", "0123456789");
    let mut file = std::fs::File::open(&path).unwrap();
    file.seek(std::io::SeekFrom::Start(4)).unwrap();
    let map = Mapping::map(&file).unwrap();
    if supported("extents", map.data_extents()).is_some() {
        let mut rest = String::new();
        file.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "456789");
    }
}

/// A small window slides over a file of several gibibytes.
#[test]
fn a_window_over_several_gibibytes() {
    const LEN: u64 = 6 << 30;
    let dir = TempDir::new();
    let path = dir.join("large");
    let file = std::fs::File::create(&path).unwrap();
    if let Err(error) = file.set_len(LEN) {
        common::skip!("no file of this size here: {error}");
    }
    drop(file);
    let last = MapOptions::new().offset(LEN - 8).len(8).sparse().open_mut(&path).unwrap();
    last.view::<u64>().unwrap().set(0, 0x1234_5678).unwrap();
    let mut window = SlidingWindow::open(&path, 16 * MIB).unwrap();
    assert_eq!(window.len(), LEN);
    for offset in (0..LEN - 8).step_by(512 * MIB) {
        assert_eq!(window.view::<u64>(offset, 1).unwrap().get(0).unwrap(), 0);
        assert!(window.mapped() <= 17 * MIB);
    }
    assert_eq!(window.view::<u64>(LEN - 8, 1).unwrap().get(0).unwrap(), 0x1234_5678);
}
