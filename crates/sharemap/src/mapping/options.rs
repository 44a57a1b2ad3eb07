//! The options for creating a mapping.

use crate::error::{Error, ErrorKind, Result};
use crate::mapping::descriptors::Origin;
use crate::mapping::plan::{Plan, Wanted};
use crate::mapping::region::Region;
use crate::sys::{Access, Advice, HugePages};

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

    /// Reserves address space for growth in place to `len` bytes ([`MappingMut::grow`](crate::MappingMut::grow)).
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
    /// [`is_current`](Region::is_current), [`remap`](crate::Mapping::remap), [`grow`](crate::MappingMut::grow),
    /// [`resize`](crate::MappingMut::resize), [`punch_hole`](crate::MappingMut::punch_hole),
    /// [`residency`](Region::residency), [`cache_status`](Region::cache_status),
    /// [`evict`](Region::evict), [`data_extents`](Region::data_extents),
    /// [`file_system`](Region::file_system), [`frozen`](crate::Mapping::frozen); on macOS and Windows
    /// [`flush`](crate::MappingMut::flush), on Linux [`flush_async`](crate::MappingMut::flush_async). A
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

// Last, so that the documentation of the type begins with the methods above.
mod opening;
