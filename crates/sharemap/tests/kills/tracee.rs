//! A forked child under ptrace, and calls made in its name.

#![allow(unsafe_code, reason = "forks, and traces")]

use std::ffi::{c_int, c_long, c_void};
use std::io;
use std::ptr;

/// What the child does between its beginning and its end; anything else is set-up.
pub fn mark() {
    // SAFETY: stops this process; whoever traces it lets it go on.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// A stopped child.
pub struct Tracee {
    pid: libc::pid_t,
}

/// Why the child stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It called [`mark`].
    Mark,
    /// It is about to make a system call, or has made one.
    Call,
    /// A signal would be delivered: a fault at the address, for a fault.
    Signal {
        number: c_int,
        code: c_int,
        address: u64,
    },
    /// One instruction was executed.
    Step,
    Exited(c_int),
    Killed(c_int),
}

/// How to go on.
#[derive(Clone, Copy, Debug)]
pub enum Next {
    Instruction,
    Call,
}

impl Tracee {
    /// A child that does this, and ends with status 0 unless it panics. It runs to its first stop.
    pub fn fork(work: impl FnOnce()) -> Self {
        // SAFETY: the child has this thread only, touches nothing that others may have locked but
        // the allocator, which knows of forks, and never returns.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", io::Error::last_os_error());
        if pid == 0 {
            let work = std::panic::AssertUnwindSafe(work);
            let died = std::panic::catch_unwind(|| {
                // SAFETY: takes numbers only.
                unsafe {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    libc::alarm(60);
                    assert_eq!(libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0), 0);
                    libc::raise(libc::SIGSTOP);
                }
                let work = work;
                (work.0)();
            });
            // SAFETY: ends the child, without what the parent registered for its own end.
            unsafe { libc::_exit(if died.is_ok() { 0 } else { 101 }) };
        }
        let tracee = Self { pid };
        assert_eq!(tracee.wait(), Stop::Mark, "the child's first stop");
        tracee.trace_calls();
        tracee
    }

    /// Whether this process may trace its children.
    pub fn is_allowed() -> bool {
        // SAFETY: the child makes two calls and ends.
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

    /// Goes on to the next stop. Signals that it stopped for are not delivered, unless given.
    pub fn go(&self, next: Next, signal: c_int) -> Stop {
        self.go_while(next, signal, || {})
    }

    /// The same, with something to do while it goes on.
    pub fn go_while(&self, next: Next, signal: c_int, meanwhile: impl FnOnce()) -> Stop {
        let request = match next {
            Next::Instruction => libc::PTRACE_SINGLESTEP,
            Next::Call => libc::PTRACE_SYSCALL,
        };
        self.request(request, 0, signal as u64);
        meanwhile();
        self.wait()
    }

    /// Executes one instruction; `None` if a signal came instead.
    pub fn step(&self) -> Option<Stop> {
        match self.go(Next::Instruction, 0) {
            Stop::Step => None,
            other => Some(other),
        }
    }

    /// Makes a system call in the child's name, and puts its registers back.
    pub fn call(&self, number: c_long, arguments: [u64; 3]) -> i64 {
        let before = self.registers();
        let mut registers = before;
        registers.rip = &raw const sharemap_test_call_instruction as u64;
        registers.rax = number as u64;
        // No system call is to be restarted.
        registers.orig_rax = u64::MAX;
        [registers.rdi, registers.rsi, registers.rdx] = arguments;
        self.set_registers(&registers);
        let mut after = registers;
        // Out of the end of a system call, the first stop may come before the instruction.
        while after.rip == registers.rip {
            let stop = self.go(Next::Instruction, 0);
            assert_eq!(stop, Stop::Step, "a system call in the child's name");
            after = self.registers();
        }
        let result = after.rax as i64;
        self.set_registers(&libc::user_regs_struct { orig_rax: u64::MAX, ..before });
        result
    }

    /// The number of the system call that it is in.
    pub fn call_number(&self) -> c_long {
        self.registers().orig_rax as c_long
    }

    /// Whether it has been made; at its beginning the kernel shows this result.
    pub fn call_is_made(&self) -> bool {
        self.registers().rax as i64 != -i64::from(libc::ENOSYS)
    }

    /// Whether it is about to sleep on a word.
    pub fn is_falling_asleep(&self) -> bool {
        let registers = self.registers();
        registers.orig_rax as c_long == libc::SYS_futex
            && registers.rax as i64 == -i64::from(libc::ENOSYS)
            && registers.rsi as c_int & libc::FUTEX_CMD_MASK == libc::FUTEX_WAIT
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
        // SAFETY: pointers passed as `data` are to what the request reads or fills.
        let result =
            unsafe { libc::ptrace(request, self.pid, address as *mut c_void, data as *mut c_void) };
        assert!(result >= 0, "ptrace {request}: {}", io::Error::last_os_error());
    }

    fn wait(&self) -> Stop {
        let mut status = 0;
        loop {
            // SAFETY: the status is ours.
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
                // SAFETY: read for faults only, which have an address.
                let address = unsafe { info.si_addr() } as u64;
                Stop::Signal { number, code: info.si_code, address }
            }
        }
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        // SAFETY: our own child, which was not waited for to its end, or is gone already.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, ptr::null_mut(), libc::__WALL);
        }
    }
}

std::arch::global_asm!("sharemap_test_call_instruction:", "syscall");

unsafe extern "C" {
    /// A system call instruction; a forked child has it at the same place.
    static sharemap_test_call_instruction: u8;
}
