//! A value that is replaced in one step (FORMAT.md, "Mutex").
//!
//! There are two copies, and a selector names the current one. A writer fills the other copy and then stores
//! the selector: a death before that store leaves the old value, a death after it the new one. A value of 4
//! or 8 bytes has one copy and no selector, because one store replaces it. An empty value has nothing to copy.

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
        if into.is_empty() {
            return Ok(0);
        }
        let mut selector = 0;
        if !is_word(into.len()) {
            selector = machine.load_32(self.at + self.selector)? & 1;
        }
        machine.read(self.copy(selector), into)?;
        Ok(selector)
    }

    /// Copies the current value into `into` like [`read`](Self::read), after `lead` was loaded: the first 64 bits of
    /// the value if it is a word, and those at the selector otherwise.
    #[inline(always)]
    pub(crate) fn read_after<W: Machine>(
        self,
        machine: &W,
        lead: u64,
        into: &mut [u8],
    ) -> Result<u32> {
        let lead = lead.to_ne_bytes();
        if into.is_empty() {
            return Ok(0);
        }
        if is_word(into.len()) {
            let len = into.len();
            into.copy_from_slice(&lead[..len]);
            return Ok(0);
        }
        let [a, b, c, d, ..] = lead;
        let selector = u32::from_ne_bytes([a, b, c, d]) & 1;
        machine.read(self.copy(selector), into)?;
        Ok(selector)
    }

    /// Replaces the value, up to the last store, which the result describes. `selector` is the number of the
    /// current copy, as [`read`](Self::read) returned it.
    ///
    /// The caller holds the lock exclusively, and makes the last store before it releases the lock.
    #[inline(always)]
    pub(crate) fn write_before<W: Machine>(
        self,
        machine: &W,
        selector: u32,
        from: &[u8],
    ) -> Result<LastStore> {
        match *from {
            [a, b, c, d] => return Ok(LastStore::Value32(u32::from_ne_bytes([a, b, c, d]))),
            [a, b, c, d, e, f, g, h] => {
                return Ok(LastStore::Value64(u64::from_ne_bytes([a, b, c, d, e, f, g, h])));
            }
            _ => {}
        }
        let other = 1 - (selector & 1);
        machine.write(self.copy(other), from)?;
        Ok(LastStore::Selector(other))
    }

    /// Replaces the value. `selector` is the number of the current copy, as [`read`](Self::read) returned it.
    ///
    /// The caller holds the lock exclusively, so that no thread reads or writes meanwhile. If writing the
    /// bytes fails, the old value stays current.
    #[inline(always)]
    pub(crate) fn write<W: Machine>(self, machine: &W, selector: u32, from: &[u8]) -> Result<()> {
        match self.write_before(machine, selector, from)? {
            LastStore::None => Ok(()),
            LastStore::Value32(value) => machine.store_32(self.copy(0), value),
            LastStore::Value64(value) => machine.store_64(self.copy(0), value),
            LastStore::Selector(other) => machine.store_32(self.at + self.selector, other),
        }
    }

    #[inline(always)]
    fn copy(self, selector: u32) -> u64 {
        self.at + (self.first + u64::from(selector) * self.stride)
    }
}

/// The store that replaces a value. It comes after all bytes of the other copy and before the release of the lock
/// word, and is a release store: a selector never names a copy of which some bytes are not visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastStore {
    /// The value stays.
    None,
    /// The value, of 4 bytes.
    Value32(u32),
    /// The value, of 8 bytes.
    Value64(u64),
    /// The selector, which from then on names the other copy.
    Selector(u32),
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
