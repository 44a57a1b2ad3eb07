//! The code that the fault handler reads without asking the kernel whether it can.
//!
//! A sandbox may kill for any system call, and a fault in it is to be recovered all the same. What
//! is noted here stays mapped, and readable, for as long as the process runs: the program's own
//! code, and that of the module that contains the handler, which is never unloaded. Sites in other
//! modules are recovered after a question to the kernel.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sys::os::fault as os;
use crate::sys::os::map::page_size;

/// Two modules, with room for code in several segments.
const RANGES: usize = 8;

/// Starts and ends; filled before the handler is installed.
static KNOWN: [[AtomicUsize; 2]; RANGES] = [const { [const { AtomicUsize::new(0) }; 2] }; RANGES];

/// Notes code that stays, if it can be read now, as far as there is room.
pub(super) fn note(code: Range<usize>) {
    // Pages are mapped whole.
    let Some(end) = code.end.checked_next_multiple_of(page_size()) else { return };
    let code = code.start & !(page_size() - 1)..end;
    // A program that makes its code unreadable makes all of it so.
    if code.is_empty() || !os::readable(code.start) || !os::readable(code.end - 1) {
        return;
    }
    let free = KNOWN.iter().find(|[_, end]| end.load(Ordering::Relaxed) == 0);
    if let Some([start, end]) = free {
        start.store(code.start, Ordering::Relaxed);
        end.store(code.end, Ordering::Relaxed);
    }
}

/// Returns whether the eight bytes around `at` can be read. Called by the handler: plain loops, and
/// a system call for unknown code only.
#[inline(always)]
pub(super) fn is_readable(at: usize) -> bool {
    let mut index = 0;
    while index < RANGES {
        let [start, end] = &KNOWN[index];
        if start.load(Ordering::Relaxed) <= at & !7 && at | 7 < end.load(Ordering::Relaxed) {
            return true;
        }
        index += 1;
    }
    os::readable(at)
}
