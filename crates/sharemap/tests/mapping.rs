//! Mapping files and memory, and accessing their contents.

mod common;

use std::fs::File;
use std::io::{BufRead, Write};
use std::sync::Arc;

use common::{TempDir, pattern};
use sharemap::{
    AnonymousMapping, ErrorKind, FileContents, MapOptions, Mapping, MappingCow, MappingMut,
    OwnedView, OwnedViewMut, Protection, Region, SlidingWindow, View, ViewMut, page_size,
};

/// A mapping shows the contents of its file.
#[test]
fn a_file_is_read_through_memory() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(10_000));
    let map = Mapping::open(&path).unwrap();
    assert_eq!(map.len(), 10_000);
    assert_eq!(map.path(), Some(path.as_path()));
    assert_eq!(map.file_offset(), 0);
    assert_eq!(map.bytes().to_vec().unwrap(), pattern(10_000));
    assert_eq!(map.view::<u32>().unwrap().len(), 2500);
    let expected = u32::from_ne_bytes(pattern(10_000)[40..44].try_into().unwrap());
    assert_eq!(map.view_at::<u32>(40, 1).unwrap().get(0).unwrap(), expected);
    map.close().unwrap();
}

/// The lines of a reader convert their errors to `sharemap::Error` with `?`.
#[test]
fn errors_of_lines_convert_to_the_librarys() {
    let dir = TempDir::new();
    let path = dir.file("a", "one\ntwo\n");
    let map = Mapping::open(&path).unwrap();
    let lines = || -> sharemap::Result<Vec<String>> {
        map.reader().lines().map(|line| Ok(line?)).collect()
    };
    assert_eq!(lines().unwrap(), ["one", "two"]);
}

/// Any offset and length can be mapped, regardless of pages.
#[test]
fn any_offset_and_length() {
    let dir = TempDir::new();
    let page = page_size();
    let contents = pattern(5 * page + 100);
    let path = dir.file("a", &contents);
    for offset in [0, 1, page - 3, page, page + 3, 2 * page + 3, 5 * page + 99] {
        for len in [1, 2, page - 1, page, page + 6, contents.len() - offset] {
            if offset + len > contents.len() {
                continue;
            }
            let expected = &contents[offset..offset + len];
            let options = || MapOptions::new().offset(offset as u64).len(len);
            let read = options().open(&path).unwrap();
            assert_eq!(read.bytes().to_vec().unwrap(), expected, "{offset}+{len}");
            assert_eq!(read.bytes().offset(), offset as u64);
            let private = options().open_cow(&path).unwrap();
            private.bytes().fill(0).unwrap();
            let write = options().open_mut(&path).unwrap();
            assert_eq!(write.bytes().to_vec().unwrap(), expected, "{offset}+{len}");
            write.flush().unwrap();
        }
    }
}

/// Writes and flushes at unaligned offsets reach the right bytes.
#[test]
fn writes_at_odd_offsets_reach_the_right_bytes() {
    let dir = TempDir::new();
    let page = page_size();
    let mut expected = pattern(3 * page + 10);
    let path = dir.file("a", &expected);
    for offset in [page - 3, page + 3, 2 * page + 3] {
        let map = MapOptions::new().offset(offset as u64).len(7).open_mut(&path).unwrap();
        map.bytes().write_at(0, b"written").unwrap();
        map.flush_range(1..3).unwrap();
        map.flush_range_async(..).unwrap();
        expected[offset..offset + 7].copy_from_slice(b"written");
        drop(map);
        assert_eq!(std::fs::read(&path).unwrap(), expected);
    }
}

/// A mapping without a requested length ends with its file.
#[test]
fn without_a_length_a_mapping_ends_with_its_file() {
    let dir = TempDir::new();
    let page = page_size();
    let path = dir.file("a", pattern(2 * page + 7));
    let map = MapOptions::new().offset(page as u64 + 5).open(&path).unwrap();
    assert_eq!(map.len(), page + 2);
    assert_eq!(map.bytes().get(page + 2).unwrap_err().kind(), ErrorKind::OutOfBounds);
    let at_the_end = MapOptions::new().offset(2 * page as u64 + 7).open(&path).unwrap();
    assert!(at_the_end.is_empty());
}

