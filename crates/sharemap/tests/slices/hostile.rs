//! Hostile surroundings: forks, blocked signals, system calls, devices that fail, huge pages. Each scenario
//! that changes its process runs in a child.

use std::fs::File;
use std::os::fd::FromRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::ptr;

use sharemap::{ErrorKind, GuardedSlice, Mapping, page_size};

use crate::common::{LoopDevice, TempDir, child, emulated, memfd, passes, pattern, role, skip};
use crate::{guarded, has_slices};

pub const PAGES: usize = 64;

/// Runs the test's own second half in a child. Returns `true` there.
pub fn in_child(name: &str) -> bool {
    if role(name).is_some() {
        return true;
    }
    if has_slices() {
        passes(child(name, ""));
    }
    false
}

/// Returns a slice of `PAGES` pages of memory, in which every byte was 7, and the file, which has been cut
/// to its first page.
pub fn lost() -> (File, GuardedSlice<u8>) {
    let file = memfd("hostile");
    file.write_all_at(&vec![7; PAGES * page_size()], 0).unwrap();
    let slice = guarded(Mapping::map(&file).unwrap().bytes());
    file.set_len(page_size() as u64).unwrap();
    (file, slice)
}

/// Reads all of the slice, and asserts that it shows and reports the loss.
pub fn survives(slice: &GuardedSlice<u8>) {
    let page = page_size();
    assert_eq!((slice[0], slice[page], slice[5 * page], slice[PAGES * page - 1]), (7, 0, 0, 0));
    assert_eq!(slice.fault(), Some(page as u64));
    assert_eq!(slice.check().unwrap_err().kind(), ErrorKind::Fault);
}

/// `errno` is kept: a fault may come between a system call and the look at its error.
#[test]
fn errno_is_kept() {
    if !in_child("hostile::errno_is_kept") {
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
pub fn forked(work: impl FnOnce()) -> std::process::ExitStatus {
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
    if !in_child("hostile::a_forked_child_has_faults_of_its_own") {
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
    if !in_child("hostile::forks_beside_slices_that_come_and_go") {
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
    if !in_child("hostile::a_thread_that_blocks_bus_errors") {
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
    if !in_child("hostile::a_device_that_fails") {
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
