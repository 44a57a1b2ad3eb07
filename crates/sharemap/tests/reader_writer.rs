//! `Reader` and `Writer`, compared with `std::io::Cursor`, and their errors after truncations.

mod common;
#[path = "common/random.rs"]
mod random;

use std::fs::File;
use std::io::{BufRead, Cursor, ErrorKind as IoErrorKind, Read, Seek, SeekFrom, Write};

use common::{TempDir, child, passes, pattern, role};
use proptest::collection::vec;
use proptest::prelude::*;
use random::check;
use sharemap::{Error, ErrorKind, MapOptions, Mapping, MappingMut, Reader, page_size};

#[derive(Clone, Debug)]
enum Step {
    Read(usize),
    ReadExact(usize),
    ReadToEnd,
    Take(usize),
    Consume(usize),
    ReadUntil(u8),
    SkipUntil(u8),
    Seek(SeekFrom),
    SeekRelative(i64),
    Rewind,
}

fn seek(len: i64) -> impl Strategy<Value = SeekFrom> {
    prop_oneof![
        4 => (0..len + 10).prop_map(|to| SeekFrom::Start(to as u64)),
        4 => (-len - 10..10).prop_map(SeekFrom::End),
        4 => (-len..len).prop_map(SeekFrom::Current),
        1 => prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(-1)].prop_map(SeekFrom::Current),
        1 => prop_oneof![Just(i64::MIN), Just(-1 - len)].prop_map(SeekFrom::End),
    ]
}

fn reading(len: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..len / 4).prop_map(Step::Read),
        1 => (60_000usize..140_000).prop_map(Step::Read),
        1 => (8180usize..8200).prop_map(Step::Read),
        2 => (0..len / 4).prop_map(Step::ReadExact),
        1 => Just(Step::ReadToEnd),
        2 => (0..len).prop_map(Step::Take),
        2 => (0..200usize).prop_map(Step::Consume),
        2 => any::<u8>().prop_map(Step::ReadUntil),
        1 => any::<u8>().prop_map(Step::SkipUntil),
        4 => seek(len as i64).prop_map(Step::Seek),
        2 => (-300i64..300).prop_map(Step::SeekRelative),
        1 => Just(Step::Rewind),
    ]
}

/// Reads until `len` bytes or the end. A single `read` may return less, and need not return as much
/// as the other stream.
fn fill(stream: &mut impl Read, len: usize) -> Vec<u8> {
    let mut out = vec![0xee; len];
    let mut done = 0;
    while done < len {
        match stream.read(&mut out[done..]).unwrap() {
            0 => break,
            count => done += count,
        }
    }
    out.truncate(done);
    out
}

fn same<A: PartialEq + std::fmt::Debug>(ours: std::io::Result<A>, theirs: std::io::Result<A>) {
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs),
        (Err(ours), Err(theirs)) => assert_eq!(ours.kind(), theirs.kind(), "{ours}"),
        (ours, theirs) => panic!("{ours:?} and {theirs:?}"),
    }
}

/// Seeks both streams. On 32-bit systems, a position beyond `usize` must be rejected as `Overflow`.
fn seek_both(to: SeekFrom, ours: &mut impl Seek, theirs: &mut impl Seek) {
    let before = theirs.stream_position().unwrap();
    match theirs.seek(to) {
        Ok(position) if usize::try_from(position).is_err() => {
            let error = Error::from(ours.seek(to).unwrap_err());
            assert_eq!(error.kind(), ErrorKind::Overflow, "{error}");
            theirs.seek(SeekFrom::Start(before)).unwrap();
        }
        result => same(ours.seek(to), result),
    }
}

