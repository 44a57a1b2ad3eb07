//! The options of a mapping: creation, exclusive opening, growth, advice, huge pages.

mod common;

use std::fs::File;

use common::{TempDir, pattern, skip};
use sharemap::{Advice, ErrorKind, HugePages, MapOptions, Mapping, MappingMut, Result, page_size};

/// Unwraps the value, or prints why the system does not support it.
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

/// `create_new` creates a zeroed file and fails if it exists.
#[test]
fn create_new_fails_if_the_file_exists() {
    let dir = TempDir::new();
    let path = dir.join("a");
    let map = MappingMut::create_new(&path, 1000).unwrap();
    assert_eq!(map.bytes().count(0).unwrap(), 1000);
    map.bytes().set(0, 1).unwrap();
    let error = MappingMut::create_new(&path, 10).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(error.path(), Some(path.as_path()));
    drop(map);
    assert_eq!(std::fs::read(&path).unwrap().len(), 1000);
    assert_eq!(std::fs::read(&path).unwrap()[0], 1);
}

/// `create` empties an existing file and sets its length.
#[test]
fn create_empties_an_existing_file() {
    let dir = TempDir::new();
    let path = dir.join("a");
    for len in [1000, 3000, 0, 500] {
        let map = MappingMut::create(&path, len).unwrap();
        assert_eq!(map.len() as u64, len);
        assert_eq!(map.bytes().count(0).unwrap() as u64, len, "emptied");
        map.bytes().fill(9).unwrap();
        drop(map);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), len);
    }
}

/// `open_or_create` keeps the contents of an existing file and extends it if it is too short.
#[test]
fn open_or_create_keeps_the_contents() {
    let dir = TempDir::new();
    let path = dir.join("a");
    MappingMut::open_or_create(&path, 10).unwrap().bytes().fill(1).unwrap();
    let longer = MappingMut::open_or_create(&path, 20).unwrap();
    assert_eq!(longer.len(), 20);
    assert_eq!(longer.bytes().count(1).unwrap(), 10);
    drop(longer);
    let kept = MappingMut::open_or_create(&path, 5).unwrap();
    assert_eq!(kept.len(), 20, "a longer file is mapped whole");
}

/// A part of a new file can be mapped.
#[test]
fn a_part_of_a_new_file() {
    let dir = TempDir::new();
    let path = dir.join("a");
    let map = MapOptions::new().offset(5000).len(10).create_new(&path, 6000).unwrap();
    map.bytes().fill(3).unwrap();
    drop(map);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 6000);
    assert_eq!(bytes.iter().position(|&byte| byte == 3), Some(5000));
}

/// An exclusive opening fails while another one exists, and changes nothing.
#[test]
fn exclusive_openings_exclude_each_other() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(100));
    let exclusive = || MapOptions::new().exclusive();
    let held = exclusive().open_mut(&path).unwrap();
    assert_eq!(exclusive().open_mut(&path).unwrap_err().kind(), ErrorKind::Busy);
    let error = exclusive().create(&path, 10).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert_eq!(held.bytes().to_vec().unwrap(), pattern(100), "not emptied either");
    drop(held);
    exclusive().open_mut(&path).unwrap();
    let file = File::open(&path).unwrap();
    assert_eq!(exclusive().map(&file).unwrap_err().kind(), ErrorKind::Unsupported);
}

/// Without a file descriptor, operations that need one are unsupported and name the option, and all
/// others work.
#[test]
fn a_mapping_that_closed_its_file() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(3 * page_size()));
    let options = MapOptions::new().close_file().reserve(1 << 20);
    let mut map = options.open_mut(&path).unwrap();
    assert!(map.file().is_none());
    assert_eq!(map.path(), Some(path.as_path()));
    assert_eq!(map.bytes().to_vec().unwrap(), pattern(3 * page_size()));
    map.bytes().set(1, 200).unwrap();
    map.advise(Advice::Normal).unwrap();
    map.populate().unwrap();
    map.protect(..1, sharemap::Protection::Read).unwrap();
    assert_eq!(std::fs::read(&path).unwrap()[1], 200);
    let mut private = MapOptions::new().close_file().open_cow(&path).unwrap();
    private.populate().unwrap();
    private.bytes().set(1, 100).unwrap();
    if cfg!(target_os = "linux") {
        map.flush().unwrap();
        map.flush_range(..10).unwrap();
        if common::emulated() {
            // The emulator accepts the advice without effect. The library would have to read the
            // bytes again, from a file that it has closed.
            assert_eq!(private.discard(..).unwrap_err().kind(), ErrorKind::Unsupported);
        } else {
            private.discard(..).unwrap();
            assert_eq!(private.bytes().get(1).unwrap(), 200);
        }
    } else {
        assert_eq!(map.flush().unwrap_err().kind(), ErrorKind::Unsupported);
    }
    for error in [
        map.is_current().unwrap_err(),
        map.grow(4 * page_size()).unwrap_err(),
        map.resize(page_size()).unwrap_err(),
        map.resize(2 << 20).unwrap_err(),
        map.remap().unwrap_err(),
        private.remap().unwrap_err(),
        map.punch_hole(..).unwrap_err(),
        map.residency().unwrap_err(),
        map.cache_status().unwrap_err(),
        map.evict().unwrap_err(),
        map.data_extents().unwrap_err(),
        map.file_system().unwrap_err(),
        MapOptions::new().close_file().open(&path).unwrap().frozen().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains("close_file"), "{error}");
        assert_eq!(error.path(), Some(path.as_path()));
    }
    assert_eq!(map.len(), 3 * page_size());
    if cfg!(target_os = "linux") {
        let error = map.flush_async().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        map.flush().unwrap();
    }
    let error = MapOptions::new().close_file().exclusive().open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let memory = MapOptions::new().close_file().anonymous(100).unwrap();
    assert!(memory.is_current().unwrap());
    memory.flush().unwrap();
}

