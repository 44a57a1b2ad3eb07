//! `mmap` and the surrounding calls, as a C program makes them.

use std::ffi::{CString, c_int};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::reason::{Reason, why};

/// A shared mapping, unmapped when the value is dropped.
pub struct RawMap {
    base: *mut libc::c_void,
    len: usize,
}

impl RawMap {
    pub fn new(file: &File, len: usize, write: Write, flags: c_int) -> Result<Self, Reason> {
        Self::of_fd(file.as_raw_fd(), len, write, flags)
    }

    #[inline]
    fn of_fd(fd: RawFd, len: usize, write: Write, flags: c_int) -> Result<Self, Reason> {
        let protection = match write {
            Write::No => libc::PROT_READ,
            Write::Yes => libc::PROT_READ | libc::PROT_WRITE,
        };
        // SAFETY: creates a mapping at an address that the kernel chooses.
        let base = unsafe {
            libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_SHARED | flags, fd, 0)
        };
        if base == libc::MAP_FAILED {
            return Err(format!("mmap: {}", io::Error::last_os_error()));
        }
        Ok(Self { base, len })
    }

    /// Maps zeroed memory that forked children share.
    pub fn anonymous(len: usize) -> Result<Self, Reason> {
        Self::of_fd(-1, len, Write::Yes, libc::MAP_ANONYMOUS | libc::MAP_POPULATE)
    }

    pub fn base(&self) -> *mut u8 {
        self.base.cast()
    }

    /// Returns the contents, which must not be changed or truncated meanwhile.
    pub fn words(&self) -> &[u64] {
        // SAFETY: mapped for as long as `self`, page-aligned, and not changed by the benchmark.
        unsafe { std::slice::from_raw_parts(self.base.cast(), self.len / 8) }
    }

    /// Makes a range of whole pages durable.
    pub fn sync(&self, offset: usize, len: usize) -> Result<(), Reason> {
        // SAFETY: the range lies in the mapping.
        let code = unsafe { libc::msync(self.base.byte_add(offset), len, libc::MS_SYNC) };
        if code == 0 { Ok(()) } else { Err(format!("msync: {}", io::Error::last_os_error())) }
    }
}

impl Drop for RawMap {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the value owns the mapping, which is unmapped once.
        unsafe { libc::munmap(self.base, self.len) };
    }
}

/// Whether a mapping is writable.
#[derive(Clone, Copy, PartialEq)]
pub enum Write {
    No,
    Yes,
}

/// Converts a path to a C string.
pub fn c_path(path: &Path) -> Result<CString, Reason> {
    CString::new(path.as_os_str().as_bytes()).map_err(why)
}

/// Calls `open`, `fstat`, `mmap`, then `look`, `munmap` and `close`.
#[inline]
pub fn with_mapped_file<R>(path: &CString, look: impl FnOnce(&RawMap) -> R) -> Result<R, Reason> {
    // SAFETY: the path is terminated.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(format!("open: {}", io::Error::last_os_error()));
    }
    // SAFETY: plain integers, for which zeros are values.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the status is a local variable.
    if unsafe { libc::fstat(fd, &mut status) } != 0 {
        return Err(format!("fstat: {}", io::Error::last_os_error()));
    }
    let result = RawMap::of_fd(fd, status.st_size as usize, Write::No, 0).map(|map| look(&map));
    // SAFETY: the descriptor was opened above.
    unsafe { libc::close(fd) };
    result
}

/// Maps a file for reading and writing, takes a lock that the kernel releases when this process ends, and touches
/// three pages: the fewest system calls of a participant that other processes can find dead.
///
/// The lock's open file description is kept by a page, not by a descriptor, which other code may close.
pub fn attach(path: &CString) -> Result<(File, RawMap, RawMap), Reason> {
    let file = open_to_write(path)?;
    // SAFETY: plain integers, for which zeros are values.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the status is a local variable.
    if unsafe { libc::fstat(file.as_raw_fd(), &mut status) } != 0 {
        return Err(format!("fstat: {}", io::Error::last_os_error()));
    }
    let len = status.st_size as usize;
    let map = RawMap::new(&file, len, Write::Yes, 0)?;
    let again = open_to_write(path)?;
    let page = RawMap::new(&again, 4096, Write::No, libc::MAP_NORESERVE)?;
    // SAFETY: an flock is plain integers, for which zeros are values.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_start = 1 << 62;
    lock.l_len = 1;
    // SAFETY: the page is mapped, and the lock is a local variable.
    let is_locked = unsafe {
        libc::madvise(page.base.cast(), 4096, libc::MADV_DONTFORK) == 0
            && libc::fcntl(again.as_raw_fd(), libc::F_OFD_SETLK, &lock) == 0
    };
    if !is_locked {
        return Err(format!("F_OFD_SETLK: {}", io::Error::last_os_error()));
    }
    // SAFETY: the offsets lie in the mapping, of which only this process uses the file.
    unsafe {
        map.base().read_volatile();
        map.base().add(8192).write_volatile(1);
        map.base().add(len / 2).read_volatile();
    }
    Ok((file, map, page))
}

fn open_to_write(path: &CString) -> Result<File, Reason> {
    // SAFETY: the path is terminated.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(format!("open: {}", io::Error::last_os_error()));
    }
    // SAFETY: the descriptor is new and has no other owner.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Reads exactly `out.len()` bytes at `offset`.
#[inline]
pub fn pread(file: &File, out: &mut [u8], offset: u64) -> Result<(), Reason> {
    // SAFETY: the buffer has the stated size.
    let got = unsafe {
        libc::pread(file.as_raw_fd(), out.as_mut_ptr().cast(), out.len(), offset as libc::off_t)
    };
    if got == out.len() as isize {
        Ok(())
    } else {
        Err(format!("pread: {}", io::Error::last_os_error()))
    }
}

/// Copies from this process's own memory by a system call, which survives bad addresses.
#[inline]
pub fn process_vm_read(out: &mut [u8], from: *const u8) -> Result<(), Reason> {
    let local = libc::iovec { iov_base: out.as_mut_ptr().cast(), iov_len: out.len() };
    let remote = libc::iovec { iov_base: from.cast_mut().cast(), iov_len: out.len() };
    // SAFETY: writes only to `out`; the kernel checks the source.
    let got = unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) };
    if got == out.len() as isize {
        Ok(())
    } else {
        Err(format!("process_vm_readv: {}", io::Error::last_os_error()))
    }
}

/// Writes a page and makes it durable, without a mapping.
pub fn pwrite_durably(file: &File, bytes: &[u8], offset: u64) -> Result<(), Reason> {
    // SAFETY: the buffer has the stated size.
    let put = unsafe {
        libc::pwrite(file.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), offset as libc::off_t)
    };
    // SAFETY: takes no pointers.
    if put == bytes.len() as isize && unsafe { libc::fdatasync(file.as_raw_fd()) } == 0 {
        return Ok(());
    }
    Err(format!("pwrite and fdatasync: {}", io::Error::last_os_error()))
}
