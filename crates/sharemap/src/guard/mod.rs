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
//! - A handler for `SIGBUS` or `SIGSEGV` that is installed later may not pass on what it does not
//!   know. Transfers of 1 MiB and more look which handlers are installed, and use system calls while
//!   one of them is unknown: this crate runs no foreign handler unasked. [`check`] tries it, and
//!   decides how transfers and new mappings access memory from then on.
//! - A thread that blocks `SIGBUS` or `SIGSEGV` dies on any fault, whatever the handler. Transfers
//!   (`read_at`, `to_vec`, `write_at`, …) of 1 KiB and more notice it at the thread's first, and
//!   again from 1 MiB on, and use system calls. Smaller ones, single `get`s and `set`s, and
//!   iteration do not look.
//!
//! Where recovery does not work at all (no assembly for the architecture, code that cannot be read,
//! a tracer that keeps the signals) every access is a system call: slower, and as safe.

mod atomic;
mod cause;
mod copy;
mod element;
mod scan;

pub(crate) use atomic::AtomicWord;
pub(crate) use cause::{SharedFile, with_cause};
pub(crate) use copy::{copy_in, copy_in_directly, copy_out, copy_out_directly};
pub(crate) use element::{load, load_bytes, prefetch, store};
pub(crate) use scan::count_bytes;

use crate::sys;
pub use crate::sys::Recovery;

/// How guarded accesses are made in this process.
///
/// The first call installs the fault handler, as the first mapping does, and tests it in a child
/// process (about 0.1 ms), in which no code runs but this crate's. A program that is about to forbid
/// itself system calls (seccomp) makes this call before, and [`seal_thread`] on each thread that
/// transfers 1 KiB or more.
#[must_use]
pub fn recovery() -> Recovery {
    sys::fault::recovery()
}

/// Tries whether faults are recovered in place, running the handlers that are installed now.
///
/// To be called after other code has installed a handler for `SIGBUS` or `SIGSEGV`. Until then such
/// a handler counts as one that keeps faults, and transfers of 1 MiB and more use system calls. If
/// it passes on what it does not know to the handler that was there before, they access the memory
/// in place again; if not, mappings made from now on use system calls throughout. The answer is
/// remembered for the last handler of each kind. Nothing is installed or removed.
///
/// # What the trial does
/// An unknown handler is run on a fault that is not its own, in a forked child: the C library's fork
/// handlers are not called on Linux, and are on macOS. The child has a copy of this process's
/// memory, in which only the calling thread runs, with all signals blocked but the two of faults. It
/// has no open descriptors, leaves no core file, is in a session of its own (`kill(0, …)` reaches
/// only the child), and is killed after a second; the call waits for it. Copying takes time in
/// proportion to the process's private memory.
///
/// Whatever else the handler does, it does: it can write to shared memory, open and change files,
/// connect to servers, start programs, and send signals to every process it has the id of, this one
/// included. A lock that another thread held at that moment stays locked in the child, which then
/// ends by its time limit, and the handler counts as one that keeps faults.
///
/// On Windows there are no signals and no such child: the call raises an access violation in this
/// thread, which every vectored handler installed in front of this crate's sees.
#[must_use]
pub fn check() -> Recovery {
    sys::fault::check()
}

/// Looks for the last time at the signal mask of this thread and at the installed handlers.
///
/// Returns how this thread transfers memory from now on. Transfers of 1 KiB and more usually make
/// system calls to look at both; after this call those of this thread do not, whatever their length,
/// so that a thread that is about to forbid itself system calls (seccomp) can copy in bulk. Whether
/// it blocks signals or handlers are installed afterwards is not noticed: a fault that does not
/// reach this crate's handler then ends the process. A handler that was not tried by [`check`]
/// counts as one that keeps faults.
///
/// # Examples
/// ```
/// use sharemap::guard::{self, Recovery};
///
/// let thread = std::thread::spawn(|| {
///     if guard::seal_thread() == Recovery::InPlace {
///         // Forbid system calls here, then read the mapping.
///     }
/// });
/// thread.join().unwrap();
/// ```
#[must_use]
pub fn seal_thread() -> Recovery {
    copy::seal_thread()
}
