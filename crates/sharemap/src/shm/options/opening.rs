//! The calls of [`SharedMemoryOptions`] that create and open shared memory.

use std::fs::File;
use std::path::PathBuf;

use super::SharedMemoryOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::mapping::{MapOptions, Mapping, MappingMut};
use crate::shm::location::{ANONYMOUS, LocationKind, named};
use crate::shm::{Location, ReadOnlySharedMemory, SharedMemory};
use crate::sys::{self, Access, CreateObject, Existing, HugePages, OpenObject};

impl SharedMemoryOptions {
    /// Creates an object of `len` zero bytes, which must not exist yet, and maps it.
    ///
    /// Memory for all of it is allocated unless the options are [`sparse`](Self::sparse); macOS
    /// allocates memory when it is first accessed. After an error the object does not exist.
    ///
    /// # Errors
    /// - `NameEmpty` - the name is empty.
    /// - `NameTooLong` - the name has more than 200 bytes.
    /// - `NameCharacter` - the name contains a character that names cannot contain.
    /// - `AlreadyExists` - something has the name.
    /// - `ZeroLength` - `len` is zero.
    /// - `Overflow` - `len` or `max` is more than the system can express.
    /// - `OutOfAddressSpace` - there is no address space, or not enough memory, for `len` or `max`.
    /// - `TooManyMappings` - the process has as many mappings as the system allows.
    /// - `TooManyFiles` - the process or the system has no free file descriptors.
    /// - `NoSpace` - there is not enough memory, or no room for another object.
    /// - `TooLarge` - this process may not create a file of that size.
    /// - `NotFound` - the directory of shared memory does not exist.
    /// - `NotWritable` - the directory of shared memory is mounted read-only.
    /// - `PermissionDenied` - this user may not create objects, or not give one to the `group`.
    /// - `Unsupported` - the location is a file, or the system lacks an option that is set.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let name = format!("doc-shm-opt-new-{}", std::process::id());
    /// # let name = name.as_str();
    /// let block = SharedMemory::options().populate().create_new(name, 4096)?;
    /// let again = SharedMemory::options().create_new(name, 4096).unwrap_err();
    /// assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    /// # unlink(name)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "shm_open")]
    #[doc(alias = "memfd_create")]
    #[doc(alias = "CreateFileMapping")]
    pub fn create_new(&self, location: impl Into<Location>, len: u64) -> Result<SharedMemory> {
        self.create(location.into(), len, Existing::Refused)
    }

    /// Creates an object of `len` zero bytes and gives it the name, replacing an object that has it.
    ///
    /// Processes that use the replaced object keep it. After an error on Linux, the old object still
    /// has the name.
    ///
    /// # Errors
    /// - `PermissionDenied` - another user's object has the name, and this user may not replace it.
    /// - `NotAnObject` - a directory has the name.
    /// - `Unsupported` - on Windows, if the [`Lifetime`](crate::Lifetime) is `Attached` and the name exists.
    ///
    /// Otherwise as for [`create_new`](Self::create_new).
    pub fn replace(&self, location: impl Into<Location>, len: u64) -> Result<SharedMemory> {
        self.create(location.into(), len, Existing::Replaced)
    }

