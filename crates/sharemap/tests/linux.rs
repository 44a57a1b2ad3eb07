//! Features of Linux only: devices, memfds and their seals, statistics of the page cache.

#![cfg(target_os = "linux")]

mod common;

use std::io::Write;
use std::os::fd::AsRawFd;

use common::{TempDir, memfd, pattern, seal, skip};
use sharemap::{
    ErrorKind, FileContents, MapOptions, Mapping, MappingCow, MappingMut, PageState, Protection,
    page_size,
};

/// A device is mapped with the requested length, and has no length of its own.
#[test]
fn devices_have_the_requested_length() {
    let zeros = MapOptions::new().len(10_000).open_cow("/dev/zero").unwrap();
    assert_eq!(zeros.bytes().count(0).unwrap(), 10_000);
    zeros.bytes().fill(1).unwrap();
    assert_eq!(zeros.bytes().count(1).unwrap(), 10_000);
    assert!(zeros.is_current().unwrap());
    let error = MappingCow::open("/dev/zero").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSize, "{error}");
    assert!(error.to_string().contains("/dev/zero"), "{error}");
    let error = MappingMut::create("/dev/zero", 10).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let shared = MapOptions::new().len(100).open_mut("/dev/zero").unwrap();
    shared.bytes().set(99, 5).unwrap();
    assert_eq!(shared.bytes().get(99).unwrap(), 5);
}

/// Opening a FIFO or a socket fails at once instead of blocking.
#[test]
fn a_fifo_neither_hangs_nor_maps() {
    let dir = TempDir::new();
    let path = dir.join("fifo");
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a terminated path.
    #[allow(unsafe_code)]
    let made = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
    assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
    assert_eq!(Mapping::open(&path).unwrap_err().kind(), ErrorKind::NoSize);
    assert_eq!(MappingMut::open(&path).unwrap_err().kind(), ErrorKind::NoSize);
    assert!(FileContents::open(&path).unwrap().is_empty(), "no process has it open for writing");
    let error = MapOptions::new().len(10).open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");

    let path = dir.join("socket");
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert_eq!(Mapping::open(&path).unwrap_err().kind(), ErrorKind::Unsupported);
}

/// A memfd can be mapped several times, and its mappings share their contents.
#[test]
fn a_memfd_is_adopted_and_shared() {
    let mut file = memfd("adopted");
    file.write_all(&pattern(10_000)).unwrap();
    let one = MappingMut::map(&file).unwrap();
    let two = Mapping::map(&file).unwrap();
    drop(file);
    one.bytes().set(7, 99).unwrap();
    assert_eq!(two.bytes().get(7).unwrap(), 99);
    one.flush().unwrap();
    one.flush_async().unwrap();
}

/// Memory sealed against writing and shrinking is available as a slice.
#[test]
fn sealed_memory_is_a_slice() {
    let mut file = memfd("frozen");
    file.write_all(&pattern(10_000)).unwrap();
    let map = Mapping::map(&file).unwrap();
    let error = map.frozen().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("F_SEAL_WRITE"), "{error}");
    drop(map);
    seal(&file, libc::F_SEAL_WRITE);
    let map = Mapping::map(&file).unwrap();
    assert!(map.frozen().unwrap_err().to_string().contains("F_SEAL_SHRINK"));
    seal(&file, libc::F_SEAL_SHRINK);
    map.protect(.., Protection::None).unwrap();
    let bytes = map.frozen().unwrap();
    assert_eq!(bytes, pattern(10_000));
    let error = map.protect(.., Protection::None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert_eq!(bytes[9_999], pattern(10_000)[9_999]);
    let part = MapOptions::new().offset(4097).len(10).map(&file).unwrap();
    assert_eq!(part.frozen().unwrap(), &pattern(10_000)[4097..4107]);
    assert_eq!(MappingMut::map(&file).unwrap_err().kind(), ErrorKind::NotWritable);
}

/// A file, or a mapping longer than its sealed memory, is not available as a slice.
#[test]
fn unsealed_memory_is_no_slice() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(1000));
    let error = Mapping::open(&path).unwrap().frozen().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("memfd"), "{error}");

    // The file shrank after it was mapped, and before it was sealed.
    let file = memfd("shrunk");
    file.set_len(10 * page_size() as u64).unwrap();
    let reader = std::fs::File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    let mut map = Mapping::map(&reader).unwrap();
    file.set_len(100).unwrap();
    seal(&file, libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK);
    assert_eq!(map.frozen().unwrap_err().kind(), ErrorKind::Unsupported);
    map.remap().unwrap();
    assert_eq!(map.frozen().unwrap(), [0; 100]);
}

/// Evicting a mapping empties the page cache of its file, where the file system has a disk.
#[test]
fn eviction_empties_the_cache_of_a_disk() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(64 * page_size()));
    let map = MappingMut::open(&path).unwrap();
    map.flush().unwrap();
    map.populate().unwrap();
    assert_eq!(map.residency().unwrap().resident(), 64);
    map.evict().unwrap();
    let residency = map.residency().unwrap();
    if residency.absent() == 0 {
        skip!("this file system lives in memory, or does not let go");
    }
    assert_eq!(residency.pages()[10], PageState::Absent);
    assert_eq!(map.bytes().to_vec().unwrap(), pattern(64 * page_size()), "nothing is lost");
    assert!(map.residency().unwrap().resident() > 0);
}

