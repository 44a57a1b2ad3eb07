//! Guarded copies of any length, with exact counts.

#![allow(unsafe_code, reason = "guarded accesses")]

use std::cell::Cell;

use crate::sys::{Recovery, arch, fault};

/// Transfers from this size on check whether this thread blocks the signals of a fault.
const BULK: usize = 1024;

/// Transfers from this size on check the handlers and the thread's signal mask again, unless the
/// thread is sealed.
const LARGE: usize = 1 << 20;

/// Copies out of guarded memory by a few instructions. Returns `false` if that is not possible or
/// faulted; the caller then calls [`copy_out`].
///
/// # Safety
/// As for [`copy_out`]; accesses to the memory must be made in place.
#[inline(never)]
pub(crate) unsafe fn copy_out_directly(from: *const u8, to: *mut u8, len: usize) -> bool {
    // SAFETY: as promised by the caller.
    unsafe {
        if len > 64 { arch::copy_out_directly(from, to, len) } else { out_short(from, to, len) }
    }
}

/// Copies out of guarded memory, in order. Returns the number of bytes before the first that could not
/// be read. Only bytes that were read are written to `to`.
///
/// # Safety
/// `from` must lie, for `len` bytes, in a span of this crate's own, to which no reference exists. `to`
/// must be private memory of at least `len` bytes.
pub(crate) unsafe fn copy_out(
    recovery: Recovery,
    from: *const u8,
    to: *mut u8,
    len: usize,
) -> usize {
    // SAFETY: as promised by the caller.
    unsafe {
        if recovery == Recovery::Syscall || !(is_ready(len) || look(len)) {
            return fault::copy_from_foreign(from, to, len);
        }
        let whole = if len > 64 {
            arch::copy_out_widest(from, to, len) || arch::copy_out(from, to, len)
        } else {
            out_short(from, to, len)
        };
        if whole { len } else { out_exact(from, to, len) }
    }
}

/// Copies into guarded memory by a few instructions. Returns `false` if that is not possible or faulted;
/// the caller then calls [`copy_in`].
///
/// # Safety
/// As for [`copy_in`]; accesses to the memory must be made in place.
#[inline(never)]
pub(crate) unsafe fn copy_in_directly(to: *mut u8, from: *const u8, len: usize) -> bool {
    // SAFETY: as promised by the caller.
    unsafe {
        if len > 64 { arch::copy_in_directly(to, from, len) } else { in_short(to, from, len) }
    }
}

/// Copies into guarded memory, in order. Returns the number of bytes before the first that could not be
/// written (on aarch64, a lower bound of it).
///
/// # Safety
/// As for [`copy_out`], with `to` guarded and `from` private.
pub(crate) unsafe fn copy_in(
    recovery: Recovery,
    to: *mut u8,
    from: *const u8,
    len: usize,
) -> usize {
    // SAFETY: as promised by the caller.
    unsafe {
        if recovery == Recovery::Syscall || !(is_ready(len) || look(len)) {
            return fault::copy_to_foreign(to, from, len);
        }
        let whole = if len > 64 {
            arch::copy_in_widest(to, from, len) || arch::copy_in(to, from, len)
        } else {
            in_short(to, from, len)
        };
        if whole { len } else { in_exact(to, from, len) }
    }
}

/// The knowledge about the recovery of this thread's faults.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ready {
    /// The thread has made no bulk transfer yet.
    Unknown,
    /// The thread blocked the signals of a fault at the last check.
    No,
    /// The thread did not block them at the last check.
    Yes,
    /// The answer when the thread was sealed, for transfers of every length.
    Sealed(bool),
}

thread_local! {
    static READY: Cell<Ready> = const { Cell::new(Ready::Unknown) };
}

/// Returns `true` if a transfer of this length needs no check, or the last check succeeded.
#[inline(always)]
fn is_ready(len: usize) -> bool {
    len < BULK || (len < LARGE && READY.get() == Ready::Yes)
}

/// Returns `true` if this thread receives the signals of a fault and, for large transfers, if this crate's
/// handler is still installed. Runs no handler.
fn look(len: usize) -> bool {
    match READY.get() {
        Ready::Sealed(ready) => return ready,
        Ready::Yes if len < LARGE => return true,
        Ready::No if len < LARGE => return false,
        _ => {}
    }
    let ready = fault::thread_ready();
    READY.set(if ready { Ready::Yes } else { Ready::No });
    ready && (len < LARGE || fault::inspect() == Recovery::InPlace)
}

/// Checks mask and handlers for the last time; see [`guard::seal_thread`](super::seal_thread).
pub(super) fn seal_thread() -> Recovery {
    let ready = fault::thread_ready() && fault::inspect() == Recovery::InPlace;
    READY.set(Ready::Sealed(ready));
    if ready { Recovery::InPlace } else { Recovery::Syscall }
}

