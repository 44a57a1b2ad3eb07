//! Hostile surroundings: exhausted mappings and memory, devices that fail, blocked signals, forks,
//! interrupted copies. Each scenario that changes its process runs in a child.

use std::fs::File;
use std::os::fd::FromRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::ptr;

use sharemap::{ErrorKind, GuardedSlice, Mapping, page_size};

use crate::common::{
    LoopDevice, TempDir, child, emulated, limit, memfd, passes, pattern, role, skip,
};
use crate::{guarded, has_slices};

const PAGES: usize = 64;

/// Runs the test's own second half in a child. Returns `true` there.
fn in_child(name: &str) -> bool {
    let name = format!("hostile::{name}");
    if role(&name).is_some() {
        return true;
    }
    if has_slices() {
        passes(child(&name, ""));
    }
    false
}

/// Returns a slice of `PAGES` pages of memory, in which every byte was 7, and the file, which has been cut
/// to its first page.
fn lost() -> (File, GuardedSlice<u8>) {
    let file = memfd("hostile");
    file.write_all_at(&vec![7; PAGES * page_size()], 0).unwrap();
    let slice = guarded(Mapping::map(&file).unwrap().bytes());
    file.set_len(page_size() as u64).unwrap();
    (file, slice)
}

/// Reads all of the slice, and asserts that it shows and reports the loss.
fn survives(slice: &GuardedSlice<u8>) {
    let page = page_size();
    assert_eq!((slice[0], slice[page], slice[5 * page], slice[PAGES * page - 1]), (7, 0, 0, 0));
    assert_eq!(slice.fault(), Some(page as u64));
    assert_eq!(slice.check().unwrap_err().kind(), ErrorKind::Fault);
}

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
    if !in_child("losses_without_a_mapping_to_spare") {
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
    if !in_child("losses_beyond_the_limit_of_locked_memory") {
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
    if !in_child("losses_at_the_limit_of_locked_memory") {
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
    if !in_child("locked_slices_lose_their_pages") {
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
    if !in_child("losses_without_address_space") {
        return;
    }
    let (_file, slice) = lost();
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').next().unwrap().parse().unwrap();
    limit!(RLIMIT_AS, pages * page_size());
    survives(&slice);
}

/// `errno` is kept: a fault may come between a system call and the look at its error.
#[test]
fn errno_is_kept() {
    if !in_child("errno_is_kept") {
        return;
    }
    let (_file, slice) = lost();
    // SAFETY: the location belongs to this thread.
    let errno = unsafe { libc::__errno_location() };
    for at in [PAGES - 1, 10, 1] {
        // SAFETY: as above; the byte lies in the slice.
        unsafe {
            *errno = 77;
            let byte = ptr::read_volatile(&slice[at * page_size()]);
            assert_eq!((byte, *errno), (0, 77));
        }
    }
}

/// Runs `work` in a forked child, and returns how it ended.
fn forked(work: impl FnOnce()) -> std::process::ExitStatus {
    // SAFETY: the child exits without returning, and leaves no core file.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::setrlimit(libc::RLIMIT_CORE, &none);
            work();
            libc::_exit(0);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
        std::process::ExitStatus::from_raw(status)
    }
}

/// A forked child has the slice and faults of its own; what one process lost by a fault, the other learns
/// by `check`. Slices that each makes later are its own.
#[test]
fn a_forked_child_has_faults_of_its_own() {
    if !in_child("a_forked_child_has_faults_of_its_own") {
        return;
    }
    let (_file, slice) = lost();
    let status = forked(|| {
        survives(&slice);
        for _ in 0..100 {
            survives(&lost().1);
        }
        drop(slice.clone());
        assert_eq!(forked(|| survives(&slice)).code(), Some(0));
    });
    assert_eq!(status.code(), Some(0));
    assert_eq!(slice.fault(), None, "the child's faults are the child's");
    assert_eq!(slice.check().unwrap_err().kind(), ErrorKind::Fault, "the size tells");
    survives(&slice);
    assert_eq!(forked(|| survives(&slice)).code(), Some(0), "zeros are inherited");
    survives(&lost().1);
}

/// Children that are forked while other threads make and drop slices have working ones.
#[test]
fn forks_beside_slices_that_come_and_go() {
    if !in_child("forks_beside_slices_that_come_and_go") {
        return;
    }
    if emulated() {
        skip!("children of many threads get stuck in the emulator");
    }
    let (_file, slice) = lost();
    let over = std::sync::atomic::AtomicBool::new(false);
    let file = memfd("others");
    file.set_len(1).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let map = Mapping::map(&file).unwrap();
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let many: Vec<_> = (0..8).map(|_| guarded(map.bytes())).collect();
                    drop(many);
                }
            });
        }
        for _ in 0..200 {
            // The child allocates no memory: another thread may hold the allocator's lock.
            let status = forked(|| {
                let page = page_size();
                let right = (slice[0], slice[page], slice.fault()) == (7, 0, Some(page as u64));
                // SAFETY: ends the child.
                unsafe { libc::_exit(i32::from(!right)) }
            });
            assert_eq!(status.code(), Some(0));
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(slice.fault(), None);
}

