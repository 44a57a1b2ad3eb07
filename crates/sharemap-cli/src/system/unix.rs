//! Linux and macOS.

// System calls that the standard library does not wrap.
#![allow(unsafe_code)]

use super::{Death, Usage};
use crate::text::lossless_bytes;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

pub(super) fn usage() -> Usage {
    let mut raw = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `raw` has the size of an rusage, which any bytes are a value of.
    let raw = unsafe {
        if libc::getrusage(libc::RUSAGE_SELF, raw.as_mut_ptr()) != 0 {
            return Usage::default();
        }
        raw.assume_init()
    };
    let positive = |number| u64::try_from(number).unwrap_or_default();
    Usage {
        faults: Some(positive(raw.ru_minflt) + positive(raw.ru_majflt)),
        // In bytes on macOS. Elsewhere it is in KiB, and the value of procfs replaces it.
        peak_resident: Some(positive(raw.ru_maxrss)),
    }
}

/// Returns the properties of the file system of `dir`.
fn volume(dir: &Path) -> Option<libc::statvfs> {
    let dir = CString::new(dir.as_os_str().as_bytes()).ok()?;
    let mut raw = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `dir` ends with a zero byte, and `raw` has the size of a statvfs, which any bytes
    // are a value of.
    unsafe {
        if libc::statvfs(dir.as_ptr(), raw.as_mut_ptr()) != 0 {
            return None;
        }
        Some(raw.assume_init())
    }
}

// The fields differ in width from one system to another.
#[allow(clippy::unnecessary_cast)]
pub(super) fn free_space(dir: &Path) -> Option<u64> {
    // A file system without a limit (ramfs) reports no blocks.
    let volume = volume(dir).filter(|volume| volume.f_blocks > 0)?;
    (volume.f_bavail as u64).checked_mul(volume.f_frsize as u64)
}

#[allow(clippy::unnecessary_cast)]
pub(super) fn free_files(dir: &Path) -> Option<u64> {
    let volume = volume(dir).filter(|volume| volume.f_files > 0)?;
    Some(volume.f_favail as u64)
}

pub(super) fn is_block_device(metadata: &fs::Metadata) -> bool {
    metadata.file_type().is_block_device()
}

pub(super) fn mode(path: &Path) -> Option<u32> {
    fs::metadata(path).ok().map(|metadata| metadata.mode() & 0o7777)
}

pub(super) fn allocated(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.blocks() * 512)
}

pub(super) fn death(status: ExitStatus) -> Death {
    match status.signal() {
        Some(libc::SIGBUS) => Death::LostPage,
        Some(signal) => Death::Signal(signal),
        None => Death::Exit(status.code()),
    }
}

/// Blocks SIGINT, SIGTERM and SIGHUP, except those that are ignored, so that a thread can wait for them.
/// Returns the blocked signals.
fn block_signals() -> libc::sigset_t {
    let mut signals = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sets and actions of the C library's own types, written before they are read; threads
    // started from here on inherit the mask.
    unsafe {
        libc::sigemptyset(signals.as_mut_ptr());
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            let mut action = MaybeUninit::<libc::sigaction>::zeroed();
            libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
            // Signals that nohup or a shell has set to be ignored stay ignored.
            if action.assume_init().sa_sigaction != libc::SIG_IGN {
                libc::sigaddset(signals.as_mut_ptr(), signal);
            }
        }
        let signals = signals.assume_init();
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut());
        signals
    }
}

