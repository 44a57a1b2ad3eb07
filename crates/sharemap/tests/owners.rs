//! Owners of objects in files: other users, hard links, symbolic links on the path, and users that
//! a namespace does not map.

#![cfg(unix)]
#![allow(unsafe_code, reason = "other users, and namespaces")]

mod common;

use std::fs;
#[cfg(target_os = "linux")]
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use common::{TempDir, is_root, need_atomics, skip};
#[cfg(target_os = "linux")]
use common::{child, passes, role};
use sharemap::inspect::Inspection;
use sharemap::{ErrorKind, Location, Mutex, Result, Shared, SharedOptions};

/// A user without processes.
const STRANGER: u32 = 54_322;

fn make(path: &Path) {
    drop(Shared::create_new(Location::file(path), || Mutex::new(7_u64)).unwrap());
}

fn open(path: &Path) -> Result<Shared<Mutex<u64>>> {
    Shared::open(Location::file(path))
}

/// Asserts that `result` is an error of `kind` that names `path` and contains `text`.
#[track_caller]
fn refused<T>(result: Result<T>, path: &Path, kind: ErrorKind, text: &str) {
    let Err(error) = result else { panic!("{} was taken", path.display()) };
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(text), "{error}");
    assert_eq!(error.path(), Some(path), "{error}");
}

fn foreign_link(target: &Path, at: &Path) {
    symlink(target, at).unwrap();
    lchown(at, Some(STRANGER), None).unwrap();
}

/// An object of another user is rejected, unless any owner is allowed.
#[test]
fn an_object_of_another_user_is_rejected() {
    need_atomics!();
    if !is_root() {
        skip!("only root gives files away");
    }
    let dir = TempDir::new();
    let path = dir.join("object");
    make(&path);
    chown(&path, Some(STRANGER), None).unwrap();
    let belongs = "belongs to user 54322";
    refused(open(&path), &path, ErrorKind::ForeignOwner, belongs);
    let location = || Location::file(&path);
    let look = Shared::<Mutex<u64>>::open_read_only(location());
    refused(look, &path, ErrorKind::ForeignOwner, belongs);
    let either = Shared::open_or_create(location(), || Mutex::new(0_u64));
    refused(either, &path, ErrorKind::ForeignOwner, belongs);
    let new = Shared::create_new(location(), || Mutex::new(0_u64));
    refused(new, &path, ErrorKind::AlreadyExists, "");
    let any: Shared<Mutex<u64>> = SharedOptions::new().allow_any_owner().open(location()).unwrap();
    assert_eq!(*any.lock().unwrap(), 7);
    assert!(Inspection::open(location()).unwrap().facts().is_some());
}

/// An object is rejected if its file has a second name.
#[test]
fn an_object_with_a_second_name_is_rejected() {
    need_atomics!();
    let dir = TempDir::new();
    let (path, other) = (dir.join("object"), dir.join("other"));
    make(&path);
    fs::hard_link(&path, &other).unwrap();
    for name in [&path, &other] {
        refused(open(name), name, ErrorKind::NotAnObject, "2 names");
    }
    fs::remove_file(&other).unwrap();
    open(&path).unwrap();
}

