//! Losses at the limits of a process: mappings, locked memory, address space. Each scenario runs in a
//! child.

use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::ptr;

use sharemap::{ErrorKind, Mapping, page_size};

use crate::common::{emulated, limit, memfd, skip};
use crate::guarded;
use crate::hostile::{PAGES, forked, in_child, lost, survives};

/// Makes mappings that the kernel cannot merge, until it refuses one.
fn exhaust_mappings() -> Option<ErrorKind> {
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
    if text.trim().parse::<usize>().unwrap() > 1 << 20 || emulated() {
        return None;
    }
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    for number in 0.. {
        let protection = if number % 2 == 0 { libc::PROT_NONE } else { libc::PROT_READ };
        // SAFETY: new memory, which is never used.
        let page = unsafe { libc::mmap(ptr::null_mut(), page_size(), protection, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            break;
        }
    }
    let file = memfd("refused");
    file.set_len(1).unwrap();
    Some(Mapping::map(&file).unwrap_err().kind())
}

/// A process with as many mappings as the system allows loses pages of 16 slices, and dies of those of
/// more, as documented. Without a loss, no slice can be made.
#[test]
fn losses_without_a_mapping_to_spare() {
    if !in_child("limits::losses_without_a_mapping_to_spare") {
        return;
    }
    let slices: Vec<_> = (0..17).map(|_| lost()).collect();
    let map = Mapping::map(&slices[0].0).unwrap();
    let Some(kind) = exhaust_mappings() else {
        skip!("the mappings of this process have no limit to reach");
    };
    assert_eq!(kind, ErrorKind::TooManyMappings);
    // SAFETY: no slice is expected.
    let error = unsafe { map.bytes().guarded_slice() }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooManyMappings, "{error}");
    for (_, slice) in &slices[..16] {
        survives(slice);
    }
    // One mapping each was split, and one each given up: the others are as before.
    assert_eq!(map.bytes().get(0).unwrap(), 7);
    let status = forked(|| {
        std::hint::black_box(slices[16].1[page_size()]);
    });
    assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
    // Slices that end make room, and the next slice replenishes the spare mappings.
    let mut slices = slices;
    let (file, last) = slices.pop().unwrap();
    drop(slices);
    guarded(map.bytes()).finish().unwrap();
    survives(&last);
    drop((file, last));
}

/// Locks all memory that is mapped from now on, at most `pages` pages. Returns `false`, after printing why,
/// where that is impossible. Root has no limit, so the process becomes another user's.
fn lock_what_comes(pages: usize) -> bool {
    if emulated() {
        eprintln!("skipped: the emulator locks memory of its own");
        return false;
    }
    limit!(RLIMIT_MEMLOCK, pages * page_size());
    // SAFETY: takes numbers only.
    let locked = unsafe {
        libc::setgid(65_534);
        libc::setuid(65_534);
        libc::mlockall(libc::MCL_FUTURE) == 0
    };
    if !locked {
        eprintln!("skipped: memory cannot be locked: {}", std::io::Error::last_os_error());
    }
    locked
}

/// If the zeros alone exceed the limit of locked memory, they are mapped page by page.
#[test]
fn losses_beyond_the_limit_of_locked_memory() {
    if !in_child("limits::losses_beyond_the_limit_of_locked_memory") {
        return;
    }
    let slices: Vec<_> = (0..3).map(|_| lost()).collect();
    let map = Mapping::open("/proc/self/exe").unwrap();
    if !lock_what_comes(PAGES / 2) {
        return;
    }
    for (_, slice) in &slices {
        survives(slice);
    }
    // SAFETY: no slice is expected.
    match unsafe { map.bytes().guarded_slice() } {
        Err(error) => assert_eq!(error.kind(), ErrorKind::LockLimit, "{error}"),
        Ok(_) => panic!("more than may be locked"),
    }
}

/// Locked memory counts twice while it is replaced. It is unlocked then, and still replaced in one step.
#[test]
fn losses_at_the_limit_of_locked_memory() {
    const MANY: usize = 1024;
    if !in_child("limits::losses_at_the_limit_of_locked_memory") {
        return;
    }
    let file = memfd("locked");
    file.set_len((MANY * page_size()) as u64).unwrap();
    let map = Mapping::map(&file).unwrap();
    if !lock_what_comes(MANY + MANY / 2) {
        return;
    }
    let slice = guarded(map.bytes());
    file.set_len(0).unwrap();
    let mappings = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    let before = mappings();
    assert!((1..MANY).step_by(2).all(|at| slice[at * page_size()] == 0));
    assert!(mappings() < before + 100, "replaced page by page");
    assert_eq!(slice.fault(), Some(0));
}

/// A slice whose pages were locked loses them like others.
#[test]
fn locked_slices_lose_their_pages() {
    if !in_child("limits::locked_slices_lose_their_pages") {
        return;
    }
    let file = memfd("locked");
    file.write_all_at(&vec![7; PAGES * page_size()], 0).unwrap();
    let slice = guarded(Mapping::map(&file).unwrap().bytes());
    // SAFETY: the slice's own bytes.
    if unsafe { libc::mlock(slice.as_ptr().cast(), slice.len()) } != 0 {
        skip!("memory cannot be locked: {}", std::io::Error::last_os_error());
    }
    file.set_len(page_size() as u64).unwrap();
    survives(&slice);
}

/// A process that has no address space left loses pages like others.
#[test]
fn losses_without_address_space() {
    if !in_child("limits::losses_without_address_space") {
        return;
    }
    let (_file, slice) = lost();
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').next().unwrap().parse().unwrap();
    limit!(RLIMIT_AS, pages * page_size());
    survives(&slice);
}