/// Copies up to 64 bytes out of guarded memory, by accesses that overlap in the middle. Returns `false`
/// if one of them faulted.
#[inline(always)]
unsafe fn out_short(from: *const u8, to: *mut u8, len: usize) -> bool {
    let mut fault = 0;
    // SAFETY: every access lies within `len` bytes of both sides.
    unsafe {
        if len > 32 {
            let last = len - 32;
            let [a, b, c, d] = arch::load_ends(from, last, &mut fault);
            if fault == 0 {
                arch::give_narrow(to, a);
                arch::give_narrow(to.add(16), b);
                arch::give_narrow(to.add(last), c);
                arch::give_narrow(to.add(last + 16), d);
            }
        } else if len >= 16 {
            let [first, last] = arch::load_pair(from, len - 16, &mut fault);
            if fault == 0 {
                arch::give_narrow(to, first);
                arch::give_narrow(to.add(len - 16), last);
            }
        } else if len >= 8 {
            let first = arch::load_64(from, &mut fault);
            let last = arch::load_64(from.add(len - 8), &mut fault);
            if fault == 0 {
                to.cast::<u64>().write_unaligned(first);
                to.add(len - 8).cast::<u64>().write_unaligned(last);
            }
        } else if len >= 4 {
            let first = arch::load_32(from, &mut fault);
            let last = arch::load_32(from.add(len - 4), &mut fault);
            if fault == 0 {
                to.cast::<u32>().write_unaligned(first);
                to.add(len - 4).cast::<u32>().write_unaligned(last);
            }
        } else if len >= 2 {
            let first = arch::load_16(from, &mut fault);
            let last = arch::load_16(from.add(len - 2), &mut fault);
            if fault == 0 {
                to.cast::<u16>().write_unaligned(first);
                to.add(len - 2).cast::<u16>().write_unaligned(last);
            }
        } else if len == 1 {
            let byte = arch::load_8(from, &mut fault);
            if fault == 0 {
                to.write(byte);
            }
        }
    }
    fault == 0
}

/// Copies up to 64 bytes into guarded memory, by accesses that overlap in the middle. Returns `false` if
/// one of them faulted.
#[inline(always)]
unsafe fn in_short(to: *mut u8, from: *const u8, len: usize) -> bool {
    let mut fault = 0;
    // SAFETY: every access lies within `len` bytes of both sides.
    unsafe {
        if len > 32 {
            let last = len - 32;
            let values = [0, 16, last, last + 16].map(|at| arch::take_narrow(from.add(at)));
            arch::store_ends(to, last, values, &mut fault);
        } else if len >= 16 {
            let last = len - 16;
            let values = [0, last].map(|at| arch::take_narrow(from.add(at)));
            arch::store_pair(to, last, values, &mut fault);
        } else if len >= 8 {
            arch::store_64(to, from.cast::<u64>().read_unaligned(), &mut fault);
            let last = from.add(len - 8).cast::<u64>().read_unaligned();
            arch::store_64(to.add(len - 8), last, &mut fault);
        } else if len >= 4 {
            arch::store_32(to, from.cast::<u32>().read_unaligned(), &mut fault);
            let last = from.add(len - 4).cast::<u32>().read_unaligned();
            arch::store_32(to.add(len - 4), last, &mut fault);
        } else if len >= 2 {
            arch::store_16(to, from.cast::<u16>().read_unaligned(), &mut fault);
            let last = from.add(len - 2).cast::<u16>().read_unaligned();
            arch::store_16(to.add(len - 2), last, &mut fault);
        } else if len == 1 {
            arch::store_8(to, from.read(), &mut fault);
        }
    }
    fault == 0
}

/// The number of bytes that are copied at a time after a fault, before the copy goes byte by byte.
const STEP: usize = 4096;

/// Repeats a copy that faulted, from the start, in steps. The step that faults is repeated byte by byte,
/// for the exact count. The memory may have come back meanwhile.
#[cold]
#[inline(never)]
unsafe fn out_exact(from: *const u8, to: *mut u8, len: usize) -> usize {
    let mut done = 0;
    // SAFETY: `done` stays below `len`.
    unsafe {
        while done < len {
            let step = STEP.min(len - done);
            if step > 64 && arch::copy_out(from.add(done), to.add(done), step) {
                done += step;
                continue;
            }
            for _ in 0..step {
                let mut fault = 0;
                let byte = arch::load_8(from.add(done), &mut fault);
                if fault != 0 {
                    return done;
                }
                to.add(done).write(byte);
                done += 1;
            }
        }
    }
    done
}

/// Repeats a copy into guarded memory that faulted, like [`out_exact`].
#[cold]
#[inline(never)]
unsafe fn in_exact(to: *mut u8, from: *const u8, len: usize) -> usize {
    let mut done = 0;
    // SAFETY: `done` stays below `len`.
    unsafe {
        while done < len {
            let step = STEP.min(len - done);
            if step > 64 && arch::copy_in(to.add(done), from.add(done), step) {
                done += step;
                continue;
            }
            for _ in 0..step {
                let mut fault = 0;
                arch::store_8(to.add(done), from.add(done).read(), &mut fault);
                if fault != 0 {
                    return done;
                }
                done += 1;
            }
        }
    }
    done
}
