//! A value that is replaced in one step (FORMAT.md, "Mutex").
//!
//! There are two copies, and a selector names the current one. A writer fills the other copy and then stores
//! the selector: a death before that store leaves the old value, a death after it the new one. A value of 4
//! or 8 bytes has one copy and no selector, because one store replaces it.

use crate::error::Result;
use crate::peer::Machine;

/// The place of a value in a lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DoubleBuffer {
    /// The lock's offset. `selector` and `first` count from it.
    at: u64,
    selector: u64,
    first: u64,
    stride: u64,
}

impl DoubleBuffer {
    /// Describes a value of `len` bytes, with its selector and first copy at these offsets from `at`.
    #[inline(always)]
    pub(crate) fn new(at: u64, selector: u64, first: u64, len: u32) -> Self {
        Self { at, selector, first, stride: stride(len) }
    }

    /// Returns the number of bytes that the copies of a value of `len` bytes occupy.
    pub(crate) const fn size(len: u32) -> u64 {
        if is_word(len as usize) { stride(len) } else { 2 * stride(len) }
    }

    /// Copies the current value into `into`, and returns the number of its copy.
    ///
    /// The caller holds the lock, so that no thread writes meanwhile. The bytes must still be validated: a
    /// misbehaving peer may have written them.
    #[inline(always)]
    pub(crate) fn read<W: Machine>(self, machine: &W, into: &mut [u8]) -> Result<u32> {
        let mut selector = 0;
        if !is_word(into.len()) {
            selector = machine.load_32(self.at + self.selector)? & 1;
        }
        machine.read(self.copy(selector), into)?;
        Ok(selector)
    }

    /// Replaces the value. `selector` is the number of the current copy, as [`read`](Self::read) returned it.
    ///
    /// The caller holds the lock exclusively, so that no thread reads or writes meanwhile. If writing the
    /// bytes fails, the old value stays current.
    #[inline(always)]
    pub(crate) fn write<W: Machine>(self, machine: &W, selector: u32, from: &[u8]) -> Result<()> {
        match *from {
            [a, b, c, d] => {
                return machine.store_32(self.copy(0), u32::from_ne_bytes([a, b, c, d]));
            }
            [a, b, c, d, e, f, g, h] => {
                let value = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
                return machine.store_64(self.copy(0), value);
            }
            _ => {}
        }
        // The selector is stored last, by a release store: a selector that names the other copy is never
        // visible before all bytes of that copy. The release of the lock word comes after both.
        let other = 1 - (selector & 1);
        machine.write(self.copy(other), from)?;
        machine.store_32(self.at + self.selector, other)
    }

    #[inline(always)]
    fn copy(self, selector: u32) -> u64 {
        self.at + (self.first + u64::from(selector) * self.stride)
    }
}

/// Returns the distance between the copies of a value of `len` bytes.
const fn stride(len: u32) -> u64 {
    (len as u64).next_multiple_of(8)
}

/// Returns `true` if one store writes a value of `len` bytes, which therefore has one copy.
#[inline(always)]
pub(crate) const fn is_word(len: usize) -> bool {
    len == 4 || len == 8
}
