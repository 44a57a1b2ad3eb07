//! Copies of any length, with exact counts.

#![allow(unsafe_code, reason = "guarded accesses")]

use std::cell::Cell;

use crate::sys::{Recovery, arch, fault};

/// Transfers from here on look whether this thread can take a fault's signal.
const BULK: usize = 256;

/// Transfers from here on look at the handler and the thread's signal mask anew.
const LARGE: usize = 1 << 20;

/// Copies out of guarded memory, in order; gives the bytes copied before the first that could not
/// be. Bytes of `to` behind that count may have been overwritten only if their source was read.
///
/// # Safety
/// `from` lies, for `len` bytes, in a span of this crate's own, to which no reference exists; `to`
/// is private and has room for `len`.
#[inline]
pub(crate) unsafe fn copy_out(
    recovery: Recovery,
    from: *const u8,
    to: *mut u8,
    len: usize,
) -> usize {
    // SAFETY: passed on.
    unsafe {
        if recovery == Recovery::Syscall || (len >= BULK && !can_fault(len)) {
            return fault::copy_from_foreign(from, to, len);
        }
        let mut fault = 0;
        if len < 128 {
            out_short(from, to, len, &mut fault);
        } else {
            let done = arch::copy_blocks_out(from, to, len);
            out_tail(from, to, len, done, &mut fault);
        }
        if fault == 0 {
            len
        } else {
            out_exact(from, to, len)
        }
    }
}

/// Copies into guarded memory, in order; gives the bytes copied before the first that could not be
/// (on aarch64: at least so many).
///
/// # Safety
/// As for [`copy_out`], the other way round.
#[inline]
pub(crate) unsafe fn copy_in(
    recovery: Recovery,
    to: *mut u8,
    from: *const u8,
    len: usize,
) -> usize {
    // SAFETY: passed on.
    unsafe {
        if recovery == Recovery::Syscall || (len >= BULK && !can_fault(len)) {
            return fault::copy_to_foreign(to, from, len);
        }
        let mut fault = 0;
        if len < 128 {
            in_short(to, from, len, &mut fault);
        } else {
            let done = arch::copy_blocks_in(to, from, len);
            in_tail(to, from, len, done, &mut fault);
        }
        if fault == 0 {
            len
        } else {
            in_exact(to, from, len)
        }
    }
}

/// Whether this thread takes the signals of a fault, and, for large transfers, whether the handler
/// is still the one that gets them.
fn can_fault(len: usize) -> bool {
    thread_local! {
        static READY: Cell<Option<bool>> = const { Cell::new(None) };
    }
    if len >= LARGE {
        let ready = fault::thread_ready();
        READY.set(Some(ready));
        return ready && fault::check() == Recovery::InPlace;
    }
    READY.get().unwrap_or_else(|| {
        let ready = fault::thread_ready();
        READY.set(Some(ready));
        ready
    })
}

/// Less than 128 bytes, by accesses that overlap in the middle.
#[inline(always)]
unsafe fn out_short(from: *const u8, to: *mut u8, len: usize, fault: &mut usize) {
    // SAFETY: every access lies within `len` bytes of both sides.
    unsafe {
        if len > 64 {
            give_four(to, [0, 16, 32, 48], arch::load_quad(from, fault));
            let last = arch::load_quad(from.add(len - 64), fault);
            give_four(to.add(len - 64), [0, 16, 32, 48], last);
        } else if len > 32 {
            let last = len - 32;
            give_four(
                to,
                [0, 16, last, last + 16],
                arch::load_ends(from, last, fault),
            );
        } else if len >= 16 {
            let [first, last] = arch::load_pair(from, len - 16, fault);
            arch::give_narrow(to, first);
            arch::give_narrow(to.add(len - 16), last);
        } else if len >= 8 {
            let (a, b) = (
                arch::load_64(from, fault),
                arch::load_64(from.add(len - 8), fault),
            );
            to.cast::<u64>().write_unaligned(a);
            to.add(len - 8).cast::<u64>().write_unaligned(b);
        } else if len >= 4 {
            let (a, b) = (
                arch::load_32(from, fault),
                arch::load_32(from.add(len - 4), fault),
            );
            to.cast::<u32>().write_unaligned(a);
            to.add(len - 4).cast::<u32>().write_unaligned(b);
        } else if len >= 2 {
            let (a, b) = (
                arch::load_16(from, fault),
                arch::load_16(from.add(len - 2), fault),
            );
            to.cast::<u16>().write_unaligned(a);
            to.add(len - 2).cast::<u16>().write_unaligned(b);
        } else if len == 1 {
            to.write(arch::load_8(from, fault));
        }
    }
}

