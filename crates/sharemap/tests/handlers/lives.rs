//! Faults at all stages of a process's life: forks, threads and their ends, other handlers. And
//! what the handler leaves unchanged.

use sharemap::Mapping;
use std::cell::RefCell;
use std::ffi::c_int;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, OnceLock};

use sharemap::guard::{self, Recovery};

use crate::child;
use crate::common::emulated;
use crate::ours::{Ours, at_best, check_slice, memory_file};
use crate::raw::{self, page};

static CALLS: AtomicUsize = AtomicUsize::new(0);
static OURS: OnceLock<Ours> = OnceLock::new();

pub fn scenario(words: &[&str]) {
    match words {
        ["fork"] => fork(),
        ["fork-before"] => fork_before(),
        ["threads"] => threads(),
        ["first-together"] => first_together(),
        ["thread-ends"] => thread_ends(),
        ["nested"] => nested(),
        ["errno"] => errno(),
        ["traces"] => traces(),
        _ => panic!("{words:?}"),
    }
}

/// Faults are recovered at every stage of a process's life.
#[test]
fn faults_are_recovered_all_through_life() {
    let scenarios: Vec<_> = [
        "fork",
        "fork-before",
        "threads",
        "first-together",
        "thread-ends",
        "nested",
        "errno",
        "traces",
    ]
    .iter()
    .map(|scenario| format!("lives {scenario}"))
    .collect();
    child::all(&scenarios, |outcome| {
        outcome.ended_well();
    });
}

/// Runs `work` in a forked child and returns its exit status.
fn forked(work: impl FnOnce()) -> c_int {
    // SAFETY: the child exits without returning.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            work();
            libc::_exit(0);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
        status
    }
}

/// A child recovers with its parent's handler and dies of foreign faults, while the parent
/// continues.
fn fork() {
    let ours = Ours::new();
    ours.check();
    let all = || {
        ours.check();
        ours.check_large();
        check_slice();
        Ours::new().check();
        assert_eq!(guard::check(), at_best());
    };
    assert_eq!(
        forked(|| {
            all();
            assert_eq!(forked(all), 0)
        }),
        0
    );
    let status = forked(|| {
        raw::touch(raw::bad_page(libc::SIGBUS));
    });
    assert_eq!((libc::WIFSIGNALED(status), libc::WTERMSIG(status)), (true, libc::SIGBUS));
    all();
}

/// Parent and child each install a handler of their own.
fn fork_before() {
    assert_eq!(forked(|| Ours::new().check()), 0);
    Ours::new().check();
}

/// Many threads fault concurrently, with the first fault of each at the same time.
fn threads() {
    const THREADS: usize = 8;
    let (ours, barrier) = (Ours::new(), Barrier::new(THREADS));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..500 {
                    ours.check();
                    ours.check_transfer(100);
                    check_slice();
                }
                ours.check_large();
            });
        }
    });
}

/// Many threads create the first mapping of a process concurrently.
fn first_together() {
    const THREADS: usize = 8;
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                barrier.wait();
                let ours = Ours::new();
                ours.check();
                assert_eq!(guard::check(), at_best());
            });
        }
    });
}

/// Destructors of thread-local variables fault, when Rust's alternate stack may be gone.
fn thread_ends() {
    struct AtEnd(Arc<Ours>);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            self.0.check();
            self.0.check_large();
            check_slice();
            CALLS.fetch_add(1, Ordering::Relaxed);
        }
    }
    thread_local! {
        static AT_END: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
    }
    let ours = Arc::new(Ours::new());
    for _ in 0..3 {
        let ours = Arc::clone(&ours);
        std::thread::spawn(move || AT_END.set(Some(AtEnd(ours)))).join().unwrap();
    }
    assert_eq!(CALLS.load(Ordering::Relaxed), 3);
}

extern "C" fn faulting(_: c_int) {
    OURS.get().unwrap().check();
    OURS.get().unwrap().check_transfer(100);
    CALLS.fetch_add(1, Ordering::Relaxed);
}

/// A handler of another signal faults, also on the alternate stack, and while a fault of its thread
/// is being recovered.
fn nested() {
    let ours = OURS.get_or_init(Ours::new);
    for flags in [0, libc::SA_ONSTACK] {
        raw::alternate_stack(1 << 20);
        raw::install(libc::SIGUSR1, faulting as *const () as usize, flags, &[]);
        // SAFETY: raises a signal that has a handler.
        unsafe { libc::raise(libc::SIGUSR1) };
    }
    assert_eq!(CALLS.load(Ordering::Relaxed), 2);
    // The timer's signals interrupt recoveries at any instruction.
    raw::install(libc::SIGALRM, faulting as *const () as usize, libc::SA_RESTART, &[]);
    let every = libc::timeval { tv_sec: 0, tv_usec: 200 };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: the timer value outlives the call.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
    while CALLS.load(Ordering::Relaxed) < 200 {
        ours.check();
        ours.check_transfer(3000);
    }
}

/// Recovering a fault does not change the caller's `errno`.
fn errno() {
    let ours = Ours::new();
    ours.check();
    if !child::in_place("errno of system calls") {
        return;
    }
    let file = memory_file(2 * page());
    let map = Mapping::map(&file).unwrap();
    file.set_len(page() as u64).unwrap();
    let view = map.bytes();
    for errno in [0, libc::EINTR, libc::EFAULT] {
        raw::set_errno(errno);
        let good = view.get(5).is_ok();
        let bad = view.get(page()).is_err();
        assert_eq!((raw::errno(), good, bad), (errno, true, true));
    }
}

extern "C" fn counting(_: c_int) {
    CALLS.fetch_add(1, Ordering::Relaxed);
}

/// Installing and checking leave no process, SIGCHLD, descriptor, mapping or changed mask behind.
fn traces() {
    let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    raw::install(libc::SIGCHLD, counting as *const () as usize, 0, &[]);
    let before = files();
    assert_eq!(guard::recovery(), at_best());
    raw::install(libc::SIGSEGV, counting as *const () as usize, 0, &[]);
    assert_eq!(guard::check(), Recovery::Syscall);
    assert_eq!(files(), before);
    if emulated() {
        println!("skipped: SIGCHLD: the emulator's children send it though they are told not to");
    } else {
        assert_eq!(CALLS.load(Ordering::Relaxed), 0, "SIGCHLD, or the handler in this process");
    }
    // SAFETY: takes a local variable and numbers.
    unsafe {
        let mut status = 0;
        assert_eq!(libc::waitpid(-1, &mut status, libc::__WALL | libc::WNOHANG), -1);
        assert_eq!(raw::errno(), libc::ECHILD);
    }
    assert!((1..32).all(|signal| !raw::blocks(signal)));
}