/// The signals are received by a thread of their own, which may do everything that a signal handler may
/// not. Child processes inherit the blocked signals.
pub(super) fn on_interrupt(clean: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let signals = block_signals();
    let wait = move || {
        let mut signal = 0;
        // SAFETY: as above.
        while unsafe { libc::sigwait(&raw const signals, &raw mut signal) } != 0 {}
        clean();
        // SAFETY: the default action ends the process, as it would have without this thread.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const signals, std::ptr::null_mut());
            libc::raise(signal);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}

pub(super) fn signal(status: ExitStatus) -> Option<i32> {
    status.signal()
}

/// Resets SIGCHLD to its default action, and returns the previous one.
///
/// A parent that ignores SIGCHLD passes that on, and the kernel then reaps children without keeping
/// their exit status.
fn reset_child_signal() -> libc::sighandler_t {
    // SAFETY: plain numbers.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) }
}

pub(super) fn run_to_end(command: &mut Command) -> io::Result<ExitStatus> {
    let signals = block_signals();
    let inherited = reset_child_signal();
    let as_inherited = move || {
        // SAFETY: a set of the C library's own type, and plain numbers.
        unsafe {
            if inherited == libc::SIG_IGN {
                libc::signal(libc::SIGCHLD, libc::SIG_IGN);
            }
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const signals, std::ptr::null_mut())
        };
        Ok(())
    };
    // SAFETY: it makes calls that may be made between fork and exec.
    unsafe { command.pre_exec(as_inherited) };
    // The id of the running child. It is cleared before the child is reaped, because the system may
    // reuse the id afterwards.
    let running = Arc::new(Mutex::new(None));
    let known = Arc::clone(&running);
    let forward = move || {
        loop {
            let Some(signal) = await_signal(&signals) else { continue };
            match *known.lock().unwrap_or_else(PoisonError::into_inner) {
                // SAFETY: plain numbers; a child of this process.
                Some(id) => unsafe { libc::kill(id as libc::pid_t, signal) },
                None => return,
            };
        }
    };
    // Once the command runs, nothing may fail before it ends, because it runs under a lock. So the
    // thread is started first. The mutex makes it hold a signal back until the command has an id.
    let mut id = running.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::Builder::new().name("signals".into()).spawn(forward)?;
    let mut child = command.spawn()?;
    *id = Some(child.id());
    drop(id);
    await_end(child.id());
    *running.lock().unwrap_or_else(PoisonError::into_inner) = None;
    child.wait()
}

/// Waits for a signal. Returns it unless the command has received it as well.
#[cfg(target_os = "linux")]
fn await_signal(signals: &libc::sigset_t) -> Option<i32> {
    let mut found = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: there is room for the answer, which any bytes are a value of.
    let (signal, found) =
        unsafe { (libc::sigwaitinfo(signals, found.as_mut_ptr()), found.assume_init()) };
    // A signal from the kernel is one of the terminal, which the command has received as well.
    (signal > 0 && found.si_code <= 0).then_some(signal)
}

#[cfg(not(target_os = "linux"))]
fn await_signal(signals: &libc::sigset_t) -> Option<i32> {
    let mut signal = 0;
    // SAFETY: there is room for the answer.
    (unsafe { libc::sigwait(signals, &raw mut signal) } == 0).then_some(signal)
}

