//! Invalid input is a distinct error that names the path and the number, and leaves no trace. Tests
//! that need a limit of the process are in `limits.rs`.

mod common;

use std::fs::File;
use std::path::Path;

use common::{TempDir, assert_mapped, pattern, skip};
use sharemap::{
    AnonymousMapping, Error, ErrorKind, FileContents, MapOptions, Mapping, MappingCow, MappingMut,
    SlidingWindow,
};

/// Asserts that `error` has `kind` and `path`, and that its message contains the path and all
/// `words`.
fn check(error: &Error, kind: ErrorKind, path: &Path, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.path(), Some(path), "{error}");
    let text = error.to_string();
    for word in words.iter().copied().chain(path.to_str()) {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

/// A missing file is `NotFound`.
#[test]
fn a_missing_file() {
    let dir = TempDir::new();
    let path = dir.join("missing");
    for error in [
        Mapping::open(&path).unwrap_err(),
        MappingMut::open(&path).unwrap_err(),
        MappingCow::open(&path).unwrap_err(),
        FileContents::open(&path).unwrap_err(),
        SlidingWindow::open(&path, 4096).unwrap_err(),
    ] {
        check(&error, ErrorKind::NotFound, &path, &[]);
        assert_eq!(error.os_code(), Some(2));
        assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::NotFound);
    }
    assert!(!path.exists());
    let nowhere = dir.join("no/such/directory");
    let error = MappingMut::create_new(&nowhere, 10).unwrap_err();
    check(&error, ErrorKind::NotFound, &nowhere, &[]);
}

/// A directory is `IsDirectory`.
#[test]
fn a_directory() {
    let dir = TempDir::new();
    for error in [
        Mapping::open(dir.path()).unwrap_err(),
        MappingMut::open(dir.path()).unwrap_err(),
        MappingCow::open(dir.path()).unwrap_err(),
        FileContents::open(dir.path()).unwrap_err(),
        SlidingWindow::open(dir.path(), 4096).unwrap_err(),
        MappingMut::open_or_create(dir.path(), 10).unwrap_err(),
        MappingMut::create(dir.path(), 10).unwrap_err(),
    ] {
        check(&error, ErrorKind::IsDirectory, dir.path(), &[]);
    }
}

/// An offset or a length past the end of the file is `OutOfBounds`.
#[test]
fn an_offset_past_the_end() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(1000));
    let error = MapOptions::new().offset(1001).open(&path).unwrap_err();
    check(&error, ErrorKind::OutOfBounds, &path, &["1001", "1000"]);
    assert_eq!(error.offset(), Some(1001));
    let error = MapOptions::new().offset(900).len(101).open_mut(&path).unwrap_err();
    check(&error, ErrorKind::OutOfBounds, &path, &["900", "101", "1000"]);
    assert_eq!(error.length(), Some(101));
    assert_mapped(&path, 0);
}

/// A length of zero is `ZeroLength`.
#[test]
fn a_length_of_zero() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(1000));
    for error in [
        MapOptions::new().len(0).open(&path).unwrap_err(),
        MapOptions::new().len(0).open_cow(&path).unwrap_err(),
        MapOptions::new().len(0).create_new(dir.join("new"), 10).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::ZeroLength, "{error}");
        assert!(error.path().is_some());
    }
    assert!(!dir.join("new").exists());
    assert_eq!(AnonymousMapping::new(0).unwrap_err().kind(), ErrorKind::ZeroLength);
    assert_eq!(MappingMut::anonymous(0).unwrap_err().kind(), ErrorKind::ZeroLength);
    assert_eq!(SlidingWindow::open(&path, 0).unwrap_err().kind(), ErrorKind::ZeroLength);
}

/// Sums of offsets and lengths that overflow are `Overflow`.
#[test]
fn numbers_that_overflow() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(1000));
    let error = MapOptions::new().offset(u64::MAX).len(2).open(&path).unwrap_err();
    check(&error, ErrorKind::Overflow, &path, &["18446744073709551615"]);
    let error = MapOptions::new().offset(i64::MAX as u64).len(1).open(&path).unwrap_err();
    check(&error, ErrorKind::Overflow, &path, &["9223372036854775807"]);
    let new = dir.join("new");
    let error = MappingMut::create_new(&new, u64::MAX).unwrap_err();
    check(&error, ErrorKind::Overflow, &new, &["18446744073709551615"]);
    assert!(!new.exists());

    let map = MappingMut::open(&path).unwrap();
    let error = map.view_at::<u64>(8, usize::MAX).unwrap_err();
    check(&error, ErrorKind::Overflow, &path, &[]);
    let error = map.view_at::<u8>(usize::MAX, 2).unwrap_err();
    check(&error, ErrorKind::Overflow, &path, &[]);
    let error = map.flush_range(..=usize::MAX).unwrap_err();
    check(&error, ErrorKind::Overflow, &path, &[]);
    let mut map = map;
    assert!(map.resize(usize::MAX).is_err());
    assert_eq!(map.bytes().to_vec().unwrap(), pattern(1000));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 1000);
}

