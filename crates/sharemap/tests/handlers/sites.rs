//! Guarded loads of this program, placed where the library's seldom are: their instructions, or the
//! marker that the handler searches for, cross the end of a page.

use std::arch::global_asm;

/// Returns 0, or the address of the fault.
pub type Site = unsafe extern "C" fn(*const u8) -> usize;

// Each marker begins a number of bytes before the end of a page.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".pushsection .data.rel.ro.sites, \"aw\", @progbits",
    ".p2align 3",
    // The linker places it in the object that refers to it.
    ".globl sharemap_test_sites",
    ".hidden sharemap_test_sites",
    "sharemap_test_sites:",
    ".popsection",
    ".irp back, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10",
    ".pushsection .text.sites, \"ax\", @progbits",
    ".p2align 12",
    ".skip 4096 - 9 - \\back, 0xcc",
    "sharemap_test_site_\\back\\():",
    "mov r10, rdi",
    "xor r11d, r11d",
    "2: mov rax, [r10]",
    "3: .byte 0x41, 0xba, 3b - 2b, 0, 0xc7, 0x5a",
    "mov rax, r11",
    "ret",
    ".popsection",
    ".pushsection .data.rel.ro.sites, \"aw\", @progbits",
    ".quad sharemap_test_site_\\back",
    ".popsection",
    ".endr",
);
#[cfg(target_arch = "x86_64")]
const COUNT: usize = 11;

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".pushsection .data.rel.ro.sites, \"aw\", @progbits",
    ".p2align 3",
    // The linker places it in the object that refers to it.
    ".globl sharemap_test_sites",
    ".hidden sharemap_test_sites",
    "sharemap_test_sites:",
    ".popsection",
    ".irp back, 0, 4, 8, 12",
    ".pushsection .text.sites, \"ax\", @progbits",
    ".p2align 12",
    ".skip 4096 - 12 - \\back",
    "sharemap_test_site_\\back\\():",
    "mov x10, x0",
    "mov x9, xzr",
    "2: ldr x0, [x10]",
    "3: .inst 0x529ab8ea",
    ".long 0x5280000a + ((3b - 2b) << 5)",
    "mov x0, x9",
    "ret",
    ".popsection",
    ".pushsection .data.rel.ro.sites, \"aw\", @progbits",
    ".quad sharemap_test_site_\\back",
    ".popsection",
    ".endr",
);
#[cfg(target_arch = "aarch64")]
const COUNT: usize = 4;

unsafe extern "C" {
    #[link_name = "sharemap_test_sites"]
    static SITES: [Site; COUNT];
}

/// Returns the loads.
pub fn all() -> &'static [Site] {
    // SAFETY: the table has that many addresses of functions of this type, as written above.
    unsafe { &SITES }
}