/// A thread that blocks SIGBUS gets no slice, and dies of the lost pages of one that it has, as
/// documented.
#[test]
fn a_thread_that_blocks_bus_errors() {
    if !in_child("a_thread_that_blocks_bus_errors") {
        return;
    }
    if emulated() {
        skip!("the emulator leaves a program with blocked signals in its fault for ever");
    }
    let (file, slice) = lost();
    let map = Mapping::map(&file).unwrap();
    let block = |how| {
        // SAFETY: an initialized set.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigaddset(&mut set, libc::SIGBUS);
            libc::pthread_sigmask(how, &set, ptr::null_mut());
        }
    };
    block(libc::SIG_BLOCK);
    // SAFETY: no slice is expected.
    let error = unsafe { map.bytes().guarded_slice() }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("blocks SIGBUS"), "{error}");
    let status = forked(|| {
        std::hint::black_box(slice[page_size()]);
    });
    assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
    assert_eq!(slice.check().unwrap_err().kind(), ErrorKind::Fault, "needs no read");
    block(libc::SIG_UNBLOCK);
    guarded(map.bytes()).finish().unwrap();
    survives(&slice);
}

/// A system call that is given lost bytes fails, and nothing is replaced.
#[test]
fn system_calls_on_lost_bytes_fail() {
    if !has_slices() {
        return;
    }
    let (_file, slice) = lost();
    let sink = memfd("sink");
    let error = sink.write_at(&slice[page_size()..][..100], 0).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
    assert_eq!(sink.write_at(&slice[..page_size()], 0).unwrap(), page_size());
    assert_eq!(slice.fault(), None);
    assert_eq!(slice.check().unwrap_err().kind(), ErrorKind::Fault);
    survives(&slice);
    assert_eq!(sink.write_at(&slice[page_size()..][..100], 0).unwrap(), 100, "zeros now");
}

/// A device that cannot read a part of itself: everything from the fault on becomes zeros.
#[test]
fn a_device_that_fails() {
    const LEN: usize = 8 << 20;
    if !in_child("a_device_that_fails") {
        return;
    }
    let dir = TempDir::new();
    let backing = dir.file("backing", vec![7; LEN]);
    let disk = match LoopDevice::over(&backing) {
        Ok(disk) => disk,
        Err(error) => skip!("no loop device to be had: {error}"),
    };
    let map = Mapping::open(disk.path()).unwrap();
    let slice = guarded(map.bytes());
    assert_eq!((slice.len(), slice[0]), (LEN, 7));
    slice.check().unwrap();
    // The device keeps its size, but has nothing to read in its second half.
    File::options().write(true).open(&backing).unwrap().set_len(LEN as u64 / 2).unwrap();
    let at = LEN - (1 << 20);
    let byte = slice[at];
    let Some(fault) = slice.fault() else {
        skip!("this kernel reads {byte} behind the end of a device's file");
    };
    assert_eq!((byte, fault), (0, (at & !(page_size() - 1)) as u64));
    assert!(slice[at..].iter().all(|byte| *byte == 0));
    assert_eq!(slice[LEN / 2 - 1], 7);
    let error = slice.finish().unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Fault, Some(fault)));
}

/// Returns a new file that has room for this number of huge pages, and the size of one; `None` if the
/// system has too few.
pub fn huge_file(pages: usize) -> Option<(File, usize)> {
    // SAFETY: the name is terminated; a new descriptor has no other owner.
    let file = unsafe {
        let flags = libc::MFD_CLOEXEC | libc::MFD_HUGETLB;
        let descriptor = libc::memfd_create(c"huge".as_ptr(), flags);
        if descriptor < 0 {
            return None;
        }
        File::from_raw_fd(descriptor)
    };
    let unit = file.metadata().unwrap().blksize() as usize;
    file.set_len((pages * unit) as u64).ok()?;
    // Mapping reserves the pages.
    let has_room = Mapping::map(&file).is_ok();
    file.set_len(0).unwrap();
    has_room.then_some((file, unit))
}

/// On huge pages, whole ones are replaced, and slices begin at any offset.
#[test]
fn huge_pages_are_replaced_as_a_whole() {
    if !has_slices() {
        return;
    }
    let Some((file, unit)) = huge_file(3) else {
        skip!("too few huge pages are reserved (vm.nr_hugepages)");
    };
    let len = 3 * unit;
    let fill = || {
        file.set_len(len as u64).unwrap();
        sharemap::MappingMut::map(&file).unwrap().bytes().fill(7).unwrap();
    };
    fill();
    let map = Mapping::map(&file).unwrap();
    for (range, cut) in [
        (0..len, unit),
        (5..len, unit),
        (unit + 4097..len - 1, 2 * unit),
        (2 * unit + 1..2 * unit + 2, 2 * unit),
        (100..len, 0),
    ] {
        fill();
        let slice = guarded(map.bytes().subview(range.clone()).unwrap());
        assert!(slice.iter().step_by(777).all(|byte| *byte == 7));
        slice.check().unwrap();
        file.set_len(cut as u64).unwrap();
        let left = cut.saturating_sub(range.start);
        assert!(slice[left..].iter().rev().all(|byte| *byte == 0));
        assert!(slice[..left].iter().all(|byte| *byte == 7));
        assert_eq!(slice.fault(), Some(cut.max(range.start) as u64));
        slice.finish().unwrap_err();
    }
}

/// More slices than the first chunks of the table hold exist at once, and each is found.
#[test]
fn a_thousand_slices_at_once() {
    if !has_slices() {
        return;
    }
    let dir = TempDir::new();
    let path = dir.file("a", pattern(3 * page_size()));
    let map = Mapping::open(&path).unwrap();
    let slices: Vec<_> = (0..1000).map(|_| guarded(map.bytes())).collect();
    File::options().write(true).open(&path).unwrap().set_len(page_size() as u64).unwrap();
    for slice in slices.iter().rev() {
        assert_eq!((slice[1], slice[page_size()]), (1, 0));
        assert_eq!(slice.fault(), Some(page_size() as u64));
    }
}
