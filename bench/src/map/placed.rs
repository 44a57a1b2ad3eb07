//! Peers with a speed that depends on the place of their loop: a short loop over a slice takes twice as
//! long on some processors if it crosses a line of the instruction cache. Such a peer is compiled in four
//! copies, each placed 16 bytes further, and the fastest copy is measured.

use std::time::Instant;

/// The number of copies of a peer: loops are aligned to 16 bytes, and lines have 64.
pub const COPIES: usize = 4;

/// Moves the code of the function that calls it first by `N` times 16 bytes.
#[inline(always)]
pub fn shift<const N: usize>() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: instructions of 9 and 7 bytes without an effect.
    unsafe {
        std::arch::asm!(
            ".rept {count}",
            ".byte 0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0",
            ".byte 0x0f, 0x1f, 0x80, 0, 0, 0, 0",
            ".endr",
            count = const N,
            options(nomem, nostack, preserves_flags)
        );
    }
}

/// Returns the copy that is fastest on `input`.
pub fn fastest<T: ?Sized, R>(copies: [fn(&T) -> R; COPIES], input: &T) -> fn(&T) -> R {
    // Short samples, of which the best counts: others may be disturbed.
    let time = |copy: fn(&T) -> R| {
        let start = Instant::now();
        std::hint::black_box(copy(std::hint::black_box(input)));
        start.elapsed()
    };
    let best = |copy: fn(&T) -> R| (0..100).map(|_| time(copy)).min();
    copies.into_iter().min_by_key(|copy| best(*copy)).unwrap_or(copies[0])
}
