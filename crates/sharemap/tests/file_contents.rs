//! The contents of whole files, mapped or read, including files that can only be read.

mod common;

use std::io::{Read, Seek, SeekFrom, Write};
#[cfg(target_os = "linux")]
use std::path::Path;

use common::{TempDir, pattern};
use sharemap::{ErrorKind, FileContents, FileContentsOptions};

/// Asserts that every accessor returns the expected contents.
#[track_caller]
fn check(contents: &FileContents, expected: &[u8]) {
    assert_eq!(contents.len(), expected.len());
    assert!(contents.to_vec().unwrap() == expected);
    assert!(contents.bytes().to_vec().unwrap() == expected);
    let mut read = Vec::new();
    contents.bytes().reader().read_to_end(&mut read).unwrap();
    assert!(read == expected);
}

/// Small files are read and large ones mapped, by path and by descriptor. The position of a
/// descriptor has no effect and does not change.
#[test]
fn descriptors_yield_the_whole_file() {
    let dir = TempDir::new();
    for len in [0, 1, 4096, 100_000, 262_144, 262_145, 1_500_000] {
        let expected = pattern(len);
        let path = dir.file("a", &expected);
        let contents = FileContents::open(&path).unwrap();
        assert_eq!(contents.path(), Some(path.as_path()));
        assert_eq!(contents.is_mapped(), len > 256 << 10);
        check(&contents, &expected);
        let mut file = std::fs::File::open(&path).unwrap();
        file.seek(SeekFrom::Start(7)).unwrap();
        let contents = FileContents::from_file(&file).unwrap();
        assert_eq!(contents.path(), None);
        assert_eq!(contents.is_mapped(), len > 256 << 10);
        check(&contents, &expected);
        if cfg!(unix) {
            assert_eq!(file.stream_position().unwrap(), 7);
        }
        let error = format!("{:?}", FileContents::options());
        assert!(error.contains("read_limit"), "{error}");
    }
}

/// The read limit does not apply to files that can be mapped.
#[test]
fn mapped_files_have_no_limit() {
    let dir = TempDir::new();
    for len in [0, 1000, 1_500_000] {
        let path = dir.file("a", pattern(len));
        check(&FileContents::options().read_limit(0).open(&path).unwrap(), &pattern(len));
    }
    assert_eq!(FileContentsOptions::DEFAULT_READ_LIMIT, 256 << 20);
}

/// A pipe is read until its writer closes it, or until the limit is exceeded.
#[test]
fn a_pipe_is_read_until_it_is_closed() {
    let expected = pattern(1_000_000);
    let piped = |limit: u64| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        std::thread::scope(|scope| {
            // A reader that exceeded the limit closes the pipe early.
            scope.spawn(|| {
                let _ = writer.write_all(&expected);
                drop(writer);
            });
            let contents = FileContents::options().read_limit(limit).from_file(&reader);
            drop(reader);
            contents
        })
    };
    for limit in [u64::MAX, 1_000_001, 1_000_000] {
        let contents = piped(limit).unwrap();
        assert!(!contents.is_mapped());
        check(&contents, &expected);
    }
    for limit in [999_999, 65_536, 1, 0] {
        let error = piped(limit).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::AsRawFd;

    use super::common::skip;
    use super::*;
    use sharemap::{MapOptions, Mapping, MappingMut, SlidingWindow};

    /// Files of procfs, which report no length, are read to their end.
    #[test]
    fn files_of_procfs_are_read_to_their_end() {
        let contents = FileContents::open("/proc/self/status").unwrap();
        assert!(contents.len() > 100);
        assert!(contents.bytes().find_bytes(b"VmLck").unwrap().is_some());
        let file = std::fs::File::open("/proc/self/status").unwrap();
        let contents = FileContents::from_file(&file).unwrap();
        assert!(contents.bytes().find_bytes(b"VmLck").unwrap().is_some());
        check(
            &FileContents::open("/proc/version").unwrap(),
            &std::fs::read("/proc/version").unwrap(),
        );
    }

    /// Mapping a file without a length is unsupported and the message names `FileContents`; an
    /// empty mapping would hide the contents.
    #[test]
    fn a_file_without_a_length_cannot_be_mapped() {
        let file = std::fs::File::open("/proc/self/status").unwrap();
        for error in [
            Mapping::open("/proc/self/status").unwrap_err(),
            Mapping::map(&file).unwrap_err(),
            MapOptions::new().len(10).open("/proc/self/status").unwrap_err(),
            MapOptions::new().open_cow("/proc/self/status").unwrap_err(),
            MappingMut::open("/proc/self/comm").unwrap_err(),
            SlidingWindow::open("/proc/self/status", 4096).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(error.to_string().contains("FileContents"), "{error}");
        }
        let error = Mapping::open("/proc/self/status").unwrap_err();
        assert_eq!(error.path(), Some(Path::new("/proc/self/status")));
    }

    /// Files that report a length but cannot be mapped are read.
    #[test]
    fn files_that_cannot_be_mapped_are_read() {
        for path in ["/sys/kernel/btf/vmlinux", "/sys/kernel/notes"] {
            let expected = match std::fs::read(path) {
                Ok(expected) => expected,
                Err(error) => {
                    eprintln!("skipped: no {path} here: {error}");
                    continue;
                }
            };
            check(&FileContents::open(path).unwrap(), &expected);
            let file = std::fs::File::open(path).unwrap();
            check(&FileContents::from_file(&file).unwrap(), &expected);
            if Mapping::open(path).is_ok() {
                eprintln!("skipped: this kernel maps {path}");
            } else if expected.len() > 256 << 10 {
                let limit = expected.len() as u64;
                check(&FileContents::options().read_limit(limit).open(path).unwrap(), &expected);
                let limited = FileContents::options().read_limit(limit - 1).open(path);
                let error = limited.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
                assert_eq!(error.length(), Some(limit));
            }
        }
        check(&FileContents::open("/dev/null").unwrap(), &[]);
        // Attributes of sysfs report a page and contain less.
        let Ok(expected) = std::fs::read("/sys/kernel/mm/transparent_hugepage/enabled") else {
            skip!("no attribute of sysfs here");
        };
        check(
            &FileContents::open("/sys/kernel/mm/transparent_hugepage/enabled").unwrap(),
            &expected,
        );
    }

    /// Endless files fail at the limit, with an error that names the limit and the option.
    #[test]
    fn endless_files_fail_at_the_limit() {
        for path in ["/dev/zero", "/dev/urandom", "/proc/self/pagemap"] {
            for limit in [0, 1, 4096, 1_000_000] {
                let error = FileContents::options().read_limit(limit).open(path).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
                assert_eq!(error.path(), Some(Path::new(path)));
                let text = error.to_string();
                for word in [path, &limit.to_string(), "read_limit"] {
                    assert!(text.contains(word), "{word:?} is not in {text:?}");
                }
            }
        }
        let error = FileContents::open("/dev/zero").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
        assert!(error.to_string().contains("268435456"), "{error}");
    }

    /// The path of a pipe is read until its writer closes it.
    #[test]
    fn pipes_by_path_wait_for_their_writer() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
        let expected = pattern(300_000);
        let contents = std::thread::scope(|scope| {
            scope.spawn(|| {
                writer.write_all(&expected).unwrap();
                drop(writer);
            });
            FileContents::open(&path).unwrap()
        });
        check(&contents, &expected);
    }
}