/// An empty file is an empty mapping, on which every operation succeeds.
#[test]
fn an_empty_file_is_an_empty_mapping() {
    let dir = TempDir::new();
    let path = dir.file("empty", "");
    let map = Mapping::open(&path).unwrap();
    assert_eq!((map.len(), map.is_empty()), (0, true));
    assert_eq!(map.bytes().to_vec().unwrap(), []);
    assert_eq!(map.view::<u64>().unwrap().len(), 0);
    assert_eq!(map.bytes().get(0).unwrap_err().kind(), ErrorKind::OutOfBounds);
    assert_eq!(map.reader().lines().count(), 0);
    assert!(map.residency().unwrap().pages().is_empty());
    assert!(map.data_extents().unwrap().is_empty());
    map.populate().unwrap();
    map.lock().unwrap();
    map.evict().unwrap();
    map.protect(.., Protection::Read).unwrap();
    assert!(map.is_current().unwrap());

    let map = MappingMut::open(&path).unwrap();
    map.flush().unwrap();
    map.flush_async().unwrap();
    assert_eq!(map.writer().write(b"x").unwrap(), 0);
    MappingCow::open(&path).unwrap().discard(..).unwrap();
    MappingMut::create_new(dir.join("new"), 0).unwrap().close().unwrap();
    assert_eq!(std::fs::metadata(dir.join("new")).unwrap().len(), 0);
}

/// Many regions of one file each show their own part.
#[test]
fn many_regions_of_one_file() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(200 * 1000));
    let file = File::open(&path).unwrap();
    let regions: Vec<_> = (0..200)
        .map(|index| MapOptions::new().offset(index * 1000).len(1000).map(&file).unwrap())
        .collect();
    drop(file);
    for (index, region) in regions.iter().enumerate() {
        let expected = &pattern(200 * 1000)[index * 1000..][..1000];
        assert_eq!(region.bytes().to_vec().unwrap(), expected);
    }
}

/// Mappings and ordinary writes to a file see each other's changes.
#[test]
fn mappings_and_ordinary_writes_see_each_other() {
    let dir = TempDir::new();
    let path = dir.file("a", [0; 100]);
    let one = MappingMut::open(&path).unwrap();
    let two = Mapping::open(&path).unwrap();
    one.bytes().set(5, 1).unwrap();
    assert_eq!(two.bytes().get(5).unwrap(), 1);
    assert_eq!(std::fs::read(&path).unwrap()[5], 1);

    let mut file = File::options().write(true).open(&path).unwrap();
    file.write_all(b"hello").unwrap();
    let mut seen = [0; 5];
    two.bytes().read_at(0, &mut seen).unwrap();
    assert_eq!(&seen, b"hello");
    assert_eq!(one.bytes().get(4).unwrap(), b'o');
}

/// Changes of a copy-on-write mapping do not reach its file.
#[test]
fn private_edits_stay_private() {
    let dir = TempDir::new();
    let page = page_size();
    let path = dir.file("a", pattern(3 * page));
    let map = MappingCow::open(&path).unwrap();
    map.bytes().fill(0xAA).unwrap();
    assert_eq!(map.bytes().count(0xAA).unwrap(), 3 * page);
    assert_eq!(std::fs::read(&path).unwrap(), pattern(3 * page));
    assert_ne!(Mapping::open(&path).unwrap().bytes().get(1).unwrap(), 0xAA);
    drop(map);
    assert_eq!(std::fs::read(&path).unwrap(), pattern(3 * page));
}

/// A read-only descriptor can be mapped copy-on-write.
#[test]
fn a_read_only_file_can_be_edited_privately() {
    let dir = TempDir::new();
    let path = dir.file("a", "text");
    let file = File::open(&path).unwrap();
    let map = MappingCow::map(&file).unwrap();
    map.bytes().set(0, b'n').unwrap();
    assert_eq!(map.bytes().to_vec().unwrap(), b"next");
    assert_eq!(std::fs::read(&path).unwrap(), b"text");
}

/// Discarding drops the changes of exactly the requested bytes.
#[test]
fn discarding_drops_exactly_the_range() {
    let dir = TempDir::new();
    let page = page_size();
    let contents = pattern(4 * page + 10);
    let path = dir.file("a", &contents);
    for (offset, range) in
        [(0, 0..10), (0, page - 1..2 * page + 1), (3, 5..3 * page), (7, page..4 * page + 3)]
    {
        let map = MapOptions::new().offset(offset as u64).open_cow(&path).unwrap();
        let mut expected = vec![0xAA; map.len()];
        map.bytes().fill(0xAA).unwrap();
        map.discard(range.clone()).unwrap();
        expected[range.clone()].copy_from_slice(&contents[offset..][range]);
        assert_eq!(map.bytes().to_vec().unwrap(), expected);
    }
}

