//! Faults in seccomp sandboxes, which kill a thread for some system calls, or let them fail.

use std::ffi::{c_int, c_long};

use sharemap::guard::{self, Recovery};
use sharemap::{ErrorKind, Mapping};

use crate::child;
use crate::common::skip;
use crate::ours::{Ours, is_lost, memory_file, slice};
use crate::raw::{self, page};
use crate::sites;

/// The system calls of `guard::recovery()` when it installs the handler, as SAFETY.md lists them, and
/// those that end a process.
const INSTALLING: &[c_long] = &[
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_prctl,
    libc::SYS_clone,
    libc::SYS_wait4,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// The system calls of a fault in a guarded slice, as SAFETY.md lists them, and the one that `check` makes.
const LOSING: &[c_long] = &[
    libc::SYS_fstat,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_munlock,
    libc::SYS_rt_sigreturn,
    libc::SYS_exit,
];

/// The exit code of a scenario on a system without seccomp.
const NONE: c_int = 9;

/// Filters this thread's system calls: `answer` for those in `listed`, `otherwise` for all others.
/// Returns `false` if the system has no seccomp.
fn filter(listed: &[c_long], answer: u32, otherwise: u32) -> bool {
    const LOAD: u16 = 0x20;
    const EQUALS: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let rule = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = vec![rule(LOAD, 0, 0, 0)];
    for (index, &number) in listed.iter().enumerate() {
        filter.push(rule(EQUALS, (listed.len() - index) as u8, 0, number as u32));
    }
    filter.push(rule(RETURN, 0, 0, otherwise));
    filter.push(rule(RETURN, 0, 0, answer));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: `program` points to a filter that lives until the call returns.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    }
}

/// Ends the thread by `exit`, which every sandbox allows, and with it a process of one thread.
fn end(code: c_int) -> ! {
    // SAFETY: the thread is the only one of its process and owns nothing that others need.
    unsafe { libc::syscall(libc::SYS_exit, code) };
    unreachable!("`exit` does not return")
}

/// Runs `work` in a forked child, which has one thread, and exits with the child's exit code, or 1 if
/// a signal killed it.
fn alone(work: impl FnOnce()) -> ! {
    // SAFETY: the child never returns to code that expects the parent's other threads.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            work();
            end(0);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
        if libc::WIFSIGNALED(status) {
            eprintln!("killed by signal {}", libc::WTERMSIG(status));
        }
        libc::_exit(if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 1 })
    }
}

/// Opens descriptors until the limit. A child of this process then takes a while to exit after it has released
/// the memory that it shares, which is when its parent runs again.
fn open_many() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the calls access only `limit`. The descriptors end with the process.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max.min(50_000);
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        while libc::dup(2) >= 0 {}
    }
}

/// The memory at which accesses fault in a sandbox. Each round allocates the same small amount.
struct Work {
    ours: Ours,
    room: Vec<u8>,
    bad: *const u8,
    good: u64,
}

impl Work {
    fn new() -> Self {
        let room = vec![1; crate::ours::LARGE];
        Self { ours: Ours::new(), room, bad: raw::bad_page(libc::SIGBUS), good: 7 }
    }

    fn single(&self) {
        self.ours.check();
        for site in sites::all() {
            // SAFETY: the loads are guarded; one address is inaccessible, the other is `self.good`.
            unsafe {
                assert_eq!(site(self.bad), self.bad as usize);
                assert_eq!(site((&raw const self.good).cast()), 0);
            }
        }
        self.ours.check_transfer(1000);
    }

    fn bulk(&mut self) {
        for len in [1100, 5000, 100_000] {
            self.ours.check_transfer_with(&mut self.room[..len]);
        }
        self.ours.check_large_with(&mut self.room);
    }
}

pub fn scenario(words: &[&str]) {
    match words {
        ["denied"] => denied(),
        &["slices", allowed] => {
            let slices = [slice().unwrap(), slice().unwrap()];
            is_lost(&slices[0]); // the allocator gets its memory
            alone(|| {
                let listed = if allowed == "allowed" { LOSING } else { &LOSING[2..] };
                if !filter(listed, libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_KILL_PROCESS) {
                    end(NONE);
                }
                is_lost(&slices[1]);
            })
        }
        ["installing"] => alone(|| {
            open_many();
            if !filter(INSTALLING, libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_KILL_PROCESS) {
                end(NONE);
            }
            assert_eq!(guard::recovery(), Recovery::InPlace);
        }),
        &[how, what] => {
            assert_eq!(guard::recovery(), Recovery::InPlace);
            let mut work = Work::new();
            alone(|| {
                let sealed = what == "bulk";
                if sealed {
                    assert_eq!(guard::seal_thread(), Recovery::InPlace);
                }
                // The first round lets the allocator get memory that the second one reuses, since
                // strict seccomp forbids `mmap` and `brk`.
                for round in 0..2 {
                    if round == 1 && !forbid(how) {
                        end(NONE);
                    }
                    work.single();
                    if sealed {
                        work.bulk();
                    }
                }
            })
        }
        _ => panic!("{words:?}"),
    }
}

fn forbid(how: &str) -> bool {
    match how {
        // SAFETY: the call passes no pointers.
        "strict" => unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) == 0 },
        "killing" => filter(
            &[libc::SYS_rt_sigprocmask],
            libc::SECCOMP_RET_KILL_PROCESS,
            libc::SECCOMP_RET_ALLOW,
        ),
        _ => panic!("no sandbox {how}"),
    }
}

/// A process that cannot start children skips the self-test, and its faults are recovered.
fn denied() {
    let calls = [libc::SYS_clone, libc::SYS_clone3, libc::SYS_timer_create];
    let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    if !filter(&calls, refused, libc::SECCOMP_RET_ALLOW) {
        // `end` would end only this thread, and other threads of this process wait for it.
        std::process::exit(NONE);
    }
    let ours = Ours::new();
    ours.check();
    ours.check_large();
    // A foreign handler that was installed later cannot be tried without a child. It counts as one
    // that does not forward faults.
    raw::install(libc::SIGSEGV, libc::SIG_DFL, 0, &[]);
    raw::install(libc::SIGSEGV, ignoring as *const () as usize, 0, &[]);
    assert_eq!(guard::check(), Recovery::Syscall);
    ours.check_large();
    let again = Mapping::map(memory_file(page())).unwrap();
    assert_eq!(again.bytes().get(page()).unwrap_err().kind(), ErrorKind::OutOfBounds);
}

extern "C" fn ignoring(_: c_int) {}

#[test]
fn faults_are_recovered_in_sandboxes() {
    if !child::in_place("faults in sandboxes") {
        return;
    }
    let once = [
        "denied",
        "strict single",
        "strict bulk",
        "killing single",
        "killing bulk",
        "slices allowed",
    ];
    // Whether a child has ended when its parent runs again differs from run to run.
    for scenario in once.into_iter().chain(["installing"; 30]) {
        let outcome = child::outcome(&format!("sandbox {scenario}"));
        if outcome.code() == Some(NONE) {
            skip!("faults in a sandbox ({scenario}): this system has no seccomp");
        }
        outcome.ended_well();
    }
    child::outcome("sandbox slices forbidden").ended_with(1).said("killed by signal 31");
}
