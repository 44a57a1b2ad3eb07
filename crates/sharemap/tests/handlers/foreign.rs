//! Foreign faults and signals: the process dies of the signal, or the handler installed before the
//! library's is called, as without the library.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::child;
use crate::common::emulated;
use crate::ours::{Ours, check_slice, memory_file};
use crate::raw::{self, page};

static CALLS: AtomicUsize = AtomicUsize::new(0);

/// The foreign faults, and the signals that they raise.
const FAULTS: [(&str, c_int); 10] = [
    ("null", libc::SIGSEGV),
    ("past-end", libc::SIGBUS),
    ("own-view", libc::SIGBUS),
    ("code-end-protected", libc::SIGSEGV),
    ("code-end-past-end", libc::SIGBUS),
    ("code-end-unmapped", libc::SIGSEGV),
    ("jump-to-null", libc::SIGSEGV),
    ("jump-past-end", libc::SIGBUS),
    ("jump-to-data", libc::SIGSEGV),
    ("non-canonical", libc::SIGSEGV),
];

extern "C" fn exiting(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: ends the process.
    unsafe { libc::_exit(7) }
}

/// Allocates two pages: the first for code, the second protected or unmapped.
fn code(second: &str) -> *mut u8 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    // SAFETY: allocates new memory.
    unsafe {
        let base = libc::mmap(ptr::null_mut(), 2 * page(), all, flags, -1, 0).cast::<u8>();
        let behind = base.add(page()).cast();
        match second {
            "protected" => libc::mprotect(behind, page(), libc::PROT_NONE),
            "unmapped" => libc::munmap(behind, page()),
            _ => panic!("no second page {second}"),
        };
        base
    }
}

/// Runs a load from `from` that is the last instruction of its page.
fn load_at_the_end(second: &str, from: *const u8) {
    // `mov rax, [rdi]`, `ldr x0, [x0]`.
    #[cfg(target_arch = "x86_64")]
    const LOAD: &[u8] = &[0x48, 0x8b, 0x07];
    #[cfg(target_arch = "aarch64")]
    const LOAD: &[u8] = &[0x00, 0x00, 0x40, 0xf9];
    let base = code(second);
    // SAFETY: the code consists of one load, which faults.
    unsafe {
        let at = base.add(page() - LOAD.len());
        ptr::copy_nonoverlapping(LOAD.as_ptr(), at, LOAD.len());
        #[cfg(target_arch = "aarch64")]
        std::arch::asm!("dc cvau, {at}", "dsb ish", "ic ivau, {at}", "dsb ish", "isb", at = in(reg) at);
        let run: extern "C" fn(*const u8) = std::mem::transmute(at);
        run(from);
    }
}

fn jump(to: usize) {
    // SAFETY: faults on purpose. Assembly hides the target from the compiler, which assumes that no
    // function is at null.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        std::arch::asm!("call {to}", to = in(reg) to, clobber_abi("C"));
        #[cfg(target_arch = "aarch64")]
        std::arch::asm!("blr {to}", to = in(reg) to, clobber_abi("C"));
    }
}

pub fn scenario(words: &[&str]) {
    let &[what, previous] = words else { panic!("{words:?}") };
    if previous == "handler" {
        for signal in raw::SIGNALS {
            raw::install(signal, exiting as *const () as usize, libc::SA_SIGINFO, &[]);
        }
    }
    let ours = Ours::new();
    ours.check();
    ours.check_large();
    check_slice();
    match what {
        "null" => {
            raw::touch(std::hint::black_box(ptr::null()));
        }
        "past-end" => {
            raw::touch(raw::bad_page(libc::SIGBUS));
        }
        // Memory of a mapping, accessed by a foreign instruction.
        "own-view" => {
            let file = memory_file(2 * page());
            let map = sharemap::Mapping::map(&file).unwrap();
            file.set_len(page() as u64).unwrap();
            raw::touch(map.bytes().as_ptr().wrapping_add(page()));
        }
        "code-end-protected" => load_at_the_end("protected", raw::bad_page(libc::SIGSEGV)),
        "code-end-past-end" => load_at_the_end("protected", raw::bad_page(libc::SIGBUS)),
        "code-end-unmapped" => load_at_the_end("unmapped", ptr::null()),
        "jump-to-null" => jump(0),
        "jump-past-end" => {
            let bad = raw::bad_page(libc::SIGBUS);
            let all = libc::PROT_READ | libc::PROT_EXEC;
            // SAFETY: the page belongs to this test.
            unsafe { libc::mprotect(bad.cast(), page(), all) };
            jump(bad as usize);
        }
        "jump-to-data" => jump((&raw const CALLS) as usize),
        "non-canonical" => {
            // On x86-64 the kernel reports neither the address nor the cause.
            raw::touch(std::hint::black_box(0x00de_ad00_0000_0000 as *const u8));
            raw::touch(std::hint::black_box(0x8000_0000_0000_0000_usize as *const u8));
        }
        _ => panic!("no fault {what}"),
    }
    panic!("nothing happened");
}

