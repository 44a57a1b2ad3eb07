//! The ranges of code that the fault handler may read without asking the kernel.
//!
//! A sandbox may kill the thread for any system call, but its faults must still be recovered. The
//! ranges recorded here stay mapped and readable until the process ends: the code of the program,
//! and of the module that contains the handler, which is never unloaded. For sites in other modules
//! the handler first asks the kernel.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sys::os::fault as os;
use crate::sys::os::map::page_size;

/// The number of ranges: two modules, each with several segments of code.
const RANGES: usize = 8;

/// The start and end of each range, stored before the handler is installed.
static KNOWN: [[AtomicUsize; 2]; RANGES] = [const { [const { AtomicUsize::new(0) }; 2] }; RANGES];

/// Records a range of code that stays mapped, if it is readable now and a place is left.
pub(super) fn note(code: Range<usize>) {
    // Pages are mapped whole.
    let Some(end) = code.end.checked_next_multiple_of(page_size()) else { return };
    let code = code.start & !(page_size() - 1)..end;
    // A program may have execute-only code, which cannot be read.
    if code.is_empty() || !os::readable(code.start) || !os::readable(code.end - 1) {
        return;
    }
    let free = KNOWN.iter().find(|[_, end]| end.load(Ordering::Relaxed) == 0);
    if let Some([start, end]) = free {
        start.store(code.start, Ordering::Relaxed);
        end.store(code.end, Ordering::Relaxed);
    }
}

/// Returns `true` if the eight bytes around `at` can be read. The handler calls this: it runs plain
/// loops, and makes a system call for unknown code only.
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
