//! Rust's own detection of stack overflows, with and without its handler installed first.

use crate::child;
use crate::ours::Ours;

fn overflow(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { overflow(depth + 1) + here[3] }
}

pub fn scenario(words: &[&str]) {
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