/// A foreign fault kills the process by its signal, or reaches the previous handler.
#[test]
fn foreign_faults_kill_by_their_signal() {
    let left_out = |what: &str| {
        let left_out = emulated() && what == "jump-past-end";
        if left_out {
            println!("skipped: {what}: the emulator itself dies of it");
        }
        left_out
    };
    let scenarios: Vec<_> = FAULTS
        .iter()
        .filter(|(what, _)| !left_out(what))
        .flat_map(|(what, _)| {
            ["none", "handler"].map(|previous| format!("foreign {what} {previous}"))
        })
        .collect();
    child::all(&scenarios, |outcome| {
        let mut words = outcome.words();
        let (what, previous) = (words.nth(1).unwrap(), words.next().unwrap());
        let &(_, signal) = FAULTS.iter().find(|(name, _)| *name == what).unwrap();
        if previous == "handler" {
            outcome.ended_with(7);
        } else {
            outcome.died_of(signal);
        }
    });
}

/// Counts signals that were sent by a process, while a thread performs guarded accesses.
extern "C" fn counting(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel passes a valid pointer.
    assert!(unsafe { (*info).si_code } <= 0);
    CALLS.fetch_add(1, Ordering::Relaxed);
}

fn send(how: &str, signal: c_int, thread: libc::pid_t) {
    // SAFETY: takes only numbers.
    let result = unsafe {
        match how {
            "kill" => libc::kill(libc::getpid(), signal),
            "queue" => {
                libc::sigqueue(libc::getpid(), signal, libc::sigval { sival_ptr: ptr::null_mut() })
            }
            "tgkill" => libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal) as c_int,
            "raise" => libc::raise(signal),
            _ => panic!("no way {how}"),
        }
    };
    assert_eq!(result, 0);
}

pub fn sent(words: &[&str]) {
    let &[how, signal, previous] = words else { panic!("{words:?}") };
    let signal = raw::signal_of(signal);
    match previous {
        "handler" => {
            let flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            raw::install(signal, counting as *const () as usize, flags, &[]);
        }
        "ignored" => {
            raw::install(signal, libc::SIG_IGN, 0, &[]);
        }
        "default" => {
            raw::install(signal, libc::SIG_DFL, 0, &[]);
        }
        _ => {}
    }
    let ours = Ours::new();
    ours.check();
    let file = memory_file(page());
    let map = sharemap::Mapping::map(&file).unwrap();
    let (turns, done, thread) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // SAFETY: takes no arguments.
            thread.store(unsafe { libc::gettid() } as usize, Ordering::Release);
            let view = map.bytes();
            while !done.load(Ordering::Relaxed) {
                for index in 0..view.len() {
                    assert_eq!(view.get(index).unwrap(), 0);
                }
                turns.fetch_add(1, Ordering::Relaxed);
            }
        });
        let (start, mut count) = (Instant::now(), 0);
        // Rust's own handler ignores the first signal that arrives, and restores the default action. Signals that are
        // sent before a thread takes the first one are the same signal: the process sends them until one ends it.
        let is_awaited = || previous == "std" && start.elapsed() < Duration::from_secs(60);
        while count < 20 || is_awaited() {
            let before = turns.load(Ordering::Relaxed);
            let thread = loop {
                match thread.load(Ordering::Acquire) {
                    0 => std::thread::yield_now(),
                    thread => break thread,
                }
            };
            send(how, signal, thread as libc::pid_t);
            // The signal has arrived, and the loop continues.
            let quiet = matches!(previous, "ignored" | "std");
            let arrived = || quiet || CALLS.load(Ordering::Relaxed) > count;
            while !arrived() || turns.load(Ordering::Relaxed) < before + 2 {
                std::thread::yield_now();
            }
            count += 1;
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(!matches!(previous, "std" | "default"), "it was to die");
    assert_eq!(CALLS.load(Ordering::Relaxed), if previous == "handler" { 20 } else { 0 });
    ours.check();
    ours.check_large();
}

/// A signal that was sent by a process is never taken for a fault.
#[test]
fn sent_signals_are_no_faults() {
    let mut scenarios = Vec::new();
    for how in ["kill", "queue", "tgkill", "raise"] {
        for signal in raw::SIGNALS.map(raw::name_of) {
            for previous in ["std", "default", "ignored", "handler"] {
                scenarios.push(format!("sent {how} {signal} {previous}"));
            }
        }
    }
    child::all(&scenarios, |outcome| {
        let mut words = outcome.words().skip(2);
        let (signal, previous) = (raw::signal_of(words.next().unwrap()), words.next().unwrap());
        if matches!(previous, "std" | "default") {
            outcome.died_of(signal);
        } else {
            outcome.ended_well();
        }
    });
}