/// A view of a type with an unsuitable size or alignment is rejected.
#[test]
fn types_that_do_not_fit() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(1001));
    let map = Mapping::open(&path).unwrap();
    check(&map.view::<u32>().unwrap_err(), ErrorKind::WrongSize, &path, &["1001", "4 bytes"]);
    let error = map.view_at::<u64>(2, 1).unwrap_err();
    let multiple = format!("multiple of {}", align_of::<u64>());
    check(&error, ErrorKind::Alignment, &path, &["offset 2", &multiple]);
    let error = map.view_at::<u32>(1000, 1).unwrap_err();
    check(&error, ErrorKind::OutOfBounds, &path, &["1000", "1001"]);
    let odd = MapOptions::new().offset(3).len(8).open(&path).unwrap();
    let error = odd.view::<u32>().unwrap_err();
    let words = ["offset 3", "zerocopy::little_endian", "zerocopy::Unalign"];
    check(&error, ErrorKind::Alignment, &path, &words);
    drop((map, odd));
    assert_mapped(&path, 0);
}

/// A range outside of the mapping is `OutOfBounds`, except an empty one at its end.
#[test]
fn ranges_outside_of_the_mapping() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(1000));
    let map = MappingMut::open(&path).unwrap();
    for error in [
        map.flush_range(..1001).unwrap_err(),
        map.flush_range_async(1001..).unwrap_err(),
        map.populate_range(5..2000).unwrap_err(),
        map.lock_range(..=1000).unwrap_err(),
        map.residency_range(1001..1002).unwrap_err(),
        map.protect(2000.., sharemap::Protection::Read).unwrap_err(),
        map.advise_range(..1001, sharemap::Advice::Normal).unwrap_err(),
        map.punch_hole(..1001).unwrap_err(),
    ] {
        check(&error, ErrorKind::OutOfBounds, &path, &["1000"]);
    }
    map.flush_range(1000..).unwrap();
}

/// A read-only descriptor cannot be mapped for writing.
#[test]
fn a_read_only_descriptor_cannot_be_mapped_for_writing() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(1000));
    let file = File::open(&path).unwrap();
    let error = MappingMut::map(&file).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotWritable, "{error}");
    assert_mapped(&path, 0);
}

/// A read-only file cannot be mapped for writing.
#[test]
fn a_read_only_file_cannot_be_mapped_for_writing() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(1000));
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions.clone()).unwrap();
    let result = MappingMut::open(&path).map(drop);
    #[allow(clippy::permissions_set_readonly_false)]
    permissions.set_readonly(false);
    std::fs::set_permissions(&path, permissions).unwrap();
    match result {
        // `limits.rs` repeats this as an unprivileged user.
        Ok(_) => skip!("this user may write to read-only files"),
        Err(error) => check(&error, ErrorKind::NotWritable, &path, &[]),
    }
}

/// A length that exceeds the address space. Of 32-bit addresses nearly half may be one mapping.
const TOO_MUCH: usize =
    isize::MAX as usize - if cfg!(target_pointer_width = "64") { 65_536 } else { 0 };

/// A mapping or reservation that exceeds the address space is `OutOfAddressSpace`.
#[test]
fn lengths_larger_than_the_address_space() {
    let error = AnonymousMapping::new(TOO_MUCH).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfAddressSpace, "{error}");
    assert!(error.to_string().contains(&error.length().unwrap().to_string()), "{error}");
    assert!(AnonymousMapping::new(usize::MAX).is_err());

    let dir = TempDir::new();
    let path = dir.file("a", pattern(1000));
    let error = MapOptions::new().reserve(TOO_MUCH).open(&path);
    check(&error.unwrap_err(), ErrorKind::OutOfAddressSpace, &path, &[]);
    let error = MapOptions::new().reserve(usize::MAX).offset(1).open(&path);
    check(&error.unwrap_err(), ErrorKind::OutOfAddressSpace, &path, &[]);
    assert_mapped(&path, 0);
}

