//! How shared memory is made and opened: for everything that the plain calls do not say.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::mapping::{MapOptions, Mapping, MappingMut};
use crate::shm::location::LocationKind;
use crate::shm::{Location, ReadOnlySharedMemory, SharedMemory};
use crate::sys::{
    self, Access, CreateObject, Existing, HugePages, Lifetime, OpenObject, Owner, Scope, Seals,
    Sharing,
};

/// How to make or open shared memory: room to grow, lifetime, huge pages, who else may have it.
///
/// ```
/// # fn main() -> sharemap::Result<()> {
/// # let name = format!("sharemap-options-{}", std::process::id());
/// # let name = name.as_str();
/// use sharemap::SharedMemory;
///
/// let frames = SharedMemory::options().max(1 << 20).create_new(name, 4096)?;
/// frames.grow(100_000)?;                              // in place: views stay valid
/// assert_eq!(frames.len(), 100_000);
/// SharedMemory::unlink(name)?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SharedMemoryOptions {
    max: u64,
    lifetime: Lifetime,
    huge: HugePages,
    sparse: bool,
    populate: bool,
    owner: Owner,
    sharing: Sharing,
    pub(super) required: Seals,
}

impl Default for SharedMemoryOptions {
    fn default() -> Self {
        Self {
            max: 0,
            lifetime: Lifetime::default(),
            huge: HugePages::default(),
            sparse: false,
            populate: false,
            owner: Owner::default(),
            sharing: Sharing::PRIVATE,
            required: Seals::NONE,
        }
    }
}

impl SharedMemoryOptions {
    /// Memory of this user alone, of a fixed length, that lives until it is unlinked.
    pub fn new() -> Self {
        Self::default()
    }

    /// The most that it may [grow](SharedMemory::grow) to; by default its length. Address space is
    /// kept for so much, also where it is opened.
    ///
    /// Where the system cannot change an object's length later (macOS; [`Lifetime::Attached`] on
    /// Windows) it has this one from the beginning, and whoever opens it sees all of it.
    pub fn max(mut self, max: u64) -> Self {
        self.max = max;
        self
    }

    /// How long a named object lives: [`Lifetime::Attached`] is for Windows.
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Asks for huge pages: transparent ones for any object, reserved ones for memory without a
    /// name (`MFD_HUGETLB`), of which all that it may grow to is taken at once.
    pub fn huge_pages(mut self, huge: HugePages) -> Self {
        self.huge = huge;
        self
    }

    /// Sets no memory aside: running out of it shows as a [`Fault`](ErrorKind::Fault) when it is
    /// written to.
    pub fn sparse(mut self) -> Self {
        self.sparse = true;
        self
    }

    /// Faults everything in before returning.
    pub fn populate(mut self) -> Self {
        self.populate = true;
        self
    }

    /// The permissions of a new object, whatever the umask says; by default `0o600`, this user
    /// alone.
    ///
    /// On Windows only the last digit may say more than that, and only with
    /// [`Lifetime::Attached`].
    pub fn mode(mut self, mode: u32) -> Self {
        self.sharing.mode = mode & 0o777;
        self
    }

    /// The group that a new object belongs to, by its number. Linux.
    pub fn group(mut self, group: u32) -> Self {
        self.sharing.group = Some(group);
        self
    }

    /// Names it for all sessions of the machine: `Global\` on Windows, with
    /// [`Lifetime::Attached`]. Elsewhere names are so anyway.
    pub fn global(mut self) -> Self {
        self.sharing.scope = Scope::Global;
        self
    }

    /// Opens objects of any owner; without it, another user's object is a
    /// [`ForeignOwner`](ErrorKind::ForeignOwner). On Linux, an owner that this user namespace does not
    /// map is unknown, and counts as another user.
    pub fn allow_any_owner(mut self) -> Self {
        self.owner = Owner::Any;
        self
    }

    /// What is received must be sealed so at least; see [`SharedMemory::receive`].
    pub fn require_seals(mut self, seals: Seals) -> Self {
        self.required = seals;
        self
    }

