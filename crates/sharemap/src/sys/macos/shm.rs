//! Shared memory objects on macOS, which are those of `shm_open`.
//!
//! The system accepts names of at most 30 characters, so longer ones are shortened by a rule. It lets the
//! length be set only once, so an object gets the length that it may grow to; untouched pages take no memory.
//! It has no list of objects.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use rustix::fs::Mode;
use rustix::io::{Errno, retry_on_intr};
use rustix::shm::OFlags;

use super::liveness;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::posix::{errno, owner};
use crate::sys::{
    Access, CreateObject, Existing, HugePages, Lifetime, ObjectStatus, OpenObject, OpenedFile,
    Seals, SlotMode,
};

/// `PSHMNAMLEN` without the slash in front.
const LONGEST: usize = 30;

/// Returns the name for `shm_open`: `/name` or, if that is too long, the first 13 characters of the name, `~`,
/// and the FNV-1a hash of the whole name in hexadecimal. No valid name contains `~`.
fn native(name: &str) -> String {
    if name.len() <= LONGEST {
        return format!("/{name}");
    }
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("/{}~{hash:016x}", &name[..LONGEST - 17])
}

/// Returns the name for `shm_open` as a path. No file has it.
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(native(name))
}

/// Returns `false`: an object has its name before it is complete.
pub(crate) fn is_named_when_whole(_: &File) -> bool {
    false
}

/// The exclusive right to create an object of a name: a lock on the name. It protects an object that has no
/// header yet (FORMAT.md, "Making").
pub(crate) type Making = liveness::LivenessLock;

/// Acquires the right to create the object, without waiting. Returns `None` if another process holds it.
pub(crate) fn making(name: &str) -> Result<Option<Making>> {
    liveness::Slots::of_name(&native(name)[1..])?.take(0, SlotMode::Alone)
}

/// Returns `true` if a process holds the right to create the object.
pub(crate) fn is_being_made(name: &str) -> Result<bool> {
    liveness::Slots::of_name(&native(name)[1..])?.is_free(0).map(|free| !free)
}

/// Creates the object of the request, and calls `fill`. Other processes can open the object before `fill`
/// returns.
pub(crate) fn create(
    request: &CreateObject<'_>,
    fill: &mut dyn FnMut(&File) -> Result<()>,
) -> Result<File> {
    const OPERATION: &str = "create";
    if request.lifetime == Lifetime::Attached {
        return Err(Error::new(ErrorKind::Unsupported, OPERATION).with_detail(
            "macOS keeps a named object until it is unlinked; use `Lifetime::UntilUnlink`",
        ));
    }
    let name = native(request.name);
    let file = open_new(&name, request)?;
    shape(&file, request).and_then(|()| fill(&file)).inspect_err(|_| {
        // The object is incomplete, and no other process uses it without a header.
        let _ = rustix::shm::unlink(name.as_str());
    })?;
    Ok(file)
}

/// Creates an empty object. An existing object of the name is unlinked first, if it may be replaced.
fn open_new(name: &str, request: &CreateObject<'_>) -> Result<File> {
    const ROUNDS: usize = 8;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
    let mode = Mode::from_raw_mode(request.sharing.mode as _);
    let mut round = 0;
    loop {
        match retry_on_intr(|| rustix::shm::open(name, flags, mode)) {
            Ok(file) => return Ok(File::from(file)),
            Err(Errno::EXIST) if request.existing == Existing::Replaced && round < ROUNDS => {
                round += 1;
                match rustix::shm::unlink(name) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(errno::error("replace", errno)),
                }
            }
            Err(errno) => return Err(errno::error("create", errno)),
        }
    }
}

/// Sets the length, which the system allows only once, and checks the permissions.
fn shape(file: &File, request: &CreateObject<'_>) -> Result<()> {
    const OPERATION: &str = "create";
    if request.sharing.group.is_some() {
        return Err(Error::new(ErrorKind::Unsupported, OPERATION)
            .with_detail("macOS cannot change the group of a shared memory object"));
    }
    let len = request.max.max(request.len);
    retry_on_intr(|| rustix::fs::ftruncate(file, len))
        .map_err(|errno| errno::error("allocate space for", errno).with_length(len))?;
    let stat = rustix::fs::fstat(file).map_err(|errno| errno::error(OPERATION, errno))?;
    let mode = u32::from(stat.st_mode) & 0o777;
    if mode != request.sharing.mode & 0o777 {
        return Err(Error::new(ErrorKind::Unsupported, OPERATION).with_detail(format!(
            "the umask reduces mode {:o} to {mode:o}, which macOS cannot change; change the umask",
            request.sharing.mode
        )));
    }
    Ok(())
}

