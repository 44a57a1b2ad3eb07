//! Access to an object's bytes by offset: bounds-checked, guarded, and by copy.

#![allow(unsafe_code, reason = "guarded accesses within a mapping")]

use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::error::{Error, ErrorKind, Result};
use crate::guard::{self, AtomicWord, Recovery};
use crate::layout::Element;
use crate::mapping::{MapOptions, Mapping, MappingCow, MappingMut, Region};
use crate::view::{View, ViewMut};

/// The kind of an attachment to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attachment {
    /// Reads and writes, with a participant and lanes in the object.
    Participant,
    /// Reads only, and writes nothing into the object.
    ReadOnly,
    /// Reads the object and writes to private copies of its pages.
    CopyOnWrite,
}

/// A shared object that is mapped into this process.
#[derive(Debug)]
pub(crate) struct Memory {
    base: *mut u8,
    /// The last offset of a word of 4 bytes within the object.
    last_4: u64,
    /// The last offset of a word of 8 bytes within the object.
    last_8: u64,
    /// The length in bytes; at least that of a header.
    len: u64,
    path: Option<Box<Path>>,
    mapping: Mapped,
}

#[derive(Debug)]
enum Mapped {
    Write(MappingMut),
    Read(Mapping),
    Private(MappingCow),
}

