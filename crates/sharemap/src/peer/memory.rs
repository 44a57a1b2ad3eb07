//! Access to an object's bytes by offset: bounds-checked, guarded, and by copy.

#![allow(unsafe_code, reason = "guarded accesses within a mapping")]

use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::error::{Error, ErrorKind, Result};
use crate::guard::{self, AtomicWord, Recovery, SharedFile};
use crate::layout::Element;
use crate::mapping::{MapOptions, Mapping, MappingCow, MappingMut, Region};
use crate::sys::{Access, Advice, HugePages, OpenedFile};
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
    /// The last offset of 128 bytes within the object.
    last_128: u64,
    /// The length in bytes; at least that of a header. The reservation, if the object may grow.
    len: u64,
    is_growable: bool,
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
    /// Reserves address space for `reserve` bytes, if that is more. Where the system maps the whole reservation, as
    /// on Linux, growth of the file is visible without a call.
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
        reserve: u64,
    ) -> Result<Self> {
        let named = |error: Error| error.with_path(path);
        let reserve = address_space(reserve).map_err(named)?;
        let options = MapOptions::new().reserve(reserve);
        let mapping = match attachment {
            Attachment::Participant => options.map_mut(file).map(Mapped::Write),
            Attachment::ReadOnly => options.map(file).map(Mapped::Read),
            Attachment::CopyOnWrite => options.map_cow(file).map(Mapped::Private),
        };
        Self::of(mapping.map_err(named)?, path, least, reserve)
    }

    /// Maps the whole file like [`map`](Self::map), without a descriptor and a query of its own.
    pub(crate) fn map_opened(
        opened: OpenedFile,
        path: Option<&Path>,
        attachment: Attachment,
        least: u64,
        reserve: u64,
    ) -> Result<Self> {
        let named = |error: Error| error.with_path(path);
        let reserve = address_space(reserve).map_err(named)?;
        let options = MapOptions::new().reserve(reserve);
        let map = |access| options.map_opened(opened.file, opened.status, access).map_err(named);
        let mapping = match attachment {
            Attachment::Participant => Mapped::Write(MappingMut::from_region(map(Access::Write)?)),
            Attachment::ReadOnly => Mapped::Read(Mapping::from_region(map(Access::Read)?)),
            Attachment::CopyOnWrite => {
                Mapped::Private(MappingCow::from_region(map(Access::CopyOnWrite)?))
            }
        };
        Self::of(mapping, path, least, reserve)
    }

    /// Checks the mapping of a whole file.
    fn of(mapping: Mapped, path: Option<&Path>, least: u64, reserve: usize) -> Result<Self> {
        let named = |error: Error| error.with_path(path);
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
        // Offsets are checked against the reservation. Those beyond the end of the file fault.
        let len = if reserve == 0 { len } else { region.reserved().min(reserve) as u64 };
        Ok(Self {
            base,
            last_4: len - 4,
            last_8: len - 8,
            last_128: len - 128,
            len,
            is_growable: reserve != 0,
            path: path.map(Into::into),
            mapping,
        })
    }

    /// Grows the file to `len` bytes, within the reservation, and allocates its storage.
    pub(crate) fn grow(&self, len: u64) -> Result<()> {
        match (&self.mapping, usize::try_from(len)) {
            (Mapped::Write(mapping), Ok(len)) => mapping.grow(len),
            _ => Err(Error::new(ErrorKind::NotWritable, "grow").with_path(self.path())),
        }
    }

    /// Asks the system for transparent huge pages, for all of the reservation, if `huge` says so.
    pub(super) fn request_huge_pages(&self, huge: HugePages) {
        if huge == HugePages::Transparent {
            // A system without huge pages is no failure.
            let _ = self.mapping.region().advise(Advice::HugePage);
        }
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

    /// Returns the open file to share it. `None` if it is not a regular file.
    pub(crate) fn shared_file(&self) -> Option<SharedFile> {
        self.mapping.region().shrinking_file()
    }

    /// Makes the changes durable. Does nothing if this mapping cannot change the object.
    pub(crate) fn flush(&self) -> Result<()> {
        match &self.mapping {
            Mapped::Write(mapping) => {
                let region: &Region = mapping;
                if (region.len() as u64) < self.len {
                    // Another process may have grown the object.
                    region.refresh_len()?;
                }
                mapping.flush()
            }
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

    /// Returns the address of `LEN` bytes at offset `at`; `None` if they are out of bounds.
    #[inline(always)]
    pub(super) fn address_of<const LEN: u64>(&self, at: u64) -> Option<*mut u8> {
        let last = match LEN {
            // Precomputed, for lookups.
            8 => self.last_8,
            128 => self.last_128,
            _ => self.len.checked_sub(LEN)?,
        };
        (at <= last).then(|| self.base.wrapping_add(at as usize))
    }

    /// Prefetches the cache line of an offset, which may be anything.
    #[inline]
    pub(crate) fn prefetch(&self, at: u64) {
        guard::prefetch::<0>(self.base.wrapping_add(at as usize));
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

    /// Checks the bounds, then runs a guarded access. Runs it again if another process has grown the object.
    #[inline(always)]
    fn run<T>(&self, at: u64, size: u64, access: impl Fn(*mut u8, &mut usize) -> T) -> Result<T> {
        let address = self.at(at, size)?;
        let mut fault = 0;
        let mut value = access(address, &mut fault);
        if fault != 0 {
            // Only the value comes back, so that callers need not look again whether there is an error.
            value = self.run_again(address, fault, access)?;
        }
        Ok(value)
    }

    /// Runs an access again that faulted, if the object is longer than when this process looked last.
    #[cold]
    fn run_again<T>(
        &self,
        address: *mut u8,
        fault: usize,
        access: impl Fn(*mut u8, &mut usize) -> T,
    ) -> Result<T> {
        match self.catch_up() {
            true => self.access(address, access),
            false => Err(self.fault(fault)),
        }
    }

    /// Maps what other processes have added to the object, within the reservation. Returns `false` if objects of this
    /// kind do not grow, so that an access need not be made again.
    ///
    /// Where the system maps the whole reservation, as Linux does, the memory is there already, and only the length
    /// is learnt.
    #[cold]
    fn catch_up(&self) -> bool {
        self.is_growable && self.mapping.region().refresh_len().is_ok()
    }

    /// Loads a word with acquire ordering.
    #[inline(always)]
    pub(crate) fn load<W: AtomicWord>(&self, at: u64) -> Result<W> {
        // SAFETY: the word lies in the mapping, here and below; a misaligned address counts as a fault.
        self.run(at, size_of::<W>() as u64, |address, fault| unsafe { W::load(address, fault) })
    }

    /// Loads words of 4 bytes with acquire ordering, in order: the first at offset `at`, and the others each `step`
    /// bytes after the last. Calls `see` with the index and the value of each.
    ///
    /// After a fault, `see` may have got values that are none; the call then fails.
    pub(crate) fn load_each(
        &self,
        at: u64,
        step: u64,
        count: usize,
        mut see: impl FnMut(usize, u32),
    ) -> Result<()> {
        let Some(last) = count.checked_sub(1) else { return Ok(()) };
        let whole = (last as u64).checked_mul(step).and_then(|bytes| bytes.checked_add(4));
        let start = self.at(at, whole.unwrap_or(u64::MAX))?;
        let mut fault = 0;
        for index in 0..count {
            let address = start.wrapping_add(index * step as usize);
            // SAFETY: the words lie in the mapping; a misaligned address counts as a fault.
            see(index, unsafe { u32::load(address, &mut fault) });
        }
        if fault == 0 { Ok(()) } else { Err(self.fault(fault)) }
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
        let mut fault = 0;
        // SAFETY: `at` returned the address for as many bytes.
        unsafe { self.read_at(from, into, &mut fault) };
        if fault == 0 {
            return Ok(());
        }
        match self.catch_up() {
            // SAFETY: as above.
            true => self.access(from, |from, fault| unsafe { self.read_at(from, into, fault) }),
            false => Err(self.fault(fault)),
        }
    }

    /// Copies `from` to offset `at`. The copy is not atomic, except for 4 and 8 bytes.
    #[inline(always)]
    pub(crate) fn write(&self, at: u64, from: &[u8]) -> Result<()> {
        // SAFETY: `at` returns the address for as many bytes.
        self.run(at, from.len() as u64, |to, fault| unsafe { self.write_at(to, from, fault) })
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
        // SAFETY: as the caller promises; the slice has room.
        unsafe { self.read_bytes(from, into.as_mut_ptr(), into.len(), fault) }
    }

    /// Copies bytes out of the object like [`read_at`](Self::read_at), into memory that need not be initialized.
    ///
    /// # Safety
    /// [`at`](Self::at) returned the address for `len` bytes, and `to` has room for them.
    #[inline(always)]
    pub(super) unsafe fn read_bytes(
        &self,
        from: *mut u8,
        to: *mut u8,
        len: usize,
        fault: &mut usize,
    ) {
        // SAFETY: the source lies in the mapping, as the caller promises, and there is room.
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
        self.after_growth(|| match &self.mapping {
            Mapped::Write(mapping) => mapping.view_at(start, count).map(|view| *view),
            Mapped::Read(mapping) => mapping.view_at(start, count),
            Mapped::Private(mapping) => mapping.view_at(start, count).map(|view| *view),
        })
    }

    /// Returns a writable view of `count` elements at offset `at`, or a `NotWritable` error if the
    /// attachment is read-only.
    pub(crate) fn view_mut<T: Element>(&self, at: u64, count: u64) -> Result<ViewMut<'_, T>> {
        let (start, count) = self.place_of(at, count)?;
        self.after_growth(|| match &self.mapping {
            Mapped::Write(mapping) => mapping.view_at(start, count),
            Mapped::Private(mapping) => mapping.view_at(start, count),
            Mapped::Read(_) => {
                Err(Error::new(ErrorKind::NotWritable, "view").with_path(self.path()))
            }
        })
    }

    /// Returns the result of `view`. Views end where the object ended when this process last looked: if one is
    /// out of bounds, another process may have grown the object, and `view` is called again with the new length.
    fn after_growth<V>(&self, view: impl Fn() -> Result<V>) -> Result<V> {
        match view() {
            Err(error) if error.kind() == ErrorKind::OutOfBounds && self.catch_up() => view(),
            view => view,
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
        const LOST: &str = "what it shared is lost; create it again";
        guard::with_cause(error, self.mapping.region().shrinking_file(), at, LOST)
    }
}

/// Converts a number of bytes to reserve to this system's size.
fn address_space(bytes: u64) -> Result<usize> {
    usize::try_from(bytes)
        .map_err(|_| Error::new(ErrorKind::OutOfAddressSpace, "open").with_length(bytes))
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
        let memory = Memory::map(&file, None, Attachment::ReadOnly, header::LEN, 0).unwrap();
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

    #[test]
    fn views_reach_what_another_process_has_grown() {
        if guard::recovery() != Recovery::InPlace {
            eprintln!("skipped: faults cannot be recovered in place here");
            return;
        }
        const LEN: u64 = 1 << 16;
        let path = std::env::temp_dir().join(format!("sharemap-grown-{}", std::process::id()));
        std::fs::write(&path, [0; header::LEN as usize]).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let map = |attachment| Memory::map(&file, None, attachment, header::LEN, LEN).unwrap();
        let [writer, flusher] = [Attachment::Participant; 2].map(map);
        let others = [Attachment::ReadOnly, Attachment::Participant, Attachment::CopyOnWrite];
        let others = others.map(map);
        for other in &others {
            let error = other.view::<u8>(LEN / 2, 1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfBounds);
        }
        writer.grow(LEN).unwrap();
        writer.store(LEN / 2, 7_u64).unwrap();
        for other in &others {
            assert_eq!(other.view::<u64>(LEN / 2, 1).unwrap().get(0).unwrap(), 7);
            let error = other.view::<u8>(LEN, 1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfBounds);
        }
        assert!(others[1].view_mut::<u8>(LEN - 1, 1).is_ok());
        // A flush covers it as well.
        flusher.flush().unwrap();
        assert_eq!(flusher.mapping.region().len() as u64, LEN);
    }
}
