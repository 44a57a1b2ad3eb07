//! Tests: companions of objects on an overlay, made by and for whom, in mounts of a process's own.

#![allow(unsafe_code, reason = "mounts, and other users")]

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::ptr;

use super::slot::Slots;
use crate::error::ErrorKind;
use crate::sys::second::{Second, fork, role};
use crate::sys::{SlotHome, SlotMode};

const SLOT: u64 = 7;
/// Two users that nobody else is.
const OWNER: u32 = 54_321;
const STRANGER: u32 = 54_322;

fn mount(kind: &str, at: &str, options: &str) -> bool {
    let text = |text: &str| CString::new(text).unwrap();
    let (kind, at, options) = (text(kind), text(at), text(options));
    // SAFETY: terminated strings.
    unsafe {
        libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) == 0
    }
}

/// An overlay, and a shared memory, that exist for this process only.
fn overlay(folder: &str) -> Result<String, &'static str> {
    // SAFETY: this process's own mounts from here on.
    let own = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(
                ptr::null(),
                c"/".as_ptr(),
                ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                ptr::null(),
            ) == 0
    };
    if !own || !mount("tmpfs", folder, "") || !mount("tmpfs", "/dev/shm", "") {
        return Err("no mounts for this user");
    }
    let part = |name: &str| {
        let path = format!("{folder}/{name}");
        std::fs::create_dir(&path).unwrap();
        path
    };
    let (lower, upper, work, merged) = (part("lower"), part("upper"), part("work"), part("merged"));
    if !mount("overlay", &merged, &format!("lowerdir={lower},upperdir={upper},workdir={work}")) {
        return Err("no overlay file systems here");
    }
    Ok(merged)
}

/// Runs `body`, the rest of the test of this name, with an object on an overlay.
fn on_an_overlay(test: &str, body: impl FnOnce(&Path)) {
    let name = format!("sys::linux::overlays::{test}");
    let Some(folder) = role(&name) else {
        let folder = format!("sharemap-{test}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let status = Second::start(&name, folder.to_str().unwrap()).finish();
        let _ = std::fs::remove_dir_all(&folder);
        assert!(status.success());
        return;
    };
    match overlay(&folder) {
        Ok(merged) => {
            let path = Path::new(&merged).join("object");
            std::fs::write(&path, [0; 4096]).unwrap();
            body(&path);
        }
        Err(why) => eprintln!("skipped: {why}"),
    }
}

fn slots(path: &Path) -> Slots {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    Slots::open(&file, Some(path), [0; 16]).unwrap()
}

/// Who owns what there is in shared memory.
fn owners() -> Vec<u32> {
    let mut owners = Vec::new();
    for folder in std::fs::read_dir("/dev/shm").unwrap().flatten() {
        owners.push(folder.metadata().unwrap().uid());
        for file in std::fs::read_dir(folder.path()).unwrap().flatten() {
            owners.push(file.metadata().unwrap().uid());
        }
    }
    owners
}

/// Runs `body` as another user.
fn as_user(user: u32, body: impl FnOnce()) {
    let child = fork(|| {
        // SAFETY: numbers only; this process has one thread.
        unsafe {
            assert_eq!(libc::setgroups(0, ptr::null()), 0);
            assert_eq!(libc::setresgid(user, user, user), 0);
            assert_eq!(libc::setresuid(user, user, user), 0);
        }
        body();
    });
    assert!(child.unwrap().passed());
}

#[test]
fn an_overlay_has_a_companion() {
    on_an_overlay("an_overlay_has_a_companion", |path| {
        let (one, two) = (slots(path), slots(path));
        let SlotHome::Companion { .. } = one.home() else { panic!("{:?}", one.home()) };
        assert_eq!(one.home(), two.home());
        let hold = one.take(SLOT, SlotMode::Alone).unwrap().expect("free");
        assert!(!two.is_free(SLOT).unwrap());
        drop(hold);
        assert!(two.is_free(SLOT).unwrap());
    });
}

/// Whoever comes first: root, in whose name its owner could not use it, or its owner.
#[test]
fn a_companion_is_its_objects_owners() {
    on_an_overlay("a_companion_is_its_objects_owners", |path| {
        chown(path, Some(OWNER), None).unwrap();
        // Root was ended when it had made the directory.
        std::fs::create_dir(format!("/dev/shm/.sharemap-{OWNER}")).unwrap();
        for _ in 0..2 {
            let hold = slots(path).take(SLOT, SlotMode::Alone).unwrap().expect("free");
            assert_eq!(owners(), [OWNER; 2]);
            as_user(OWNER, || assert!(!slots(path).is_free(SLOT).unwrap()));
            drop(hold);
            as_user(OWNER, || assert!(slots(path).take(SLOT, SlotMode::Alone).unwrap().is_some()));
            std::fs::remove_dir_all(format!("/dev/shm/.sharemap-{OWNER}")).unwrap();
        }
    });
}

/// Others make nothing that would be in the owner's way, and look all the same.
#[test]
fn strangers_make_no_companion() {
    on_an_overlay("strangers_make_no_companion", |path| {
        chown(path, Some(OWNER), None).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
        let look = || {
            as_user(STRANGER, || {
                let file = File::open(path).unwrap();
                let slots = Slots::open(&file, Some(path), [0; 16]).unwrap();
                assert!(slots.take(SLOT, SlotMode::Shared).unwrap().is_some());
                let error = slots.take(SLOT, SlotMode::Alone).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
                assert!(slots.is_free(SLOT).is_err());
                assert!(Slots::find(&file, Some(path), [0; 16]).unwrap().is_none());
            });
        };
        look();
        assert_eq!(owners(), []);
        let _owned = slots(path);
        look();
        assert_eq!(owners(), [OWNER; 2]);
    });
}
