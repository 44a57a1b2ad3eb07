//! The memory that has guarded slices, and what becomes of a slice when its mapping changes.

use std::borrow::Borrow;
use std::fs::{self, File};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::thread;

use sharemap::zerocopy::little_endian::U16;
use sharemap::{
    AnonymousMapping, Error, ErrorKind, FileContents, GuardedSlice, MapOptions, Mapping,
    MappingCow, MappingMut, Result, SharedMemory, View, page_size,
};

use crate::common::{TempDir, check, pattern};
use crate::{guarded, has_slices, next_tick};

fn refused(view: View<'_, u8>) -> Error {
    // SAFETY: no slice is expected.
    let error = unsafe { view.guarded_slice() }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    error
}

/// A slice has the bytes of its view, whatever the offsets and the type, and stays after the mapping is
/// gone.
#[test]
fn a_slice_shows_the_bytes_of_its_view() {
    if !has_slices() {
        return;
    }
    let dir = TempDir::new();
    let bytes = pattern(5 * page_size() + 123);
    let path = dir.file("a", &bytes);
    for offset in [0, 2, page_size() - 2, page_size(), 3 * page_size() + 6] {
        let map = MapOptions::new().offset(offset as u64).open(&path).unwrap();
        let whole = guarded(map.bytes());
        let part = guarded(map.bytes().subview(7..page_size() + 9).unwrap());
        let words = guarded(map.view_at::<U16>(1, 400).unwrap());
        let aligned = guarded(map.view_at::<u16>(2, 400).unwrap());
        drop(map);
        assert_eq!(whole[..], bytes[offset..]);
        assert_eq!(part[..], bytes[offset + 7..offset + page_size() + 9]);
        let pair = |at: usize| [bytes[offset + at], bytes[offset + at + 1]];
        assert_eq!(words[399].get(), u16::from_le_bytes(pair(799)));
        assert_eq!(aligned[399], u16::from_ne_bytes(pair(800)));
        assert_eq!((whole.fault(), part.fault()), (None, None));
        for result in [whole.finish(), part.finish(), words.finish(), aligned.finish()] {
            result.unwrap();
        }
    }
}

/// An alignment larger than a page is an error, or by chance kept.
#[test]
fn alignments_beyond_a_page_are_checked() {
    use sharemap::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
    #[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[zerocopy(crate = "sharemap::zerocopy")]
    #[repr(C, align(1048576))]
    struct Large([u8; 1 << 20]);
    if !has_slices() {
        return;
    }
    let dir = TempDir::new();
    let path = dir.file("a", vec![1; 1 << 20]);
    for _ in 0..20 {
        let map = Mapping::open(&path).unwrap();
        let Ok(view) = map.view::<Large>() else { continue };
        // SAFETY: any bytes are such a value.
        match unsafe { view.guarded_slice() } {
            Ok(slice) => assert!(slice.as_ptr().is_aligned()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Alignment, "{error}"),
        }
    }
}

/// Clones share the mapping: their bytes have one address, and the last one unmaps them.
#[test]
fn clones_share_one_address() {
    if !has_slices() {
        return;
    }
    let dir = TempDir::new();
    let path = dir.file("a", pattern(100_000));
    let slice = guarded(Mapping::open(&path).unwrap().bytes());
    let start = slice.as_ptr();
    let clones: Vec<_> = (0..8).map(|_| slice.clone()).collect();
    slice.finish().unwrap();
    for clone in clones {
        let moved = Box::new(clone);
        assert_eq!(moved.as_ptr(), start);
        let thread = thread::spawn(move || moved[..] == pattern(100_000)[..]);
        assert!(thread.join().unwrap());
    }
    crate::common::assert_mapped(&path, 0);
}

/// What crates that take slices ask of a type: `bytes::Bytes::from_owner`, `fst::Map`, tantivy's owned
/// bytes, arrow's allocations, rayon.
#[test]
fn a_slice_is_accepted_where_owned_bytes_are_wanted() {
    fn from_owner<T: AsRef<[u8]> + Send + 'static>(owner: T) -> usize {
        owner.as_ref().len()
    }
    fn allocation<T: RefUnwindSafe + UnwindSafe + Send + Sync + 'static>(_: &T) {}
    fn deref(owner: Arc<dyn std::ops::Deref<Target = [u8]> + Send + Sync>) -> usize {
        owner.len()
    }
    fn cloned<T: Clone + AsRef<[u8]>>(owner: &T) -> usize {
        owner.clone().as_ref().len()
    }
    fn numbers<T: AsRef<[f32]> + Sync>(owner: &T) -> usize {
        owner.as_ref().len()
    }
    let all = |slice: GuardedSlice<u8>, floats: GuardedSlice<f32>| {
        allocation(&slice);
        let counts = [cloned(&slice), deref(Arc::new(slice.clone())), from_owner(slice)];
        assert_eq!(counts, [4096; 3]);
        assert_eq!(numbers(&floats), 1024);
        assert!(format!("{floats:?}").contains("len: 1024"));
    };
    if !has_slices() {
        return;
    }
    let dir = TempDir::new();
    let map = Mapping::open(dir.file("a", vec![0; 4096])).unwrap();
    all(guarded(map.bytes()), guarded(map.view().unwrap()));
}