// SAFETY: the address is the mapping's, which may be used by any thread; accesses are guarded.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps the whole file, which must have at least `least` bytes: [`header::LEN`] or more.
    ///
    /// Fails with `Truncated` if it is shorter, and with `Unsupported` where faults cannot be recovered
    /// in place.
    ///
    /// [`header::LEN`]: crate::peer::header::LEN
    pub(crate) fn map(
        file: &File,
        path: Option<&Path>,
        attachment: Attachment,
        least: u64,
    ) -> Result<Self> {
        let named = |error: Error| error.with_path(path);
        let options = MapOptions::new();
        let mapping = match attachment {
            Attachment::Participant => options.map_mut(file).map(Mapped::Write),
            Attachment::ReadOnly => options.map(file).map(Mapped::Read),
            Attachment::CopyOnWrite => options.map_cow(file).map(Mapped::Private),
        }
        .map_err(named)?;
        let region: &Region = mapping.region();
        let (base, len) = (region.base(), region.len() as u64);
        if len < least {
            return Err(named(Error::new(ErrorKind::Truncated, "open"))
                .with_length(len)
                .with_detail("no shared object is shorter than its header"));
        }
        if region.recovery() != Recovery::InPlace {
            return Err(named(Error::new(ErrorKind::Unsupported, "open")).with_detail(
                "its words need atomic instructions, and faults of these cannot be recovered in place \
                 here",
            ));
        }
        Ok(Self {
            base,
            last_4: len - 4,
            last_8: len - 8,
            len,
            path: path.map(Into::into),
            mapping,
        })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Returns the open file.
    pub(crate) fn file(&self) -> Option<&File> {
        self.mapping.region().file()
    }

    /// Makes the changes durable. Does nothing if this mapping cannot change the object.
    pub(crate) fn flush(&self) -> Result<()> {
        match &self.mapping {
            Mapped::Write(mapping) => mapping.flush(),
            Mapped::Read(_) | Mapped::Private(_) => Ok(()),
        }
    }

    /// Makes all later flushes fail, as after a flush that failed.
    #[cfg(test)]
    pub(super) fn fail_flushes(&self) {
        self.mapping.region().fail_flushes();
    }

    /// Returns the address of `size` bytes at offset `at`, or an `OutOfBounds` error.
    #[inline(always)]
    pub(crate) fn at(&self, at: u64, size: u64) -> Result<*mut u8> {
        let last = match size {
            // Precomputed, here and below, for the fast paths of locks.
            4 => Some(self.last_4),
            8 => Some(self.last_8),
            _ => self.len.checked_sub(size),
        };
        match last {
            Some(last) if at <= last => Ok(self.base.wrapping_add(at as usize)),
            _ => Err(self.out_of_bounds(at, size)),
        }
    }

    /// Calls `access`, which makes guarded accesses at `address`, and returns its result.
    ///
    /// `access` stores the address of a fault in its second argument, which is 0 before. In that case
    /// the call discards the result and fails with `Fault`. Stores that succeeded are not undone.
    ///
    /// The address lies in the mapping: [`at`](Self::at) returned it, or the record of a lane has it.
    #[inline(always)]
    pub(crate) fn access<T>(
        &self,
        address: *mut u8,
        access: impl FnOnce(*mut u8, &mut usize) -> T,
    ) -> Result<T> {
        let mut fault = 0;
        let value = access(address, &mut fault);
        if fault == 0 { Ok(value) } else { Err(self.fault(fault)) }
    }

    /// Checks the bounds, then runs a guarded access.
    #[inline(always)]
    fn run<T>(
        &self,
        at: u64,
        size: u64,
        access: impl FnOnce(*mut u8, &mut usize) -> T,
    ) -> Result<T> {
        let address = self.at(at, size)?;
        self.access(address, access)
    }

    /// Loads a word with acquire ordering.
    #[inline(always)]
    pub(crate) fn load<W: AtomicWord>(&self, at: u64) -> Result<W> {
        // SAFETY: the word lies in the mapping, here and below; a misaligned address counts as a fault.
        self.run(at, size_of::<W>() as u64, |address, fault| unsafe { W::load(address, fault) })
    }

    /// Stores a word with release ordering, by a plain store.
    #[inline(always)]
    pub(crate) fn store<W: AtomicWord>(&self, at: u64, value: W) -> Result<()> {
        self.run(at, size_of::<W>() as u64, |address, fault| unsafe {
            // SAFETY: as above.
            W::store(address, value, Ordering::Release, fault);
        })
    }

    /// Exchanges a word, sequentially consistent, and returns its previous value.
    #[inline(always)]
    pub(crate) fn swap<W: AtomicWord>(&self, at: u64, value: W) -> Result<W> {
        // SAFETY: as above.
        self.run(at, size_of::<W>() as u64, |address, fault| unsafe {
            W::swap(address, value, fault)
        })
    }

    /// Replaces a word by `new` if it is `current`, sequentially consistent. Returns the previous value.
    #[inline(always)]
    pub(crate) fn compare_exchange<W: AtomicWord>(&self, at: u64, current: W, new: W) -> Result<W> {
        // SAFETY: as above.
        self.run(at, size_of::<W>() as u64, |address, fault| unsafe {
            W::compare_exchange(address, current, new, fault)
        })
    }

    /// Adds `value` to a word, sequentially consistent, and returns its previous value.
    #[inline(always)]
    pub(crate) fn fetch_add<W: AtomicWord>(&self, at: u64, value: W) -> Result<W> {
        // SAFETY: as above.
        self.run(at, size_of::<W>() as u64, |address, fault| unsafe {
            W::fetch_add(address, value, fault)
        })
    }

    /// Copies the bytes at offset `at` into `into`. The copy is not atomic, except for 4 and 8 bytes.
    #[inline(always)]
    pub(crate) fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        let from = self.at(at, into.len() as u64)?;
        // SAFETY: `at` returned the address for as many bytes.
        self.access(from, |from, fault| unsafe { self.read_at(from, into, fault) })
    }

    /// Copies `from` to offset `at`. The copy is not atomic, except for 4 and 8 bytes.
    #[inline(always)]
    pub(crate) fn write(&self, at: u64, from: &[u8]) -> Result<()> {
        let to = self.at(at, from.len() as u64)?;
        // SAFETY: `at` returned the address for as many bytes.
        self.access(to, |to, fault| unsafe { self.write_at(to, from, fault) })
    }

    /// Copies bytes out of the object.
    ///
    /// Four and eight bytes are one instruction. If the length is a constant, the compiler selects the
    /// branch where this is inlined.
    ///
    /// # Safety
    /// [`at`](Self::at) returned the address for `into.len()` bytes.
    #[inline(always)]
    pub(crate) unsafe fn read_at(&self, from: *mut u8, into: &mut [u8], fault: &mut usize) {
        let (len, to) = (into.len(), into.as_mut_ptr());
        // SAFETY: the source lies in the mapping, as the caller promises; the slice has room.
        unsafe {
            match len {
                4 => guard::load_bytes::<u32>(to, from, 1, fault),
                8 => guard::load_bytes::<u64>(to, from, 1, fault),
                _ if guard::copy_out_directly(from, to, len) => {}
                _ => note(from, len, guard::copy_out(Recovery::InPlace, from, to, len), fault),
            }
        }
    }

    /// Copies bytes into the object; four and eight bytes by one instruction.
    ///
    /// # Safety
    /// [`at`](Self::at) returned the address for `from.len()` bytes.
    #[inline(always)]
    pub(crate) unsafe fn write_at(&self, to: *mut u8, from: &[u8], fault: &mut usize) {
        let len = from.len();
        // SAFETY: the destination lies in the mapping, as the caller promises; the slice is as long.
        unsafe {
            match *from {
                [a, b, c, d] => guard::store(to, &[a, b, c, d], fault),
                [a, b, c, d, e, f, g, h] => guard::store(to, &[a, b, c, d, e, f, g, h], fault),
                _ if guard::copy_in_directly(to, from.as_ptr(), len) => {}
                _ => {
                    let done = guard::copy_in(Recovery::InPlace, to, from.as_ptr(), len);
                    note(to, len, done, fault);
                }
            }
        }
    }

    /// Returns a read-only view of `count` elements at offset `at`.
    pub(crate) fn view<T: Element>(&self, at: u64, count: u64) -> Result<View<'_, T>> {
        let (start, count) = self.place_of(at, count)?;
        match &self.mapping {
            Mapped::Write(mapping) => mapping.view_at(start, count).map(|view| *view),
            Mapped::Read(mapping) => mapping.view_at(start, count),
            Mapped::Private(mapping) => mapping.view_at(start, count).map(|view| *view),
        }
    }

    /// Returns a writable view of `count` elements at offset `at`, or a `NotWritable` error if the
    /// attachment is read-only.
    pub(crate) fn view_mut<T: Element>(&self, at: u64, count: u64) -> Result<ViewMut<'_, T>> {
        let (start, count) = self.place_of(at, count)?;
        match &self.mapping {
            Mapped::Write(mapping) => mapping.view_at(start, count),
            Mapped::Private(mapping) => mapping.view_at(start, count),
            Mapped::Read(_) => {
                Err(Error::new(ErrorKind::NotWritable, "view").with_path(self.path()))
            }
        }
    }

    /// Converts an offset and a count to this system's sizes.
    fn place_of(&self, at: u64, count: u64) -> Result<(usize, usize)> {
        match (usize::try_from(at), usize::try_from(count)) {
            (Ok(at), Ok(count)) => Ok((at, count)),
            _ => Err(self.out_of_bounds(at, count)),
        }
    }

    /// Returns the error, of kind `OutOfBounds`, for an access to `size` bytes at `at`.
    #[cold]
    fn out_of_bounds(&self, at: u64, size: u64) -> Error {
        Error::new(ErrorKind::OutOfBounds, "access")
            .with_path(self.path())
            .with_offset(at)
            .with_length(size)
            .with_detail(format!("the object has {} bytes", self.len))
    }

    /// Returns the error for a fault at `address`, with its offset in the object.
    #[cold]
    pub(super) fn fault(&self, address: usize) -> Error {
        let last = self.len - 1;
        let at = (address.wrapping_sub(self.base as usize) as u64).min(last);
        let error = Error::new(ErrorKind::Fault, "access").with_path(self.path()).with_offset(at);
        guard::with_cause(error, self.mapping.region().shrinking_file(), at)
    }
}