/// Runs a step on both streams, and asserts that their positions agree afterwards.
fn read_step(step: &Step, ours: &mut Reader<'_>, theirs: &mut Cursor<&[u8]>) {
    match *step {
        Step::Read(len) => assert_eq!(fill(ours, len), fill(theirs, len)),
        Step::ReadExact(len) => {
            let (mut a, mut b) = (vec![0; len], vec![0; len]);
            let (ours_result, result) = (ours.read_exact(&mut a), theirs.read_exact(&mut b));
            if result.is_ok() {
                assert_eq!(a, b);
            } else {
                // How much is consumed before this error is unspecified.
                ours.seek(SeekFrom::Start(theirs.position())).unwrap();
            }
            same(ours_result, result);
        }
        Step::ReadToEnd => {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            same(ours.read_to_end(&mut a), theirs.read_to_end(&mut b));
            assert!(a == b);
        }
        Step::Take(limit) => {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            same(
                ours.by_ref().take(limit as u64).read_to_end(&mut a),
                theirs.by_ref().take(limit as u64).read_to_end(&mut b),
            );
            assert!(a == b);
        }
        Step::Consume(wanted) => {
            let available = ours.fill_buf().unwrap();
            let count = available.len().min(wanted);
            let head = available[..count].to_vec();
            ours.consume(count);
            assert_eq!(head, theirs.fill_buf().unwrap()[..count]);
            theirs.consume(count);
        }
        Step::ReadUntil(byte) => {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            same(ours.read_until(byte, &mut a), theirs.read_until(byte, &mut b));
            assert_eq!(a, b);
        }
        Step::SkipUntil(byte) => same(ours.skip_until(byte), theirs.skip_until(byte)),
        Step::Seek(to) => seek_both(to, ours, theirs),
        Step::SeekRelative(by) => same(ours.seek_relative(by), theirs.seek_relative(by)),
        Step::Rewind => same(ours.rewind(), theirs.rewind()),
    }
    assert_eq!(ours.stream_position().unwrap(), theirs.position());
    assert_eq!(ours.position() as u64, theirs.position());
}

#[test]
fn readers_agree_with_cursors() {
    let dir = TempDir::new();
    for len in [0, 1, 100, 5000, 200_000] {
        let contents = pattern(len);
        let path = dir.file("a", &contents);
        let map = Mapping::open(&path).unwrap();
        let strategy = vec(reading(len.max(8)), 1..30);
        check(40, &strategy, |steps| {
            let mut ours = map.reader();
            let mut theirs = Cursor::new(&contents[..]);
            for step in &steps {
                read_step(step, &mut ours, &mut theirs);
            }
        });
    }
}

/// Positions of the reader of a subview are relative to the subview.
#[test]
fn readers_of_subviews() {
    let dir = TempDir::new();
    let contents = pattern(200_000);
    let path = dir.file("a", &contents);
    let map = MapOptions::new().offset(4097).len(150_000).open(&path).unwrap();
    let view = map.bytes().subview(1000..140_001).unwrap();
    let mut reader = view.reader();
    assert_eq!((reader.len(), reader.position()), (139_001, 0));
    assert!(!reader.is_empty());
    let mut all = Vec::new();
    reader.read_to_end(&mut all).unwrap();
    assert!(all == contents[5097..144_098]);
    assert_eq!(reader.position(), 139_001);
    assert_eq!(reader.read(&mut [0; 10]).unwrap(), 0);
    reader.seek(SeekFrom::End(-3)).unwrap();
    all.clear();
    reader.read_to_end(&mut all).unwrap();
    assert_eq!(all, contents[144_095..144_098]);
}