/// Waits until a child has ended, without reaping it.
fn await_end(id: u32) {
    let mut found = MaybeUninit::<libc::siginfo_t>::zeroed();
    let ends = libc::WEXITED | libc::WNOWAIT;
    // SAFETY: plain numbers, and room for the answer.
    while unsafe { libc::waitid(libc::P_PID, id as libc::id_t, found.as_mut_ptr(), ends) } != 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// The thread that waits for signals ends the process when it has cleaned up.
pub(super) fn end_of_interrupt() {
    loop {
        std::thread::park();
    }
}

#[cfg(target_os = "linux")]
pub(super) fn asymmetric_fence() -> Option<bool> {
    const QUERY: libc::c_int = 0;
    const GLOBAL_EXPEDITED: libc::c_long = 1 << 1;
    // SAFETY: a query with plain numbers.
    let commands = unsafe { libc::syscall(libc::SYS_membarrier, QUERY, 0, 0) };
    Some(commands > 0 && commands & GLOBAL_EXPEDITED != 0)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn asymmetric_fence() -> Option<bool> {
    None
}

pub(super) fn kill(id: u32) {
    // SAFETY: plain numbers; the caller knows that the process is its own.
    unsafe { libc::kill(id as libc::pid_t, libc::SIGKILL) };
    await_end(id);
}

pub(super) fn read_raw(path: &Path, ready: impl FnOnce()) -> io::Result<u64> {
    let file = File::open(path)?;
    let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call reads the limit. If it fails, the system may write a core file, which is harmless.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &no_core) };
    // SAFETY: a new mapping at an address of the system's choice.
    let base = unsafe {
        let null = std::ptr::null_mut();
        libc::mmap(null, len, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    ready();
    let mut sum = 0;
    for offset in (0..len).step_by(4096) {
        // SAFETY: the address is inside of the mapping. If the file is shorter by now, the process dies
        // here of SIGBUS, which this function is meant to show.
        sum += u64::from(unsafe { base.cast::<u8>().add(offset).read_volatile() });
    }
    // SAFETY: the mapping made above, to which nothing refers any more.
    unsafe { libc::munmap(base, len) };
    Ok(sum)
}

pub(super) fn user_name(user: u32) -> Option<String> {
    const ROOM: usize = 4096;
    let mut entry = std::mem::MaybeUninit::<libc::passwd>::zeroed();
    let mut text = [0 as libc::c_char; ROOM];
    let mut found = std::ptr::null_mut();
    // SAFETY: the buffers have the sizes given. The name of an entry that is found ends with a zero
    // inside `text`.
    unsafe {
        let failed =
            libc::getpwuid_r(user, entry.as_mut_ptr(), text.as_mut_ptr(), ROOM, &mut found);
        if failed != 0 || found.is_null() {
            return None;
        }
        let name = std::ffi::CStr::from_ptr((*found).pw_name);
        Some(lossless_bytes(name.to_bytes()))
    }
}

pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

pub(super) fn permissions(path: &Path) -> Option<(u32, u32)> {
    fs::symlink_metadata(path).ok().map(|metadata| (metadata.uid(), metadata.mode() & 0o7777))
}

pub(super) fn identity_of(file: &File) -> Option<(u64, u64)> {
    file.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

pub(super) fn allocated_by(file: &File) -> Option<u64> {
    file.metadata().ok().map(|metadata| metadata.blocks() * 512)
}

pub(super) fn foreign_owner(file: &File) -> Option<u32> {
    // SAFETY: the call takes no pointer and changes nothing.
    let own = unsafe { libc::geteuid() };
    file.metadata().ok().map(|metadata| metadata.uid()).filter(|&owner| owner != own)
}

pub(super) fn changed(file: &File) -> Option<SystemTime> {
    let metadata = file.metadata().ok()?;
    let since = Duration::from_secs(u64::try_from(metadata.ctime()).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn notes_accesses(_: &File) -> bool {
    true
}

#[cfg(target_os = "linux")]
pub(super) fn notes_accesses(file: &File) -> bool {
    rustix::fs::fstatvfs(file)
        .is_ok_and(|found| !found.f_flag.contains(rustix::fs::StatVfsMountFlags::NOATIME))
}

pub(super) fn open_to_look(path: &Path) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

#[cfg(target_os = "linux")]
pub(super) fn identity_behind(link: &Path) -> Option<(u64, u64)> {
    let link = CString::new(link.as_os_str().as_bytes()).ok()?;
    let mut raw = MaybeUninit::<libc::statx>::zeroed();
    let flags = libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT;
    // SAFETY: `link` ends with a zero byte, and `raw` has the size of a statx, which any bytes are a
    // value of.
    let raw = unsafe {
        let (at, basic) = (libc::AT_FDCWD, libc::STATX_INO);
        if libc::statx(at, link.as_ptr(), flags, basic, raw.as_mut_ptr()) != 0 {
            return None;
        }
        raw.assume_init()
    };
    Some((super::procfs::device(raw.stx_dev_major, raw.stx_dev_minor), raw.stx_ino))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn identity_behind(link: &Path) -> Option<(u64, u64)> {
    fs::metadata(link).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}
