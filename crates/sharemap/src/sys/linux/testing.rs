//! Clones that the C library does not know, chosen process ids, and more, for tests.

#![allow(unsafe_code, reason = "clones, and closes descriptors")]

use crate::sys::testing::Can;

#[cfg(all(target_arch = "x86_64", not(sharemap_syscall_fallback)))]
pub(crate) use super::kill_search::{close, mark};
pub(crate) use crate::sys::posix::testing::{
    Forked, execute, fork, go_on, kill, must_start_again, stop,
};
#[cfg(not(all(target_arch = "x86_64", not(sharemap_syscall_fallback))))]
pub(crate) use crate::sys::testing::untraced::{close, mark};

/// Closes all descriptors except the first three, as other code may. Returns `false` if the kernel has no
/// such call. Values that own a descriptor must not be dropped afterwards.
pub(crate) fn close_all() -> bool {
    // SAFETY: the call takes numbers only, and the caller uses no descriptor afterwards.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) == 0 }
}

/// Clones this process without the C library, so that no fork handlers run. Returns the id of the
/// clone, which sleeps until it is killed, even after this process has ended.
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
pub(crate) fn leave_ids() -> Can<()> {
    // SAFETY: the call takes numbers only.
    match unsafe { libc::unshare(libc::CLONE_NEWPID) } {
        0 => Ok(()),
        _ => Err("this user cannot create pid namespaces".to_owned()),
    }
}

/// Gives the next child of this process the id `process`. Reliable only in a pid namespace in which no
/// other process forks.
pub(crate) fn choose_id(process: i32) -> Can<()> {
    std::fs::write("/proc/sys/kernel/ns_last_pid", (process - 1).to_string())
        .map_err(|error| format!("process ids cannot be chosen here: {error}"))
}