/// The adapters of `Read` and `BufRead` return what they return for a slice.
#[test]
fn adapters_of_the_standard_library() {
    let dir = TempDir::new();
    let text = "first\nsecond\r\n\nzwölf\nthe last";
    let path = dir.file("a", text);
    let map = Mapping::open(&path).unwrap();
    let lines: Vec<String> = map.reader().lines().map(|line| line.unwrap()).collect();
    assert_eq!(lines, text.lines().collect::<Vec<_>>());
    let parts: Vec<Vec<u8>> = map.reader().split(b'e').map(|part| part.unwrap()).collect();
    assert_eq!(parts, text.as_bytes().split(|&byte| byte == b'e').collect::<Vec<_>>());
    let mut all = String::new();
    map.reader().read_to_string(&mut all).unwrap();
    assert_eq!(all, text);
    assert_eq!(std::io::copy(&mut map.reader(), &mut std::io::sink()).unwrap(), text.len() as u64);
    assert!(map.reader().bytes().map(|byte| byte.unwrap()).eq(text.bytes()));
}

/// Lines that cross refills of the buffer are complete. Invalid UTF-8 is `InvalidData`.
#[test]
fn lines_across_refills() {
    let dir = TempDir::new();
    let text: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
    let path = dir.file("a", &text);
    let map = Mapping::open(&path).unwrap();
    assert!(map.reader().lines().map(|line| line.unwrap()).eq(text.lines()));
    let bytes = Mapping::open(&path).unwrap();
    let invalid = MappingMut::anonymous(10).unwrap();
    invalid.bytes().fill(0xff).unwrap();
    let error = invalid.reader().lines().next().unwrap().unwrap_err();
    assert_eq!(error.kind(), IoErrorKind::InvalidData);
    bytes.close().unwrap();
}