/// Writes four vectors to private memory.
#[inline(always)]
unsafe fn give_four(to: *mut u8, offsets: [usize; 4], values: [arch::Narrow; 4]) {
    for (offset, value) in offsets.into_iter().zip(values) {
        // SAFETY: the caller has room there.
        unsafe { arch::give_narrow(to.add(offset), value) };
    }
}

/// Reads four vectors from private memory.
#[inline(always)]
unsafe fn take_four(from: *const u8, offsets: [usize; 4]) -> [arch::Narrow; 4] {
    // SAFETY: the caller has them there.
    unsafe { offsets.map(|offset| arch::take_narrow(from.add(offset))) }
}

/// What is left of 128 bytes or more after `done`, which a fault may have ended.
#[inline(always)]
unsafe fn out_tail(from: *const u8, to: *mut u8, len: usize, done: usize, fault: &mut usize) {
    let left = len - done;
    if left >= 128 {
        *fault = 1;
        return;
    }
    // SAFETY: the accesses lie in the last 128 bytes, of which there are as many.
    unsafe {
        if left > 64 {
            let block = arch::load_quad(from.add(len - 128), fault);
            give_four(to.add(len - 128), [0, 16, 32, 48], block);
        }
        if left > 0 {
            let block = arch::load_quad(from.add(len - 64), fault);
            give_four(to.add(len - 64), [0, 16, 32, 48], block);
        }
    }
}

#[inline(always)]
unsafe fn in_short(to: *mut u8, from: *const u8, len: usize, fault: &mut usize) {
    // SAFETY: every access lies within `len` bytes of both sides.
    unsafe {
        if len > 64 {
            arch::store_quad(to, take_four(from, [0, 16, 32, 48]), fault);
            let last = take_four(from.add(len - 64), [0, 16, 32, 48]);
            arch::store_quad(to.add(len - 64), last, fault);
        } else if len > 32 {
            let last = len - 32;
            arch::store_ends(to, last, take_four(from, [0, 16, last, last + 16]), fault);
        } else if len >= 16 {
            let last = len - 16;
            let values = [arch::take_narrow(from), arch::take_narrow(from.add(last))];
            arch::store_pair(to, last, values, fault);
        } else if len >= 8 {
            arch::store_64(to, from.cast::<u64>().read_unaligned(), fault);
            let last = from.add(len - 8).cast::<u64>().read_unaligned();
            arch::store_64(to.add(len - 8), last, fault);
        } else if len >= 4 {
            arch::store_32(to, from.cast::<u32>().read_unaligned(), fault);
            let last = from.add(len - 4).cast::<u32>().read_unaligned();
            arch::store_32(to.add(len - 4), last, fault);
        } else if len >= 2 {
            arch::store_16(to, from.cast::<u16>().read_unaligned(), fault);
            let last = from.add(len - 2).cast::<u16>().read_unaligned();
            arch::store_16(to.add(len - 2), last, fault);
        } else if len == 1 {
            arch::store_8(to, from.read(), fault);
        }
    }
}

#[inline(always)]
unsafe fn in_tail(to: *mut u8, from: *const u8, len: usize, done: usize, fault: &mut usize) {
    let left = len - done;
    if left >= 128 {
        *fault = 1;
        return;
    }
    // SAFETY: the accesses lie in the last 128 bytes, of which there are as many.
    unsafe {
        if left > 64 {
            let block = take_four(from.add(len - 128), [0, 16, 32, 48]);
            arch::store_quad(to.add(len - 128), block, fault);
        }
        if left > 0 {
            let block = take_four(from.add(len - 64), [0, 16, 32, 48]);
            arch::store_quad(to.add(len - 64), block, fault);
        }
    }
}

/// After a fault somewhere: from the start, in steps that know exactly where it is. The memory may
/// have come back meanwhile.
#[cold]
#[inline(never)]
unsafe fn out_exact(from: *const u8, to: *mut u8, len: usize) -> usize {
    let mut done = 0;
    // SAFETY: `done` stays below `len`.
    unsafe {
        while done < len {
            done += arch::copy_blocks_out(from.add(done), to.add(done), len - done);
            let end = len.min(done + 2 * arch::REACH);
            while done < end {
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

#[cold]
#[inline(never)]
unsafe fn in_exact(to: *mut u8, from: *const u8, len: usize) -> usize {
    let mut done = 0;
    // SAFETY: `done` stays below `len`.
    unsafe {
        while done < len {
            done += arch::copy_blocks_in(to.add(done), from.add(done), len - done);
            let end = len.min(done + 2 * arch::REACH);
            while done < end {
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