/// Symbolic links of other users are not followed in a directory that others can write to.
#[test]
fn links_of_other_users_are_not_followed() {
    need_atomics!();
    if !is_root() {
        skip!("only root gives links away");
    }
    let dir = TempDir::new();
    let (path, theirs) = (dir.join("object"), dir.join("theirs"));
    make(&path);
    make(&theirs);
    chown(&theirs, Some(STRANGER), None).unwrap();
    // A directory with the permissions of /tmp.
    let shared = dir.join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
    let last = shared.join("last");
    foreign_link(&path, &last);
    let folder = shared.join("folder");
    foreign_link(dir.path(), &folder);
    let through = folder.join("object");
    let own = dir.join("own");
    symlink(&last, &own).unwrap();
    let new = folder.join("new");
    for name in [&last, &through, &own] {
        refused(open(name), name, ErrorKind::ForeignOwner, "symbolic link");
        let any = SharedOptions::new().allow_any_owner().open::<Mutex<u64>>(Location::file(name));
        refused(any, name, ErrorKind::ForeignOwner, "links of user 54322 lead to it");
        let unlinked = Shared::<Mutex<u64>>::unlink(Location::file(name));
        refused(unlinked, name, ErrorKind::ForeignOwner, "symbolic link");
    }
    let made = Shared::create_new(Location::file(&new), || Mutex::new(0_u64));
    refused(made, &new, ErrorKind::ForeignOwner, "symbolic link");
    assert!(path.exists() && !dir.join("new").exists());

    // If any owner is allowed, a link is followed to an object of the link's owner.
    let trusted = shared.join("trusted");
    foreign_link(&theirs, &trusted);
    refused(open(&trusted), &trusted, ErrorKind::ForeignOwner, "symbolic link");
    let any = SharedOptions::new().allow_any_owner().open::<Mutex<u64>>(Location::file(&trusted));
    assert_eq!(*any.unwrap().lock().unwrap(), 7);
    assert!(Inspection::open(Location::file(&trusted)).is_ok());
}