/// Truncates a mapped file. Returns `false` if the system forbids it.
fn cut(path: &std::path::Path, len: usize) -> bool {
    match File::options().write(true).open(path).unwrap().set_len(len as u64) {
        Ok(()) => true,
        Err(error) if cfg!(windows) => {
            eprintln!("skipped: this system does not truncate a mapped file: {error}");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// Reading a file that shrank between two refills fails at its new end, exact to the byte. The zeros
/// of its last page are not read.
#[test]
fn reading_a_truncated_file_fails_at_its_new_end() {
    let dir = TempDir::new();
    let contents: Vec<u8> = pattern(400_000).into_iter().map(|byte| byte | 1).collect();
    for end in [0, 1, 65_535, 65_536, 65_537, 100_000, 3 * page_size(), 399_999] {
        for piece in [1 << 12, 8191, 1 << 13, 1 << 16, 1 << 20] {
            let path = dir.file("a", &contents);
            let map = Mapping::open(&path).unwrap();
            let mut reader = map.reader();
            let mut seen = vec![0; 10];
            reader.read_exact(&mut seen).unwrap();
            if !cut(&path, end) {
                return;
            }
            let mut out = vec![0; piece];
            let error = loop {
                match reader.read(&mut out) {
                    Ok(0) => panic!("the end of the file is not the end of the view"),
                    Ok(count) => seen.extend_from_slice(&out[..count]),
                    Err(error) => break Error::from(error),
                }
            };
            // Bytes that were buffered before the truncation are still returned.
            let good = end.max(65_536);
            assert!(seen == contents[..good], "{} of {good} bytes", seen.len());
            assert_eq!(error.kind(), ErrorKind::Fault);
            assert_eq!(error.offset(), Some(good as u64));
            assert_eq!(error.path(), Some(path.as_path()));
            assert_eq!(reader.position(), good, "the error consumes nothing");
            let again = Error::from(reader.read(&mut out).unwrap_err());
            assert_eq!((again.kind(), again.offset()), (ErrorKind::Fault, Some(good as u64)));
            // The reader continues once the file is as long as before.
            std::fs::write(&path, &contents).unwrap();
            let mut rest = Vec::new();
            reader.read_to_end(&mut rest).unwrap();
            assert!(rest == contents[good..]);
        }
    }
}

/// `seek` discards the buffer, so a reader sees what another process has written. `seek_relative` and
/// `stream_position` keep it.
#[test]
fn seeking_discards_the_buffer() {
    const TEST: &str = "seeking_discards_the_buffer";
    if let Some(path) = role(TEST) {
        let map = MappingMut::open(path).unwrap();
        let number = map.bytes().get(1000).unwrap();
        map.bytes().set(1000, number + 1).unwrap();
        return;
    }
    let dir = TempDir::new();
    let path = dir.file("a", vec![0; 200_000]);
    let map = Mapping::open(&path).unwrap();
    let mut reader = map.reader();
    reader.seek(SeekFrom::Start(1000)).unwrap();
    let mut next = |to: Option<SeekFrom>| {
        match to {
            Some(to) => assert_eq!(reader.seek(to).unwrap(), 1000),
            None => reader.seek_relative(-1).unwrap(),
        }
        let mut byte = [0];
        reader.read_exact(&mut byte).unwrap();
        assert_eq!(reader.stream_position().unwrap(), 1001);
        byte[0]
    };
    assert_eq!(next(Some(SeekFrom::Start(1000))), 0);
    let polls = [SeekFrom::Start(1000), SeekFrom::Current(-1), SeekFrom::End(1000 - 200_000)];
    for (written, to) in (1..).zip(polls) {
        if !passes(child(TEST, &path)) {
            return;
        }
        assert_eq!(next(None), written - 1, "the buffer is kept");
        assert_eq!(next(Some(to)), written, "{to:?}");
    }
}

/// A long read takes what is buffered first, and the rest from the memory as it is.
#[test]
fn long_reads_bypass_the_buffer() {
    let map = MappingMut::anonymous(200_000).unwrap();
    let mut reader = map.reader();
    for _ in 0..60 {
        reader.read_exact(&mut [0; 1000]).unwrap();
    }
    map.bytes().fill(7).unwrap();
    let mut out = vec![1; 8 << 10];
    let count = reader.read(&mut out).unwrap();
    assert!(out[..count].iter().all(|byte| *byte == 0), "buffered before they were written");
    assert_eq!(count, (64 << 10) - 60_000);
    assert_eq!(reader.read(&mut out).unwrap(), 8 << 10);
    assert!(out.iter().all(|byte| *byte == 7));
    map.bytes().fill(8).unwrap();
    reader.read_exact(&mut out[..100]).unwrap();
    assert!(out[..100].iter().all(|byte| *byte == 8), "a direct read buffers nothing");
    assert_eq!(reader.position(), (72 << 10) + 100);
}

/// After a truncation, a seek to a buffered position makes the next read fault. It does not return
/// the buffered bytes.
#[test]
fn reads_fault_after_a_truncation_and_a_seek() {
    let dir = TempDir::new();
    let contents = vec![7; 50_000];
    let path = dir.file("a", &contents);
    let map = Mapping::open(&path).unwrap();
    let mut reader = map.reader();
    reader.read_exact(&mut [0; 100]).unwrap();
    if !cut(&path, 0) {
        return;
    }
    let mut byte = [0];
    reader.seek_relative(900).unwrap();
    reader.read_exact(&mut byte).unwrap();
    assert_eq!(byte, [7], "buffered before the truncation");
    for to in [SeekFrom::Start(1000), SeekFrom::Current(0), SeekFrom::End(-49_000)] {
        reader.seek(to).unwrap();
        let error = Error::from(reader.read(&mut byte).unwrap_err());
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Fault, Some(1000)), "{to:?}");
    }
    reader.rewind().unwrap();
    let error = Error::from(reader.fill_buf().unwrap_err());
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Fault, Some(0)));
}

/// An `std::io::Error` of a reader converts back to the crate's error, with kind and offset.
#[test]
fn io_errors_convert_back_to_faults() {
    let dir = TempDir::new();
    let text = "a line of text\n".repeat(20_000);
    let path = dir.file("a", &text);
    let map = Mapping::open(&path).unwrap();
    if !cut(&path, 150_000) {
        return;
    }
    let count_lines = || -> sharemap::Result<usize> {
        let mut count = 0;
        for line in map.reader().lines() {
            assert_eq!(line?, "a line of text");
            count += 1;
        }
        Ok(count)
    };
    let error = count_lines().unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Fault, Some(150_000)));
    let mut all = Vec::new();
    let error = map.reader().read_to_end(&mut all).unwrap_err();
    assert_eq!(Error::from(error).offset(), Some(150_000));
    assert!(all == text.as_bytes()[..150_000], "all bytes before the fault are read");
}

