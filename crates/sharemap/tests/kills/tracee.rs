//! A forked child under ptrace, and system calls made on its behalf.

#![allow(unsafe_code, reason = "forks, and traces")]

use std::ffi::{c_int, c_long, c_void};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::ptr;

/// Marks the begin and the end of a child's work, as opposed to its set-up.
pub fn mark() {
    // SAFETY: stops this process until its tracer resumes it.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// A traced child that is stopped.
pub struct Tracee {
    pid: libc::pid_t,
}

/// The reason for which the child stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The child called [`mark`].
    Mark,
    /// The child is at the entry or the exit of a system call.
    Call,
    /// A signal is pending; for a fault, with its address.
    Signal {
        number: c_int,
        code: c_int,
        address: u64,
    },
    /// The child executed one instruction.
    Step,
    Exited(c_int),
    Killed(c_int),
}

/// How the child is resumed.
#[derive(Clone, Copy, Debug)]
pub enum Next {
    Instruction,
    /// Up to a system call, or a signal.
    Call,
    Signal,
}

impl Tracee {
    /// Forks a child that runs `work`, up to its first stop. The child exits with status 0 unless
    /// `work` panics.
    pub fn fork(work: impl FnOnce()) -> Self {
        // SAFETY: the child has only this thread and never returns. Of what other threads may have
        // locked it uses only the allocator, which supports forks.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", io::Error::last_os_error());
        if pid == 0 {
            let work = std::panic::AssertUnwindSafe(work);
            let died = std::panic::catch_unwind(|| {
                // SAFETY: takes only numbers.
                unsafe {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    libc::alarm(60);
                    assert_eq!(libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0), 0);
                    libc::raise(libc::SIGSTOP);
                }
                let work = work;
                (work.0)();
            });
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(if died.is_ok() { 0 } else { 101 }) };
        }
        let tracee = Self { pid };
        assert_eq!(tracee.wait(), Stop::Mark, "the child's first stop");
        tracee.trace_calls();
        tracee
    }

    /// Returns `true` if this process may trace its children.
    pub fn is_allowed() -> bool {
        // SAFETY: the child makes two system calls and exits.
        unsafe {
            let pid = libc::fork();
            if pid == 0 {
                libc::_exit(if libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) == 0 { 0 } else { 1 });
            }
            let mut status = -1;
            libc::waitpid(pid, &mut status, 0) == pid && status == 0
        }
    }

    fn trace_calls(&self) {
        let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
        self.request(libc::PTRACE_SETOPTIONS, 0, options as u64);
    }

    pub fn pid(&self) -> libc::pid_t {
        self.pid
    }

    /// Resumes the child until its next stop. The pending signal is suppressed; `signal` is
    /// delivered unless it is 0.
    pub fn go(&self, next: Next, signal: c_int) -> Stop {
        self.go_while(next, signal, || {})
    }

    /// Like `go`, but calls `meanwhile` while the child runs.
    pub fn go_while(&self, next: Next, signal: c_int, meanwhile: impl FnOnce()) -> Stop {
        let request = match next {
            Next::Instruction => libc::PTRACE_SINGLESTEP,
            Next::Call => libc::PTRACE_SYSCALL,
            Next::Signal => libc::PTRACE_CONT,
        };
        self.request(request, 0, signal as u64);
        meanwhile();
        self.wait()
    }

    /// Executes one instruction. Returns the stop if a signal was pending instead.
    pub fn step(&self) -> Option<Stop> {
        match self.go(Next::Instruction, 0) {
            Stop::Step => None,
            other => Some(other),
        }
    }

    /// Executes up to `most` steps of a copy by one instruction (`rep movsb`). Returns `false` if the
    /// next instruction is another.
    ///
    /// The child runs them at full speed, up to a breakpoint after the instruction.
    pub fn copy(&self, most: u64) -> bool {
        const INSTRUCTION: [u8; 2] = [0xf3, 0xa4];
        const BREAKPOINT: u8 = 0xcc;
        let before = self.registers();
        let memory = format!("/proc/{}/mem", self.pid);
        let memory = File::options().read(true).write(true).open(memory).unwrap();
        let mut code = [0; 3];
        memory.read_exact_at(&mut code, before.rip).unwrap();
        if !code.starts_with(&INSTRUCTION) {
            return false;
        }
        let next = before.rip + INSTRUCTION.len() as u64;
        let count = before.rcx.min(most);
        self.set_registers(&libc::user_regs_struct { rcx: count, ..before });
        memory.write_all_at(&[BREAKPOINT], next).unwrap();
        assert_eq!(self.go(Next::Signal, 0), Stop::Step, "the breakpoint");
        memory.write_all_at(&code[2..], next).unwrap();
        let (rcx, after) = (before.rcx - count, self.registers());
        assert_eq!((after.rip, after.rcx), (next + 1, 0), "it ended at the breakpoint");
        let rip = if rcx == 0 { next } else { before.rip };
        self.set_registers(&libc::user_regs_struct { rcx, rip, ..after });
        true
    }

    /// Makes a system call on behalf of the child and restores its registers.
    pub fn call(&self, number: c_long, arguments: [u64; 3]) -> i64 {
        let before = self.registers();
        let mut registers = before;
        registers.rip = &raw const sharemap_test_call_instruction as u64;
        registers.rax = number as u64;
        // Keeps the kernel from restarting an interrupted system call.
        registers.orig_rax = u64::MAX;
        [registers.rdi, registers.rsi, registers.rdx] = arguments;
        self.set_registers(&registers);
        let mut after = registers;
        // At the exit of a system call, the first stop may precede the instruction.
        while after.rip == registers.rip {
            let stop = self.go(Next::Instruction, 0);
            assert_eq!(stop, Stop::Step, "a system call in the child's name");
            after = self.registers();
        }
        let result = after.rax as i64;
        self.set_registers(&libc::user_regs_struct { orig_rax: u64::MAX, ..before });
        result
    }

    /// Returns the number of the child's current system call.
    pub fn call_number(&self) -> c_long {
        self.registers().orig_rax as c_long
    }

    /// Returns `true` at the exit of a system call. At its entry the kernel presents this error as
    /// the result.
    pub fn call_is_made(&self) -> bool {
        self.registers().rax as i64 != -i64::from(libc::ENOSYS)
    }

    /// Returns `true` if the child is about to sleep on a word.
    pub fn is_falling_asleep(&self) -> bool {
        let registers = self.registers();
        registers.orig_rax as c_long == libc::SYS_futex
            && registers.rax as i64 == -i64::from(libc::ENOSYS)
            && registers.rsi as c_int & libc::FUTEX_CMD_MASK == libc::FUTEX_WAIT
    }

    /// Returns the address of the next instruction.
    pub fn instruction(&self) -> u64 {
        self.registers().rip
    }

    fn registers(&self) -> libc::user_regs_struct {
        // SAFETY: plain integers, for which zeros are values.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        self.request(libc::PTRACE_GETREGS, 0, (&raw mut registers) as u64);
        registers
    }

    fn set_registers(&self, registers: &libc::user_regs_struct) {
        self.request(libc::PTRACE_SETREGS, 0, ptr::from_ref(registers) as u64);
    }

    fn request(&self, request: libc::c_uint, address: u64, data: u64) {
        // SAFETY: a pointer passed as `data` refers to what the request reads or fills.
        let result =
            unsafe { libc::ptrace(request, self.pid, address as *mut c_void, data as *mut c_void) };
        assert!(result >= 0, "ptrace {request}: {}", io::Error::last_os_error());
    }

    fn wait(&self) -> Stop {
        let mut status = 0;
        loop {
            // SAFETY: the status is a local variable.
            let got = unsafe { libc::waitpid(self.pid, &mut status, libc::__WALL) };
            if got == self.pid {
                break;
            }
            let error = io::Error::last_os_error();
            assert_eq!(error.kind(), io::ErrorKind::Interrupted, "waitpid: {error}");
        }
        if libc::WIFEXITED(status) {
            return Stop::Exited(libc::WEXITSTATUS(status));
        }
        if libc::WIFSIGNALED(status) {
            return Stop::Killed(libc::WTERMSIG(status));
        }
        match libc::WSTOPSIG(status) {
            libc::SIGSTOP => Stop::Mark,
            number if number == libc::SIGTRAP | 0x80 => Stop::Call,
            number => {
                // SAFETY: plain integers, filled by the call below.
                let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
                self.request(libc::PTRACE_GETSIGINFO, 0, (&raw mut info) as u64);
                if number == libc::SIGTRAP && info.si_code > 0 {
                    return Stop::Step;
                }
                // SAFETY: read only for faults, which have an address.
                let address = unsafe { info.si_addr() } as u64;
                Stop::Signal { number, code: info.si_code, address }
            }
        }
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        // SAFETY: the process is a child of this one; if it has been reaped, the calls fail.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, ptr::null_mut(), libc::__WALL);
        }
    }
}

std::arch::global_asm!("sharemap_test_call_instruction:", "syscall");

unsafe extern "C" {
    /// The address of a system call instruction, at the same place in a forked child.
    static sharemap_test_call_instruction: u8;
}
