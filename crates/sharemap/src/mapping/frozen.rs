//! Plain slices of memory that the kernel promises never to change.

#![allow(unsafe_code, reason = "makes a reference to mapped memory")]

use crate::error::{Error, ErrorKind, Result};
use crate::mapping::Mapping;
use crate::sys::{self, Protection};

impl Mapping {
    /// Returns all bytes as a plain slice, if the kernel guarantees that they can neither change nor
    /// be taken away.
    ///
    /// It guarantees that for a memfd that is sealed against writing and shrinking and has no huge
    /// pages: Linux only, see [`SharedMemory::freeze`](crate::SharedMemory::freeze). The call populates
    /// the mapping, so a lack of memory is an error here. The mapping's
    /// [protection](crate::Region::protect) cannot be changed afterwards.
    ///
    /// # Errors
    /// - `Unsupported` - the kernel does not guarantee it, the memory is shorter than the mapping, or
    ///   the mapping [closed](crate::MapOptions::close_file) its file. The text gives the reason.
    ///
    /// Otherwise as for [`Region::populate`](crate::Region::populate).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let table = SharedMemory::anonymous(4096)?;
    /// table.bytes().write_at(0, b"final")?;
    /// match table.freeze() {
    ///     Ok(table) => assert_eq!(&table.frozen()?[..5], b"final"), // Linux
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn frozen(&self) -> Result<&[u8]> {
        const OPERATION: &str = "borrow a slice of";
        let refuse = |reason: String| {
            Err(self
                .region
                .named(Error::new(ErrorKind::Unsupported, OPERATION))
                .with_detail(reason))
        };
        let Some(file) = self.region.file_for(OPERATION)? else {
            return refuse("anonymous memory has no seals".into());
        };
        if let Err(reason) = sys::file::immutable(file) {
            return refuse(reason);
        }
        let mut changes = self.region.changes();
        // The length is read once, under the lock: `refresh_len` may grow the mapping meanwhile.
        let len = self.len();
        let Some((_, pages)) = self.region.pages(..len, OPERATION)? else {
            return Ok(&[]);
        };
        let status = sys::file::status(file).map_err(|error| self.region.named(error))?;
        // The file may have shrunk before it was sealed.
        if status.len < self.file_offset() + len as u64 {
            return refuse("it is shorter than the mapping; call `remap` first".into());
        }
        // From here on `Region::protect` refuses to change the protection.
        changes.frozen = true;
        // SAFETY: the pages are in the region's span; reading is what the slice needs.
        unsafe { sys::map::protect(pages.base, pages.len, Protection::Read) }
            .map_err(|error| self.region.named(error))?;
        drop(changes);
        self.populate_range(..len)?;
        // SAFETY: 1. mapped for as long as `self` is borrowed; 2. the seals allow no writer, now or
        // ever; 3. the file holds all of it and the seals forbid cutting it; 4. it is readable and
        // populated, and `frozen` keeps it so; 5. at most isize::MAX bytes, as any mapping.
        Ok(unsafe { std::slice::from_raw_parts(self.region.base(), len) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use crate::error::ErrorKind;
    use crate::sys::{self, Access};
    use crate::{MapOptions, Seals, SharedMemory, page_size};

    /// Every page of the slice is populated, although another thread lengthens the mapping meanwhile.
    #[test]
    fn the_pages_of_a_growing_slice_are_populated() {
        const PAGES: usize = 256;
        let page = page_size();
        for _ in 0..40 {
            let memory = SharedMemory::anonymous(page as u64).unwrap();
            let file = sys::file::duplicate(memory.file().unwrap()).unwrap();
            drop(memory);
            loop {
                match sys::shm::seal(&file, Seals::SHRINK | Seals::WRITE) {
                    Ok(()) => break,
                    // A child that another test forks maps the memory until it ends.
                    Err(error) if error.kind() == ErrorKind::Busy => std::thread::yield_now(),
                    Err(error) => {
                        eprintln!("skipped: {error}");
                        return;
                    }
                }
            }
            let read_only = sys::shm::reopen(&file, Access::Read).unwrap();
            let map = MapOptions::new().reserve(PAGES * page).map(&read_only).unwrap();
            let grown = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for pages in 2..=PAGES {
                        file.set_len((pages * page) as u64).unwrap();
                        map.region.refresh_len().unwrap();
                    }
                    grown.store(true, Ordering::Release);
                });
                while !grown.load(Ordering::Acquire) {
                    let len = map.frozen().unwrap().len();
                    let residency = map.residency_range(..len).unwrap();
                    assert_eq!(residency.absent(), 0, "of {}", len / page);
                }
            });
            assert_eq!(map.frozen().unwrap().len(), PAGES * page);
        }
    }
}