#[derive(Clone, Debug)]
enum Put {
    Write(Vec<u8>),
    WriteAll(Vec<u8>),
    Seek(SeekFrom),
    Flush,
}

fn writing(len: usize) -> impl Strategy<Value = Put> {
    let bytes = || vec(any::<u8>(), 0..len / 3);
    prop_oneof![
        4 => bytes().prop_map(Put::Write),
        2 => bytes().prop_map(Put::WriteAll),
        3 => seek(len as i64).prop_map(Put::Seek),
        1 => Just(Put::Flush),
    ]
}

#[test]
fn writers_agree_with_cursors() {
    for len in [0, 1, 100, 5000] {
        check(60, &vec(writing(len.max(8)), 1..30), |steps| {
            let map = MappingMut::anonymous(len + 8).unwrap();
            let view = map.bytes().subview(4..4 + len).unwrap();
            let mut model = vec![0; len];
            let mut theirs = Cursor::new(&mut model[..]);
            let mut ours = view.writer();
            for step in &steps {
                match step {
                    Put::Write(bytes) => same(ours.write(bytes), theirs.write(bytes)),
                    Put::WriteAll(bytes) => same(ours.write_all(bytes), theirs.write_all(bytes)),
                    Put::Seek(to) => seek_both(*to, &mut ours, &mut theirs),
                    Put::Flush => same(ours.flush(), theirs.flush()),
                }
                assert_eq!(ours.stream_position().unwrap(), theirs.position());
                assert_eq!(ours.position() as u64, theirs.position());
            }
            assert_eq!(view.to_vec().unwrap(), model);
            assert_eq!(map.bytes().subview(..4).unwrap().count(0).unwrap(), 4);
            assert_eq!(map.bytes().subview(4 + len..).unwrap().count(0).unwrap(), 4);
        });
    }
}

/// A write across the end of a truncated file writes up to there, and the next one faults.
#[test]
fn writers_fault_at_the_end_of_a_truncated_file() {
    let dir = TempDir::new();
    let page = page_size();
    let path = dir.file("a", vec![1; 4 * page]);
    let map = MappingMut::open(&path).unwrap();
    if !cut(&path, 2 * page) {
        return;
    }
    let mut writer = map.writer();
    writer.seek(SeekFrom::Start(page as u64)).unwrap();
    assert_eq!(writer.write(&vec![2; 2 * page]).unwrap(), page, "the file has one page more");
    let error = Error::from(writer.write(&[3]).unwrap_err());
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Fault, Some(2 * page as u64)));
    assert_eq!(writer.position(), 2 * page);
    writer.seek(SeekFrom::Start(0)).unwrap();
    let error = Error::from(writer.write_all(&vec![4; 3 * page]).unwrap_err());
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Fault, Some(2 * page as u64)));
    assert_eq!(std::fs::read(&path).unwrap(), vec![4; 2 * page]);
}

/// `write!` works on a writer, and fails with `WriteZero` at the end of the view.
#[test]
fn formatted_writes() {
    let map = MappingMut::anonymous(32).unwrap();
    let mut writer = map.writer();
    write!(writer, "{} and more", 12).unwrap();
    writer.flush().unwrap();
    assert_eq!(map.bytes().subview(..11).unwrap().to_vec().unwrap(), b"12 and more");
    let error = write!(writer, "{}", "x".repeat(100)).unwrap_err();
    assert_eq!(error.kind(), IoErrorKind::WriteZero);
    assert_eq!(writer.position(), 32);
}
