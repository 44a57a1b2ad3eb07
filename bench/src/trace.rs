//! The cost of an operation regardless of the machine: user instructions, counted by
//! single-stepping, and the list of system calls. Hardware counters are not used, because many
//! virtual machines have none and single steps are exact.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// The cost of one operation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cost {
    pub user_instructions: u64,
    pub system_calls: Vec<String>,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} user instructions; {} system calls: {}",
            self.user_instructions,
            self.system_calls.len(),
            self.system_calls.join(" ")
        )
    }
}

/// Runs the operation in forked children and traces it. It runs once before, so that the cost of a
/// first use does not count.
pub fn cost(operation: &mut dyn FnMut() -> Result<(), Reason>) -> Result<Cost, Reason> {
    let nothing = &mut || Ok(());
    let empty = watch(nothing, Watch::Steps)?.steps;
    let steps = watch(operation, Watch::Steps)?.steps;
    let calls = watch(operation, Watch::Calls)?.calls;
    // The cost of the markers: the instructions after the first stop and before the second.
    let frame = watch(nothing, Watch::Calls)?.calls.len();
    let kept = calls.len().saturating_sub(frame);
    Ok(Cost {
        user_instructions: steps.saturating_sub(empty),
        system_calls: calls[..kept].iter().map(|number| name(*number)).collect(),
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Watch {
    Steps,
    Calls,
}

#[derive(Default)]
struct Seen {
    steps: u64,
    calls: Vec<u64>,
}

/// Forks a child that stops before and after the operation, and traces it in between.
fn watch(operation: &mut dyn FnMut() -> Result<(), Reason>, how: Watch) -> Result<Seen, Reason> {
    // SAFETY: this process has one thread when costs are measured, so the child may run any code.
    match unsafe { libc::fork() } {
        -1 => Err(format!("fork: {}", io::Error::last_os_error())),
        0 => {
            let code = traced(operation);
            // SAFETY: exits the child without running the parent's exit handlers.
            unsafe { libc::_exit(code) }
        }
        child => {
            let seen = observe(child, how);
            // SAFETY: system calls on a child of this process, which may have exited already.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, std::ptr::null_mut(), 0);
            }
            seen
        }
    }
}

fn traced(operation: &mut dyn FnMut() -> Result<(), Reason>) -> i32 {
    // SAFETY: requests tracing by the parent; takes no pointers.
    if unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } != 0 {
        return 1;
    }
    for _ in 0..3 {
        if operation().is_err() {
            return 2;
        }
    }
    stop();
    let done = operation();
    stop();
    i32::from(done.is_err())
}

#[inline(never)]
fn stop() {
    // SAFETY: stops this process until its tracer resumes it.
    unsafe { libc::raise(libc::SIGSTOP) };
}

fn observe(child: libc::pid_t, how: Watch) -> Result<Seen, Reason> {
    let mut seen = Seen::default();
    expect_stop(child)?;
    // SAFETY: the child is stopped under trace, and the option is a plain number.
    unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, child, 0, libc::PTRACE_O_TRACESYSGOOD) };
    let request = match how {
        Watch::Steps => libc::PTRACE_SINGLESTEP,
        Watch::Calls => libc::PTRACE_SYSCALL,
    };
    loop {
        // SAFETY: the child is stopped under trace, and no signal is delivered.
        if unsafe { libc::ptrace(request, child, 0, 0) } != 0 {
            return Err(format!("ptrace: {}", io::Error::last_os_error()));
        }
        let mut status = 0;
        // SAFETY: the status is a local variable.
        unsafe { libc::waitpid(child, &mut status, 0) };
        if !libc::WIFSTOPPED(status) {
            return Err("the operation ended while it was traced".into());
        }
        match (libc::WSTOPSIG(status), how) {
            (libc::SIGSTOP, _) => return Ok(seen),
            (libc::SIGTRAP, Watch::Steps) => seen.steps += 1,
            (signal, Watch::Calls) if signal == libc::SIGTRAP | 0x80 => {
                if let Some(number) = entered(child) {
                    seen.calls.push(number);
                }
            }
            (signal, _) => return Err(format!("the traced operation raised signal {signal}")),
        }
    }
}