    /// Makes an object of `len` zero bytes that must not exist yet, with memory set aside for all.
    ///
    /// # Errors
    /// - [`NameEmpty`](ErrorKind::NameEmpty), [`NameTooLong`](ErrorKind::NameTooLong), [`NameCharacter`](ErrorKind::NameCharacter) -
    ///   not every system can have the name.
    /// - [`AlreadyExists`](ErrorKind::AlreadyExists) -
    ///   an object has the name.
    /// - [`ZeroLength`](ErrorKind::ZeroLength), [`Overflow`](ErrorKind::Overflow), [`OutOfAddressSpace`](ErrorKind::OutOfAddressSpace) -
    ///   no object can have that length.
    /// - [`NoSpace`](ErrorKind::NoSpace) -
    ///   there is too little memory, or no room for another object.
    /// - [`TooLarge`](ErrorKind::TooLarge) -
    ///   this process may not make a file of that size.
    /// - [`NotFound`](ErrorKind::NotFound), [`NotWritable`](ErrorKind::NotWritable), [`PermissionDenied`](ErrorKind::PermissionDenied) -
    ///   the place for named objects is missing, read-only, or closed to this user.
    /// - [`Unsupported`](ErrorKind::Unsupported) -
    ///   the system has no such objects.
    pub fn create_new(&self, location: impl Into<Location>, len: u64) -> Result<SharedMemory> {
        self.create(location.into(), len, Existing::Refused)
    }

    /// Makes an object of `len` zero bytes; whoever has the one that had the name keeps it.
    pub fn replace(&self, location: impl Into<Location>, len: u64) -> Result<SharedMemory> {
        self.create(location.into(), len, Existing::Replaced)
    }

    /// Opens an object for reading and writing.
    ///
    /// # Errors
    /// - [`NotFound`](ErrorKind::NotFound) -
    ///   there is no such object.
    /// - [`NameEmpty`](ErrorKind::NameEmpty), [`NameTooLong`](ErrorKind::NameTooLong), [`NameCharacter`](ErrorKind::NameCharacter) -
    ///   not every system can have the name.
    /// - [`NotAnObject`](ErrorKind::NotAnObject) -
    ///   a link, a directory or another special file has the name.
    /// - [`ForeignOwner`](ErrorKind::ForeignOwner) -
    ///   the object belongs to another user.
    /// - [`NotWritable`](ErrorKind::NotWritable) -
    ///   this user may only read it.
    /// - [`PermissionDenied`](ErrorKind::PermissionDenied) -
    ///   this user may not open it.
    pub fn open(&self, location: impl Into<Location>) -> Result<SharedMemory> {
        let location = location.into();
        let file = self.open_file(&location, Access::Write).map_err(|e| named(e, &location))?;
        self.map(file, location, None)
    }

    /// Opens an object for reading.
    pub fn open_read_only(&self, location: impl Into<Location>) -> Result<ReadOnlySharedMemory> {
        let location = location.into();
        let file = self.open_file(&location, Access::Read).map_err(|e| named(e, &location))?;
        self.map_read_only(file, location)
    }

    /// Opens the object if it exists, which must have at least `len` bytes; else makes it.
    pub fn open_or_create(&self, location: impl Into<Location>, len: u64) -> Result<SharedMemory> {
        // Somebody may keep removing and making it.
        const ROUNDS: usize = 8;
        let location = location.into();
        if location == Location::anonymous() {
            return self.create_new(location, len);
        }
        let mut last = None;
        for _ in 0..ROUNDS {
            match self.open(&location) {
                Ok(memory) if (memory.len() as u64) < len => {
                    let error = Error::new(ErrorKind::WrongSize, "open").with_length(len);
                    let detail = format!("it has {} bytes", memory.len());
                    return Err(named(error.with_detail(detail), &location));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                result => return result,
            }
            match self.create_new(&location, len) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => last = Some(error),
                result => return result,
            }
        }
        Err(last.unwrap_or_else(|| Error::new(ErrorKind::Busy, "open")))
    }

    fn create(&self, location: Location, len: u64, existing: Existing) -> Result<SharedMemory> {
        let file = self.create_file(&location, len, existing).map_err(|e| named(e, &location))?;
        self.map(file, location, Some(len))
    }

