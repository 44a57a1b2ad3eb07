//! What few programs do with processes, for tests: another program in one's place, copies of it that
//! the C library does not know of, ids of one's choice. Each says why it cannot be done here, if so.

#![allow(unsafe_code, reason = "clones, and sends signals")]

use std::convert::Infallible;

/// Why something cannot be done here.
type Can<T> = Result<T, String>;

/// Another program in the place of this one: it tells (as [`tell`](super::child::tell)) that it is
/// there, and waits for a line.
#[cfg(unix)]
pub(crate) fn execute(telling: &str) -> Can<Infallible> {
    use std::os::unix::process::CommandExt;
    let script = "echo \"> $0\" >&2; read line";
    let error = std::process::Command::new("sh").args(["-c", script, telling]).exec();
    Err(format!("sh cannot be executed: {error}"))
}

#[cfg(not(unix))]
pub(crate) fn execute(_: &str) -> Can<Infallible> {
    Err("no program takes the place of another here".to_owned())
}

/// A process that may be somebody else's child; killed in the end.
#[derive(Debug)]
pub(crate) struct Stray(#[allow(dead_code, reason = "for systems that clone")] i32);

impl Stray {
    pub(crate) fn new(process: i32) -> Self {
        assert!(process > 0);
        Self(process)
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        #[cfg(unix)]
        // SAFETY: takes numbers only; the process is there until it is killed.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
        }
    }
}

/// A process with a copy of this one's memory, that no handler for forks has seen; it sleeps until it
/// is killed, whoever has ended before.
#[cfg(target_os = "linux")]
pub(crate) fn clone_alone() -> Can<i32> {
    // SAFETY: as a fork; the child only sleeps.
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

/// A process in this one's own memory and with its own descriptors, that ends.
#[cfg(target_os = "linux")]
pub(crate) fn share_memory() -> Can<()> {
    extern "C" fn end(_: *mut libc::c_void) -> libc::c_int {
        // SAFETY: ends the process that calls it, and nothing of the other's.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
        0
    }
    if !crate::sys::fork::wipes() {
        return Err("an emulator does not clone so".to_owned());
    }
    let mut stack = vec![0_u128; 4096];
    // SAFETY: a stack of its own, that is there until it has ended; the function uses no more.
    unsafe {
        let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::SIGCHLD;
        let top = stack.as_mut_ptr_range().end.cast();
        let child = libc::clone(end, top, flags, std::ptr::null_mut());
        assert!(child > 0, "{}", std::io::Error::last_os_error());
        assert_eq!(libc::waitpid(child, std::ptr::null_mut(), 0), child);
    }
    Ok(())
}

/// The next child of this process is the first of a namespace of process ids.
#[cfg(target_os = "linux")]
pub(crate) fn leave_ids() -> Can<()> {
    // SAFETY: takes numbers only.
    match unsafe { libc::unshare(libc::CLONE_NEWPID) } {
        0 => Ok(()),
        _ => Err("no new pid namespaces for this user".to_owned()),
    }
}

/// The next child has this id, where nobody else makes any: in a namespace of one's own.
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

    const CLONES: &str = "only Linux clones processes";
    const IDS: &str = "only Linux has namespaces of process ids";

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