    /// Opens an existing object for reading and writing, and maps all of it.
    ///
    /// The call blocks while another process holds a lease on the object's file, for at most 60
    /// seconds (Linux).
    ///
    /// # Errors
    /// - `NotFound` - the object does not exist.
    /// - `NameEmpty` - the name is empty.
    /// - `NameTooLong` - the name has more than 200 bytes.
    /// - `NameCharacter` - the name contains a character that names cannot contain.
    /// - `NotAnObject` - a link, a directory, another special file, or a file with further names has
    ///   the name.
    /// - `ForeignOwner` - the object belongs to another user, and
    ///   [`allow_any_owner`](Self::allow_any_owner) is not set.
    /// - `NotWritable` - this user may only read the object, or it is sealed against writing.
    /// - `PermissionDenied` - this user may not open the object.
    /// - `ZeroLength` - the object has no length: its creator has not set it yet, or ended before.
    /// - `Busy` - another process holds a lease on the object's file and did not release it in time.
    /// - `OutOfAddressSpace` - there is no address space for the object or for `max`.
    /// - `TooManyMappings` - the process has as many mappings as the system allows.
    /// - `TooManyFiles` - the process or the system has no free file descriptors.
    /// - `Unsupported` - the location is anonymous or a file.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let name = format!("doc-shm-opt-open-{}", std::process::id());
    /// # let name = name.as_str();
    /// let options = SharedMemory::options().max(1 << 20);
    /// let block = options.create_new(name, 4096)?;
    /// let same = options.open(name)?;
    /// block.grow(8192)?;
    /// assert_eq!(same.refresh_len()?, 8192);
    /// # unlink(name)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "shm_open")]
    #[doc(alias = "OpenFileMapping")]
    pub fn open(&self, location: impl Into<Location>) -> Result<SharedMemory> {
        let location = location.into();
        let file = self.open_file(&location, Access::Write).map_err(|e| named(e, &location))?;
        self.map(file, location, None)
    }

    /// Opens an existing object for reading, and maps all of it.
    ///
    /// # Errors
    /// As for [`open`](Self::open), except `NotWritable`.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let name = format!("doc-shm-opt-ro-{}", std::process::id());
    /// # let name = name.as_str();
    /// let block = SharedMemory::create_new(name, 4096)?;
    /// let same = SharedMemory::options().open_read_only(name)?;
    /// block.bytes().set(0, 7)?;
    /// assert_eq!(same.bytes().get(0)?, 7);
    /// # unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn open_read_only(&self, location: impl Into<Location>) -> Result<ReadOnlySharedMemory> {
        let location = location.into();
        let file = self.open_file(&location, Access::Read).map_err(|e| named(e, &location))?;
        self.map_read_only(file, location)
    }

    /// Opens the object, or creates it with `len` zero bytes if it does not exist.
    ///
    /// An object that exists must have at least `len` bytes. A longer one is mapped whole. With an
    /// anonymous location the call always creates memory.
    ///
    /// # Errors
    /// - `WrongSize` - the object exists and has fewer than `len` bytes.
    /// - `AlreadyExists` - another process kept creating and unlinking the object meanwhile.
    ///
    /// Otherwise as for [`open`](Self::open) and [`create_new`](Self::create_new).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let name = format!("doc-shm-opt-or-{}", std::process::id());
    /// # let name = name.as_str();
    /// let options = SharedMemory::options().max(1 << 20);
    /// let block = options.open_or_create(name, 4096)?;
    /// let same = options.open_or_create(name, 4096)?;
    /// block.bytes().set(0, 7)?;
    /// assert_eq!(same.bytes().get(0)?, 7);
    /// # unlink(name)?;
    /// # Ok(()) }
    /// ```
    pub fn open_or_create(&self, location: impl Into<Location>, len: u64) -> Result<SharedMemory> {
        // Another process may create and unlink the object between the two calls, again and again.
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
                    "reserved huge pages back anonymous memory only; use `Location::anonymous`",
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
            })
            .map(|opened| opened.file),
            LocationKind::Anonymous => Err(Error::new(ErrorKind::Unsupported, OPERATION)
                .with_detail(
                    "anonymous memory has no name to open; receive it, inherit it, or use \
                     `from_descriptor`",
                )),
            LocationKind::File(_) => Err(in_a_file(Error::new(ErrorKind::Unsupported, OPERATION))),
        }
    }

    /// Maps an object for reading and writing: `len` bytes, or all of it if `len` is `None`.
    pub(in crate::shm) fn map(
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

    /// Maps all of an object for reading.
    pub(in crate::shm) fn map_read_only(
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
                .with_detail("its creator has not set its length yet, or ended before that");
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

fn in_a_file(error: Error) -> Error {
    error.with_detail("shared memory has no file; map the file with `MappingMut`")
}

/// Returns the name or path that the system has for the location.
fn native(location: &Location) -> PathBuf {
    match location.checked() {
        Ok(LocationKind::Name(name)) => sys::shm::path(name),
        Ok(LocationKind::File(path)) => path.clone(),
        _ => PathBuf::from(ANONYMOUS),
    }
}
