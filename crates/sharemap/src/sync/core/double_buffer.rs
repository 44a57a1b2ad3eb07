//! A value in two copies, of which a selector names the current one. An owner that dies while
//! writing leaves the old value or the new. A value of 4 or 8 bytes has one copy, which one store
//! writes.

use crate::error::Result;
use crate::peer::Machine;

#[derive(Clone, Copy, Debug)]
pub(crate) struct DoubleBuffer {
    /// The lock's offset; from it are those of the selector and the first copy.
    at: u64,
    selector: u64,
    first: u64,
    stride: u64,
}

impl DoubleBuffer {
    #[inline(always)]
    pub(crate) fn new(at: u64, selector: u64, first: u64, len: u32) -> Self {
        Self { at, selector, first, stride: stride(len) }
    }

    /// Bytes that the copies take.
    pub(crate) const fn size(len: u32) -> u64 {
        if is_word(len as usize) { stride(len) } else { 2 * stride(len) }
    }

    /// Copies the value out; gives which copy it is. Nobody writes meanwhile.
    #[inline(always)]
    pub(crate) fn read<W: Machine>(self, machine: &W, into: &mut [u8]) -> Result<u32> {
        let mut selector = 0;
        if !is_word(into.len()) {
            selector = machine.load_32(self.at + self.selector)? & 1;
        }
        machine.read(self.copy(selector), into)?;
        Ok(selector)
    }

    /// Writes the value that replaces copy `selector`. Nobody reads or writes meanwhile.
    #[inline(always)]
    pub(crate) fn write<W: Machine>(self, machine: &W, selector: u32, from: &[u8]) -> Result<()> {
        // A death before the store leaves the old value, a death after it the new. There is one
        // copy.
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
        let other = 1 - (selector & 1);
        machine.write(self.copy(other), from)?;
        machine.store_32(self.at + self.selector, other)
    }

    #[inline(always)]
    fn copy(self, selector: u32) -> u64 {
        self.at + (self.first + u64::from(selector) * self.stride)
    }
}

const fn stride(len: u32) -> u64 {
    (len as u64).next_multiple_of(8)
}

/// Returns `true` if one store writes a value of `len` bytes, which then has one copy.
#[inline(always)]
pub(crate) const fn is_word(len: usize) -> bool {
    len == 4 || len == 8
}
