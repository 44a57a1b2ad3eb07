//! Windows: sections of other programs, foreign objects under a name, and objects for all users.

use std::fs::{self, File};
use std::os::windows::io::{AsRawHandle, FromRawHandle};
use std::path::PathBuf;
use std::ptr;

use sharemap::inspect::Inspection;
use sharemap::{ErrorKind, Lifetime, Mutex, SharedMemory, SharedOptions};
use windows_sys::Win32::Foundation::{CloseHandle, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Memory::{CreateFileMappingW, PAGE_READWRITE};
use windows_sys::Win32::System::Threading::CreateEventW;

use super::Name;
use super::common::skip;

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// Returns the file of the object called `name`, which is in lower case.
fn path(name: &str) -> PathBuf {
    let base = PathBuf::from(std::env::var_os("LOCALAPPDATA").unwrap());
    base.join("sharemap").join("shm").join(format!("shm-{name}"))
}

/// A section that another program created can be adopted.
#[test]
fn a_section_of_another_program_opens() {
    let name = Name::new();
    // Python, too, names its blocks without a prefix.
    let theirs = wide(&name);
    // SAFETY: no file, no attributes, a terminated name; the new handle has no other owner.
    let section = unsafe {
        let section = CreateFileMappingW(
            INVALID_HANDLE_VALUE,
            ptr::null(),
            PAGE_READWRITE,
            0,
            5000,
            theirs.as_ptr(),
        );
        assert!(!section.is_null(), "{}", std::io::Error::last_os_error());
        File::from_raw_handle(section)
    };
    let named = SharedMemory::open(&*name).unwrap();
    let adopted = SharedMemory::from_descriptor(&section).unwrap();
    named.bytes().set(4999, 3).unwrap();
    assert_eq!(adopted.bytes().get(4999).unwrap(), 3);
}

/// Foreign files and kernel objects under a name are rejected and not removed.
#[test]
fn foreign_objects_under_a_name_are_rejected() {
    // Creating the first object creates the directory.
    let first = Name::new();
    let memory = SharedMemory::create_new(&*first, 5000).unwrap();
    memory.bytes().fill(1).unwrap();
    let refused = |name: &Name, expected: ErrorKind| {
        let error = SharedMemory::open(&**name).unwrap_err();
        assert_eq!(error.kind(), expected, "{error}");
        let error = SharedMemory::open_read_only(&**name).unwrap_err();
        assert_eq!(error.kind(), expected, "{error}");
        let error = SharedMemory::create_new(&**name, 10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    };

    let name = Name::new();
    fs::create_dir(path(&name)).unwrap();
    refused(&name, ErrorKind::NotAnObject);
    fs::remove_dir(path(&name)).unwrap();

    let name = Name::new();
    fs::write(path(&name), b"").unwrap();
    refused(&name, ErrorKind::ZeroLength);

    let name = Name::new();
    if let Err(error) = fs::hard_link(path(&first), path(&name)) {
        eprintln!("skipped: no second names here: {error}");
    } else {
        refused(&name, ErrorKind::NotAnObject);
        fs::remove_file(path(&name)).unwrap();
    }

    let name = Name::new();
    match std::os::windows::fs::symlink_file(path(&first), path(&name)) {
        // Wine reports success without creating a link.
        Ok(()) if path(&name).symlink_metadata().is_err() => eprintln!("skipped: no links here"),
        Ok(()) => refused(&name, ErrorKind::NotAnObject),
        Err(error) => eprintln!("skipped: no links here: {error}"),
    }

    let name = Name::new();
    // SAFETY: no attributes, a terminated name.
    let event =
        unsafe { CreateEventW(ptr::null(), 1, 0, wide(&format!("Local\\{}", &*name)).as_ptr()) };
    assert!(!event.is_null());
    let error = SharedMemory::open(&*name).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAnObject, "{error}");
    let attached = SharedMemory::options().lifetime(Lifetime::Attached);
    assert!(attached.create_new(&*name, 10).is_err());
    // SAFETY: the handle belongs to this test and is closed once.
    unsafe { CloseHandle(event) };
    assert_eq!(memory.bytes().to_vec().unwrap(), [1; 5000]);
}

/// An object created for all users can be opened by all users.
#[test]
fn objects_for_all_users_can_be_opened_by_all() {
    let name = Name::new();
    let all = SharedMemory::options().mode(0o606);
    assert_eq!(all.create_new(&*name, 10).unwrap_err().kind(), ErrorKind::Unsupported);
    let all = all.lifetime(Lifetime::Attached);
    let memory = all.create_new(&*name, 10).unwrap();
    memory.bytes().set(0, 1).unwrap();
    let other = SharedMemory::options().allow_any_owner().open(&*name).unwrap();
    assert_eq!(other.bytes().get(0).unwrap(), 1);
    let group = SharedMemory::options().mode(0o660).lifetime(Lifetime::Attached);
    let refused = group.create_new(&*Name::new(), 10).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
}

/// A global name is visible in all sessions, and distinct from the local one.
#[test]
fn a_name_for_all_sessions() {
    let name = Name::new();
    let global = SharedMemory::options().lifetime(Lifetime::Attached).global();
    let memory = match global.create_new(&*name, 10) {
        Ok(memory) => memory,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            skip!("{error}");
        }
    };
    memory.bytes().set(0, 1).unwrap();
    assert_eq!(global.open(&*name).unwrap().bytes().get(0).unwrap(), 1);
    assert_eq!(SharedMemory::open(&*name).unwrap_err().kind(), ErrorKind::NotFound);
}

