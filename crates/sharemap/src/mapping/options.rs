//! The options for creating a mapping.

use std::fs::File;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::mapping::descriptors::Origin;
use crate::mapping::plan::{Plan, Wanted};
use crate::mapping::region::Region;
use crate::mapping::{AnonymousMapping, Mapping, MappingCow, MappingMut};
use crate::sys::{self, Access, Advice, AsDescriptor, Create, HugePages, OpenRequest};

/// The treatment of a file that exists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    Refused,
    Emptied,
    Kept,
}

/// Options for creating a mapping: offset and length, reservation, huge pages, population, and
/// others.
///
/// Set the options, then call the method that creates the mapping: [`open`](Self::open),
/// [`open_mut`](Self::open_mut), [`create`](Self::create), [`map`](Self::map), and so on.
///
/// # Examples
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
/// Three options of `mmap` are missing on purpose. A fixed address overwrites an existing mapping,
/// bypassing the page cache ties a program to one kind of memory, and growth that moves invalidates
/// every view.
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
    /// Returns the default options, which map the whole file.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MapOptions::new().reserve(1 << 20).anonymous(4096)?;
    /// assert_eq!((map.len(), map.reserved()), (4096, 1 << 20));
    /// # Ok(()) }
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the offset in the file at which the mapping begins. It need not be a multiple of the page
    /// size. The default is 0.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-opt-offset-{}", std::process::id()));
    /// # std::fs::write(&path, b"header: contents")?;
    /// let map = MapOptions::new().offset(8).open(&path)?;
    /// assert_eq!(map.bytes().to_vec()?, b"contents");
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn offset(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }

    /// Sets the length of the mapping in bytes, which the file must have. The default is all bytes
    /// from the offset to the end.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-opt-len-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let map = MapOptions::new().offset(90).len(5).open(&path)?;
    /// assert_eq!(map.len(), 5);
    /// let error = MapOptions::new().len(101).open(&path).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::OutOfBounds);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn len(mut self, len: usize) -> Self {
        self.len = Some(len);
        self
    }

    /// Reserves address space for growth in place to `len` bytes ([`MappingMut::grow`]).
    ///
    /// A reservation takes no memory, with one exception: [`private`](Self::private) memory of
    /// [reserved](HugePages::Reserved) huge pages is allocated whole on Linux, because a page that is
    /// missing later could not be reported as an error.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MapOptions::new().reserve(1 << 20).anonymous(4096)?;
    /// let early = map.bytes();
    /// map.grow(1 << 16)?;
    /// assert_eq!(early.as_ptr(), map.bytes().as_ptr()); // it has not moved
    /// # Ok(()) }
    /// ```
    #[doc(alias = "MEM_RESERVE")]
    pub fn reserve(mut self, len: usize) -> Self {
        self.reserve = len;
        self
    }

    /// Populates the whole mapping before the call returns, like [`Region::populate`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MapOptions::new().populate().anonymous(1 << 16)?;
    /// map.bytes().fill(1)?; // causes no page faults
    /// # Ok(()) }
    /// ```
    #[doc(alias = "MAP_POPULATE")]
    pub fn populate(mut self) -> Self {
        self.populate = true;
        self
    }

    /// Requests huge pages.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let huge = MapOptions::new().huge_pages(HugePages::Transparent);
    /// let map = huge.anonymous(4 << 20)?; // has huge pages if the system has some
    /// assert_eq!(map.len(), 4 << 20);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "MAP_HUGETLB")]
    #[doc(alias = "MADV_HUGEPAGE")]
    #[doc(alias = "SEC_LARGE_PAGES")]
    pub fn huge_pages(mut self, huge: HugePages) -> Self {
        self.huge = huge;
        self
    }

    /// Opens the file exclusively: opening it is an error of kind [`Busy`](ErrorKind::Busy) while
    /// another process, or another mapping of this one, has it open so.
    ///
    /// On Windows the file cannot be opened by any other handle (share mode 0). Elsewhere this is an
    /// advisory lock (`flock`), which excludes only handles that request it, too.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-opt-exclusive-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 10])?;
    /// let options = MapOptions::new().exclusive();
    /// let map = options.open_mut(&path)?;
    /// assert_eq!(options.open_mut(&path).unwrap_err().kind(), ErrorKind::Busy);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "flock")]
    pub fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// Permits the execution of code in the mapping (`PROT_EXEC`, `PAGE_EXECUTE_*`).
    #[doc(alias = "PROT_EXEC")]
    pub fn executable(mut self) -> Self {
        self.executable = true;
        self
    }

    /// Makes new parts of the file holes, without allocating space for them. If the disk is full when
    /// one is written to, the store is an error of kind [`Fault`](ErrorKind::Fault).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-opt-sparse-{}", std::process::id()));
    /// let map = MapOptions::new().sparse().create_new(&path, 1 << 30)?;
    /// map.bytes().set(1 << 29, 1)?; // needs a block of the disk only now
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn sparse(mut self) -> Self {
        self.sparse = true;
        self
    }

    /// Gives this advice for the whole mapping, like [`Region::advise`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-opt-advice-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let map = MapOptions::new().advice(Advice::WillNeed).open(&path)?;
    /// assert_eq!(map.bytes().get(99)?, 7);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "madvise")]
    pub fn advice(mut self, advice: Advice) -> Self {
        self.advice = Some(advice);
        self
    }

    /// Locks the mapping in physical memory, like [`Region::lock`].
    #[doc(alias = "mlock")]
    #[doc(alias = "MAP_LOCKED")]
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
    /// # Examples
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

    /// Opens a file for reading and maps it.
    ///
    /// The call blocks while another process holds a lease on the file, for at most 60 seconds
    /// (Linux).
    ///
    /// # Errors
    /// - `NotFound` - the file does not exist.
    /// - `PermissionDenied` - this user may not open the file; or, for an executable mapping, the file
    ///   system forbids execution.
    /// - `IsDirectory` - the path is a directory.
    /// - `NoSize` - the file is a special file, and no length is set.
    /// - `ZeroLength` - a length of zero is set.
    /// - `OutOfBounds` - the offset or the length exceeds the file.
    /// - `Overflow` - the sum of offset and length is more than the system can express.
    /// - `Alignment` - the file is on hugetlbfs, and the offset is not a multiple of a huge page.
    /// - `Unsupported` - the file cannot be mapped, states no length although it has bytes (procfs), or
    ///   the system lacks an option that is set.
    /// - `Busy` - the file is open exclusively, or another process holds a lease on it.
    /// - `OutOfAddressSpace` - there is no address space, or not enough memory, for the mapping.
    /// - `TooManyMappings` - the process has as many mappings as the system allows.
    /// - `TooManyFiles` - the process or the system has no free file descriptors.
    /// - `LockLimit` - the mapping is to be locked, and exceeds what this process may lock.
    /// - `Fault` - the mapping is to be populated or locked, and a page could not be read.
    ///
    /// Other kinds report a failed system call, and [`Io`](ErrorKind::Io) one without a kind of its
    /// own.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("sharemap-opt-open-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 10_000]).unwrap();
    /// use sharemap::MapOptions;
    ///
    /// let map = MapOptions::new().populate().open(&path)?;
    /// assert_eq!(map.bytes().get(0)?, 7);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok(()) }
    /// ```
    #[doc(alias = "mmap")]
    #[doc(alias = "MapViewOfFile")]
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Mapping> {
        self.open_region(path.as_ref(), Access::Read).map(Mapping::from_region)
    }

    /// Opens a file for reading and writing and maps it.
    ///
    /// # Errors
    /// As for [`open`](Self::open), and
    ///
    /// - `NotWritable` - this user may only read the file, its file system is read-only, or the file
    ///   refuses writable mappings.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-opt-open-mut-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let map = MapOptions::new().offset(10).len(2).open_mut(&path)?;
    /// map.bytes().write_at(0, &[8, 9])?;
    /// assert_eq!(std::fs::read(&path)?[9..13], [7, 8, 9, 7]);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn open_mut(&self, path: impl AsRef<Path>) -> Result<MappingMut> {
        self.open_region(path.as_ref(), Access::Write).map(MappingMut::from_region)
    }

    /// Opens a file, which needs to be readable only, and maps it copy-on-write.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-opt-open-cow-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let map = MapOptions::new().len(10).open_cow(&path)?;
    /// map.bytes().fill(0)?;
    /// assert_eq!(std::fs::read(&path)?, [7; 100]);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn open_cow(&self, path: impl AsRef<Path>) -> Result<MappingCow> {
        self.open_region(path.as_ref(), Access::CopyOnWrite).map(MappingCow::from_region)
    }

    /// Creates a file of `len` zero bytes, which must not exist yet, and maps it.
    ///
    /// Space on disk is allocated for all of it unless the options are [`sparse`](Self::sparse). After
    /// an error the file does not exist.
    ///
    /// # Errors
    /// - `AlreadyExists` - the file exists.
    /// - `NoSpace` - the file system has no space for `len` bytes.
    /// - `TooLarge` - the file system or this process may not have a file of that size.
    ///
    /// Otherwise as for [`open_mut`](Self::open_mut).
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("sharemap-opt-new-{}", std::process::id()));
    /// use sharemap::MapOptions;
    ///
    /// let map = MapOptions::new().sparse().reserve(1 << 30).create_new(&path, 4096)?;
    /// map.grow(1 << 20)?;
    /// # drop(map);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok(()) }
    /// ```
    pub fn create_new(&self, path: impl AsRef<Path>, len: u64) -> Result<MappingMut> {
        self.create_region(path.as_ref(), len, Existing::Refused).map(MappingMut::from_region)
    }

    /// Creates a file of `len` zero bytes, or empties the file that exists, and maps it.
    ///
    /// Space and address space are checked before an existing file is emptied. After an error an
    /// existing file has its old length, and a new one does not exist.
    ///
    /// # Errors
    /// As for [`create_new`](Self::create_new), except `AlreadyExists`.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-opt-create-{}", std::process::id()));
    /// let map = MapOptions::new().reserve(1 << 20).create(&path, 4096)?;
    /// map.grow(8192)?;
    /// assert_eq!(std::fs::metadata(&path)?.len(), 8192);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn create(&self, path: impl AsRef<Path>, len: u64) -> Result<MappingMut> {
        self.create_region(path.as_ref(), len, Existing::Emptied).map(MappingMut::from_region)
    }

    /// Opens a file, growing it to `len` bytes if it is shorter, or creates one of `len` zero bytes,
    /// and maps it. A longer file keeps its length and is mapped whole.
    ///
    /// After an error an existing file has its old length, and a new one does not exist.
    ///
    /// # Errors
    /// As for [`create_new`](Self::create_new), except `AlreadyExists`.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-opt-or-create-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 3])?;
    /// let map = MapOptions::new().open_or_create(&path, 5)?;
    /// assert_eq!(map.bytes().to_vec()?, [7, 7, 7, 0, 0]);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn open_or_create(&self, path: impl AsRef<Path>, len: u64) -> Result<MappingMut> {
        self.create_region(path.as_ref(), len, Existing::Kept).map(MappingMut::from_region)
    }

    /// Maps the file of an open descriptor for reading. The caller may close the descriptor
    /// afterwards.
    ///
    /// # Errors
    /// As for [`open`](Self::open), except `NotFound`. Together with `exclusive` the call is
    /// `Unsupported`.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-opt-map-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let file = std::fs::File::open(&path)?;
    /// let map = MapOptions::new().offset(50).map(&file)?;
    /// drop(file); // the mapping has a descriptor of its own
    /// assert_eq!(map.len(), 50);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "mmap")]
    pub fn map(&self, file: impl AsDescriptor) -> Result<Mapping> {
        self.map_region(&file, Access::Read).map(Mapping::from_region)
    }

    /// Maps the file of an open descriptor for reading and writing. The caller may close the
    /// descriptor afterwards.
    ///
    /// # Errors
    /// As for [`map`](Self::map), and
    ///
    /// - `NotWritable` - the descriptor was not opened for reading and writing, the file is sealed, or
    ///   it refuses writable mappings.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-opt-map-mut-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let file = std::fs::File::options().read(true).write(true).open(&path)?;
    /// let map = MapOptions::new().len(1).map_mut(&file)?;
    /// map.bytes().set(0, 8)?;
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "mmap")]
    pub fn map_mut(&self, file: impl AsDescriptor) -> Result<MappingMut> {
        self.map_region(&file, Access::Write).map(MappingMut::from_region)
    }

    /// Maps the file of an open descriptor copy-on-write. The caller may close the descriptor
    /// afterwards.
    ///
    /// # Errors
    /// As for [`map`](Self::map).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-opt-map-cow-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let file = std::fs::File::open(&path)?;
    /// let map = MapOptions::new().map_cow(&file)?;
    /// map.bytes().set(0, 8)?; // changes neither the file nor other mappings of it
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn map_cow(&self, file: impl AsDescriptor) -> Result<MappingCow> {
        self.map_region(&file, Access::CopyOnWrite).map(MappingCow::from_region)
    }

    /// Maps `len` bytes of anonymous memory, which children of a `fork` share with this process.
    ///
    /// # Errors
    /// - `ZeroLength` - `len` is zero.
    /// - `OutOfAddressSpace` - there is no address space, or not enough memory, for `len` bytes.
    /// - `TooManyMappings` - the process has as many mappings as the system allows.
    /// - `LockLimit` - the memory is to be locked, and exceeds what this process may lock.
    /// - `Unsupported` - an option is set that only files have (offset, length, exclusive opening), or
    ///   that the system lacks.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MapOptions::new().reserve(1 << 20).anonymous(4096)?;
    /// map.view::<u64>()?.set(0, 7)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "MAP_ANONYMOUS")]
    pub fn anonymous(&self, len: usize) -> Result<MappingMut> {
        self.anonymous_region(len, Access::Write).map(MappingMut::from_region)
    }

    /// Maps `len` bytes of private anonymous memory.
    ///
    /// # Errors
    /// As for [`anonymous`](Self::anonymous).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let mut memory = MapOptions::new().huge_pages(HugePages::Transparent).private(1 << 20)?;
    /// memory[0] = 7; // a plain slice
    /// # Ok(()) }
    /// ```
    #[doc(alias = "MAP_PRIVATE")]
    #[doc(alias = "VirtualAlloc")]
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

    /// Maps an open shared object, which errors call `name`.
    pub(crate) fn map_object(&self, file: File, name: &Path, access: Access) -> Result<Region> {
        self.check()?;
        // Descriptors of objects may be passed to other processes, so they are not shared.
        self.map_and_finish(file, name, Plan { shared: None, ..self.plan(access) })
    }

    fn map_region(&self, file: &impl AsDescriptor, access: Access) -> Result<Region> {
        self.check()?;
        if self.exclusive {
            return Err(Error::new(ErrorKind::Unsupported, "map")
                .with_detail("only `open` and `create` open a file exclusively"));
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
            _ if self.exclusive && self.close_file => Err(Error::new(
                ErrorKind::Unsupported,
                "map",
            )
            .with_detail(
                "the descriptor of an exclusive mapping carries its lock; do not close the file",
            )),
            _ => Ok(()),
        }
    }

    /// Applies the options that concern an existing region: advice, population, locking, closing.
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
