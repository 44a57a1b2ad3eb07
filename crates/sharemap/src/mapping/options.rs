//! What to map, and how: for everything that `open` alone does not say.

use std::fs::File;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::mapping::create::Existing;
use crate::mapping::descriptors::Origin;
use crate::mapping::plan::{Plan, Wanted};
use crate::mapping::region::Region;
use crate::mapping::{AnonymousMapping, Mapping, MappingCow, MappingMut};
use crate::sys::{self, Access, Advice, AsDescriptor, Create, HugePages, OpenRequest};

/// How to map: offset and length, growth, huge pages, population, …
///
/// ```
/// # fn main() -> sharemap::Result<()> {
/// # let path = std::env::temp_dir().join(format!("sharemap-options-{}", std::process::id()));
/// # std::fs::write(&path, [7; 10_000]).unwrap();
/// use sharemap::MapOptions;
///
/// let map = MapOptions::new().offset(4099).len(500).open(&path)?;
/// assert_eq!(map.len(), 500);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok(())
/// # }
/// ```
///
/// Fixed addresses, mappings that bypass the page cache, and growth that moves are not offered:
/// the first overwrites whatever is there, the second ties a program to one kind of memory, and
/// the third pulls the memory from under every view.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct MapOptions {
    offset: u64,
    len: Option<usize>,
    reserve: usize,
    populate: bool,
    huge: HugePages,
    exclusive: bool,
    executable: bool,
    sparse: bool,
    advice: Option<Advice>,
    lock: bool,
    close_file: bool,
}

impl MapOptions {
    /// The whole file, as it is.
    pub fn new() -> Self {
        Self::default()
    }

    /// Maps from this offset in the file on; any offset.
    pub fn offset(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }

    /// Maps this many bytes, which the file must have. Without it, all from the offset to the end.
    pub fn len(mut self, len: usize) -> Self {
        self.len = Some(len);
        self
    }

    /// Keeps address space for growth in place to this many bytes ([`MappingMut::grow`]).
    ///
    /// It takes no memory, except for [`private`](Self::private) memory of
    /// [reserved](HugePages::Reserved) huge pages: there all of it is set aside on Linux, as a page
    /// that is missing later could not be an error.
    pub fn reserve(mut self, len: usize) -> Self {
        self.reserve = len;
        self
    }

    /// Faults everything in before returning, by several threads where that is faster.
    pub fn populate(mut self) -> Self {
        self.populate = true;
        self
    }

    /// Asks for huge pages.
    pub fn huge_pages(mut self, huge: HugePages) -> Self {
        self.huge = huge;
        self
    }

    /// Nobody else may open it this way at the same time: [`ErrorKind::Busy`] if somebody has.
    ///
    /// On Windows nobody can open it at all (share mode 0). Elsewhere it is an advisory lock
    /// (`flock`), which stops only those who ask for it too.
    pub fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// Lets code in the mapping be executed (`PROT_EXEC`, `PAGE_EXECUTE_*`).
    pub fn executable(mut self) -> Self {
        self.executable = true;
        self
    }

    /// New parts of the file are holes: no space is set aside for them, and a full disk shows as a
    /// [`Fault`](ErrorKind::Fault) when they are written to.
    pub fn sparse(mut self) -> Self {
        self.sparse = true;
        self
    }

    /// Gives this advice for the whole mapping.
    pub fn advice(mut self, advice: Advice) -> Self {
        self.advice = Some(advice);
        self
    }

    /// Locks the mapping into memory (`mlock`).
    pub fn lock(mut self) -> Self {
        self.lock = true;
        self
    }