/// Memory without a file, and memory that shows more than its file, is refused with the reason.
#[test]
fn memory_without_a_file_of_its_bytes_is_refused() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(1000));
    let map = MappingCow::open(&path).unwrap();
    let error = refused(*map.bytes());
    assert!(error.to_string().contains("private changes"), "{error}");
    assert_eq!(error.path(), Some(path.as_path()));

    let map = MappingMut::anonymous(1000).unwrap();
    let error = refused(*map.bytes());
    assert!(error.to_string().contains("anonymous memory has no file"), "{error}");
    drop(map);
    let memory = AnonymousMapping::new(1000).unwrap().into_mapping();
    assert!(refused(*memory.bytes()).to_string().contains("anonymous memory has no file"));

    let map = MapOptions::new().close_file().open(&path).unwrap();
    let error = refused(map.bytes());
    assert!(error.to_string().contains("close_file"), "{error}");

    let contents = FileContents::open(&path).unwrap();
    let error = refused(contents.bytes());
    assert!(error.to_string().contains("as_read"), "{error}");
    assert_eq!(contents.as_read().unwrap(), pattern(1000));
}

/// The contents of a large file have slices and chunks instead of `as_read`.
#[test]
fn mapped_contents_have_slices() {
    let dir = TempDir::new();
    let bytes = pattern(1 << 20);
    let contents = FileContents::open(dir.file("a", &bytes)).unwrap();
    assert!(contents.is_mapped() && contents.as_read().is_none());
    let mut copy = Vec::new();
    contents.bytes().for_each_chunk(10_000, |_, chunk| copy.extend_from_slice(chunk)).unwrap();
    assert_eq!(copy, bytes);
    if has_slices() {
        let slice = guarded(contents.bytes());
        drop(contents);
        assert_eq!(slice[..], bytes);
        slice.finish().unwrap();
    }
}

/// A view of no bytes has a slice of no elements, which checks the file like others.
#[test]
fn a_range_of_length_zero_is_an_empty_slice() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(1000));
    let map = Mapping::open(&path).unwrap();
    for at in [0, 5, 1000] {
        let empty = guarded(map.bytes().subview(at..at).unwrap().cast::<[u8; 3]>().unwrap());
        assert!(empty.is_empty() && empty.fault().is_none());
        let empty: &[[u8; 3]] = empty.as_ref();
        assert!(empty.as_ptr().is_aligned());
        guarded(map.bytes().subview(at..at).unwrap()).finish().unwrap();
    }
    let none = dir.file("none", []);
    let empty = guarded(Mapping::open(&none).unwrap().bytes());
    empty.check().unwrap();
    assert_eq!(empty.len(), 0);
}

/// A view that the file no longer has is an error when its slice is made.
#[test]
fn a_view_longer_than_the_file_is_a_fault() {
    if !has_slices() {
        return;
    }
    let dir = TempDir::new();
    let path = dir.file("a", pattern(3 * page_size()));
    let map = MapOptions::new().offset(10).open(&path).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(5000).unwrap();
    // SAFETY: no slice is expected.
    let error = unsafe { map.bytes().guarded_slice() }.unwrap_err();
    check(error, ErrorKind::Fault, &path, &["5000", "the file has 5000 bytes now"]);
    guarded(map.bytes().subview(..4990).unwrap()).finish().unwrap();
}