    fn create_file(&self, location: &Location, len: u64, existing: Existing) -> Result<File> {
        const OPERATION: &str = "create";
        let place = location.checked()?;
        let error = |kind| Error::new(kind, OPERATION).with_length(len);
        if len == 0 {
            return Err(error(ErrorKind::ZeroLength));
        }
        let most = len.max(self.max);
        if i64::try_from(most).is_err() {
            return Err(error(ErrorKind::Overflow));
        }
        if isize::try_from(most).is_err() {
            return Err(error(ErrorKind::OutOfAddressSpace));
        }
        let request = |name| CreateObject {
            name,
            len,
            max: self.max.max(len),
            sparse: self.sparse,
            existing,
            lifetime: self.lifetime,
            sharing: self.sharing,
        };
        match place {
            LocationKind::Name(_) if self.huge == HugePages::Reserved => {
                Err(error(ErrorKind::Unsupported).with_detail(
                    "reserved huge pages are for memory without a name: Location::anonymous()",
                ))
            }
            LocationKind::Name(name) => sys::shm::create(&request(name), &mut |_| Ok(())),
            LocationKind::Anonymous => sys::shm::anonymous("sharemap", &request(""), self.huge),
            LocationKind::File(_) => Err(in_a_file(error(ErrorKind::Unsupported))),
        }
    }

    fn open_file(&self, location: &Location, access: Access) -> Result<File> {
        const OPERATION: &str = "open";
        match location.checked()? {
            LocationKind::Name(name) => sys::shm::open(&OpenObject {
                name,
                write: access == Access::Write,
                owner: self.owner,
                scope: self.sharing.scope,
                timeout: sys::LEASE_BREAK,
            }),
            LocationKind::Anonymous => Err(Error::new(ErrorKind::Unsupported, OPERATION)
                .with_detail(
                    "memory without a name is received, inherited, or adopted from a descriptor",
                )),
            LocationKind::File(_) => Err(in_a_file(Error::new(ErrorKind::Unsupported, OPERATION))),
        }
    }

    /// Maps `len` bytes of an object for reading and writing; all it has, if nothing is said.
    pub(super) fn map(
        &self,
        file: File,
        location: Location,
        len: Option<u64>,
    ) -> Result<SharedMemory> {
        let name = native(&location);
        let mut options = self.map_options(&file, &location)?;
        if let Some(len) = len.and_then(|len| usize::try_from(len).ok()) {
            options = options.len(len);
        }
        let region = options.map_object(file, &name, Access::Write)?;
        Ok(SharedMemory::new(MappingMut::from_region(region), location))
    }

    pub(super) fn map_read_only(
        &self,
        file: File,
        location: Location,
    ) -> Result<ReadOnlySharedMemory> {
        let name = native(&location);
        let options = self.map_options(&file, &location)?;
        let region = options.map_object(file, &name, Access::Read)?;
        Ok(ReadOnlySharedMemory::new(Mapping::from_region(region), location))
    }

    fn map_options(&self, file: &File, location: &Location) -> Result<MapOptions> {
        let status = sys::file::status(file).map_err(|error| named(error, location))?;
        if status.len == 0 {
            let error = Error::new(ErrorKind::ZeroLength, "map")
                .with_detail("whoever makes it has given it no length yet, or ended before that");
            return Err(named(error, location));
        }
        let max = usize::try_from(self.max.max(status.len)).unwrap_or(usize::MAX);
        let mut options = MapOptions::new().reserve(max).huge_pages(self.huge);
        if self.populate {
            options = options.populate();
        }
        if self.sparse {
            options = options.sparse();
        }
        Ok(options)
    }
}

/// What errors call memory without a name.
const ANONYMOUS: &str = "(anonymous)";

/// The error with what the user calls the object.
pub(super) fn named(error: Error, location: &Location) -> Error {
    error.with_path(location.path().or(Some(Path::new(ANONYMOUS))))
}

fn in_a_file(error: Error) -> Error {
    error.with_detail("raw bytes in a file are a mapping: use MappingMut")
}

/// What the system calls it.
fn native(location: &Location) -> PathBuf {
    match location.checked() {
        Ok(LocationKind::Name(name)) => sys::shm::path(name),
        Ok(LocationKind::File(path)) => path.clone(),
        _ => PathBuf::from(ANONYMOUS),
    }
}