/// Opens the object of the request, and checks its owner.
pub(crate) fn open(request: &OpenObject<'_>) -> Result<OpenedFile> {
    let flags = if request.write { OFlags::RDWR } else { OFlags::RDONLY };
    let name = native(request.name);
    let file = retry_on_intr(|| rustix::shm::open(name.as_str(), flags, Mode::empty()))
        .map(File::from)
        .map_err(|errno| errno::error("open", errno))?;
    let stat = rustix::fs::fstat(&file).map_err(|errno| errno::error("open", errno))?;
    owner::check_owner(&stat, request.owner)?;
    OpenedFile::of(file)
}

/// Returns `false` if no object has the name, and `None` if one has. Objects have no identity on macOS; only
/// their contents distinguish them.
pub(crate) fn is_linked(name: &str, _: &File) -> Result<Option<bool>> {
    let name = native(name);
    match retry_on_intr(|| rustix::shm::open(name.as_str(), OFlags::RDONLY, Mode::empty())) {
        Ok(_) => Ok(None),
        Err(Errno::NOENT) => Ok(Some(false)),
        Err(errno) => Err(errno::error("look up", errno)),
    }
}

/// Removes the object's name (`shm_unlink`). Processes that are attached keep the object.
pub(crate) fn unlink(name: &str) -> Result<()> {
    rustix::shm::unlink(native(name).as_str()).map_err(|errno| {
        let error = errno::error("unlink", errno);
        match errno {
            Errno::PERM | Errno::ACCESS => error.with_detail("only its owner can unlink it"),
            _ => error,
        }
    })
}

/// Fails with `Unsupported`.
pub(crate) fn list() -> Result<Vec<ObjectStatus>> {
    Err(Error::new(ErrorKind::Unsupported, "list shared memory objects")
        .with_detail("macOS has no list of shared memory objects; use their names"))
}

/// Creates an object and unlinks it at once. The label is ignored, because no tool could show it.
pub(crate) fn anonymous(_: &str, request: &CreateObject<'_>, huge: HugePages) -> Result<File> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    if huge == HugePages::Reserved {
        return Err(Error::new(ErrorKind::Unsupported, "create anonymous shared memory")
            .with_detail("macOS has no reserved huge pages"));
    }
    loop {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("~{:x}-{number:x}-{:x}", std::process::id(), now.subsec_nanos());
        let request = CreateObject { name: &name, existing: Existing::Refused, ..*request };
        match create(&request, &mut |_| unlink(&name)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            result => return result,
        }
    }
}

/// Duplicates a writable descriptor, and fails with `Unsupported` for a read-only one. macOS opens an object
/// only by its name, which may lead to another object by now.
pub(crate) fn reopen(file: &File, access: Access) -> Result<File> {
    if access == Access::Write {
        return super::file::duplicate(file);
    }
    Err(Error::new(ErrorKind::Unsupported, "reopen").with_detail(
        "macOS cannot make a read-only descriptor of a writable one; open the object by its name",
    ))
}

/// Fails with `Unsupported`, unless `seals` is empty.
pub(crate) fn seal(_: &File, seals: Seals) -> Result<()> {
    if seals == Seals::NONE {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unsupported, "seal").with_detail("macOS has no seals"))
}

/// Returns no seals.
pub(crate) fn seals(_: &File) -> Result<Seals> {
    Ok(Seals::NONE)
}

/// Returns an error with the reason if the descriptor refers to a file. An object of `shm_open` has no file
/// type in its mode.
pub(crate) fn is_memory(file: &File) -> std::result::Result<(), String> {
    match rustix::fs::fstat(file) {
        Ok(stat) if stat.st_mode & libc::S_IFMT == 0 => Ok(()),
        Ok(_) => Err("it is a file".into()),
        Err(errno) => Err(errno.to_string()),
    }
}

/// Returns the error unchanged: macOS has no file system of shared memory whose size could be the cause.
pub(crate) fn no_room(_: &File, error: Error) -> Error {
    error
}
