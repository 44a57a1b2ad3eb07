//! Shared memory objects on Windows: files in a directory of the user's own, and sections of the
//! paging file, which go with their last handle.
//!
//! A file's name is the object's with `shm-` in front, so that no device is meant, and with `^`
//! before capitals, which the file system would not tell from small letters. An object that is being
//! made is called `new-…`; one that lost its name while it was mapped, `old-…`, until it can go.

#![allow(unsafe_code, reason = "calls that std does not have")]

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::windows::ffi::OsStrExt;
use std::os::windows::fs::{MetadataExt, OpenOptionsExt};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use windows_sys::Win32::Foundation::{ERROR_ALREADY_EXISTS, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_REPARSE_POINT, FILE_ATTRIBUTE_TEMPORARY,
    FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT, FILE_STANDARD_INFO, FileStandardInfo,
    GetFileInformationByHandleEx, MoveFileExW,
};
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP_READ, FILE_MAP_WRITE, OpenFileMappingW, PAGE_READWRITE,
    SEC_COMMIT, SEC_LARGE_PAGES, SECTION_QUERY,
};

use super::section::last_code;
use super::{code, file};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{CreateObject, Existing, HugePages, Lifetime, ObjectStatus, OpenObject};

/// Where objects are that live until they are unlinked.
fn directory(system_wide: bool) -> Result<PathBuf> {
    let variable = if system_wide { "ProgramData" } else { "LOCALAPPDATA" };
    match std::env::var_os(variable) {
        Some(base) if !base.is_empty() => Ok(Path::new(&base).join("sharemap").join("shm")),
        _ => Err(Error::new(ErrorKind::NotFound, "find the directory of shared memory")
            .with_detail(format!("the variable {variable} is not set"))),
    }
}

/// The object's file name.
fn encoded(name: &str) -> String {
    let mut encoded = String::from("shm-");
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            encoded.push('^');
        }
        encoded.push(character);
    }
    encoded
}

/// The object's name, of a file that is one.
fn decoded(file_name: &OsStr) -> Option<String> {
    let encoded = file_name.to_str()?.strip_prefix("shm-")?;
    Some(encoded.chars().filter(|&character| character != '^').collect())
}

pub(crate) fn path(name: &str) -> PathBuf {
    match directory(false) {
        Ok(directory) => directory.join(encoded(name)),
        Err(_) => PathBuf::from(name),
    }
}

fn wide(text: impl AsRef<OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().chain([0]).collect()
}

fn section_name(name: &str, system_wide: bool) -> Vec<u16> {
    wide(format!("{}\\{name}", if system_wide { "Global" } else { "Local" }))
}

/// A file name that nothing else has.
fn unique(kind: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{kind}-{}-{number}-{}", std::process::id(), now.as_nanos())
}

pub(crate) fn create(
    request: &CreateObject<'_>,
    fill: &mut dyn FnMut(&File) -> Result<()>,
) -> Result<File> {
    if request.sharing.group.is_some() {
        return Err(Error::new(ErrorKind::Unsupported, "create")
            .with_detail("groups are not how Windows shares objects"));
    }
    match request.lifetime {
        Lifetime::UntilUnlink => create_file(request, fill),
        Lifetime::Attached => create_section(request, fill),
    }
}

