//! Shared memory objects on Windows: files in a directory of the user, or sections (`attached`). `names`
//! has their file names.

#![allow(unsafe_code, reason = "calls that std does not have")]

use std::fs::{File, OpenOptions};
use std::os::windows::fs::{MetadataExt, OpenOptionsExt};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::Duration;

use windows_sys::Win32::Foundation::{DuplicateHandle, ERROR_SHARING_VIOLATION};
use windows_sys::Win32::Security::Authorization::SE_FILE_OBJECT;
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_REPARSE_POINT, FILE_ATTRIBUTE_TEMPORARY,
    FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT, FILE_GENERIC_READ, MoveFileExW,
    READ_CONTROL,
};
use windows_sys::Win32::System::Memory::{FILE_MAP_READ, SECTION_QUERY};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

pub(crate) use super::attached::anonymous;
use super::attached::{create_section, open_section, section_exists};
use super::file::check_links;
use super::names::{decoded, directory, encoded, squatted, wide};
use super::section::section_len;
use super::security::check_owner;
use super::{code, file};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::unique_name::unique;
use crate::sys::{
    Access, CreateObject, Existing, Lifetime, ObjectStatus, OpenObject, OpenedFile, Scope, Seals,
};

/// Returns the path of an object's file if there is one, and otherwise the object's name.
pub(crate) fn path(name: &str) -> PathBuf {
    match directory().map(|directory| directory.join(encoded(name))) {
        Ok(path) if path.exists() => path,
        _ => PathBuf::from(name),
    }
}

/// Returns `true` for files, which get their name when they are complete. A section has its name from the
/// beginning.
pub(crate) fn is_named_when_whole(file: &File) -> bool {
    section_len(file).is_none()
}

/// The exclusive right to create an object of a name. Windows needs none: it cannot remove the name of a
/// section, so no other process can replace an object under creation.
#[derive(Debug)]
pub(crate) struct Making;

/// Returns the right to create the object, without waiting.
pub(crate) fn making(_: &str) -> Result<Option<Making>> {
    Ok(Some(Making))
}

/// Returns `true`: a section without a header is still being created. If the creator dies, the section
/// disappears with the last handle that a waiting process has.
pub(crate) fn is_being_made(_: &str) -> Result<bool> {
    Ok(true)
}

/// Creates the object of the request, and calls `fill`.
pub(crate) fn create(
    request: &CreateObject<'_>,
    fill: &mut dyn FnMut(&File) -> Result<()>,
) -> Result<File> {
    let unsupported =
        |why: &str| Err(Error::new(ErrorKind::Unsupported, "create").with_detail(why));
    let sharing = request.sharing;
    if sharing.group.is_some() || sharing.mode & 0o070 != 0 {
        return unsupported("Windows has no group access; set only the last digit of the mode");
    }
    match request.lifetime {
        Lifetime::UntilUnlink if sharing.mode & 0o007 != 0 || sharing.scope == Scope::Global => {
            unsupported(
                "the object is in a directory of this user; use Lifetime::Attached to share with \
                 other users",
            )
        }
        Lifetime::UntilUnlink => create_file(request, fill),
        Lifetime::Attached => create_section(request, fill),
    }
}

/// Creates the file under another name, calls `fill`, and renames the file.
///
/// A process that dies before the rename leaves a `new-…` file, which [`sweep`] removes.
fn create_file(
    request: &CreateObject<'_>,
    fill: &mut dyn FnMut(&File) -> Result<()>,
) -> Result<File> {
    const OPERATION: &str = "create";
    let directory = directory()?;
    std::fs::create_dir_all(&directory)
        .map_err(|error| code::from_io(OPERATION, error).with_path(Some(&directory)))?;
    let target = directory.join(encoded(request.name));
    let taken = || Error::new(ErrorKind::AlreadyExists, OPERATION);
    if request.existing == Existing::Refused && target.symlink_metadata().is_ok() {
        return Err(taken());
    }
    if section_exists(request.name, Scope::Session) {
        return Err(
            taken().with_detail("an object of Lifetime::Attached has the name; use another name")
        );
    }
    let draft = directory.join(format!("new-{}", unique()));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .attributes(FILE_ATTRIBUTE_TEMPORARY)
        .open(&draft)
        .map_err(|error| code::from_io(OPERATION, error))?;
    let made = (|| {
        if request.sparse {
            file::set_len(&file, request.len)?;
        } else {
            file::allocate(&file, 0..request.len)?;
        }
        fill(&file)?;
        publish(&draft, &target, request.existing)
    })();
    match made {
        Ok(()) => Ok(file),
        Err(error) => {
            drop(file);
            let _ = std::fs::remove_file(&draft);
            Err(error)
        }
    }
}