/// The outcome of a slice whose region changes: its bytes stay, and a change of the file is reported.
#[test]
fn a_slice_outlives_changes_of_its_region() {
    if !has_slices() {
        return;
    }
    let dir = TempDir::new();
    let old = pattern(2 * page_size());
    let path = dir.file("a", &old);
    let changed = |result: Result<()>| {
        let error = result.unwrap_err();
        check(error, ErrorKind::Changed, &path, &["read it again"]);
    };

    // Grown: the slice keeps its length. Growing changes the file.
    let mut map = MapOptions::new().reserve(1 << 20).open_mut(&path).unwrap();
    let slice = guarded(*map.bytes());
    next_tick(&dir);
    map.grow(3 * page_size()).unwrap();
    assert_eq!(slice[..], old);
    changed(slice.finish());
    // Shrunk: the rest becomes zeros.
    let slice = guarded(*map.bytes().subview(..2 * page_size()).unwrap());
    map.resize(page_size()).unwrap();
    assert_eq!(slice[..page_size()], old[..page_size()]);
    assert_eq!(slice[page_size()..], vec![0; page_size()]);
    assert_eq!(slice.check().unwrap_err().offset(), Some(page_size() as u64));
    // Grown again: a slice never shows the new bytes where it has lost the old ones.
    map.resize(2 * page_size()).unwrap();
    map.bytes().fill(9).unwrap();
    assert_eq!(slice[page_size()..], vec![0; page_size()]);
    assert_eq!(slice[0], 9);
    assert_eq!(slice.finish().unwrap_err().kind(), ErrorKind::Fault);
    drop(map);

    // Remapped and closed, without a change of the file.
    fs::write(&path, &old).unwrap();
    let mut map = Mapping::open(&path).unwrap();
    let slice = guarded(map.bytes());
    map.remap().unwrap();
    assert_eq!(slice[..], old);
    slice.check().unwrap();
    map.close().unwrap();
    assert_eq!(slice[..], old);
    slice.check().unwrap();
    // Changed in place.
    next_tick(&dir);
    fs::write(&path, vec![3; old.len()]).unwrap();
    assert_eq!(slice[..], vec![3; old.len()]);
    changed(slice.finish());
}

/// Shared memory has slices, also without a name.
#[test]
fn shared_memory_has_slices() {
    if !has_slices() {
        return;
    }
    let memory = SharedMemory::anonymous(100_000).unwrap();
    memory.bytes().fill(5).unwrap();
    let slice = guarded(*memory.bytes());
    let borrowed: &[u8] = (*slice).borrow();
    assert!(borrowed.iter().all(|byte| *byte == 5));
    slice.finish().unwrap();
}

/// Chunks are passed in order, and an error comes before the chunk that it concerns.
#[test]
fn chunks_are_private_copies_in_order() {
    let dir = TempDir::new();
    let bytes = pattern(3 * page_size() + 5);
    let path = dir.file("a", &bytes);
    let map = Mapping::open(&path).unwrap();
    for size in [1, 7, page_size(), bytes.len() - 1, bytes.len(), bytes.len() + 1, usize::MAX] {
        let (mut copy, mut last) = (Vec::new(), None);
        let result = map.bytes().for_each_chunk(size, |offset, chunk| {
            assert_eq!(offset, copy.len());
            assert!(last.replace(chunk.len()).is_none_or(|len| len == size));
            copy.extend_from_slice(chunk);
        });
        result.unwrap();
        assert_eq!(copy, bytes);
    }
    map.bytes().subview(..0).unwrap().for_each_chunk(5, |_, _| panic!("no bytes")).unwrap();
    let error = map.bytes().for_each_chunk(0, |_, _| panic!("no size")).unwrap_err();
    check(error, ErrorKind::ZeroLength, &path, &["at least one byte"]);
    // Windows does not truncate a mapped file.
    let file = File::options().write(true).open(&path).unwrap();
    // Within the last page, where no access faults.
    let short = bytes.len() - 2;
    if file.set_len(short as u64).is_ok() {
        let before = bytes.len() - 1;
        for (size, completed) in [(usize::MAX, 0), (page_size(), 3 * page_size()), (1, before)] {
            let mut seen = 0;
            let result = map.bytes().for_each_chunk(size, |_, chunk| seen += chunk.len());
            let error = result.unwrap_err();
            assert_eq!((error.completed(), seen), (Some(completed), completed));
            check(error, ErrorKind::Fault, &path, &[&short.to_string()]);
        }
        map.bytes().subview(..short).unwrap().for_each_chunk(1000, |_, _| {}).unwrap();
    }
    if file.set_len(page_size() as u64).is_ok() {
        let mut seen = 0;
        let result = map.bytes().for_each_chunk(1000, |_, chunk| seen += chunk.len());
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.completed()), (ErrorKind::Fault, Some(seen)));
        assert_eq!(error.offset(), Some(page_size() as u64));
        assert_eq!(seen, page_size() / 1000 * 1000);
    }
}
