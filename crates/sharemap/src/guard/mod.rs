//! Guarded access to memory that other processes can change or take away.
//!
//! A guarded load or store is the plain instruction. If it faults because the file behind it
//! shrank, the device failed, or the page is protected, a signal handler (a vectored exception
//! handler on Windows) recovers it in place, and the access is an error that names the address.
//!
//! # The handler
//!
//! It is installed when the first mapping is made and stays. It claims only faults at guarded
//! accesses and in [guarded slices](crate::View::guarded_slice), raised by the processor. Every other signal is passed on to the previously installed
//! handler, with that handler's flags and mask. Two cases need the program's attention:
//!
//! - A handler for `SIGBUS` or `SIGSEGV` that is installed later may not pass unknown faults on.
//!   Transfers of 1 MiB and more look which handlers are installed, and use system calls while one
//!   of them is unknown. This crate runs no foreign handler unasked. [`check`] tries it, and
//!   decides how transfers and new mappings access memory from then on.
//! - A thread that blocks `SIGBUS` or `SIGSEGV` dies on any fault, independently of the handler.
//!   Transfers (`read_at`, `to_vec`, `write_at`, …) use system calls in such a thread. Those of 1 KiB
//!   and more check the signal mask at the thread's first, those of 1 MiB and more every time. Smaller
//!   transfers, single `get`s and `set`s, iteration and searches do not check it.
//!
//! Where recovery does not work at all (no assembly for the architecture, code that cannot be read,
//! a tracer that keeps the signals) every access is a system call: slower, and as safe.

mod atomic;
mod cause;
mod copy;
mod element;
mod find;
mod scan;

pub(crate) use crate::sys::SharedFile;
pub(crate) use atomic::AtomicWord;
pub(crate) use cause::{REMAP, with_cause};
pub(crate) use copy::{copy_in, copy_in_directly, copy_out, copy_out_directly};
pub(crate) use element::{load, load_by, load_bytes, prefetch, store};
pub(crate) use find::{BLOCK, find_byte, find_pair};
pub(crate) use scan::count_bytes;

pub(crate) use crate::sys::arch::{
    acquire_and_load, acquire_and_load_two, clear_64, load_two, prefetch_for_store,
};

use crate::sys;
pub use crate::sys::Recovery;
pub(crate) use crate::sys::arch::{Baseline, Scan, Vectors, scan};

/// Returns whether guarded accesses are made in place or by system calls in this process.
///
/// The first call installs the fault handler, as the first mapping does, and tests it in a child
/// process (about 0.1 ms), in which only this crate's code runs. A program that enters a sandbox
/// without system calls (seccomp) must make this call before, and call [`seal_thread`] on each
/// thread that transfers 1 KiB or more.
///
/// # Examples
/// ```
/// use sharemap::guard::{self, Recovery};
///
/// if guard::recovery() == Recovery::Syscall {
///     eprintln!("faults cannot be recovered in place: accesses are system calls");
/// }
/// ```
#[must_use]
pub fn recovery() -> Recovery {
    sys::fault::recovery()
}

/// Tests whether faults are recovered in place, by running the installed handlers.
///
/// Call this after other code has installed a handler for `SIGBUS` or `SIGSEGV`. Until then such a
/// handler counts as keeping faults, and transfers of 1 MiB and more use system calls. If the
/// handler passes unknown faults on to the previous one, transfers access the memory in place
/// again. If not, new mappings use system calls throughout. The answer is remembered for the last
/// handler of each kind. The call installs and removes nothing.
///
/// # What the trial does
/// The call runs an unknown handler in a forked child, on a fault that is not the handler's own.
/// The C library's fork handlers run on macOS, but not on Linux. The child has a copy of this
/// process's memory and runs only the calling thread, with all signals blocked but the two of
/// faults. It has no open descriptors, leaves no core file, has a session of its own (`kill(0, …)`
/// reaches only the child), and is killed after a second. The call waits for the child. Copying
/// takes time in proportion to the process's private memory.
///
/// A trial is no sandbox. The handler can write to shared memory, open and change files, connect to
/// servers, start programs, and send signals to every process, this one included. A lock that another
/// thread held at the fork stays locked in the child. A handler that waits for it reaches the time
/// limit and counts as keeping faults.
///
/// Windows has no signals and no such child. There, the call raises an access violation in this
/// thread, which every vectored handler in front of this crate's sees.
///
/// # Examples
/// ```
/// use sharemap::guard::{self, Recovery};
///
/// // After another library has installed its handlers:
/// if guard::check() == Recovery::Syscall {
///     eprintln!("a handler keeps faults: mappings made from now on use system calls");
/// }
/// ```
#[must_use]
pub fn check() -> Recovery {
    sys::fault::check()
}

/// Checks this thread's signal mask and the installed handlers for the last time.
///
/// Returns how this thread transfers memory from now on. Transfers of 1 KiB and more usually make
/// system calls to check both. After this call, this thread's transfers of any length make no
/// such calls, so the thread can copy in bulk in a sandbox without system calls
/// (seccomp). Later changes to the mask or the handlers are not noticed: a fault that does not
/// reach this crate's handler then ends the process. A handler that [`check`] has not tried counts
/// as keeping faults.
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
