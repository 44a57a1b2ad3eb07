//! What an operation costs whatever the machine is doing: user instructions, counted one by one
//! by a tracer, and the list of system calls. Hardware counters are not asked: many virtual
//! machines have none, and a single step is exact.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::measure::Reason;

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

/// Runs the operation in forked children and watches it. It has run before there, so that what
/// only the first use costs does not count.
pub fn cost(operation: &mut dyn FnMut() -> Result<(), Reason>) -> Result<Cost, Reason> {
    let nothing = &mut || Ok(());
    let empty = watch(nothing, Watch::Steps)?.steps;
    let steps = watch(operation, Watch::Steps)?.steps;
    let calls = watch(operation, Watch::Calls)?.calls;
    // The markers themselves: what follows the first stop and what leads to the second.
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

/// The child stops itself before and after the operation; in between it is watched.
fn watch(operation: &mut dyn FnMut() -> Result<(), Reason>, how: Watch) -> Result<Seen, Reason> {
    // SAFETY: this process has one thread when costs are taken, so the child may do anything.
    match unsafe { libc::fork() } {
        -1 => Err(format!("fork: {}", io::Error::last_os_error())),
        0 => {
            let code = traced(operation);
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(code) }
        }
        child => {
            let seen = observe(child, how);
            // SAFETY: plain system calls on our own child, which may be gone already.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, std::ptr::null_mut(), 0);
            }
            seen
        }
    }
}

fn traced(operation: &mut dyn FnMut() -> Result<(), Reason>) -> i32 {
    // SAFETY: asks to be traced by the parent; takes no pointers.
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
    // SAFETY: stops this process until its tracer goes on.
    unsafe { libc::raise(libc::SIGSTOP) };
}

fn observe(child: libc::pid_t, how: Watch) -> Result<Seen, Reason> {
    let mut seen = Seen::default();
    expect_stop(child)?;
    // SAFETY: the child is stopped under our trace; the option is a plain number.
    unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, child, 0, libc::PTRACE_O_TRACESYSGOOD) };
    let request = match how {
        Watch::Steps => libc::PTRACE_SINGLESTEP,
        Watch::Calls => libc::PTRACE_SYSCALL,
    };
    loop {
        // SAFETY: the child is stopped under our trace; no signal is delivered with it.
        if unsafe { libc::ptrace(request, child, 0, 0) } != 0 {
            return Err(format!("ptrace: {}", io::Error::last_os_error()));
        }
        let mut status = 0;
        // SAFETY: the status is ours to be written.
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
    // SAFETY: the status is ours to be written.
    unsafe { libc::waitpid(child, &mut status, 0) };
    if libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGSTOP {
        return Ok(());
    }
    Err("tracing a child is not permitted here, or the operation failed in it".into())
}

/// The number of the call being entered; none at its exit.
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
    // SAFETY: at an entry the union holds the entry's fields.
    Some(unsafe { info.u.entry.nr })
}

fn name(number: u64) -> String {
    const NAMES: [(libc::c_long, &str); 35] = [
        (libc::SYS_openat, "openat"),
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

    #[test]
    fn counts_one_system_call_and_its_instructions() {
        let mut path = || std::fs::metadata("/").map(drop).map_err(|e| e.to_string());
        let cost = cost(&mut path).unwrap();
        assert_eq!(cost.system_calls.len(), 1, "{cost}");
        assert!(cost.user_instructions > 10 && cost.user_instructions < 5000, "{cost}");
    }
}