/// An unlinked object that was in use is removed later, when no process uses it.
#[test]
fn unlinked_objects_are_removed_when_unused() {
    let name = Name::new();
    let memory = SharedMemory::create_new(&*name, 5000).unwrap();
    let handle = memory.file().unwrap().as_raw_handle();
    assert!(!handle.is_null());
    SharedMemory::unlink(&*name).unwrap();
    assert!(!path(&name).exists());
    memory.bytes().set(0, 1).unwrap();
    drop(memory);
    // The next unlink removes what could not be removed before.
    SharedMemory::create_new(&*name, 10).unwrap();
    SharedMemory::unlink(&*name).unwrap();
    let left: Vec<_> = fs::read_dir(path(&name).parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(&format!("old-{}-", std::process::id())))
        .collect();
    // Other tests may still have objects of their own mapped.
    eprintln!("{} hidden files left of this process", left.len());
}

/// The files of a killed creator are removed.
#[test]
fn files_of_a_killed_creator_are_removed() {
    let name = Name::new();
    SharedMemory::create_new(&*name, 10).unwrap();
    let directory = path(&name).parent().unwrap().to_owned();
    let at = |kind: &str| directory.join(format!("new-{kind}-{}", std::process::id()));
    let (left, making) = (at("left"), at("making"));
    fs::write(&left, b"half").unwrap();
    let maker = File::create(&making).unwrap();
    SharedMemory::unlink(&*name).unwrap();
    assert!(!left.exists() && making.exists());
    drop(maker);
    fs::remove_file(&making).unwrap();
}

/// The companion file of a section stays behind when the section ends. Creating the next one
/// removes it, but keeps the companions of objects in use.
#[test]
fn companions_are_removed_when_unused() {
    let slots =
        PathBuf::from(std::env::var_os("LOCALAPPDATA").unwrap()).join("sharemap").join("slots");
    let attached = SharedOptions::new().lifetime(Lifetime::Attached);
    let make = |name: &Name| attached.create_new(&**name, || Mutex::new(0_u64)).unwrap();
    let names = [Name::new(), Name::new()];
    let lives = make(&names[0]);
    let facts = Inspection::open(&*names[0]).unwrap().facts().unwrap();
    let companion: String = facts.id.iter().map(|byte| format!("{byte:02x}")).collect();
    let left_over = slots.join(format!("{}{:08x}", "0".repeat(24), std::process::id()));
    fs::write(&left_over, b"").unwrap();
    let _other = make(&names[1]);
    assert!(!left_over.exists());
    assert!(slots.join(companion).exists());
    assert!(SharedOptions::new().open::<Mutex<u64>>(&*names[0]).unwrap().try_lock().is_ok());
    drop(lives);
}
