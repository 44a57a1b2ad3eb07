//! Shared memory objects on macOS: those of `shm_open`.
//!
//! Their names have at most 30 characters, their length can be set once, and nobody lists them. So
//! long names are shortened by a rule, and an object has from the beginning the length that it may
//! grow to: pages that nobody touches take no memory.

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
    Access, CreateObject, Existing, HugePages, Lifetime, ObjectStatus, OpenObject, Seals, SlotMode,
};

/// `PSHMNAMLEN` without the slash in front.
const LONGEST: usize = 30;

/// `/name`; of a longer name the first 13 characters, `~`, and the FNV-1a hash of all in
/// hexadecimal. No valid name has a `~`.
fn native(name: &str) -> String {
    if name.len() <= LONGEST {
        return format!("/{name}");
    }
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("/{}~{hash:016x}", &name[..LONGEST - 17])
}

pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(native(name))
}

/// An object has its name before it is whole.
pub(crate) fn is_named_when_whole(_: &File) -> bool {
    false
}

/// Who makes an object has a lock of its name, as long as nothing in it tells.
pub(crate) type Making = liveness::LivenessLock;

pub(crate) fn making(name: &str) -> Result<Option<Making>> {
    liveness::Slots::of_name(&native(name)[1..])?.take(0, SlotMode::Alone)
}

pub(crate) fn is_being_made(name: &str) -> Result<bool> {
    liveness::Slots::of_name(&native(name)[1..])?.is_free(0).map(|free| !free)
}

pub(crate) fn create(
    request: &CreateObject<'_>,
    fill: &mut dyn FnMut(&File) -> Result<()>,
) -> Result<File> {
    const OPERATION: &str = "create";
    if request.lifetime == Lifetime::Attached {
        return Err(Error::new(ErrorKind::Unsupported, OPERATION).with_detail(
            "macOS keeps a named object until it is unlinked: nothing tells it who is attached",
        ));
    }
    let name = native(request.name);
    let file = open_new(&name, request)?;
    shape(&file, request).and_then(|()| fill(&file)).inspect_err(|_| {
        // Ours alone, and of no use.
        let _ = rustix::shm::unlink(name.as_str());
    })?;
    Ok(file)
}

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

/// Length and permissions: the only time that the system lets the length be set.
fn shape(file: &File, request: &CreateObject<'_>) -> Result<()> {
    const OPERATION: &str = "create";
    if request.sharing.group.is_some() {
        return Err(Error::new(ErrorKind::Unsupported, OPERATION)
            .with_detail("macOS gives a shared memory object to no other group"));
    }
    let len = request.max.max(request.len);
    retry_on_intr(|| rustix::fs::ftruncate(file, len))
        .map_err(|errno| errno::error("set space aside for", errno).with_length(len))?;
    let stat = rustix::fs::fstat(file).map_err(|errno| errno::error(OPERATION, errno))?;
    let mode = u32::from(stat.st_mode) & 0o777;
    if mode != request.sharing.mode & 0o777 {
        return Err(Error::new(ErrorKind::Unsupported, OPERATION).with_detail(format!(
            "the umask leaves mode {mode:o} of {:o}, and macOS cannot change it afterwards",
            request.sharing.mode
        )));
    }
    Ok(())
}

pub(crate) fn open(request: &OpenObject<'_>) -> Result<File> {
    let flags = if request.write { OFlags::RDWR } else { OFlags::RDONLY };
    let name = native(request.name);
    let file = retry_on_intr(|| rustix::shm::open(name.as_str(), flags, Mode::empty()))
        .map(File::from)
        .map_err(|errno| errno::error("open", errno))?;
    let stat = rustix::fs::fstat(&file).map_err(|errno| errno::error("open", errno))?;
    owner::check_owner(&stat, request.owner)?;
    Ok(file)
}

/// Returns `None` if an object has the name. Objects have no identity here; only their contents
/// tell them apart.
pub(crate) fn is_linked(name: &str, _: &File) -> Result<Option<bool>> {
    let name = native(name);
    match retry_on_intr(|| rustix::shm::open(name.as_str(), OFlags::RDONLY, Mode::empty())) {
        Ok(_) => Ok(None),
        Err(Errno::NOENT) => Ok(Some(false)),
        Err(errno) => Err(errno::error("look up", errno)),
    }
}

/// Takes the name away. Whoever has the object keeps it.
pub(crate) fn unlink(name: &str) -> Result<()> {
    rustix::shm::unlink(native(name).as_str()).map_err(|errno| {
        let error = errno::error("unlink", errno);
        match errno {
            Errno::PERM | Errno::ACCESS => {
                error.with_detail("only its owner can take its name away")
            }
            _ => error,
        }
    })
}

pub(crate) fn list() -> Result<Vec<ObjectStatus>> {
    Err(Error::new(ErrorKind::Unsupported, "list shared memory objects")
        .with_detail("macOS has no list of them"))
}

/// An object whose name is taken away at once. The system has no lists for a label to show in.
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

/// A descriptor of the same description: macOS opens an object by its name only, and by then the
/// name may be another object's.
pub(crate) fn reopen(file: &File, access: Access) -> Result<File> {
    if access == Access::Write {
        return super::file::duplicate(file);
    }
    Err(Error::new(ErrorKind::Unsupported, "open again").with_detail(
        "macOS makes no read-only descriptor of a writable one: open the object by its name",
    ))
}

pub(crate) fn seal(_: &File, seals: Seals) -> Result<()> {
    if seals == Seals::NONE {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unsupported, "seal").with_detail("macOS has no seals"))
}

pub(crate) fn seals(_: &File) -> Result<Seals> {
    Ok(Seals::NONE)
}

/// An object of `shm_open` has no type in its mode.
pub(crate) fn is_memory(file: &File) -> std::result::Result<(), String> {
    match rustix::fs::fstat(file) {
        Ok(stat) if stat.st_mode & libc::S_IFMT == 0 => Ok(()),
        Ok(_) => Err("it is a file".into()),
        Err(errno) => Err(errno.to_string()),
    }
}

/// There is nothing to be mounted larger.
pub(crate) fn no_room(_: &File, error: Error) -> Error {
    error
}