/// The statistics of the page cache count the cached pages of a mapping, and are unsupported for
/// anonymous memory.
#[test]
fn the_cache_is_counted() {
    let dir = TempDir::new();
    let path = dir.file("a", pattern(64 * page_size()));
    let map = MappingMut::open(&path).unwrap();
    map.flush().unwrap();
    map.populate().unwrap();
    let status = match map.cache_status() {
        Err(error) if error.kind() == ErrorKind::Unsupported => skip!("{error}"),
        result => result.unwrap(),
    };
    assert_eq!(status.cached, 64);
    map.bytes().set(0, 1).unwrap();
    let part = MapOptions::new().offset(page_size() as u64).len(1).open(&path).unwrap();
    assert_eq!(part.cache_status().unwrap().cached, 1);
    let memory = MappingMut::anonymous(100).unwrap();
    assert_eq!(memory.cache_status().unwrap_err().kind(), ErrorKind::Unsupported);
}

/// A forked child shares anonymous memory with its parent.
#[test]
fn anonymous_memory_is_shared_with_children() {
    let map = MappingMut::anonymous(4096).unwrap();
    map.bytes().set(0, 1).unwrap();
    let words = map.view::<u32>().unwrap();
    // SAFETY: the child only accesses mapped memory, and exits without running other code.
    #[allow(unsafe_code)]
    let status = unsafe {
        let child = libc::fork();
        if child == 0 {
            let good = map.bytes().get(0).is_ok_and(|byte| byte == 1);
            let good = good && words.set(1, 42).is_ok();
            libc::_exit(i32::from(!good));
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        status
    };
    assert_eq!(status, 0);
    assert_eq!(words.get(1).unwrap(), 42);
}

/// Files of huge pages are mapped with any length, and unmapped completely.
#[test]
fn huge_page_files_are_mapped_and_unmapped() {
    if common::emulated() {
        skip!("the emulator maps base pages only");
    }
    let name = c"huge";
    // SAFETY: a terminated name; the new descriptor has no other owner.
    #[allow(unsafe_code)]
    let file = unsafe {
        use std::os::fd::FromRawFd;
        let fd = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_HUGETLB);
        if fd < 0 {
            skip!("no huge pages: {}", std::io::Error::last_os_error());
        }
        std::fs::File::from_raw_fd(fd)
    };
    if let Err(error) = file.set_len(2 << 20) {
        skip!("no huge pages of 2 MiB: {error}");
    }
    // Unmapping must round this length up to a whole huge page.
    match MapOptions::new().len(5000).map_mut(&file) {
        Ok(map) => map.close().unwrap(),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::OutOfAddressSpace, "{error}");
            skip!("no huge pages are set aside: {error}");
        }
    }
}

/// Memory that is a plain `[u8]` reserves all its huge pages when it is created, or creation fails.
/// A page missing later would kill the process.
#[test]
fn huge_pages_are_reserved_on_creation() {
    const TEST: &str = "huge_pages_are_reserved_on_creation";
    const HUGE: usize = 2 << 20;
    let Some(_) = common::role(TEST) else {
        common::passes(common::child(TEST, ""));
        return;
    };
    let options = MapOptions::new().huge_pages(sharemap::HugePages::Reserved).reserve(4 * HUGE);
    match options.private(HUGE) {
        Ok(mut memory) => {
            memory.grow(4 * HUGE).unwrap();
            memory.fill(1);
        }
        Err(error) if common::emulated() => {
            println!("skipped: the emulator maps no huge pages: {error}");
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::OutOfAddressSpace, "{error}");
            assert!(error.to_string().contains("nr_hugepages"), "{error}");
        }
    }
}

/// Opening a file for writing waits until a lease on it is released.
#[test]
fn a_lease_is_waited_for() {
    const TEST: &str = "a_lease_is_waited_for";
    let Some(path) = common::role(TEST) else {
        let dir = TempDir::new();
        let path = dir.file("leased", pattern(1000));
        common::passes(common::child(TEST, &path));
        return;
    };
    let holder = std::fs::File::open(&path).unwrap();
    // SAFETY: takes only numbers. The signal that announces the conflict is ignored.
    #[allow(unsafe_code)]
    let lease = |command: i32, kind: i32| unsafe {
        libc::signal(libc::SIGIO, libc::SIG_IGN);
        libc::fcntl(holder.as_raw_fd(), command, kind)
    };
    if lease(libc::F_SETLEASE, libc::F_RDLCK) != 0 {
        skip!("no leases here: {}", std::io::Error::last_os_error());
    }
    let writer = std::thread::spawn(move || MappingMut::open(&path).unwrap().len());
    // The lease changes as soon as the writer waits, and not before.
    while lease(libc::F_GETLEASE, 0) == libc::F_RDLCK {
        std::thread::yield_now();
    }
    assert!(!writer.is_finished());
    assert_eq!(lease(libc::F_SETLEASE, libc::F_UNLCK), 0);
    assert_eq!(writer.join().unwrap(), 1000);
}