/// Populating leaves no page absent.
#[test]
fn populating_leaves_no_page_absent() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(100 * page_size()));
    let map = MapOptions::new().populate().open(&path).unwrap();
    let Some(residency) = supported("residency", map.residency()) else {
        return;
    };
    assert_eq!(residency.absent(), 0);
    assert_eq!(residency.pages().len(), 100);
    assert_eq!(residency.resident() + residency.unknown(), 100);
    assert_eq!(map.residency_range(page_size() - 1..page_size() + 1).unwrap().pages().len(), 2);
    let memory = MapOptions::new().populate().private(10 * page_size()).unwrap();
    assert_eq!(memory.residency().unwrap().absent(), 0);
}

/// Populating in parallel leaves no page absent.
#[test]
fn populating_in_parallel_touches_every_page() {
    // Large enough to be populated by several threads.
    let len = 80 << 20;
    let map = MapOptions::new().populate().anonymous(len).unwrap();
    let Some(residency) = supported("residency", map.residency()) else {
        return;
    };
    assert_eq!(residency.absent(), 0);
    assert_eq!(residency.pages().len(), len / page_size());
}

/// Every advice is accepted or unsupported, and the contents are unchanged.
#[test]
fn every_advice_is_accepted_or_unsupported() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(10 * page_size()));
    let map = Mapping::open(&path).unwrap();
    for advice in [
        Advice::Random,
        Advice::Sequential,
        Advice::Normal,
        Advice::WillNeed,
        Advice::Cold,
        Advice::PageOut,
        Advice::HugePage,
        Advice::NoHugePage,
        Advice::Collapse,
        Advice::Mergeable,
        Advice::Unmergeable,
        Advice::DontFork,
        Advice::DoFork,
        Advice::DontDump,
        Advice::DoDump,
    ] {
        if let Err(error) = map.advise(advice) {
            // Collapsing ten small pages may also fail for other reasons.
            let allowed = error.kind() == ErrorKind::Unsupported || advice == Advice::Collapse;
            assert!(allowed, "{advice:?}: {error}");
            assert!(error.to_string().contains(&format!("{advice:?}")), "{error}");
        }
    }
    supported("a range", map.advise_range(1..page_size() + 1, Advice::WillNeed));
    assert_eq!(map.bytes().to_vec().unwrap(), pattern(10 * page_size()), "nothing is lost");
    supported("as an option", MapOptions::new().advice(Advice::Random).open(&path));
}

/// Locked pages are resident, and can be unlocked.
#[test]
fn locked_pages_are_resident() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(3 * page_size()));
    let map = match MapOptions::new().lock().open(&path) {
        Err(error) if error.kind() == ErrorKind::LockLimit => skip!("{error}"),
        result => result.unwrap(),
    };
    if let Some(residency) = supported("residency", map.residency()) {
        assert_eq!(residency.absent(), 0);
    }
    map.unlock_range(1..2).unwrap();
    map.unlock().unwrap();
    map.lock_range(page_size()..).unwrap();
}

/// Huge pages can be requested for anonymous memory, but not for an ordinary file.
#[test]
fn huge_pages_are_used_where_available() {
    let mut memory = MapOptions::new().huge_pages(HugePages::Transparent).private(8 << 20).unwrap();
    memory.fill(1);
    match MapOptions::new().huge_pages(HugePages::Reserved).anonymous(1000) {
        Ok(map) => {
            map.bytes().fill(1).unwrap();
            map.close().unwrap();
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            eprintln!("skipped: no huge pages are set aside: {error}");
        }
    }
    let dir = TempDir::new();
    let path = dir.file("a", pattern(10));
    let error = MapOptions::new().huge_pages(HugePages::Reserved).open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

/// Code in an executable mapping can be called.
#[test]
fn executable_memory_executes() {
    // mov eax, 42; ret / mov w0, #42; ret
    let code: &[u8] = if cfg!(target_arch = "x86_64") {
        &[0xb8, 42, 0, 0, 0, 0xc3]
    } else if cfg!(target_arch = "aarch64") {
        &[0x40, 0x05, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6]
    } else {
        skip!("no machine code for this architecture");
    };
    let dir = TempDir::new();
    let path = dir.file("code", code);
    let map = match MapOptions::new().executable().open(&path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => skip!("{error}"),
        result => result.unwrap(),
    };
    // SAFETY: the bytes are a complete function of this architecture, which changes only a
    // caller-saved register, and the mapping outlives the call.
    #[allow(unsafe_code)]
    let answer = unsafe {
        let function: extern "C" fn() -> u32 = std::mem::transmute(map.bytes().as_ptr());
        function()
    };
    assert_eq!(answer, 42);
}

/// File options are unsupported for anonymous memory.
#[test]
fn anonymous_memory_has_no_file_options() {
    let error = MapOptions::new().offset(10).anonymous(10).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let error = MapOptions::new().len(10).private(10).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