    /// Closes the file after mapping it, so that the mapping keeps no descriptor.
    ///
    /// Without this option, a mapping keeps its file open; mappings of one file share a descriptor
    /// if the system can identify the file. Reading and writing need no descriptor. The calls that
    /// need one are [`Unsupported`](ErrorKind::Unsupported) afterwards:
    /// [`is_current`](Region::is_current), [`remap`](Mapping::remap), [`grow`](MappingMut::grow),
    /// [`resize`](MappingMut::resize), [`punch_hole`](MappingMut::punch_hole),
    /// [`residency`](Region::residency), [`cache_status`](Region::cache_status),
    /// [`evict`](Region::evict), [`data_extents`](Region::data_extents),
    /// [`file_system`](Region::file_system), [`frozen`](Mapping::frozen); on macOS and Windows
    /// [`flush`](MappingMut::flush), on Linux [`flush_async`](MappingMut::flush_async). A
    /// [`Reader`](crate::Reader) cannot compare the file's size: after a truncation it reads zeros
    /// up to the end of the last page.
    ///
    /// The option is `Unsupported` together with [`exclusive`](Self::exclusive), because the
    /// descriptor carries the lock.
    ///
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("sharemap-close-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 10_000]).unwrap();
    /// use sharemap::{ErrorKind, MapOptions};
    ///
    /// let map = MapOptions::new().close_file().open(&path)?;
    /// assert_eq!(map.bytes().get(0)?, 7);
    /// assert!(map.file().is_none());
    /// assert_eq!(map.is_current().unwrap_err().kind(), ErrorKind::Unsupported);
    /// # drop(map);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok(())
    /// # }
    /// ```
    pub fn close_file(mut self) -> Self {
        self.close_file = true;
        self
    }

    /// Opens a file and maps it read-only.
    ///
    /// # Errors
    /// - [`NotFound`](ErrorKind::NotFound) -
    ///   there is no such file.
    /// - [`PermissionDenied`](ErrorKind::PermissionDenied) -
    ///   this user may not open it.
    /// - [`IsDirectory`](ErrorKind::IsDirectory) -
    ///   the path is a directory.
    /// - [`NoSize`](ErrorKind::NoSize) -
    ///   it is a special file, and no length was set.
    /// - [`ZeroLength`](ErrorKind::ZeroLength) -
    ///   a length of zero was set.
    /// - [`OutOfBounds`](ErrorKind::OutOfBounds) -
    ///   offset and length lie beyond the end of the file.
    /// - [`Overflow`](ErrorKind::Overflow) -
    ///   offset and length are more than the system can express.
    /// - [`Unsupported`](ErrorKind::Unsupported) -
    ///   the file, its file system or the system cannot do what is asked.
    /// - [`Busy`](ErrorKind::Busy) -
    ///   the file is open in a way that excludes this.
    /// - [`OutOfAddressSpace`](ErrorKind::OutOfAddressSpace) -
    ///   there is no address space, or no memory, of this size.
    /// - [`TooManyMappings`](ErrorKind::TooManyMappings) -
    ///   the process has as many mappings as it may have.
    /// - [`TooManyFiles`](ErrorKind::TooManyFiles) -
    ///   the process has as many files open as it may have.
    /// - [`LockLimit`](ErrorKind::LockLimit) -
    ///   locking was asked for, and exceeds what may be locked.
    ///
    /// Other kinds report a failed system call, without a kind of their own as
    /// [`Io`](ErrorKind::Io).
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Mapping> {
        self.open_region(path.as_ref(), Access::Read).map(Mapping::from_region)
    }

    /// Opens a file and maps it for reading and writing.
    ///
    /// # Errors
    /// As for [`open`](Self::open), and [`NotWritable`](ErrorKind::NotWritable) if the file may only be
    /// read.
    pub fn open_mut(&self, path: impl AsRef<Path>) -> Result<MappingMut> {
        self.open_region(path.as_ref(), Access::Write).map(MappingMut::from_region)
    }

    /// Opens a file, which needs to be readable only, and maps it for edits that stay private.
    pub fn open_cow(&self, path: impl AsRef<Path>) -> Result<MappingCow> {
        self.open_region(path.as_ref(), Access::CopyOnWrite).map(MappingCow::from_region)
    }

    /// Makes a file of `len` zero bytes that must not exist yet, and maps it.
    ///
    /// Space is set aside for all of it unless [`sparse`](Self::sparse): a full disk is an error
    /// here. After an error there is no file.
    ///
    /// # Errors
    /// - [`AlreadyExists`](ErrorKind::AlreadyExists) -
    ///   there is such a file.
    /// - [`NoSpace`](ErrorKind::NoSpace) -
    ///   the file system has no room for it.
    /// - [`TooLarge`](ErrorKind::TooLarge) -
    ///   its file system or this process may not have a file of that size.
    ///
    /// Otherwise as for [`open_mut`](Self::open_mut).
    pub fn create_new(&self, path: impl AsRef<Path>, len: u64) -> Result<MappingMut> {
        self.create_region(path.as_ref(), len, Existing::Refused).map(MappingMut::from_region)
    }

    /// Makes a file of `len` zero bytes, emptying the one that exists, and maps it.
    ///
    /// After an error an existing file is as long as it was, and a new one is gone.
    pub fn create(&self, path: impl AsRef<Path>, len: u64) -> Result<MappingMut> {
        self.create_region(path.as_ref(), len, Existing::Emptied).map(MappingMut::from_region)
    }

    /// Maps the file if it exists, grown to `len` if it is shorter; else makes one of `len` zero
    /// bytes. A longer file keeps its length and is mapped whole.
    ///
    /// After an error an existing file is as long as it was, and a new one is gone.
    pub fn open_or_create(&self, path: impl AsRef<Path>, len: u64) -> Result<MappingMut> {
        self.create_region(path.as_ref(), len, Existing::Kept).map(MappingMut::from_region)
    }

    /// Maps what an open descriptor refers to, read-only. The descriptor may be closed at once.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn map(&self, file: impl AsDescriptor) -> Result<Mapping> {
        self.map_region(&file, Access::Read).map(Mapping::from_region)
    }

