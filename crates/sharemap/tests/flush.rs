//! Flushing: which ranges are written back, and how a failure is reported.

mod common;

use common::{TempDir, pattern};
use sharemap::{ErrorKind, MappingMut, page_size};

/// Synchronous and asynchronous flushes of any range succeed, and ranges past the end are rejected.
#[test]
fn flushes_of_all_kinds_succeed() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(5 * page_size() + 7));
    let map = MappingMut::open(&path).unwrap();
    map.bytes().fill(1).unwrap();
    map.flush_async().unwrap();
    map.flush_range_async(3..page_size() + 3).unwrap();
    map.flush_range(page_size() - 1..page_size() + 1).unwrap();
    map.flush_range(7..7).unwrap();
    map.flush().unwrap();
    assert_eq!(map.flush_range(6..5 * page_size() + 8).unwrap_err().kind(), ErrorKind::OutOfBounds);
    map.flush().unwrap();
}

/// Many ranges can be flushed in one call, in any order, overlapping or empty. All are checked
/// before any is written.
#[test]
fn many_ranges_are_flushed_at_once() {
    let dir = TempDir::new();
    let len = 5 * page_size() + 7;
    let path = dir.file("a", pattern(len));
    let map = MappingMut::open(&path).unwrap();
    map.bytes().fill(1).unwrap();
    map.flush_ranges([3..5, len - 1..len, 0..page_size(), 2..2]).unwrap();
    map.flush_ranges((0..len).step_by(100).map(|at| at..(at + 8).min(len))).unwrap();
    map.flush_ranges(std::iter::empty::<std::ops::Range<usize>>()).unwrap();
    map.flush_ranges([..=4, ..=len - 1]).unwrap();
    let error = map.flush_ranges([0..1, 6..len + 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfBounds);
    assert_eq!(error.path(), Some(path.as_path()));
    let memory = MappingMut::anonymous(100).unwrap();
    memory.flush_ranges([0..1, 50..100]).unwrap();
    assert_eq!(memory.flush_ranges([..101]).unwrap_err().kind(), ErrorKind::OutOfBounds);
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;

    use super::common::{LoopDevice, TempDir, child, mount_tmpfs, passes, role, skip};
    use sharemap::{ErrorKind, MapOptions, Mapping, MappingMut};

    const MIB: usize = 1 << 20;

    /// Once a flush has failed, every later flush of the mapping fails, too. The disk is a sparse
    /// file of 8 MiB on a smaller file system.
    #[test]
    fn a_failed_flush_is_reported_by_every_later_one() {
        let Some(dir) = role("linux::a_failed_flush_is_reported_by_every_later_one") else {
            let dir = TempDir::new();
            passes(child("linux::a_failed_flush_is_reported_by_every_later_one", dir.path()));
            return;
        };
        if let Err(reason) = mount_tmpfs(&dir, 4 * MIB as u64) {
            skip!("a disk that fails takes privileges: {reason}");
        }
        let backing = dir.join("backing");
        File::create(&backing).unwrap().set_len(8 * MIB as u64).unwrap();
        let disk = match LoopDevice::over(&backing) {
            Ok(disk) => disk,
            Err(error) => skip!("no loop device to be had: {error}"),
        };

        let map = MappingMut::open(disk.path()).unwrap();
        assert_eq!(map.len(), 8 * MIB, "the device knows its size");
        map.bytes().subview(..MIB).unwrap().fill(1).unwrap();
        map.flush_range(..MIB).unwrap();

        map.bytes().fill(2).unwrap();
        // The disk has space for the first range, but not for the second.
        let error = map.flush_ranges([0..10, 8 * MIB - 10..8 * MIB]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FlushFailed, "{error}");
        assert_eq!(error.path(), Some(disk.path()));
        let code = error.os_code();
        assert!(code == Some(libc::EIO) || code == Some(libc::ENOSPC), "{error}");

        // The kernel reports the failure only once, so the mapping must keep reporting it.
        for result in
            [map.flush(), map.flush_range(..10), map.flush_ranges([..10]), map.flush_async()]
        {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::FlushFailed, "{error}");
            assert_eq!(error.os_code(), code);
        }
        // The changes are still visible, and a new mapping does not inherit the failure.
        assert_eq!(map.bytes().get(7 * MIB).unwrap(), 2);
        let fresh = MapOptions::new().len(4096).open_mut(disk.path()).unwrap();
        assert_eq!(fresh.bytes().get(0).unwrap(), 2);
        drop((map, fresh));
        assert_eq!(Mapping::open(disk.path()).unwrap().len(), 8 * MIB);
    }

    /// A block device is mapped with its size, and cannot be resized or created.
    #[test]
    fn a_block_device_has_a_size_and_does_not_resize() {
        let Some(dir) = role("linux::a_block_device_has_a_size_and_does_not_resize") else {
            let dir = TempDir::new();
            passes(child("linux::a_block_device_has_a_size_and_does_not_resize", dir.path()));
            return;
        };
        let backing = dir.join("backing");
        std::fs::write(&backing, super::pattern(MIB)).unwrap();
        let disk = match LoopDevice::over(&backing) {
            Ok(disk) => disk,
            Err(error) => skip!("no loop device to be had: {error}"),
        };
        let map = Mapping::open(disk.path()).unwrap();
        assert_eq!(map.bytes().to_vec().unwrap(), super::pattern(MIB));
        let mut map = MapOptions::new().offset(MIB as u64 - 5).open_mut(disk.path()).unwrap();
        assert_eq!(map.len(), 5);
        assert_eq!(map.resize(100).unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(map.len(), 5);
        let past = MapOptions::new().offset(MIB as u64 + 1).open(disk.path());
        assert_eq!(past.unwrap_err().kind(), ErrorKind::OutOfBounds);
        assert_eq!(MappingMut::create(disk.path(), 10).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