/// The caller can close its descriptor at once, and the file of a mapping can be mapped again.
#[test]
fn an_adopted_descriptor_may_be_closed_at_once() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(100));
    let map = Mapping::map(File::open(&path).unwrap()).unwrap();
    assert_eq!(map.path(), None);
    assert_eq!(map.bytes().to_vec().unwrap(), pattern(100));
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let map = MappingMut::map(&file).unwrap();
    drop(file);
    map.bytes().set(0, 77).unwrap();
    map.flush().unwrap();
    assert_eq!(std::fs::read(&path).unwrap()[0], 77);
    assert!(map.is_current().unwrap());
    // The descriptor of a mapping can be mapped again.
    let again = Mapping::map(map.file().unwrap()).unwrap();
    drop(map);
    assert_eq!(again.bytes().get(0).unwrap(), 77);
}

/// Threads can own views of a mapping.
#[test]
fn views_are_owned_by_threads() {
    let dir = TempDir::new();
    let path = dir.join("a");
    let map = Arc::new(MappingMut::create_new(&path, 4000).unwrap());
    let views: Vec<OwnedViewMut<u32>> = (0..4).map(|_| map.owned_view().unwrap()).collect();
    drop(map);
    let threads: Vec<_> = views
        .into_iter()
        .enumerate()
        .map(|(thread, view)| {
            std::thread::spawn(move || {
                for index in (thread..1000).step_by(4) {
                    view.as_view().set(index, index as u32).unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let map = Arc::new(Mapping::open(&path).unwrap());
    let view: OwnedView<u32> = map.owned_view().unwrap();
    drop(map);
    assert_eq!(view.as_view().to_vec().unwrap(), (0..1000).collect::<Vec<u32>>());
}

/// Mappings and views are `Send` and `Sync`.
#[test]
fn mappings_are_send_and_sync() {
    fn both<T: Send + Sync>() {}
    both::<Mapping>();
    both::<MappingMut>();
    both::<MappingCow>();
    both::<AnonymousMapping>();
    both::<Region>();
    both::<SlidingWindow>();
    both::<FileContents>();
    both::<View<'_, u8>>();
    both::<ViewMut<'_, u64>>();
    both::<OwnedView<f32>>();
    both::<MapOptions>();
}

/// `Debug` output shows the path and length, but no contents.
#[test]
fn debug_shows_no_contents() {
    let dir = TempDir::new();
    let path = dir.file("file.bin", "SECRET SECRET");
    for text in [
        format!("{:?}", Mapping::open(&path).unwrap()),
        format!("{:?}", MappingMut::open(&path).unwrap()),
        format!("{:?}", MappingCow::open(&path).unwrap()),
        format!("{:?}", FileContents::open(&path).unwrap()),
        format!("{:?}", SlidingWindow::open(&path, 4096).unwrap()),
    ] {
        assert!(text.contains("file.bin") && text.contains("13") | text.contains("len"), "{text}");
        assert!(!text.contains("SECRET"), "{text}");
    }
}

/// Private memory is a plain slice, which can be partly discarded.
#[test]
fn private_memory_is_a_slice() {
    let mut memory = AnonymousMapping::new(3 * page_size()).unwrap();
    assert!(memory.iter().all(|&byte| byte == 0));
    memory.fill(7);
    memory.discard(5..page_size() + 5).unwrap();
    assert_eq!(memory.iter().filter(|&&byte| byte == 0).count(), page_size());
    assert_eq!((memory[4], memory[5], memory[page_size() + 5]), (7, 0, 7));
    memory.populate().unwrap();
    memory.close().unwrap();
}

/// Protected private memory faults, and works again after the protection is lifted.
#[test]
fn private_memory_is_protected() {
    let page = page_size();
    let mut memory = MapOptions::new().reserve(1 << 20).private(3 * page).unwrap();
    memory.fill(7);
    let memory = memory.protect(page..2 * page, Protection::None).unwrap();
    let error = memory.bytes().to_vec().unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Fault, Some(page as u64)));
    memory.protect(.., Protection::Read).unwrap();
    assert_eq!(memory.bytes().count(7).unwrap(), 3 * page);
    assert_eq!(memory.bytes().set(0, 1).unwrap_err().kind(), ErrorKind::Fault);
    memory.protect(.., Protection::ReadWrite).unwrap();
    memory.bytes().set(0, 1).unwrap();
    memory.grow(4 * page).unwrap();
    memory.flush().unwrap();
    assert!(memory.is_current().unwrap() && memory.file().is_none());
    assert_eq!(memory.bytes().get(4 * page - 1).unwrap(), 0);
    memory.close().unwrap();
    let memory = AnonymousMapping::new(10).unwrap();
    let error = memory.protect(..11, Protection::Read).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfBounds, "{error}");
}

/// Private memory grows within its reservation.
#[test]
fn private_memory_grows_within_its_reservation() {
    let mut memory = MapOptions::new().reserve(1 << 20).private(10).unwrap();
    memory.fill(1);
    memory.grow(100_000).unwrap();
    assert_eq!(memory.len(), 100_000);
    assert_eq!((memory[9], memory[10], memory[99_999]), (1, 0, 0));
    assert_eq!(memory.grow(2 << 20).unwrap_err().kind(), ErrorKind::ExceedsReservation);
}

/// Shared anonymous memory supports flushing, holes and extents without a file.
#[test]
fn shared_memory_without_a_file() {
    let map = MappingMut::anonymous(2 * page_size()).unwrap();
    assert!(map.file().is_none() && map.path().is_none());
    map.view::<u64>().unwrap().fill(u64::MAX).unwrap();
    map.flush().unwrap();
    map.punch_hole(8..page_size() + 8).unwrap();
    assert_eq!(map.view::<u64>().unwrap().count(0).unwrap(), page_size() / 8);
    assert!(map.is_current().unwrap());
    assert_eq!(map.data_extents().unwrap(), vec![0..2 * page_size() as u64]);
}

/// Protected pages of a file mapping fault, and work again after the protection is lifted.
#[test]
fn protection_is_respected_and_recovered_from() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(3 * page_size()));
    let map = MappingMut::open(&path).unwrap();
    map.protect(page_size()..2 * page_size(), Protection::None).unwrap();
    let error = map.bytes().to_vec().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fault);
    assert_eq!(error.offset(), Some(page_size() as u64));
    map.protect(.., Protection::Read).unwrap();
    assert_eq!(map.bytes().to_vec().unwrap(), pattern(3 * page_size()));
    assert_eq!(map.bytes().set(1, 0).unwrap_err().kind(), ErrorKind::Fault);
    map.protect(.., Protection::ReadWrite).unwrap();
    map.bytes().set(1, 0).unwrap();
}