/// Gives the complete object its name. An existing object of that name is unlinked first, if it may be
/// replaced.
fn publish(draft: &Path, target: &Path, existing: Existing) -> Result<()> {
    const ROUNDS: usize = 8;
    for _ in 0..ROUNDS {
        // SAFETY: both names end with a zero. Without a flag, the call replaces no file.
        if unsafe { MoveFileExW(wide(draft).as_ptr(), wide(target).as_ptr(), 0) } != 0 {
            return Ok(());
        }
        let error = code::last("create");
        if error.kind() != ErrorKind::AlreadyExists || existing == Existing::Refused {
            return Err(error);
        }
        match unlink_file(target) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Err(Error::new(ErrorKind::AlreadyExists, "create"))
}

/// Opens the file of this name or, if there is none, the section.
pub(crate) fn open(request: &OpenObject<'_>) -> Result<OpenedFile> {
    find(request).and_then(OpenedFile::of)
}

/// Opens the file or the section of the request, as [`open`] does.
fn find(request: &OpenObject<'_>) -> Result<File> {
    const OPERATION: &str = "open";
    const PATIENCE_MS: u32 = 100;
    if request.scope == Scope::Global {
        return open_section(request);
    }
    let path = directory()?.join(encoded(request.name));
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(request.write)
        .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS);
    let mut opened = options.open(&path);
    for _ in 0..PATIENCE_MS {
        let Err(error) = &opened else { break };
        if error.raw_os_error() != Some(ERROR_SHARING_VIOLATION as i32) {
            break;
        }
        // Another process has the file open exclusively, for a moment, to check that no process uses it.
        std::thread::sleep(Duration::from_millis(1));
        opened = options.open(&path);
    }
    let opened = opened.map_err(|error| code::from_io(OPERATION, error));
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return open_section(request);
        }
        Err(error) => {
            return Err(match path.symlink_metadata() {
                Ok(metadata) if metadata.is_dir() => squatted("a directory"),
                _ => error,
            });
        }
    };
    let attributes = file
        .metadata()
        .map(|metadata| metadata.file_attributes())
        .map_err(|error| code::from_io(OPERATION, error))?;
    if attributes & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
        return Err(squatted("a link"));
    }
    if attributes & FILE_ATTRIBUTE_DIRECTORY != 0 {
        return Err(squatted("a directory"));
    }
    check_owner(&file, SE_FILE_OBJECT, request.owner)?;
    check_links(&file)?;
    Ok(file)
}

/// Returns `true` if the name leads to this object. A section keeps its name while a handle to it
/// is open.
pub(crate) fn is_linked(name: &str, file: &File) -> Result<Option<bool>> {
    if section_len(file).is_some() {
        return Ok(Some(true));
    }
    file::is_linked(&directory()?.join(encoded(name)), file).map(Some)
}

/// Removes the object's name. Processes that are attached keep the object.
///
/// Fails with `Unsupported` for a section, whose name Windows cannot remove.
pub(crate) fn unlink(name: &str) -> Result<()> {
    let path = directory()?.join(encoded(name));
    match unlink_file(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if section_exists(name, Scope::Session) {
                return Err(Error::new(ErrorKind::Unsupported, "unlink").with_detail(
                    "Windows cannot remove its name while a process is attached; end the processes \
                     that are attached",
                ));
            }
            Err(error)
        }
        result => result,
    }
}

/// Unlinks a file, of a shared memory object or another. Files of objects may be mapped.
pub(super) fn unlink_path(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) if parent == directory()? => unlink_file(path),
        _ => std::fs::remove_file(path).map_err(|error| code::from_io("remove", error)),
    }
}

/// Unlinks the file of an object. A mapped file can be renamed but not removed. So the call renames it, and
/// removes it now if that is possible, or by a later [`sweep`].
fn unlink_file(path: &Path) -> Result<()> {
    let old = path.with_file_name(format!("old-{}", unique()));
    std::fs::rename(path, &old).map_err(|error| code::from_io("unlink", error))?;
    let _ = std::fs::remove_file(&old);
    if let Some(directory) = path.parent() {
        sweep(directory);
    }
    Ok(())
}

/// Removes the files of unlinked objects that are no longer mapped, and unfinished files of dead creators.
fn sweep(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        // A living creator has its file open, so an exclusive open fails.
        let abandoned = name.starts_with("new-")
            && OpenOptions::new().read(true).write(true).share_mode(0).open(&path).is_ok();
        if name.starts_with("old-") || abandoned {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Returns the objects that are files, sorted by name. Windows offers no list of sections.
pub(crate) fn list() -> Result<Vec<ObjectStatus>> {
    let directory = directory()?;
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(
                code::from_io("list shared memory objects", error).with_path(Some(&directory))
            );
        }
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Some(name) = decoded(&entry.file_name()) else { continue };
        let Ok(metadata) = entry.metadata() else { continue };
        if !metadata.is_file() {
            continue;
        }
        found.push(ObjectStatus {
            name: name.into(),
            path: Some(entry.path()),
            len: Some(metadata.len()),
            allocated: None,
            user: None,
            mode: None,
            created: metadata.created().ok(),
            modified: metadata.modified().ok(),
        });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Returns another handle of the object. A read-only one is a duplicate with fewer rights.
pub(crate) fn reopen(file: &File, access: Access) -> Result<File> {
    if access == Access::Write {
        return file::duplicate(file);
    }
    let rights = match section_len(file) {
        Some(_) => SECTION_QUERY | FILE_MAP_READ | READ_CONTROL,
        None => FILE_GENERIC_READ,
    };
    let mut handle = ptr::null_mut();
    // SAFETY: the handles belong to this process. Nothing else owns the new one.
    unsafe {
        let own = GetCurrentProcess();
        if DuplicateHandle(own, file.as_raw_handle(), own, &mut handle, rights, 0, 0) == 0 {
            return Err(code::last("reopen"));
        }
        Ok(File::from(OwnedHandle::from_raw_handle(handle)))
    }
}

/// Fails with `Unsupported`, unless `seals` is empty.
pub(crate) fn seal(_: &File, seals: Seals) -> Result<()> {
    if seals == Seals::NONE {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unsupported, "seal").with_detail("Windows has no seals"))
}

/// Returns no seals.
pub(crate) fn seals(_: &File) -> Result<Seals> {
    Ok(Seals::NONE)
}

/// Returns an error with the reason if the handle refers to a file, and not to a section.
pub(crate) fn is_memory(file: &File) -> std::result::Result<(), String> {
    if section_len(file).is_some() { Ok(()) } else { Err("it is a file".into()) }
}

/// Returns the error unchanged: Windows has no file system of shared memory whose size could be the cause.
pub(crate) fn no_room(_: &File, error: Error) -> Error {
    error
}
