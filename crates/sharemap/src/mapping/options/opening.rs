//! The calls of [`MapOptions`] that map: a path, an open file, or memory without a file.

use std::fs::File;
use std::path::Path;

use super::{Existing, MapOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::mapping::plan::Plan;
use crate::mapping::region::Region;
use crate::mapping::{AnonymousMapping, Mapping, MappingCow, MappingMut};
use crate::sys::{self, Access, AsDescriptor, Create, FileStatus, OpenRequest};

impl MapOptions {
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

    pub(in crate::mapping) fn open_region(&self, path: &Path, access: Access) -> Result<Region> {
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

    /// Maps the file of an object, of which the status is known and which only the region uses.
    pub(crate) fn map_opened(
        &self,
        file: File,
        status: FileStatus,
        access: Access,
    ) -> Result<Region> {
        self.check()?;
        let plan = Plan { shared: None, ..self.plan(access) };
        let mut region = Region::of_file_as(file, None, status, plan)?;
        self.finish(&mut region)?;
        Ok(region)
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
}