impl Mapped {
    fn region(&self) -> &Region {
        match self {
            Self::Write(mapping) => mapping,
            Self::Read(mapping) => mapping,
            Self::Private(mapping) => mapping,
        }
    }
}

/// Stores the address of a fault if a copy of `len` bytes stopped after `done`.
#[inline(always)]
fn note(start: *mut u8, len: usize, done: usize, fault: &mut usize) {
    if done != len {
        *fault = start as usize + done;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::header;

    #[test]
    fn no_size_reaches_beyond_the_end() {
        if guard::recovery() != Recovery::InPlace {
            eprintln!("skipped: faults cannot be recovered in place here");
            return;
        }
        let path = std::env::temp_dir().join(format!("sharemap-memory-{}", std::process::id()));
        std::fs::write(&path, [0; header::LEN as usize]).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let memory = Memory::map(&file, None, Attachment::ReadOnly, header::LEN).unwrap();
        for size in [0, 1, 4, 8, 64, header::LEN] {
            let last = header::LEN - size;
            let address = memory.at(last, size).unwrap();
            assert_eq!(address, memory.base.wrapping_add(last as usize));
            for at in [last + 1, u64::MAX] {
                let error = memory.at(at, size).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::OutOfBounds, "{size} bytes at {at}");
            }
        }
        for size in [header::LEN + 1, u64::MAX] {
            assert_eq!(memory.at(0, size).unwrap_err().kind(), ErrorKind::OutOfBounds);
        }
    }
}
