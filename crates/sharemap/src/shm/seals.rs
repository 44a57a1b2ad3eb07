//! Seals: promises of the kernel about shared memory.

use crate::error::{Error, ErrorKind, Result};
use crate::shm::location::named;
use crate::shm::{ReadOnlySharedMemory, SharedMemory, SharedMemoryOptions};
use crate::sys::{self, Access, Seals};

impl SharedMemory {
    /// Seals the memory against shrinking, growing, or both. Only anonymous memory on Linux can be
    /// sealed.
    ///
    /// A seal can never be removed, so every process that receives the memory can rely on it.
    /// [`freeze`](Self::freeze) adds [`Seals::WRITE`], for which no writable mapping may exist.
    ///
    /// # Errors
    /// - `Unsupported` - `seals` contains `Seals::WRITE`, the memory has a name, further seals are
    ///   forbidden, or the system has no seals.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// use sharemap::{ErrorKind, Seals, SharedMemory};
    ///
    /// let block = SharedMemory::anonymous(4096)?;
    /// match block.seal(Seals::SHRINK) {
    ///     Ok(()) => assert!(block.seals()?.contains(Seals::SHRINK)),
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported), // not Linux
    /// }
    /// # Ok(()) }
    /// ```
    #[doc(alias = "F_ADD_SEALS")]
    pub fn seal(&self, seals: Seals) -> Result<()> {
        if seals.contains(Seals::WRITE) {
            return Err(named(
                Error::new(ErrorKind::Unsupported, "seal")
                    .with_detail("this handle is writable; use `freeze`, which consumes it"),
                self.location(),
            ));
        }
        sys::shm::seal(self.open_file()?, seals).map_err(|error| named(error, self.location()))
    }

    /// Seals the memory against all changes and returns a read-only handle. Only anonymous memory on
    /// Linux can be frozen.
    ///
    /// After this call no process can write to the memory or change its length, so
    /// [`frozen`](crate::Mapping::frozen) returns its bytes as a plain slice. After an error this
    /// handle is gone, and the memory exists only if another handle refers to it.
    ///
    /// # Errors
    /// - `Busy` - another handle, in this process or another one, maps the memory for writing. A forked
    ///   child inherits the mappings of its parent, so it counts until it ends or executes a program.
    /// - `Unsupported` - the memory has a name, further seals are forbidden, or the system has no
    ///   seals.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
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
    #[doc(alias = "F_SEAL_WRITE")]
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
