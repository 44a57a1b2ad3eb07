//! Promises that an object keeps for ever.

use crate::error::{Error, ErrorKind, Result};
use crate::shm::options::named;
use crate::shm::{ReadOnlySharedMemory, SharedMemory, SharedMemoryOptions};
use crate::sys::{self, Access, Seals};

impl SharedMemory {
    /// Lets it never shrink, never grow, or both: whoever gets it can rely on that. Linux, memory
    /// without a name.
    ///
    /// [`Seals::WRITE`] is for [`freeze`](Self::freeze): no handle that writes can be left.
    pub fn seal(&self, seals: Seals) -> Result<()> {
        if seals.contains(Seals::WRITE) {
            return Err(named(
                Error::new(ErrorKind::Unsupported, "seal")
                    .with_detail("this handle writes: freeze() gives it up and seals"),
                self.location(),
            ));
        }
        sys::shm::seal(self.open_file()?, seals).map_err(|error| named(error, self.location()))
    }

    /// Seals it against everything: its bytes stay as they are, for ever and for everybody. Linux,
    /// memory without a name.
    ///
    /// Whoever has it mapped for writing stands in the way: [`Busy`](ErrorKind::Busy), and this
    /// handle is lost (the memory is not, if another has it).
    ///
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// use sharemap::{ErrorKind, SharedMemory};
    ///
    /// let table = SharedMemory::anonymous(4096)?;
    /// table.bytes().write_at(0, b"settled")?;
    /// match table.freeze() {
    ///     Ok(table) => assert_eq!(&table.frozen()?[..7], b"settled"),     // a plain &[u8]
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported), // not Linux
    /// }
    /// # Ok(()) }
    /// ```
    pub fn freeze(self) -> Result<ReadOnlySharedMemory> {
        let file = sys::file::duplicate(self.open_file()?)?;
        let (map, location) = self.into_parts();
        map.close()?;
        let all = Seals::SHRINK | Seals::GROW | Seals::WRITE;
        sys::shm::seal(&file, all).map_err(|error| named(error, &location))?;
        let file =
            sys::shm::reopen(&file, Access::Read).map_err(|error| named(error, &location))?;
        SharedMemoryOptions::new().map_read_only(file, location)
    }
}