/// Makes the file under another name, has it filled, and renames it.
fn create_file(
    request: &CreateObject<'_>,
    fill: &mut dyn FnMut(&File) -> Result<()>,
) -> Result<File> {
    const OPERATION: &str = "create";
    let directory = directory(request.sharing.system_wide)?;
    std::fs::create_dir_all(&directory)
        .map_err(|error| code::from_io(OPERATION, error).with_path(Some(&directory)))?;
    let target = directory.join(encoded(request.name));
    let taken = || Error::new(ErrorKind::AlreadyExists, OPERATION);
    if request.existing == Existing::Refused && target.symlink_metadata().is_ok() {
        return Err(taken());
    }
    if open_section(request.name, request.sharing.system_wide, false).is_ok() {
        return Err(taken().with_detail("an object that lives while it is attached has the name"));
    }
    let draft = directory.join(unique("new"));
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
            file::allocate(&file, request.len)?;
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

fn publish(draft: &Path, target: &Path, existing: Existing) -> Result<()> {
    const ROUNDS: usize = 8;
    for _ in 0..ROUNDS {
        // SAFETY: two names that end with zeros; without a flag nothing is replaced.
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

fn create_section(
    request: &CreateObject<'_>,
    fill: &mut dyn FnMut(&File) -> Result<()>,
) -> Result<File> {
    const OPERATION: &str = "create";
    let system_wide = request.sharing.system_wide;
    if directory(system_wide).is_ok_and(|directory| directory.join(encoded(request.name)).exists())
    {
        return Err(Error::new(ErrorKind::AlreadyExists, OPERATION));
    }
    let name = section_name(request.name, system_wide);
    let section = new_section(request.max.max(request.len), SEC_COMMIT, Some(&name), OPERATION)?;
    fill(&section)?;
    Ok(section)
}

/// A section of the paging file, as the file that others take it for.
fn new_section(len: u64, kind: u32, name: Option<&[u16]>, operation: &'static str) -> Result<File> {
    let name = name.map_or(ptr::null(), <[u16]>::as_ptr);
    // SAFETY: no file, the default security, and a name that ends with a zero or none; the handle
    // is new and nobody else's.
    unsafe {
        let section = CreateFileMappingW(
            INVALID_HANDLE_VALUE,
            ptr::null(),
            PAGE_READWRITE | kind,
            (len >> 32) as u32,
            len as u32,
            name,
        );
        let existed = last_code() == ERROR_ALREADY_EXISTS;
        if section.is_null() {
            return Err(code::last(operation).with_length(len));
        }
        let section = OwnedHandle::from_raw_handle(section);
        if existed {
            return Err(Error::new(ErrorKind::AlreadyExists, operation));
        }
        Ok(File::from(section))
    }
}

fn open_section(name: &str, system_wide: bool, write: bool) -> Result<File> {
    let name = section_name(name, system_wide);
    let access = SECTION_QUERY | FILE_MAP_READ | if write { FILE_MAP_WRITE } else { 0 };
    // SAFETY: a name that ends with a zero; the handle is new and nobody else's.
    unsafe {
        let section = OpenFileMappingW(access, 0, name.as_ptr());
        if section.is_null() {
            return Err(code::last("open"));
        }
        Ok(File::from(OwnedHandle::from_raw_handle(section)))
    }
}

/// Opens the file of this name if it is one; else the section of this name.
pub(crate) fn open(request: &OpenObject<'_>) -> Result<File> {
    const OPERATION: &str = "open";
    let path = directory(request.system_wide)?.join(encoded(request.name));
    let opened = OpenOptions::new()
        .read(true)
        .write(request.write)
        .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS)
        .open(&path)
        .map_err(|error| code::from_io(OPERATION, error));
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return open_section(request.name, request.system_wide, request.write);
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
    match links(&file) {
        Some(links) if links > 1 => Err(Error::new(ErrorKind::NotAnObject, OPERATION)
            .with_detail(format!("it has {links} names (hard links): it may be something else's"))),
        _ => Ok(file),
    }
}

fn squatted(what: &str) -> Error {
    Error::new(ErrorKind::NotAnObject, "open").with_detail(format!("{what} has its name"))
}

fn links(file: &File) -> Option<u32> {
    let mut info = FILE_STANDARD_INFO::default();
    // SAFETY: the buffer is of the kind and size that the class asks for.
    let known = unsafe {
        GetFileInformationByHandleEx(
            file.as_raw_handle(),
            FileStandardInfo,
            (&raw mut info).cast(),
            size_of::<FILE_STANDARD_INFO>() as u32,
        )
    };
    (known != 0).then_some(info.NumberOfLinks)
}

/// Takes the name away. Whoever has the object keeps it.
pub(crate) fn unlink(name: &str) -> Result<()> {
    let path = directory(false)?.join(encoded(name));
    match unlink_file(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if open_section(name, false, false).is_ok() {
                return Err(Error::new(ErrorKind::Unsupported, "unlink").with_detail(
                    "it lives while somebody is attached to it, and Windows takes no such name away",
                ));
            }
            Err(error)
        }
        result => result,
    }
}

/// A file that is mapped cannot be removed, but it can be renamed, and go later.
fn unlink_file(path: &Path) -> Result<()> {
    let old = path.with_file_name(unique("old"));
    std::fs::rename(path, &old).map_err(|error| code::from_io("unlink", error))?;
    let _ = std::fs::remove_file(&old);
    if let Some(directory) = path.parent() {
        sweep(directory);
    }
    Ok(())
}

/// Removes what lost its name earlier and is mapped no more.
fn sweep(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("old-") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// The objects that are files. Sections have no list that a program may read.
pub(crate) fn list() -> Result<Vec<ObjectStatus>> {
    let directory = directory(false)?;
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

/// A section without a name. No list shows a label.
pub(crate) fn anonymous(_: &str, request: &CreateObject<'_>, huge: HugePages) -> Result<File> {
    let kind = match huge {
        HugePages::Reserved => SEC_COMMIT | SEC_LARGE_PAGES,
        HugePages::Default | HugePages::Transparent => SEC_COMMIT,
    };
    new_section(request.max.max(request.len), kind, None, "create anonymous shared memory")
}
