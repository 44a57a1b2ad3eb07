//! Unusual operations on processes, for tests: executing another program, clones that the C library
//! does not know, chosen process ids.

#![allow(unsafe_code, reason = "clones, and sends signals")]

use std::convert::Infallible;

/// A result, or the reason for which the system cannot do it.
type Can<T> = Result<T, String>;

/// Replaces this process's program by another, which sends `telling`, like
/// [`tell`](super::child::tell), and waits for a line. Returns only if that fails.
#[cfg(unix)]
pub(crate) fn execute(telling: &str) -> Can<Infallible> {
    use std::os::unix::process::CommandExt;
    let script = "echo \"> $0\" >&2; read line";
    let error = std::process::Command::new("sh").args(["-c", script, telling]).exec();
    Err(format!("sh cannot be executed: {error}"))
}

#[cfg(not(unix))]
pub(crate) fn execute(_: &str) -> Can<Infallible> {
    Err("this system cannot replace the program of a process".to_owned())
}

/// A process that need not be this process's child. Dropping the value kills it.
#[derive(Debug)]
pub(crate) struct Stray(#[allow(dead_code, reason = "for systems that clone")] i32);

impl Stray {
    /// Takes the process with this id.
    pub(crate) fn new(process: i32) -> Self {
        assert!(process > 0);
        Self(process)
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        #[cfg(unix)]
        // SAFETY: the call takes numbers only, and the process exists until it is killed.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
        }
    }
}

/// Clones this process without the C library, so that no fork handlers run. Returns the id of the
/// clone, which sleeps until it is killed, even after this process has ended.
#[cfg(target_os = "linux")]
pub(crate) fn clone_alone() -> Can<i32> {
    // SAFETY: with no flag but the signal the call forks, and the child only sleeps.
    unsafe {
        let child = libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as i32;
        if child == 0 {
            loop {
                libc::pause();
            }
        }
        assert!(child > 0, "{}", std::io::Error::last_os_error());
        Ok(child)
    }
}

/// Runs a process in this process's address space and with its descriptors, and waits for its end.
#[cfg(target_os = "linux")]
pub(crate) fn share_memory() -> Can<()> {
    extern "C" fn end(_: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the call ends only the calling thread, the single one of the clone.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
        0
    }
    if !crate::sys::fork::wipes() {
        return Err("an emulator does not support clones in the same address space".to_owned());
    }
    let mut stack = vec![0_u128; 4096];
    // SAFETY: the clone has a stack of its own, which outlives it and suffices for `end`.
    unsafe {
        let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::SIGCHLD;
        let top = stack.as_mut_ptr_range().end.cast();
        let child = libc::clone(end, top, flags, std::ptr::null_mut());
        assert!(child > 0, "{}", std::io::Error::last_os_error());
        assert_eq!(libc::waitpid(child, std::ptr::null_mut(), 0), child);
    }
    Ok(())
}

/// Makes the next child of this process the first process of a new pid namespace.
#[cfg(target_os = "linux")]
pub(crate) fn leave_ids() -> Can<()> {
    // SAFETY: the call takes numbers only.
    match unsafe { libc::unshare(libc::CLONE_NEWPID) } {
        0 => Ok(()),
        _ => Err("this user cannot create pid namespaces".to_owned()),
    }
}

/// Gives the next child of this process the id `process`. Reliable only in a pid namespace in which no
/// other process forks.
#[cfg(target_os = "linux")]
pub(crate) fn choose_id(process: i32) -> Can<()> {
    std::fs::write("/proc/sys/kernel/ns_last_pid", (process - 1).to_string())
        .map_err(|error| format!("process ids cannot be chosen here: {error}"))
}

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{choose_id, clone_alone, leave_ids, share_memory};

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use super::Can;

    const CLONES: &str = "only Linux can clone processes";
    const IDS: &str = "only Linux has pid namespaces";

    pub(crate) fn clone_alone() -> Can<i32> {
        Err(CLONES.to_owned())
    }

    pub(crate) fn share_memory() -> Can<()> {
        Err(CLONES.to_owned())
    }

    pub(crate) fn leave_ids() -> Can<()> {
        Err(IDS.to_owned())
    }

    pub(crate) fn choose_id(_: i32) -> Can<()> {
        Err(IDS.to_owned())
    }
}
