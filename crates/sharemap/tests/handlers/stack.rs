//! Rust's own detection of stack overflows, with and without its handler installed first; and the stack
//! that the library's handler uses.

use std::ffi::c_int;

use crate::child;
use crate::ours::{Ours, is_lost, slice};
use crate::raw;

fn overflow(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { overflow(depth + 1) + here[3] }
}

/// The size of the stack on which the signals below are handled.
const SIZE: usize = 64 << 10;

/// Returns the number of bytes of an alternate stack that the signals in `work` use.
fn stack_used(work: impl FnOnce()) -> usize {
    const PAINT: u8 = 0xc3;
    let stack = raw::alternate_stack(SIZE);
    let start = std::ptr::with_exposed_provenance_mut::<u8>(stack.start);
    // SAFETY: the stack is new memory, on which no code runs while it is painted and counted.
    let unused = unsafe {
        start.write_bytes(PAINT, SIZE);
        work();
        (0..SIZE).take_while(|&at| start.add(at).read_volatile() == PAINT).count()
    };
    assert!(unused < SIZE, "no signal was handled there");
    SIZE - unused
}

extern "C" fn nothing(_: c_int) {}

/// The handler uses little stack beside the signal's frame: 700 bytes for a guarded access, 1,000 for a
/// slice.
fn uses_little() {
    raw::install(libc::SIGUSR1, nothing as *const () as usize, libc::SA_ONSTACK, &[]);
    let ours = Ours::new();
    ours.check(); // its slice is lost only once
    let lost = slice().unwrap();
    // SAFETY: raises a signal that has a handler.
    let frame = stack_used(|| unsafe { assert_eq!(libc::raise(libc::SIGUSR1), 0) });
    let access = stack_used(|| ours.check()) - frame;
    let slice = stack_used(|| is_lost(&lost)) - frame;
    eprintln!("a frame of {frame} bytes, {access} for an access, {slice} for a slice");
    // Other processors' calls take more stack without optimisation.
    let factor = if cfg!(target_arch = "x86_64") { 1 } else { 2 };
    assert!(access <= 700 * factor && slice <= 1000 * factor, "{access} and {slice} bytes");
}

/// The handler's stack is as small as documented.
#[test]
fn the_handler_uses_little_stack() {
    if child::in_place("the stack of the handler") {
        let outcome = child::outcome("stack used");
        eprintln!("{}", outcome.ended_well());
    }
}

pub fn scenario(words: &[&str]) {
    if words == ["used"] {
        return uses_little();
    }
    let ours = Ours::new();
    ours.check();
    let work = move || {
        ours.check();
        ours.check_large();
        overflow(0)
    };
    match words {
        ["thread"] => std::thread::Builder::new()
            .name("deep".to_string())
            .spawn(work)
            .unwrap()
            .join()
            .unwrap(),
        ["here"] => work(),
        _ => panic!("{words:?}"),
    };
}

/// A stack overflow is reported as without the library.
#[test]
fn stack_overflows_are_reported_as_usual() {
    for place in ["thread", "here"] {
        child::outcome(&format!("stack {place}"))
            .died_of(libc::SIGABRT)
            .said("has overflowed its stack");
    }
}
