//! Code that a debugger has changed, and code that cannot be read.

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use sharemap::guard::{self, Recovery};

use crate::child;
use crate::ours::Ours;
use crate::raw;

const BREAKPOINT: u8 = 0xcc;
const TRAP_FLAG: i64 = 0x100;

/// The addresses of breakpoints in order, with the original bytes.
static MARKERS: OnceLock<Vec<usize>> = OnceLock::new();
static ACCESSES: OnceLock<Vec<(usize, u8)>> = OnceLock::new();

/// The access that is being stepped over.
static STEPPED: AtomicUsize = AtomicUsize::new(0);
static MARKERS_HIT: AtomicUsize = AtomicUsize::new(0);
static ACCESSES_HIT: AtomicUsize = AtomicUsize::new(0);

/// Returns this program's own code.
fn text() -> Range<usize> {
    let here = text as *const () as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let range = |line: &str| {
        let (start, end) = line.split(' ').next()?.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        Some(number(start)?..number(end)?)
    };
    maps.lines().filter_map(range).find(|range| range.contains(&here)).unwrap()
}

fn protect(text: &Range<usize>, protection: c_int) {
    // SAFETY: this program's code, which only these tests change.
    let result = unsafe { libc::mprotect(text.start as *mut c_void, text.len(), protection) };
    assert_eq!(result, 0);
}

fn put(at: usize, byte: u8) {
    // SAFETY: the code was made writable.
    unsafe { (at as *mut u8).write_volatile(byte) }
}

/// Acts as a debugger: steps over a breakpoint with the original instruction restored. A breakpoint
/// on a marker, a load into a dead register, is skipped.
extern "C" fn debugger(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    let context: *mut libc::ucontext_t = context.cast();
    // SAFETY: the kernel's context, and bytes of this program's code.
    unsafe {
        let registers = &mut (*context).uc_mcontext.gregs;
        let stepped = STEPPED.swap(0, Ordering::Relaxed);
        if stepped != 0 {
            put(stepped, BREAKPOINT);
            registers[libc::REG_EFL as usize] &= !TRAP_FLAG;
            // A single step may have ended on the next breakpoint before its execution.
            return;
        }
        let at = registers[libc::REG_RIP as usize] as usize - 1;
        if MARKERS.get().unwrap().binary_search(&at).is_ok() {
            MARKERS_HIT.fetch_add(1, Ordering::Relaxed);
            registers[libc::REG_RIP as usize] += 5;
            return;
        }
        let accesses = ACCESSES.get().unwrap();
        let index = accesses.binary_search_by_key(&at, |access| access.0).expect("a breakpoint");
        ACCESSES_HIT.fetch_add(1, Ordering::Relaxed);
        put(at, accesses[index].1);
        STEPPED.store(at, Ordering::Relaxed);
        registers[libc::REG_RIP as usize] -= 1;
        registers[libc::REG_EFL as usize] |= TRAP_FLAG;
    }
}

fn breakpoints(where_: &str) {
    let text = text();
    // SAFETY: this program's code.
    let code = unsafe { std::slice::from_raw_parts(text.start as *const u8, text.len()) };
    // `mov r10d, 0x5ac7_00LL`: a marker after LL bytes of accesses.
    let sites: Vec<(usize, usize)> = code
        .windows(6)
        .enumerate()
        .filter(|(_, bytes)| bytes[..2] == [0x41, 0xba] && bytes[3..] == [0, 0xc7, 0x5a])
        .map(|(at, bytes)| (text.start + at, usize::from(bytes[2])))
        .collect();
    assert!(sites.len() > 20, "{} sites", sites.len());
    let marked = where_ != "accesses";
    let accessed = where_ != "markers";
    let markers = sites.iter().filter(|_| marked).map(|&(marker, _)| marker).collect();
    MARKERS.set(markers).unwrap();
    let mut accesses: Vec<(usize, u8)> = sites
        .iter()
        .filter(|_| accessed)
        .map(|&(marker, length)| (marker - length, code[marker - length - text.start]))
        .collect();
    accesses.sort_unstable();
    ACCESSES.set(accesses).unwrap();
    raw::install(libc::SIGTRAP, debugger as *const () as usize, libc::SA_SIGINFO, &[]);

    let ours = Ours::new();
    protect(&text, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
    for &at in MARKERS.get().unwrap() {
        put(at, BREAKPOINT);
    }
    for &(at, _) in ACCESSES.get().unwrap() {
        put(at, BREAKPOINT);
    }
    ours.check();
    for len in [20, 40, 70, 300, 3000] {
        ours.check_transfer(len);
    }
    let hits = [&MARKERS_HIT, &ACCESSES_HIT].map(|hits| hits.load(Ordering::Relaxed) > 5);
    assert_eq!(hits, [marked, accessed]);
}

/// Where code can be executed but not read, no access is recognized, and all become system calls.
fn unreadable() {
    let text = text();
    protect(&text, libc::PROT_EXEC);
    // SAFETY: an invalid request, which fails before or after the kernel reads its argument.
    let read = unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, -1, text.start, 0usize, 8usize);
        raw::errno() != libc::EFAULT
    };
    if read {
        eprintln!("skipped: code that cannot be read: this processor reads what it executes");
        return;
    }
    assert_eq!(guard::recovery(), Recovery::Syscall);
    let ours = Ours::new();
    ours.check();
    ours.check_large();
}

pub fn scenario(words: &[&str]) {
    match words {
        ["breakpoints", where_] => breakpoints(where_),
        ["unreadable"] => unreadable(),
        _ => panic!("{words:?}"),
    }
}

/// Breakpoints in guarded accesses do not prevent recovery.
#[test]
fn breakpoints_do_not_prevent_recovery() {
    if child::in_place("breakpoints in sites") {
        for where_ in ["markers", "accesses", "both"] {
            child::outcome(&format!("code breakpoints {where_}")).ended_well();
        }
    }
}

/// Unreadable code is detected, and accesses become system calls.
#[test]
fn unreadable_code_is_detected() {
    let outcome = child::outcome("code unreadable");
    outcome.ended_well();
    print!("{}", outcome.errors());
}