/// A file that exceeds the address space is `OutOfAddressSpace`, but parts of it can be mapped.
#[test]
fn files_larger_than_the_address_space() {
    if cfg!(target_pointer_width = "64") {
        skip!("no file is that large here");
    }
    const LEN: u64 = 5 << 30;
    let dir = TempDir::new();
    let new = dir.join("new");
    for options in [MapOptions::new(), MapOptions::new().sparse()] {
        for result in [
            options.create_new(&new, LEN),
            options.create(&new, LEN),
            options.open_or_create(&new, LEN),
        ] {
            check(&result.unwrap_err(), ErrorKind::OutOfAddressSpace, &new, &[&LEN.to_string()]);
            assert!(!new.exists(), "left behind");
        }
    }
    File::create(&new).unwrap().set_len(LEN).unwrap();
    for error in [
        Mapping::open(&new).unwrap_err(),
        MappingMut::open(&new).unwrap_err(),
        MapOptions::new().offset(1 << 30).open(&new).unwrap_err(),
    ] {
        check(&error, ErrorKind::OutOfAddressSpace, &new, &["SlidingWindow"]);
    }
    assert_mapped(&new, 0);
    // Parts of the file can be mapped, including the last byte.
    let map = MapOptions::new().offset(LEN - 7).len(7).open_mut(&new).unwrap();
    map.bytes().set(6, 9).unwrap();
    let mut window = SlidingWindow::open(&new, 1 << 20).unwrap();
    assert_eq!(window.view::<u8>(LEN - 1, 1).unwrap().get(0).unwrap(), 9);
    assert_eq!(window.view::<u8>(0, 1).unwrap().get(0).unwrap(), 0);
    assert_eq!(map.file_offset(), LEN - 7);
}

/// A file that exceeds the disk is `NoSpace`, and the old file remains unchanged.
#[test]
fn files_larger_than_the_disk() {
    const LEN: u64 = 1 << 50;
    if cfg!(target_pointer_width = "32") {
        skip!("no mapping is that large here: an error of another kind");
    }
    let dir = TempDir::new();
    let new = dir.join("new");
    for result in [
        MappingMut::create_new(&new, LEN),
        MappingMut::create(&new, LEN),
        MappingMut::open_or_create(&new, LEN),
    ] {
        check(&result.unwrap_err(), ErrorKind::NoSpace, &new, &[&LEN.to_string()]);
        assert!(!new.exists(), "left behind");
    }
    let old = dir.file("old", pattern(1000));
    for result in [MappingMut::create(&old, LEN), MappingMut::open_or_create(&old, LEN)] {
        check(&result.unwrap_err(), ErrorKind::NoSpace, &old, &[]);
        assert_eq!(std::fs::read(&old).unwrap(), pattern(1000), "length and contents");
    }
    // The file is mapped by two mappings.
    let mut map = MappingMut::open(&old).unwrap();
    let other = Mapping::open(&old).unwrap();
    check(&map.resize(LEN as usize).unwrap_err(), ErrorKind::NoSpace, &old, &[]);
    assert_eq!(map.bytes().to_vec().unwrap(), pattern(1000));
    assert_eq!(other.bytes().to_vec().unwrap(), pattern(1000));
    assert_eq!(std::fs::metadata(&old).unwrap().len(), 1000);
}

/// A failed creation leaves no new file behind, and an old file unchanged.
#[test]
fn a_failed_creation_leaves_no_trace() {
    let dir = TempDir::new();
    let new = dir.join("new");
    let reserve = || MapOptions::new().reserve(TOO_MUCH);
    for result in [
        reserve().create_new(&new, 10),
        reserve().create(&new, 10),
        reserve().open_or_create(&new, 10),
    ] {
        check(&result.unwrap_err(), ErrorKind::OutOfAddressSpace, &new, &[]);
        assert!(!new.exists(), "left behind");
    }
    let old = dir.file("old", pattern(1000));
    for len in [10, 1000, 5000] {
        for result in [
            reserve().create_new(&old, len),
            reserve().create(&old, len),
            reserve().open_or_create(&old, len),
            MapOptions::new().offset(9000).create(&old, len),
            MapOptions::new().offset(9000).open_or_create(&old, len),
        ] {
            assert_eq!(result.unwrap_err().path(), Some(old.as_path()));
            assert_eq!(std::fs::read(&old).unwrap(), pattern(1000), "length and contents");
        }
    }
}

/// An error keeps its kind, path and cause when it is converted to `std::io::Error` and back.
#[test]
fn errors_keep_their_cause_through_io() {
    let dir = TempDir::new();
    let path = dir.join("missing");
    let error = Mapping::open(&path).unwrap_err();
    assert!(std::error::Error::source(&error).is_some());
    let io = std::io::Error::from(error);
    let back = Error::from(io);
    check(&back, ErrorKind::NotFound, &path, &[]);
}
