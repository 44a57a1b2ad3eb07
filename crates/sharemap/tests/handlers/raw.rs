//! Signals and raw memory, as C programs use them.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::AtomicU32;

pub const SIGNALS: [c_int; 2] = [libc::SIGBUS, libc::SIGSEGV];

pub fn name_of(signal: c_int) -> &'static str {
    if signal == libc::SIGBUS { "bus" } else { "segv" }
}

pub fn signal_of(name: &str) -> c_int {
    match name {
        "bus" => libc::SIGBUS,
        "segv" => libc::SIGSEGV,
        _ => panic!("no signal {name}"),
    }
}

pub fn page() -> usize {
    sharemap::page_size()
}

/// Installs a handler (or `SIG_DFL`, `SIG_IGN`) and returns the previous action.
pub fn install(signal: c_int, handler: usize, flags: c_int, blocked: &[c_int]) -> libc::sigaction {
    // SAFETY: initialized structures; the handlers of these tests have the signature that the flags
    // require.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        for &other in blocked {
            libc::sigaddset(&mut action.sa_mask, other);
        }
        let mut before = MaybeUninit::zeroed();
        assert_eq!(libc::sigaction(signal, &action, before.as_mut_ptr()), 0);
        before.assume_init()
    }
}

/// Returns the current action.
pub fn action(signal: c_int) -> libc::sigaction {
    // SAFETY: only reads the action.
    unsafe {
        let mut action = MaybeUninit::zeroed();
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
        action.assume_init()
    }
}

/// Returns `true` if this thread blocks `signal`.
pub fn blocks(signal: c_int) -> bool {
    // SAFETY: only reads the mask.
    unsafe {
        let mut mask = MaybeUninit::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), mask.as_mut_ptr());
        libc::sigismember(mask.as_ptr(), signal) == 1
    }
}

/// Blocks or unblocks signals in this thread (`SIG_BLOCK`, `SIG_UNBLOCK`).
pub fn mask(how: c_int, signals: &[c_int]) {
    // SAFETY: an initialized set.
    unsafe {
        let mut set = MaybeUninit::zeroed().assume_init();
        for &signal in signals {
            libc::sigaddset(&mut set, signal);
        }
        libc::pthread_sigmask(how, &set, ptr::null_mut());
    }
}

/// Returns a page that raises `signal` when it is accessed, and that the library does not know.
pub fn bad_page(signal: c_int) -> *mut u8 {
    // SAFETY: allocates new memory. An empty memory object has no page.
    unsafe {
        let (protection, flags, file) = if signal == libc::SIGBUS {
            let empty = libc::memfd_create(c"empty".as_ptr(), libc::MFD_CLOEXEC);
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, empty)
        } else {
            (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
        };
        let page = libc::mmap(ptr::null_mut(), page(), protection, flags, file, 0);
        assert_ne!(page, libc::MAP_FAILED);
        page.cast()
    }
}

/// Returns a number that forked children share.
pub fn shared_number() -> &'static AtomicU32 {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: new, zeroed memory that is never unmapped.
    unsafe {
        let base =
            libc::mmap(ptr::null_mut(), page(), libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        assert_ne!(base, libc::MAP_FAILED);
        AtomicU32::from_ptr(base.cast())
    }
}

/// Replaces a bad page by an accessible one.
pub fn mend(bad: *mut u8) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: the page belongs to these tests.
    unsafe {
        libc::mmap(bad.cast(), page(), libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
    }
}

/// Performs a plain load, whose faults are foreign to the library.
#[inline(never)]
pub fn touch(at: *const u8) -> u8 {
    // SAFETY: may fault on purpose.
    unsafe { at.read_volatile() }
}

/// Gives this thread an alternate stack below which a page is inaccessible, or none.
pub fn alternate_stack(size: usize) -> Range<usize> {
    // SAFETY: new memory that is never unmapped.
    unsafe {
        let mut stack: libc::stack_t = MaybeUninit::zeroed().assume_init();
        if size == 0 {
            stack.ss_flags = libc::SS_DISABLE;
        } else {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let all = page() + size.next_multiple_of(page());
            let base = libc::mmap(ptr::null_mut(), all, libc::PROT_NONE, flags, -1, 0).cast::<u8>();
            stack.ss_sp = base.add(page()).cast();
            stack.ss_size = size;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mprotect(stack.ss_sp, all - page(), access);
        }
        assert_eq!(libc::sigaltstack(&stack, ptr::null_mut()), 0);
        stack.ss_sp as usize..stack.ss_sp as usize + stack.ss_size
    }
}

/// Returns the maximum size of a signal frame on the stack.
pub fn signal_frame() -> usize {
    const AT_MINSIGSTKSZ: libc::c_ulong = 51;
    // SAFETY: takes only a number.
    match unsafe { libc::getauxval(AT_MINSIGSTKSZ) as usize } {
        0 => libc::MINSIGSTKSZ,
        size => size,
    }
}

pub fn errno() -> c_int {
    // SAFETY: the location belongs to this thread.
    unsafe { *libc::__errno_location() }
}

pub fn set_errno(value: c_int) {
    // SAFETY: the location belongs to this thread.
    unsafe { *libc::__errno_location() = value }
}
