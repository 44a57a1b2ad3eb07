//! Tests of companions of objects on an overlay: which users create and own them. Each test runs in a
//! mount namespace of its own.

#![allow(unsafe_code, reason = "mounts, and other users")]

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::ptr;

use crate::error::ErrorKind;
use crate::sys::linux::liveness::Slots;
use crate::sys::testing::fork;
use crate::sys::{SlotHome, SlotMode};
use crate::testing::child::{Second, role};

const SLOT: u64 = 7;
/// A user without other processes or files, which owns objects.
const OWNER: u32 = 54_321;
/// Another such user, which does not.
const STRANGER: u32 = 54_322;

/// Mounts a file system. Returns `false` if that fails.
fn mount(kind: &str, at: &str, options: &str) -> bool {
    let text = |text: &str| CString::new(text).unwrap();
    let (kind, at, options) = (text(kind), text(at), text(options));
    // SAFETY: terminated strings.
    unsafe {
        libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) == 0
    }
}

/// Mounts an overlay and a `/dev/shm` that only this process sees. Returns the path of the overlay.
fn overlay(folder: &str) -> Result<String, &'static str> {
    // SAFETY: terminated strings and null pointers, which these calls allow.
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

/// Runs `body`, which is the test of this name, in a child process with an object on an overlay.
fn on_an_overlay(test: &str, body: impl FnOnce(&Path)) {
    let name = format!("sys::linux::tests::overlays::{test}");
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

/// Returns the owners of all entries in `/dev/shm` and its directories.
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

/// Runs `body` as `user`, in a child process.
fn as_user(user: u32, body: impl FnOnce()) {
    let child = fork(|| {
        // SAFETY: the calls take numbers only; this process has one thread.
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

/// The companion belongs to the object's owner even if root creates it: the owner could not use a file
/// of root.
#[test]
fn a_companion_belongs_to_the_objects_owner() {
    on_an_overlay("a_companion_belongs_to_the_objects_owner", |path| {
        chown(path, Some(OWNER), None).unwrap();
        // A directory of root has the name; root must replace it, because the owner cannot use it.
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

/// Other users create nothing that could block the owner, and can still open the object read-only.
#[test]
fn other_users_create_no_companion() {
    on_an_overlay("other_users_create_no_companion", |path| {
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

/// Returns the path of the companion directory of `user`.
fn own(user: u32) -> String {
    format!("/dev/shm/.sharemap-{user}")
}

/// Returns the path of the object's companion.
fn place(path: &Path, owner: u32) -> String {
    let found = path.metadata().unwrap();
    format!("{}/{:x}-{:x}", own(owner), found.dev(), found.ino())
}

/// Returns the entries that root has moved aside, with their owners.
fn aside() -> Vec<(std::path::PathBuf, u32)> {
    let entries = std::fs::read_dir("/dev/shm").unwrap().flatten();
    let aside = entries.filter(|entry| entry.file_name().to_str().unwrap().contains("-aside-"));
    aside.map(|entry| (entry.path(), entry.metadata().unwrap().uid())).collect()
}

/// A link with the name of the companion directory is not followed: its target keeps its owner, and root
/// creates the directory.
#[test]
fn a_link_in_place_of_the_directory_is_not_followed() {
    on_an_overlay("a_link_in_place_of_the_directory_is_not_followed", |path| {
        let roots = path.parent().unwrap().parent().unwrap().join("roots");
        std::fs::create_dir(&roots).unwrap();
        for owner in [0, OWNER] {
            chown(path, Some(owner), None).unwrap();
            symlink(&roots, own(owner)).unwrap();
            lchown(own(owner), Some(STRANGER), None).unwrap();
            let file = File::open(path).unwrap();
            assert!(Slots::find(&file, Some(path), [0; 16]).unwrap().is_none());
            let hold = slots(path).take(SLOT, SlotMode::Alone).unwrap().expect("free");
            assert_eq!(roots.metadata().unwrap().uid(), 0);
            assert_eq!(std::fs::read_dir(&roots).unwrap().count(), 0);
            let made = std::fs::symlink_metadata(own(owner)).unwrap();
            assert!(made.is_dir() && made.uid() == owner && made.mode() & 0o7777 == 0o700);
            drop(hold);
        }
        assert_eq!(aside().len(), 2);
    });
}

/// Another user's directory has the name of the companion directory. Root moves it aside unused, and other
/// users get an error with the remedy.
#[test]
fn a_foreign_directory_does_not_stop_root() {
    on_an_overlay("a_foreign_directory_does_not_stop_root", |path| {
        std::fs::create_dir(own(0)).unwrap();
        let squatted = place(path, 0);
        std::fs::write(&squatted, "").unwrap();
        for entry in [&own(0), &squatted] {
            chown(entry, Some(STRANGER), None).unwrap();
        }
        let file = File::open(path).unwrap();
        assert!(Slots::find(&file, Some(path), [0; 16]).unwrap().is_none());
        let hold = slots(path).take(SLOT, SlotMode::Alone).unwrap().expect("free");
        assert!(!slots(path).is_free(SLOT).unwrap());
        assert_eq!(std::fs::metadata(own(0)).unwrap().uid(), 0);
        let [(moved, STRANGER)] = &aside()[..] else { panic!("{:?}", aside()) };
        assert_eq!(std::fs::read_dir(moved).unwrap().count(), 1, "its contents were deleted");
        drop(hold);

        // An empty directory is removed and not moved aside.
        chown(path, Some(OWNER), None).unwrap();
        std::fs::create_dir(own(OWNER)).unwrap();
        chown(own(OWNER), Some(STRANGER), None).unwrap();
        as_user(OWNER, || {
            let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
            let error = Slots::open(&file, Some(path), [0; 16]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            let text = error.to_string();
            assert!(text.contains("belongs to user 54322"), "{text}");
            assert!(text.contains("as root: rm -r /dev/shm/.sharemap-54321"), "{text}");
        });
        slots(path).take(SLOT, SlotMode::Alone).unwrap().expect("free");
        assert_eq!(aside().len(), 1);
        as_user(OWNER, || drop(slots(path).take(SLOT, SlotMode::Alone).unwrap().expect("free")));
        std::fs::set_permissions(own(OWNER), PermissionsExt::from_mode(0o777)).unwrap();
        as_user(OWNER, || {
            let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
            let text = Slots::open(&file, Some(path), [0; 16]).unwrap_err().to_string();
            assert!(text.contains("chmod 700 /dev/shm/.sharemap-54321"), "{text}");
        });
    });
}

/// Root never changes the owner of an entry that the directory's owner created.
#[test]
fn existing_entries_are_not_given_away() {
    on_an_overlay("existing_entries_are_not_given_away", |path| {
        chown(path, Some(OWNER), None).unwrap();
        std::fs::create_dir(own(OWNER)).unwrap();
        chown(own(OWNER), Some(OWNER), None).unwrap();
        let (secret, name) = ("/dev/shm/secret", place(path, OWNER));
        std::fs::write(secret, "of root").unwrap();
        let puts: [&dyn Fn(); 3] = [
            &|| std::fs::hard_link(secret, &name).unwrap(),
            &|| symlink(secret, &name).unwrap(),
            &|| std::fs::write(&name, "root was killed before it gave this away").unwrap(),
        ];
        for put in puts {
            put();
            let hold = slots(path).take(SLOT, SlotMode::Alone).unwrap().expect("free");
            let found = std::fs::metadata(secret).unwrap();
            assert_eq!((found.uid(), found.nlink()), (0, 1));
            let made = std::fs::symlink_metadata(&name).unwrap();
            assert!(made.is_file() && made.uid() == OWNER && made.len() == 0);
            drop(hold);
            std::fs::remove_file(&name).unwrap();
        }
        std::fs::create_dir(&name).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let error = Slots::open(&file, Some(path), [0; 16]).unwrap_err();
        assert!(error.to_string().contains(&name), "{error}");
    });
}

/// Another user exchanges a directory and a link while root opens the companion directory.
#[test]
fn exchanges_give_nothing_away() {
    const ROUNDS: usize = 500;
    on_an_overlay("exchanges_give_nothing_away", |path| {
        chown(path, Some(OWNER), None).unwrap();
        let roots = path.parent().unwrap().parent().unwrap().join("roots");
        std::fs::create_dir(&roots).unwrap();
        let attacker = fork(|| {
            // SAFETY: the call takes numbers only; this process has one thread.
            unsafe { assert_eq!(libc::setresuid(STRANGER, STRANGER, STRANGER), 0) };
            let text = |path: &str| CString::new(path).unwrap();
            let (at, other, target) =
                (text(&own(OWNER)), text("/dev/shm/other"), text(roots.to_str().unwrap()));
            loop {
                // SAFETY: terminated strings.
                unsafe {
                    libc::mkdir(at.as_ptr(), 0o777);
                    libc::symlink(target.as_ptr(), other.as_ptr());
                    for _ in 0..20 {
                        let (one, two) = (other.as_ptr(), at.as_ptr());
                        let here = libc::AT_FDCWD;
                        libc::renameat2(here, one, here, two, libc::RENAME_EXCHANGE);
                    }
                }
            }
        });
        let mut had = 0;
        for _ in 0..ROUNDS {
            let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
            had += usize::from(Slots::open(&file, Some(path), [0; 16]).is_ok());
            assert_eq!(roots.metadata().unwrap().uid(), 0);
            assert_eq!(std::fs::read_dir(&roots).unwrap().count(), 0);
            let _ = std::fs::remove_dir_all(own(OWNER));
        }
        attacker.unwrap().kill();
        println!("{had} of {ROUNDS} rounds opened a companion, {} entries moved", aside().len());
        assert!(had > 0);
    });
}