fn expect_stop(child: libc::pid_t) -> Result<(), Reason> {
    let mut status = 0;
    // SAFETY: the status is a local variable.
    unsafe { libc::waitpid(child, &mut status, 0) };
    if libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGSTOP {
        return Ok(());
    }
    Err("tracing a child is not permitted here, or the operation failed in it".into())
}

/// Returns the number of the system call at its entry, `None` at its exit.
fn entered(child: libc::pid_t) -> Option<u64> {
    const ENTRY: u8 = 1;
    // SAFETY: plain integers, for which zeros are values.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let size = size_of_val(&info);
    // SAFETY: the kernel writes at most `size` bytes to `info`.
    let got = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, child, size, &mut info) };
    if got <= 0 || info.op != ENTRY {
        return None;
    }
    // SAFETY: at an entry the union contains the entry's fields.
    Some(unsafe { info.u.entry.nr })
}

fn name(number: u64) -> String {
    const NAMES: [(libc::c_long, &str); 37] = [
        (libc::SYS_openat, "openat"),
        (libc::SYS_openat2, "openat2"),
        (libc::SYS_close, "close"),
        (libc::SYS_fstat, "fstat"),
        (libc::SYS_statx, "statx"),
        (libc::SYS_newfstatat, "newfstatat"),
        (libc::SYS_fstatfs, "fstatfs"),
        (libc::SYS_lseek, "lseek"),
        (libc::SYS_mmap, "mmap"),
        (libc::SYS_munmap, "munmap"),
        (libc::SYS_mremap, "mremap"),
        (libc::SYS_mprotect, "mprotect"),
        (libc::SYS_madvise, "madvise"),
        (libc::SYS_msync, "msync"),
        (libc::SYS_mincore, "mincore"),
        (libc::SYS_mlock, "mlock"),
        (libc::SYS_brk, "brk"),
        (libc::SYS_read, "read"),
        (libc::SYS_pread64, "pread"),
        (libc::SYS_write, "write"),
        (libc::SYS_pwrite64, "pwrite"),
        (libc::SYS_fdatasync, "fdatasync"),
        (libc::SYS_fsync, "fsync"),
        (libc::SYS_sync_file_range, "sync_file_range"),
        (libc::SYS_fallocate, "fallocate"),
        (libc::SYS_ftruncate, "ftruncate"),
        (libc::SYS_flock, "flock"),
        (libc::SYS_fcntl, "fcntl"),
        (libc::SYS_ioctl, "ioctl"),
        (libc::SYS_fadvise64, "fadvise"),
        (libc::SYS_rt_sigaction, "rt_sigaction"),
        (libc::SYS_rt_sigprocmask, "rt_sigprocmask"),
        (libc::SYS_gettid, "gettid"),
        (libc::SYS_geteuid, "geteuid"),
        (libc::SYS_getpid, "getpid"),
        (libc::SYS_futex, "futex"),
        (libc::SYS_process_vm_readv, "process_vm_readv"),
    ];
    #[cfg(target_arch = "x86_64")]
    if number == libc::SYS_open as u64 {
        return "open".into();
    }
    let known = NAMES.iter().find(|(known, _)| *known as u64 == number);
    known.map_or_else(|| format!("call {number}"), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cost of one system call is that call and a plausible number of instructions.
    #[test]
    fn counts_one_system_call_and_its_instructions() {
        let mut path = || std::fs::metadata("/").map(drop).map_err(|e| e.to_string());
        let cost = cost(&mut path).unwrap();
        assert_eq!(cost.system_calls.len(), 1, "{cost}");
        assert!(cost.user_instructions > 10 && cost.user_instructions < 5000, "{cost}");
    }
}
