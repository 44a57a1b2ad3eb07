//! Guarded access: memory that others can change or take away, touched as if it were a device.
//!
//! A guarded load or store is the plain instruction. If it faults because the file behind it
//! shrank, the device failed, or the page is protected, a signal handler (a vectored exception
//! handler on Windows) recovers it in place, and the access is an error that names the address.
//!
//! # The handler
//!
//! It is installed when the first mapping is made and stays. It claims only faults at guarded
//! accesses, raised by the processor; every other signal goes to the handler that was there before,
//! with its own flags and mask. Two cases need the program's attention:
//!
//! - A handler for `SIGBUS` or `SIGSEGV` that is installed later and does not pass on what it does
//!   not know. Transfers of 1 MiB and more notice it and use system calls instead; [`check`] looks
//!   on request, and mappings made afterwards use system calls throughout.
//! - A thread that blocks `SIGBUS` or `SIGSEGV` dies on any fault, whatever the handler. Transfers
//!   (`read_at`, `to_vec`, `write_at`, …) of 1 KiB and more notice it at the thread's first, and
//!   again from 1 MiB on, and use system calls. Smaller ones, single `get`s and `set`s, and
//!   iteration do not look.
//!
//! Where recovery does not work at all (no assembly for the architecture, code that cannot be read,
//! a tracer that keeps the signals) every access is a system call: slower, and as safe.

mod atomic;
mod copy;
mod element;
mod scan;

pub(crate) use atomic::AtomicWord;
pub(crate) use copy::{copy_in, copy_in_directly, copy_out, copy_out_directly};
pub(crate) use element::{load, load_bytes, prefetch, store};
pub(crate) use scan::count_bytes;

use crate::sys;
pub use crate::sys::Recovery;

/// How guarded accesses are made in this process.
///
/// The first call installs the fault handler, as the first mapping does, and tests it in a child
/// process (about 0.1 ms). A program that is about to forbid itself system calls (seccomp) makes
/// this call before.
#[must_use]
pub fn recovery() -> Recovery {
    sys::fault::recovery()
}

/// Looks again whether faults are recovered in place.
///
/// To be called after other code has installed a handler for `SIGBUS` or `SIGSEGV`: if that handler
/// does not pass on to the one that was there before, mappings made from now on, and transfers of
/// 1 MiB and more, use system calls. Nothing is installed or removed. A handler that was not met
/// before is tried out in a forked child, which takes time in proportion to the process's private
/// memory, and at most a second; what it does there stays there.
#[must_use]
pub fn check() -> Recovery {
    sys::fault::check()
}
