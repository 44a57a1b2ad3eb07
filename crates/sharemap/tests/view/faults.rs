//! Files that are truncated under a view: each operation reports the exact offset, and works again
//! after `remap`.

use crate::common::{TempDir, pattern, skip};
use crate::elements::{Sample, samples};
use sharemap::guard::Recovery;
use sharemap::{
    Error, ErrorKind, MapOptions, Mapping, MappingCow, MappingMut, Protection, View, page_size,
};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use zerocopy::big_endian;

const PAGES: usize = 6;
pub const LEFT: usize = 2;

fn boundary() -> usize {
    LEFT * page_size()
}

/// Returns the contents of the file: six pages without a zero byte.
fn contents() -> Vec<u8> {
    pattern(PAGES * page_size()).into_iter().map(|byte| byte | 1).collect()
}

/// Truncates the file to two pages. Returns `false` if the system forbids it for mapped files.
fn truncate(path: &Path) -> bool {
    let file = File::options().write(true).open(path).unwrap();
    match file.set_len(boundary() as u64) {
        Ok(()) => true,
        Err(error) if cfg!(windows) => {
            eprintln!("skipped: this system does not truncate a mapped file: {error}");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

pub struct Cut {
    _dir: TempDir,
    pub path: PathBuf,
    pub map: MappingMut,
    before: Vec<u8>,
}

/// Returns a mapping of six pages, of which the file has two. If the system forbids the truncation, the
/// other four pages are made inaccessible instead.
pub fn cut() -> Cut {
    let dir = TempDir::new();
    let before = contents();
    let path = dir.file("a", &before);
    let map = MappingMut::open(&path).unwrap();
    // All pages are in memory now. The truncation must take them away all the same.
    assert_eq!(map.bytes().to_vec().unwrap(), before);
    if !truncate(&path) {
        map.protect(boundary().., Protection::None).unwrap();
    }
    Cut { _dir: dir, path, map, before }
}

#[track_caller]
pub fn is_fault(error: &Error, path: &Path, offset: usize) {
    assert_eq!(error.kind(), ErrorKind::Fault, "{error}");
    assert_eq!(error.offset(), Some(offset as u64), "{error}");
    assert_eq!(error.path(), Some(path));
}

/// Asserts that iterations over a view end with a fault at element `gone`, at the file offset `offset`.
fn walks_end<T: Sample>(
    view: View<'_, T>,
    gone: usize,
    offset: usize,
    path: &Path,
    expected: &[T],
) {
    let good = &expected[..gone];
    let items: Vec<_> = view.iter().collect();
    assert_eq!(items.len(), gone + 1, "the error is the last item");
    assert!(items[..gone].iter().zip(good).all(|(item, value)| item.as_ref().unwrap() == value));
    is_fault(items[gone].as_ref().unwrap_err(), path, offset);

    let mut iter = view.iter();
    assert_eq!(iter.by_ref().filter(Result::is_ok).count(), gone);
    assert!(iter.next().is_none() && iter.next().is_none(), "an iterator that ended stays so");

    let (values, errors) =
        view.iter().fold((Vec::new(), Vec::new()), |(mut good, mut bad), item| {
            match item {
                Ok(value) => good.push(value),
                Err(error) => bad.push(error),
            }
            (good, bad)
        });
    assert_eq!(values, good);
    assert_eq!(errors.len(), 1);
    is_fault(&errors[0], path, offset);

    let mut iter = view.iter();
    let mut count = 0;
    let error = iter.try_fold((), |(), item| item.map(|_| count += 1)).unwrap_err();
    assert_eq!(count, gone);
    is_fault(&error, path, offset);
    assert!(iter.next().is_none());

    values_end(view, gone, offset, path, good);

    blocks_end::<T, 1>(view, gone, offset, path, expected);
    blocks_end::<T, 5>(view, gone, offset, path, expected);
    blocks_end::<T, 32>(view, gone, offset, path, expected);

    let error = view.to_vec().unwrap_err();
    is_fault(&error, path, offset);
    assert_eq!(error.completed(), Some(gone));
    is_fault(&view.get(gone).unwrap_err(), path, offset);
    assert_eq!(view.get(gone - 1).unwrap(), expected[gone - 1]);
}

/// Asserts that `values` returns the fault if the iterator arrives at it, and otherwise the result.
fn values_end<T: Sample>(view: View<'_, T>, gone: usize, offset: usize, path: &Path, good: &[T]) {
    let mut seen = Vec::new();
    let error = view.values(|values| seen.extend(values)).unwrap_err();
    assert_eq!(seen, good, "what came before the fault stays done");
    is_fault(&error, path, offset);

    seen.clear();
    let error = view.values(|mut values| {
        for value in values.by_ref() {
            seen.push(value);
        }
        assert!(values.next().is_none() && values.next().is_none(), "what ended stays so");
    });
    assert_eq!(seen, good);
    is_fault(&error.unwrap_err(), path, offset);

    for early in [0, 1, 33, gone - 1].into_iter().filter(|early| *early < gone) {
        // A fold after a part of the elements that were copied ahead.
        let error = view.values(|mut values| {
            let head = values.by_ref().take(early).count();
            head + values.fold(0, |count, _| count + 1)
        });
        is_fault(&error.unwrap_err(), path, offset);
        let found = view.values(|mut values| values.nth(early)).unwrap();
        assert_eq!(found.as_ref(), good.get(early), "the fault was not reached");
        let taken = view.values(|values| values.take(early).count()).unwrap();
        assert_eq!(taken, early.min(gone));
    }
    assert_eq!(view.values(|values| values.take(gone).count()).unwrap(), gone);
    is_fault(&view.values(|mut values| values.nth(gone)).unwrap_err(), path, offset);
}

/// Asserts that iteration by blocks returns all complete blocks, and reports the fault exactly.
fn blocks_end<T: Sample, const N: usize>(
    view: View<'_, T>,
    gone: usize,
    offset: usize,
    path: &Path,
    expected: &[T],
) {
    let mut blocks = view.blocks::<N>();
    let remainder = blocks.remainder();
    let mut whole = Vec::new();
    let error = loop {
        match blocks.next() {
            Some(Ok(block)) => whole.extend(block),
            Some(Err(error)) => break Some(error),
            None => break None,
        }
    };
    assert!(blocks.next().is_none());
    if gone < view.len() - view.len() % N {
        assert_eq!(whole, expected[..gone - gone % N], "blocks of {N}");
        is_fault(&error.unwrap(), path, offset);
        let error = view.blocks::<N>().try_fold(0, |count, block| block.map(|_| count + 1));
        is_fault(&error.unwrap_err(), path, offset);
        let mut errors = Vec::new();
        view.blocks::<N>().for_each(|block| errors.extend(block.err()));
        assert_eq!(errors.len(), 1, "the error is the last item");
        is_fault(&errors[0], path, offset);
    } else {
        assert!(error.is_none());
        let rest: Vec<_> = remainder.iter().collect();
        is_fault(rest.last().unwrap().as_ref().unwrap_err(), path, offset);
    }
}

fn elements<T: Sample>(bytes: &[u8], at: usize) -> Vec<T> {
    let count = (bytes.len() - at) / size_of::<T>();
    let bytes = &bytes[at..at + count * size_of::<T>()];
    bytes.chunks_exact(size_of::<T>()).map(|bytes| T::try_read_from_bytes(bytes).unwrap()).collect()
}

#[test]
fn walks_over_bytes() {
    let Cut { _dir, path, map, before } = cut();
    for start in [0, 1, 77, boundary() - 1, boundary() - 300] {
        let view = map.bytes().subview(start..).unwrap();
        walks_end(*view, boundary() - start, boundary(), &path, &before[start..]);
    }
}

#[test]
fn walks_over_words() {
    let Cut { _dir, path, map, before } = cut();
    for start in [0, 8, boundary() - 8 * 33] {
        let view = map.view_at::<u64>(start, (map.len() - start) / 8).unwrap();
        let gone = (boundary() - start) / 8;
        walks_end(*view, gone, boundary(), &path, &elements::<u64>(&before, start));
    }
    let view = *map.view::<u128>().unwrap();
    walks_end(view, boundary() / 16, boundary(), &path, &elements::<u128>(&before, 0));
}

/// For an element that crosses the boundary, the fault's offset is the boundary, within the element.
#[test]
fn walks_over_elements_across_the_end() {
    let Cut { _dir, path, map, before } = cut();
    for start in [1, 2, 3] {
        let count = (map.len() - start) / 4;
        let view = map.view_at::<big_endian::U32>(start, count).unwrap();
        let gone = (boundary() - start) / 4;
        let expected = elements::<big_endian::U32>(&before, start);
        walks_end(*view, gone, boundary(), &path, &expected);
    }
    for start in [0, 100, 255] {
        let count = (map.len() - start) / 300;
        let view = map.view_at::<[u8; 300]>(start, count).unwrap();
        let gone = (boundary() - start) / 300;
        let expected = elements::<[u8; 300]>(&before, start);
        walks_end(*view, gone, boundary(), &path, &expected);
    }
}

/// Reads of every length around the boundary report exact counts, and leave the rest of the buffer
/// unchanged.
#[test]
fn reads_count_exactly() {
    let Cut { _dir, path, map, before } = cut();
    let (view, end) = (map.bytes(), boundary());
    let lengths = (1..140).chain([200, 255, 256, 257, 511, 512, 1000, 4096, 8000]);
    for len in lengths {
        for good in [0, 1, 2, 15, 16, 17, 63, 64, 65, 100, 127, 128, 200, 500, 4000] {
            if good >= len {
                continue;
            }
            let mut out = vec![0xee; len];
            let error = view.read_at(end - good, &mut out).unwrap_err();
            is_fault(&error, &path, end);
            assert_eq!(error.completed(), Some(good));
            assert_eq!(out[..good], before[end - good..end]);
            assert!(out[good..].iter().all(|&byte| byte == 0xee), "{good} of {len} bytes");
        }
        let start = end - len;
        let mut out = vec![0; len];
        view.read_at(start, &mut out).unwrap();
        assert_eq!(out, before[start..end]);
    }
}

#[test]
fn reads_of_wider_elements_count_whole_ones() {
    let Cut { _dir, path, map, before } = cut();
    let count = (map.len() - 3) / 4;
    let view = map.view_at::<big_endian::U32>(3, count).unwrap();
    let expected = elements::<big_endian::U32>(&before, 3);
    let blank = big_endian::U32::new(0xeeee_eeee);
    for (first, len) in [(0, count), (2000, 100), (2040, 10), (2046, 3), (2047, 1)] {
        let good = ((boundary() - 3) / 4).saturating_sub(first);
        if good >= len {
            continue;
        }
        let mut out = vec![blank; len];
        let error = view.read_at(first, &mut out).unwrap_err();
        is_fault(&error, &path, boundary().max(3 + first * 4));
        assert_eq!(error.completed(), Some(good));
        assert_eq!(out[..good], expected[first..first + good]);
        assert!(out[good + 1..].iter().all(|value| *value == blank));
    }
}

#[test]
fn writes_count_exactly() {
    let Cut { _dir, path, map, before } = cut();
    let (view, end) = (map.bytes(), boundary());
    let file_len = std::fs::metadata(&path).unwrap().len();
    for len in (1..140).chain([200, 255, 256, 257, 511, 512, 1000, 4096, 8000]) {
        for good in [0, 1, 2, 15, 16, 17, 63, 64, 65, 100, 127, 128, 200, 500, 4000] {
            if good >= len {
                continue;
            }
            view.write_at(0, &before[..end]).unwrap();
            let values = vec![0xdd; len];
            let error = view.write_at(end - good, &values).unwrap_err();
            is_fault(&error, &path, end);
            assert_eq!(error.completed(), Some(good));
            let mut now = vec![0; end];
            view.read_at(0, &mut now).unwrap();
            assert!(now[end - good..].iter().all(|&byte| byte == 0xdd), "{good} of {len} bytes");
            assert!(now[..end - good] == before[..end - good]);
        }
    }
    assert_eq!(std::fs::metadata(&path).unwrap().len(), file_len, "nothing grew");
}

#[test]
fn single_elements() {
    let Cut { _dir, path, map, before } = cut();
    let view = map.view::<u32>().unwrap();
    let gone = boundary() / 4;
    for index in [gone, gone + 1, gone + 1025, view.len() - 1] {
        is_fault(&view.get(index).unwrap_err(), &path, index * 4);
        is_fault(&view.set(index, 1).unwrap_err(), &path, index * 4);
        is_fault(&view.swap(0, index).unwrap_err(), &path, index * 4);
        is_fault(&view.swap(index, 0).unwrap_err(), &path, index * 4);
    }
    assert_eq!(view.get(0).unwrap(), elements::<u32>(&before, 0)[0], "no half of a swap");
    is_fault(&view.last().unwrap_err(), &path, map.len() - 4);
    assert_eq!(view.iter().nth(gone - 1).unwrap().unwrap(), view.get(gone - 1).unwrap());
    is_fault(&view.iter().nth(gone + 7).unwrap().unwrap_err(), &path, (gone + 7) * 4);
}

#[test]
fn searches_and_moves() {
    let Cut { _dir, path, map, before } = cut();
    let (view, end) = (map.bytes(), boundary());
    let missing = 0;
    is_fault(&view.find(missing).unwrap_err(), &path, end);
    is_fault(&view.count(missing).unwrap_err(), &path, end);
    is_fault(&view.find_bytes(&[missing, 1]).unwrap_err(), &path, end);
    is_fault(&view.find_bytes(&before[end - 3..end + 1]).unwrap_err(), &path, end);
    let last = &before[end - 200..end];
    assert_eq!(view.find_bytes(last).unwrap(), before.windows(200).position(|part| part == last));
    assert_eq!(view.find(before[0]).unwrap(), Some(0), "found before the fault");
    assert_eq!(view.subview(end - 1..).unwrap().find(before[end - 1]).unwrap(), Some(0));
    let words = map.view::<u64>().unwrap();
    is_fault(&words.find(0).unwrap_err(), &path, end);
    is_fault(&words.count(0).unwrap_err(), &path, end);
    is_fault(&words.sort().unwrap_err(), &path, end);
    let halves = words.binary_search_by(|_| std::cmp::Ordering::Greater);
    is_fault(&halves.unwrap_err(), &path, map.len() / 2);

    let error = view.fill(9).unwrap_err();
    is_fault(&error, &path, end);
    assert_eq!(error.completed(), Some(end));
    assert_eq!(view.subview(..end).unwrap().count(9).unwrap(), end);

    // Copies from the missing pages, into them, and across the boundary.
    is_fault(&view.copy_within(end - 10..end + 10, 0).unwrap_err(), &path, end);
    is_fault(&view.copy_within(0..20, end - 10).unwrap_err(), &path, end);
    is_fault(&view.copy_within(end..end + 1, 0).unwrap_err(), &path, end);
    is_fault(&view.copy_within(0..1, end + 5).unwrap_err(), &path, end + 5);
    let other = MappingMut::anonymous(map.len()).unwrap();
    is_fault(&view.copy_from(&other.bytes()).unwrap_err(), &path, end);
    is_fault(&other.bytes().copy_from(&view).unwrap_err(), &path, end);
    assert_eq!(other.bytes().subview(..end).unwrap().count(9).unwrap(), 0, "zeros were copied");
}

#[test]
fn atomics() {
    let Cut { _dir, path, map, .. } = cut();
    if map.recovery() == Recovery::Syscall {
        skip!("no atomics where accesses are system calls");
    }
    let index = boundary() / 8 + 3;
    let offset = index * 8;
    let order = Ordering::SeqCst;
    let view = map.view::<u64>().unwrap();
    let word = view.atomic(index).unwrap();
    is_fault(&word.load(order).unwrap_err(), &path, offset);
    is_fault(&view.atomic_load(index, order).unwrap_err(), &path, offset);
    for order in [Ordering::Relaxed, Ordering::Release, Ordering::SeqCst] {
        is_fault(&word.store(1, order).unwrap_err(), &path, offset);
    }
    is_fault(&word.swap(1, order).unwrap_err(), &path, offset);
    is_fault(&word.compare_exchange(0, 1, order, order).unwrap_err(), &path, offset);
    is_fault(&word.fetch_add(1, order).unwrap_err(), &path, offset);
    is_fault(&word.fetch_sub(1, order).unwrap_err(), &path, offset);
    is_fault(&word.fetch_or(1, order).unwrap_err(), &path, offset);
    is_fault(&word.fetch_and(1, order).unwrap_err(), &path, offset);
    is_fault(&word.fetch_xor(1, order).unwrap_err(), &path, offset);
    let update = word.fetch_update(order, |_| panic!("there is no value to change"));
    is_fault(&update.unwrap_err(), &path, offset);
    let halves = map.view::<i32>().unwrap();
    let half = halves.atomic(2 * index + 1).unwrap();
    is_fault(&half.fetch_add(1, order).unwrap_err(), &path, offset + 4);
    is_fault(&half.fetch_xor(1, order).unwrap_err(), &path, offset + 4);
    view.atomic(index - 4).unwrap().fetch_add(1, order).unwrap();
}

/// A fault's offset is one in the file, wherever the mapping begins.
#[test]
fn offsets_are_those_of_the_file() {
    let dir = TempDir::new();
    let before = contents();
    let path = dir.file("a", &before);
    let start = page_size() + 3;
    let map = MapOptions::new().offset(start as u64).open_cow(&path).unwrap();
    if !truncate(&path) {
        return;
    }
    let view = map.bytes();
    walks_end(*view, boundary() - start, boundary(), &path, &before[start..]);
    is_fault(&view.get(4 * page_size()).unwrap_err(), &path, start + 4 * page_size());
    is_fault(&view.set(4 * page_size(), 1).unwrap_err(), &path, start + 4 * page_size());
}

#[test]
fn after_remap_everything_works_again() {
    let Cut { _dir, path, mut map, before } = cut();
    if std::fs::metadata(&path).unwrap().len() > boundary() as u64 {
        skip!("the file was not truncated, so a new mapping is the same");
    }
    let page = page_size();
    is_fault(&map.bytes().to_vec().unwrap_err(), &path, boundary());
    assert!(!map.is_current().unwrap());
    map.remap().unwrap();
    assert!(map.is_current().unwrap());
    assert_eq!(map.len(), boundary());
    assert_eq!(map.bytes().to_vec().unwrap(), before[..boundary()]);
    assert_eq!(map.bytes().get(boundary()).unwrap_err().kind(), ErrorKind::OutOfBounds);
    std::fs::write(&path, &before).unwrap();
    map.remap().unwrap();
    assert_eq!(map.bytes().to_vec().unwrap(), before);
    map.bytes().set(5 * page, 1).unwrap();
    map.flush().unwrap();
    assert_eq!(std::fs::read(&path).unwrap()[5 * page], 1);
}

/// Read-only and private mappings fault in the same way.
#[test]
fn other_kinds_of_mapping() {
    let dir = TempDir::new();
    let before = contents();
    let path = dir.file("a", &before);
    let map = Mapping::open(&path).unwrap();
    let private = MappingCow::open(&path).unwrap();
    private.bytes().fill(7).unwrap();
    if !truncate(&path) {
        return;
    }
    walks_end(map.bytes(), boundary(), boundary(), &path, &before);
    walks_end(*private.bytes(), boundary(), boundary(), &path, &vec![7; before.len()]);
    assert_eq!(std::fs::read(&path).unwrap(), before[..boundary()]);
}

/// Access to protected pages is a fault, and works again once the protection is lifted.
#[test]
fn protected_pages() {
    let page = page_size();
    let map = MappingMut::anonymous(4 * page).unwrap();
    let values = samples::<u64>(0, 4 * page / 8);
    let view = map.view::<u64>().unwrap();
    view.write_at(0, &values).unwrap();
    map.protect(page..2 * page, Protection::None).unwrap();
    let fault = |error: Error, offset: usize| {
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Fault, Some(offset as u64)));
    };
    fault(view.get(page / 8).unwrap_err(), page);
    fault(view.to_vec().unwrap_err(), page);
    fault(view.find(1 << 63 | 1).unwrap_err(), page);
    assert_eq!(view.get(2 * page / 8).unwrap(), values[2 * page / 8]);
    map.protect(page..2 * page, Protection::Read).unwrap();
    assert_eq!(view.to_vec().unwrap(), values);
    fault(view.set(page / 8, 1).unwrap_err(), page);
    let error = view.write_at(0, &values).unwrap_err();
    assert_eq!(error.completed(), Some(page / 8));
    fault(error, page);
    map.protect(.., Protection::ReadWrite).unwrap();
    view.fill(1).unwrap();
}
