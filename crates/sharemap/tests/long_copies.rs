//! Copies long enough for string instructions, with an inaccessible page in the middle.

use sharemap::{ErrorKind, MappingMut, Protection, page_size};

const PAGES: usize = 64;
const GONE: usize = 40;
const STARTS: [usize; 6] = [0, 1, 8, 77, 4095, 10_000];

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index * 7 + index / 251) as u8 | 1).collect()
}

fn mapping() -> (MappingMut, Vec<u8>) {
    let before = pattern(PAGES * page_size());
    let map = MappingMut::anonymous(before.len()).unwrap();
    // The first long copies of a process determine which instructions are used.
    for _ in 0..2 {
        map.bytes().write_at(0, &before).unwrap();
        assert!(map.bytes().to_vec().unwrap() == before);
    }
    (map, before)
}

/// A long read that faults completes exactly up to the inaccessible page.
#[test]
fn reads_end_at_the_exact_byte() {
    let (map, before) = mapping();
    let gone = GONE * page_size();
    map.protect(gone..gone + page_size(), Protection::None).unwrap();
    for start in STARTS {
        let mut out = vec![0; before.len() - start];
        let error = map.bytes().read_at(start, &mut out).unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Fault, Some(gone as u64)));
        assert_eq!(error.completed(), Some(gone - start), "from {start}");
        assert!(out[..gone - start] == before[start..gone]);
        assert!(out[gone - start..].iter().all(|byte| *byte == 0), "from {start}");
    }
    map.protect(gone..gone + page_size(), Protection::ReadWrite).unwrap();
    assert!(map.bytes().to_vec().unwrap() == before);
}

/// A long write that faults reports how much it completed, and writes nothing past the fault.
#[test]
fn writes_end_at_the_exact_byte() {
    let gone = GONE * page_size();
    for start in STARTS {
        let (map, before) = mapping();
        map.protect(gone..gone + page_size(), Protection::Read).unwrap();
        let zeros = vec![0; before.len() - start];
        let error = map.bytes().write_at(start, &zeros).unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Fault, Some(gone as u64)));
        let done = error.completed().unwrap();
        assert!(done <= gone - start, "from {start}");
        if cfg!(target_arch = "x86_64") {
            assert_eq!(done, gone - start, "from {start}");
        }
        let after = map.bytes().to_vec().unwrap();
        assert!(after[..start] == before[..start]);
        assert!(after[start..start + done].iter().all(|byte| *byte == 0));
        assert!(after[gone..] == before[gone..], "from {start}");
    }
}

/// A long read of a truncated file completes exactly up to its end.
#[test]
fn a_file_cut_short_ends_a_long_read() {
    let path = std::env::temp_dir().join(format!("sharemap-long-{}", std::process::id()));
    let before = pattern(PAGES * page_size());
    std::fs::write(&path, &before).unwrap();
    let map = MappingMut::open(&path).unwrap();
    let mut out = vec![0; before.len()];
    map.bytes().read_at(0, &mut out).unwrap();
    let gone = GONE * page_size();
    let cut = std::fs::File::options().write(true).open(&path).unwrap().set_len(gone as u64);
    let result = map.bytes().read_at(0, &mut out);
    drop(map);
    std::fs::remove_file(&path).unwrap();
    match cut {
        Ok(()) => assert_eq!(result.unwrap_err().completed(), Some(gone)),
        Err(error) => {
            eprintln!("skipped: this system does not cut a mapped file short: {error}");
        }
    }
}