/// Symbolic links of this user are followed.
#[test]
fn own_links_are_followed() {
    need_atomics!();
    let dir = TempDir::new();
    let path = dir.join("object");
    make(&path);
    let folder = dir.join("folder");
    symlink(".", &folder).unwrap();
    let (link, chain) = (dir.join("link"), folder.join("chain"));
    fs::create_dir(dir.join("sub")).unwrap();
    symlink("sub/../folder/object", &link).unwrap();
    symlink(fs::canonicalize(dir.path()).unwrap().join("folder/link"), dir.join("chain")).unwrap();
    for name in [&link, &chain, &folder.join("./object"), &folder.join("folder//object")] {
        assert_eq!(*open(name).unwrap().lock().unwrap(), 7, "{}", name.display());
    }
    for (name, kind) in [("object/", ErrorKind::Io), ("folder/", ErrorKind::IsDirectory)] {
        let name = dir.join(name);
        let error = open(&name).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    let (missing, nothing) = (dir.join("missing"), dir.join("nothing"));
    symlink(&nothing, &missing).unwrap();
    refused(open(&missing), &missing, ErrorKind::NotFound, "");
    let endless = dir.join("endless");
    symlink(&endless, &endless).unwrap();
    refused(open(&endless), &endless, ErrorKind::Io, "");

    // `unlink` removes the object and keeps the links.
    Shared::<Mutex<u64>>::unlink(Location::file(&chain)).unwrap();
    assert!(!path.exists() && link.symlink_metadata().is_ok());
    refused(open(&chain), &chain, ErrorKind::NotFound, "");
    let made = Shared::create_new(Location::file(folder.join("made")), || Mutex::new(1_u64));
    drop(made.unwrap());
    assert!(dir.join("made").exists());
}

/// Only a regular file can be unlinked as an object.
#[test]
fn only_regular_files_are_unlinked() {
    let dir = TempDir::new();
    let fifo = dir.join("fifo");
    let text = std::ffi::CString::new(fifo.to_str().unwrap()).unwrap();
    // SAFETY: a terminated path.
    assert_eq!(unsafe { libc::mkfifo(text.as_ptr(), 0o600) }, 0);
    let unlink = |path: &Path| Shared::<Mutex<u64>>::unlink(Location::file(path));
    refused(unlink(&fifo), &fifo, ErrorKind::NotAnObject, "special file");
    assert!(fifo.symlink_metadata().is_ok());
    refused(unlink(dir.path()), dir.path(), ErrorKind::IsDirectory, "");
    let missing = dir.join("missing");
    refused(unlink(&missing), &missing, ErrorKind::NotFound, "");
}

/// In a user namespace, a file of an unmapped user shows the overflow user as its owner, and so
/// does this process. The object is rejected even though the two users seem equal.
#[cfg(target_os = "linux")]
#[test]
fn an_unmapped_owner_is_rejected() {
    const TEST: &str = "an_unmapped_owner_is_rejected";
    need_atomics!();
    if let Some(argument) = role(TEST) {
        // SAFETY: takes a number; the child has one thread.
        let namespace = || unsafe { libc::unshare(libc::CLONE_NEWUSER) == 0 };
        in_a_child("user namespaces", namespace, || {
            let (path, name) = (argument.join("object"), named(&argument));
            // SAFETY: takes no arguments.
            let own = unsafe { libc::geteuid() };
            assert_eq!(fs::metadata(&path).unwrap().uid(), own);
            refused(open(&path), &path, ErrorKind::ForeignOwner, "unknown in this user namespace");
            let by_name = Shared::<Mutex<u64>>::open(&*name);
            refused(by_name, Path::new(&name), ErrorKind::ForeignOwner, "unknown");
            let any =
                SharedOptions::new().allow_any_owner().open::<Mutex<u64>>(Location::file(&path));
            assert_eq!(*any.unwrap().lock().unwrap(), 7);
            let link = argument.join("link");
            refused(open(&link), &link, ErrorKind::ForeignOwner, "symbolic link");
        });
        return;
    }
    let dir = TempDir::new();
    let (path, name) = (dir.join("object"), named(dir.path()));
    make(&path);
    symlink(&path, dir.join("link")).unwrap();
    drop(Shared::create_new(&*name, || Mutex::new(7_u64)).unwrap());
    for (path, mode) in
        [(dir.path(), 0o755), (&path, 0o666), (&Path::new("/dev/shm").join(&name), 0o666)]
    {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let passed = passes(child(TEST, dir.path()));
    sharemap::SharedMemory::unlink(&*name).unwrap();
    assert!(passed);
}

/// Returns a shared memory name unique to the test that uses `dir`.
#[cfg(target_os = "linux")]
fn named(dir: &Path) -> String {
    let last = std::path::PathBuf::from(dir.file_name().unwrap());
    format!("owners-{}", last.to_str().unwrap().trim_start_matches('.'))
}

/// Paths are resolved alike without `openat2`, which a sandbox or an older kernel may lack.
#[cfg(target_os = "linux")]
#[test]
fn paths_are_resolved_without_openat2() {
    need_atomics!();
    let dir = TempDir::new();
    let (path, link) = (dir.join("object"), dir.join("link"));
    make(&path);
    symlink("object", &link).unwrap();
    for errno in [libc::ENOSYS, libc::EPERM] {
        in_a_child(
            "seccomp",
            || forbid(libc::SYS_openat2, errno),
            || {
                for name in [&path, &link] {
                    assert_eq!(*open(name).unwrap().lock().unwrap(), 7);
                }
                let missing = dir.join("missing");
                refused(open(&missing), &missing, ErrorKind::NotFound, "");
                let below = path.join("below");
                assert!(open(&below).is_err());
            },
        );
    }
}

/// Makes the system call `number` fail with `errno` from now on. Returns `false` if that is not
/// possible.
#[cfg(target_os = "linux")]
fn forbid(number: libc::c_long, errno: i32) -> bool {
    const LOAD: u16 = 0x20;
    const EQUALS: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let rule = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        rule(LOAD, 0, 0, 0),
        rule(EQUALS, 1, 0, number as u32),
        rule(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        rule(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: a complete filter program.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    }
}

/// Runs `body` in a forked child after `prepare`, and skips the test if `prepare` fails.
#[cfg(target_os = "linux")]
fn in_a_child(needs: &str, prepare: impl FnOnce() -> bool, body: impl FnOnce()) {
    const CANNOT: i32 = 77;
    // SAFETY: the child has one thread, runs only what this C library allows after a fork, and
    // exits without returning.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            libc::alarm(60);
            if !prepare() {
                libc::_exit(CANNOT);
            }
            let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok();
            libc::_exit(i32::from(!passed));
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == CANNOT {
            skip!("no {needs} for this user");
        }
        assert_eq!(status, 0);
    }
}