    /// Maps what an open descriptor refers to, for reading and writing.
    ///
    /// # Errors
    /// As for [`open_mut`](Self::open_mut).
    pub fn map_mut(&self, file: impl AsDescriptor) -> Result<MappingMut> {
        self.map_region(&file, Access::Write).map(MappingMut::from_region)
    }

    /// Maps what an open descriptor refers to, for edits that stay private.
    pub fn map_cow(&self, file: impl AsDescriptor) -> Result<MappingCow> {
        self.map_region(&file, Access::CopyOnWrite).map(MappingCow::from_region)
    }

    /// Memory without a file, shared with the children of a `fork`.
    ///
    /// # Errors
    /// [`ZeroLength`](ErrorKind::ZeroLength), [`OutOfAddressSpace`](ErrorKind::OutOfAddressSpace),
    /// [`TooManyMappings`](ErrorKind::TooManyMappings), and
    /// [`Unsupported`](ErrorKind::Unsupported) for options that files alone have.
    pub fn anonymous(&self, len: usize) -> Result<MappingMut> {
        self.anonymous_region(len, Access::Write).map(MappingMut::from_region)
    }

    /// Memory without a file, this process's own.
    pub fn private(&self, len: usize) -> Result<AnonymousMapping> {
        self.anonymous_region(len, Access::CopyOnWrite).map(AnonymousMapping::from_region)
    }

    pub(super) fn plan(&self, access: Access) -> Plan {
        Plan {
            offset: self.offset,
            wanted: Wanted::new(self.len),
            reserve: self.reserve,
            access,
            executable: self.executable,
            huge: self.huge,
            sparse: self.sparse,
            shared: (!self.exclusive && !self.executable).then_some(Origin::Opened),
        }
    }

    pub(super) fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    pub(super) fn open_region(&self, path: &Path, access: Access) -> Result<Region> {
        self.check().map_err(|error| error.with_path(Some(path)))?;
        let request = OpenRequest {
            write: access == Access::Write,
            create: Create::Never,
            exclusive: self.exclusive,
            timeout: sys::LEASE_BREAK,
        };
        let file = sys::file::open(path, request).map_err(|error| error.with_path(Some(path)))?;
        self.map_and_finish(file, path, self.plan(access))
    }

    /// Maps a shared object that has been opened; errors name it so.
    pub(crate) fn map_object(&self, file: File, name: &Path, access: Access) -> Result<Region> {
        self.check()?;
        // Descriptors of objects may be passed to other processes, so they are not shared.
        self.map_and_finish(file, name, Plan { shared: None, ..self.plan(access) })
    }

    fn map_region(&self, file: &impl AsDescriptor, access: Access) -> Result<Region> {
        self.check()?;
        if self.exclusive {
            return Err(Error::new(ErrorKind::Unsupported, "map")
                .with_detail("a file is opened exclusively, by its path, or not at all"));
        }
        let file = file.duplicate_descriptor()?;
        let mut region = Region::of_file(file, None, self.plan(access).of_given())?;
        self.finish(&mut region)?;
        Ok(region)
    }

    fn anonymous_region(&self, len: usize, access: Access) -> Result<Region> {
        if self.offset != 0 || self.len.is_some() || self.exclusive {
            return Err(Error::new(ErrorKind::Unsupported, "map anonymous memory")
                .with_detail("offset, length and exclusive opening are for files"));
        }
        let mut region = Region::anonymous(len, self.plan(access))?;
        self.finish(&mut region)?;
        Ok(region)
    }

    pub(super) fn check(&self) -> Result<()> {
        match self.len {
            Some(0) => Err(Error::new(ErrorKind::ZeroLength, "map").with_offset(self.offset)),
            _ if self.exclusive && self.close_file => {
                Err(Error::new(ErrorKind::Unsupported, "map").with_detail(
                    "the descriptor of an exclusive mapping keeps others out: keep it",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Does what is to be done with a region once it is there.
    pub(super) fn finish(&self, region: &mut Region) -> Result<()> {
        if let Some(advice) = self.advice {
            region.advise(advice)?;
        }
        if self.populate {
            region.populate()?;
        }
        if self.lock {
            region.lock()?;
        }
        if self.close_file {
            region.close_file();
        }
        Ok(())
    }
}