/// File contents are equal whether they are read or mapped.
#[test]
fn contents_are_equal_read_or_mapped() {
    let dir = TempDir::new();
    for len in [0, 1, 4096, 100_000, 1_500_000] {
        let expected = pattern(len);
        let path = dir.file("a", &expected);
        let contents = FileContents::open(&path).unwrap();
        assert_eq!(contents.len(), len);
        assert_eq!(contents.is_empty(), len == 0);
        assert_eq!(contents.is_mapped(), len > 1_000_000);
        assert_eq!(contents.bytes().to_vec().unwrap(), expected);
        assert_eq!(contents.to_vec().unwrap(), expected);
    }
}

/// A sliding window moves in both directions and maps no more than its size, except for a larger
/// view.
#[test]
fn a_window_slides_both_ways() {
    let dir = TempDir::new();
    let contents = pattern(1_000_000);
    let path = dir.file("a", &contents);
    let mut window = SlidingWindow::open(&path, 100_000).unwrap();
    assert_eq!((window.len(), window.mapped()), (1_000_000, 0));
    let offsets = (0..1_000_000 - 16).step_by(777);
    for offset in offsets.clone().chain(offsets.rev()).map(|offset: usize| offset as u64) {
        let view = window.view::<u8>(offset, 16).unwrap();
        assert_eq!(view.to_vec().unwrap(), contents[offset as usize..][..16]);
        assert_eq!(view.offset(), offset);
        assert!(window.mapped() <= 100_000 + page_size().max(1 << 16), "{}", window.mapped());
    }
    // A single view that exceeds the window.
    let view = window.view::<u8>(3, 900_001).unwrap();
    assert_eq!(view.to_vec().unwrap(), contents[3..900_004]);
    assert_eq!(window.view::<u8>(999_999, 2).unwrap_err().kind(), ErrorKind::OutOfBounds);
    assert_eq!(window.view::<u32>(2, 1).unwrap_err().kind(), ErrorKind::Alignment);
    assert_eq!(window.view::<u64>(0, usize::MAX).unwrap_err().kind(), ErrorKind::Overflow);
    assert!(window.view::<u8>(1_000_000, 0).unwrap().is_empty());
}

/// A sliding window shows what another writer appends.
#[test]
fn a_window_follows_a_file_that_grows() {
    let dir = TempDir::new();
    let path = dir.file("a", "0123");
    let mut window = SlidingWindow::open(&path, 4096).unwrap();
    assert_eq!(window.view::<u8>(3, 1).unwrap().get(0).unwrap(), b'3');
    File::options().append(true).open(&path).unwrap().write_all(b"456").unwrap();
    assert_eq!(window.view::<u8>(6, 1).unwrap().get(0).unwrap(), b'6');
    assert_eq!(window.len(), 7);
}
