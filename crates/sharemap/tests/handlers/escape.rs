//! Non-local jumps for signal handlers that do not return. `setjmp` returns twice, which Rust does not
//! allow; here one call saves the registers, runs a function, and returns once.

use std::arch::global_asm;

#[repr(C, align(16))]
struct Place([usize; 24]);

static mut PLACE: Place = Place([0; 24]);

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".pushsection .text.escape, \"ax\", @progbits",
    "sharemap_test_escapable:",
    "mov [rdi], rbx",
    "mov [rdi + 8], rbp",
    "mov [rdi + 16], r12",
    "mov [rdi + 24], r13",
    "mov [rdi + 32], r14",
    "mov [rdi + 40], r15",
    "mov [rdi + 48], rsp",
    "sub rsp, 8",
    "call rsi",
    "add rsp, 8",
    "xor eax, eax",
    "ret",
    "sharemap_test_escape:",
    "mov rbx, [rdi]",
    "mov rbp, [rdi + 8]",
    "mov r12, [rdi + 16]",
    "mov r13, [rdi + 24]",
    "mov r14, [rdi + 32]",
    "mov r15, [rdi + 40]",
    "mov rsp, [rdi + 48]",
    "mov eax, 1",
    "ret",
    ".popsection",
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".pushsection .text.escape, \"ax\", @progbits",
    "sharemap_test_escapable:",
    "stp x19, x20, [x0]",
    "stp x21, x22, [x0, #16]",
    "stp x23, x24, [x0, #32]",
    "stp x25, x26, [x0, #48]",
    "stp x27, x28, [x0, #64]",
    "stp x29, x30, [x0, #80]",
    "stp d8, d9, [x0, #96]",
    "stp d10, d11, [x0, #112]",
    "stp d12, d13, [x0, #128]",
    "stp d14, d15, [x0, #144]",
    "mov x2, sp",
    "str x2, [x0, #160]",
    "stp x29, x30, [sp, #-16]!",
    "blr x1",
    "ldp x29, x30, [sp], #16",
    "mov w0, #0",
    "ret",
    "sharemap_test_escape:",
    "ldp x19, x20, [x0]",
    "ldp x21, x22, [x0, #16]",
    "ldp x23, x24, [x0, #32]",
    "ldp x25, x26, [x0, #48]",
    "ldp x27, x28, [x0, #64]",
    "ldp x29, x30, [x0, #80]",
    "ldp d8, d9, [x0, #96]",
    "ldp d10, d11, [x0, #112]",
    "ldp d12, d13, [x0, #128]",
    "ldp d14, d15, [x0, #144]",
    "ldr x2, [x0, #160]",
    "mov sp, x2",
    "mov w0, #1",
    "ret",
    ".popsection",
);

unsafe extern "C" {
    fn sharemap_test_escapable(place: *mut Place, body: extern "C" fn()) -> i32;
    fn sharemap_test_escape(place: *const Place) -> !;
}

/// Runs `body`. Returns `true` if [`escape`] ended it. Only one thread at a time may call this.
pub fn escapable(body: extern "C" fn()) -> bool {
    // SAFETY: only this thread uses `PLACE`, and `body` owns nothing that the jump would leak.
    unsafe { sharemap_test_escapable(&raw mut PLACE, body) == 1 }
}

/// Ends the running body of [`escapable`] from within a signal handler. The signal mask is not
/// restored.
pub fn escape() -> ! {
    // SAFETY: the caller runs within `escapable`, which has filled `PLACE`.
    unsafe { sharemap_test_escape(&raw const PLACE) }
}
