//! A plain slice of what the kernel promises never to change.

#![allow(unsafe_code, reason = "makes a reference to mapped memory")]

use crate::error::{Error, ErrorKind, Result};
use crate::mapping::Mapping;
use crate::sys::{self, Protection};

impl Mapping {
    /// All bytes as a plain slice, where the kernel proves that they can neither change nor go
    /// away: a memfd sealed against writing and against shrinking, not of huge pages.
    ///
    /// Anything less is [`Unsupported`](ErrorKind::Unsupported), with the reason. It is populated
    /// first, so that a lack of memory is an error here.
    pub fn frozen(&self) -> Result<&[u8]> {
        const OPERATION: &str = "see as a plain slice";
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
        // The length is read once, under the lock: a mapping that follows its file may grow
        // meanwhile.
        let len = self.len();
        let Some((_, pages)) = self.region.pages(..len, OPERATION)? else {
            return Ok(&[]);
        };
        let status = sys::file::status(file).map_err(|error| self.region.named(error))?;
        // Sealed after it had shrunk.
        if status.len < self.file_offset() + len as u64 {
            return refuse("it is shorter than the mapping: remap first".into());
        }
        // From here on the protection stays, see `Region::protect`.
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
