//! Files that other users may place under a name before its creation: none is mistaken for an
//! object.

#![cfg(target_os = "linux")]

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use sharemap::{ErrorKind, SharedMemory};

use super::Name;
use super::common::{TempDir, is_root, skip};

fn path(name: &str) -> PathBuf {
    Path::new("/dev/shm").join(name)
}

fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// A file of any kind under a name, which is removed when the value is dropped.
struct Squatter(PathBuf);

impl Drop for Squatter {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_dir(&self.0);
    }
}

/// A file placed under a name, and the expected errors of `open`, `open_read_only`,
/// `open_or_create`, `create_new` and `replace`; `None` is success.
struct Attack {
    what: &'static str,
    put: fn(&Path, &Victim) -> Result<(), String>,
    opened: ErrorKind,
    replaced: Option<ErrorKind>,
}

/// The files that the attacks refer to.
struct Victim {
    file: PathBuf,
    object: PathBuf,
}

const ATTACKS: [Attack; 12] = [
    Attack {
        what: "a link to a file",
        put: |at, victim| io(symlink(&victim.file, at)),
        opened: ErrorKind::NotAnObject,
        replaced: None,
    },
    Attack {
        what: "a link to an object of ours",
        put: |at, victim| io(symlink(&victim.object, at)),
        opened: ErrorKind::NotAnObject,
        replaced: None,
    },
    Attack {
        what: "a link to nothing",
        put: |at, _| io(symlink("/nowhere/at/all", at)),
        opened: ErrorKind::NotAnObject,
        replaced: None,
    },
    Attack {
        what: "a link to itself",
        put: |at, _| io(symlink(at, at)),
        opened: ErrorKind::NotAnObject,
        replaced: None,
    },
    Attack {
        what: "a second name of an object of ours",
        put: |at, victim| io(fs::hard_link(&victim.object, at)),
        opened: ErrorKind::NotAnObject,
        replaced: None,
    },
    Attack {
        what: "a FIFO",
        put: |at, _| node(at, libc::S_IFIFO | 0o666, 0),
        opened: ErrorKind::NotAnObject,
        replaced: None,
    },
    Attack {
        what: "a socket",
        put: |at, _| io(UnixListener::bind(at).map(drop)),
        opened: ErrorKind::NotAnObject,
        replaced: None,
    },
    Attack {
        what: "a directory",
        put: |at, _| io(fs::create_dir(at)),
        opened: ErrorKind::NotAnObject,
        replaced: Some(ErrorKind::NotAnObject),
    },
    Attack {
        what: "a device of characters",
        put: |at, _| node(at, libc::S_IFCHR | 0o666, libc::makedev(1, 5)),
        opened: ErrorKind::NotAnObject,
        replaced: None,
    },
    Attack {
        what: "another user's object",
        put: |at, _| foreign(at, 0o600),
        opened: ErrorKind::ForeignOwner,
        replaced: None,
    },
    Attack {
        what: "another user's object, open to all",
        put: |at, _| foreign(at, 0o666),
        opened: ErrorKind::ForeignOwner,
        replaced: None,
    },
    Attack {
        what: "an object without a length",
        put: |at, _| io(fs::write(at, b"")),
        opened: ErrorKind::ZeroLength,
        replaced: None,
    },
];

fn io(result: std::io::Result<()>) -> Result<(), String> {
    result.map_err(|error| error.to_string())
}

fn node(at: &Path, mode: libc::mode_t, device: libc::dev_t) -> Result<(), String> {
    // SAFETY: a terminated path and numbers.
    match unsafe { libc::mknod(c(at).as_ptr(), mode, device) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().to_string()),
    }
}

fn foreign(at: &Path, mode: u32) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    if !is_root() {
        return Err("only root gives files away".into());
    }
    io(fs::write(at, [7; 5000]))?;
    io(fs::set_permissions(at, fs::Permissions::from_mode(mode)))?;
    io(std::os::unix::fs::chown(at, Some(54_321), Some(54_321)))
}

/// No foreign file under a name is mistaken for an object, changed or removed.
#[test]
fn foreign_files_under_a_name_are_rejected() {
    let dir = TempDir::new();
    let object = Name::new();
    let ours = SharedMemory::create_new(&*object, 5000).unwrap();
    ours.bytes().fill(1).unwrap();
    let victim = Victim { file: dir.file("victim", [2; 5000]), object: path(&object) };
    let mut cases = 0;
    for attack in &ATTACKS {
        let name = Name::new();
        let squatter = Squatter(path(&name));
        if let Err(reason) = (attack.put)(&squatter.0, &victim) {
            eprintln!("skipped: {}: {reason}", attack.what);
            continue;
        }
        let check = |result: sharemap::Result<usize>, expected, call: &str| {
            let error = result.expect_err(attack.what);
            assert_eq!(error.kind(), expected, "{}, {call}: {error}", attack.what);
            assert!(error.to_string().contains(&*name), "{error}");
        };
        let open = SharedMemory::open(&*name).map(|memory| memory.len());
        check(open, attack.opened, "open");
        let open = SharedMemory::open_read_only(&*name).map(|memory| memory.len());
        check(open, attack.opened, "open_read_only");
        let open = SharedMemory::open_or_create(&*name, 100).map(|memory| memory.len());
        check(open, attack.opened, "open_or_create");
        let made = SharedMemory::create_new(&*name, 100).map(|memory| memory.len());
        check(made, ErrorKind::AlreadyExists, "create_new");
        assert!(squatter.0.symlink_metadata().is_ok(), "{}: it was removed", attack.what);
        match (SharedMemory::replace(&*name, 100), attack.replaced) {
            (Ok(memory), None) => {
                memory.bytes().fill(3).unwrap();
                assert_eq!(memory.len(), 100);
                let opened = SharedMemory::open(&*name).unwrap();
                assert_eq!(opened.bytes().get(0).unwrap(), 3);
            }
            (Err(error), Some(kind)) => assert_eq!(error.kind(), kind, "{}", attack.what),
            (result, _) => panic!("{}: replaced {result:?}", attack.what),
        }
        assert_eq!(fs::read(&victim.file).unwrap(), [2; 5000], "{}", attack.what);
        assert_eq!(ours.bytes().to_vec().unwrap(), [1; 5000], "{}", attack.what);
        cases += 5;
    }
    eprintln!("{cases} attacks on names");
    assert!(cases >= 30, "only {cases} attacks could be made");
}

/// A directory under a name is not unlinked.
#[test]
fn a_directory_keeps_its_name() {
    let name = Name::new();
    let squatter = Squatter(path(&name));
    fs::create_dir(&squatter.0).unwrap();
    assert_eq!(SharedMemory::unlink(&*name).unwrap_err().kind(), ErrorKind::NotAnObject);
    assert!(squatter.0.is_dir());
}

/// Names cannot lead outside of the directory of objects.
#[test]
fn names_stay_in_the_directory() {
    for name in ["../tmp/x", "a/../b", "..", ".", "./a", "a\0b", "/etc/passwd", "a\n", "~", "a:b"] {
        let kinds = [
            SharedMemory::create_new(name, 1).unwrap_err().kind(),
            SharedMemory::open(name).unwrap_err().kind(),
            SharedMemory::replace(name, 1).unwrap_err().kind(),
            SharedMemory::unlink(name).unwrap_err().kind(),
        ];
        assert_eq!(kinds, [ErrorKind::NameCharacter; 4], "{name:?}");
    }
}

/// Opening a name that is replaced concurrently returns the object or an error, never another file.
#[test]
fn a_concurrently_replaced_name_is_the_object_or_an_error() {
    const ROUNDS: usize = 3000;
    let dir = TempDir::new();
    let bait = dir.file("bait", [2; 5000]);
    let name = Name::new();
    let (link, own) = (Name::new(), Name::new());
    SharedMemory::create_new(&*own, 5000).unwrap().bytes().fill(1).unwrap();
    symlink(&bait, path(&link)).unwrap();
    let stop = AtomicBool::new(false);
    let (mut opened, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            fs::rename(path(&own), path(&name)).unwrap();
            while !stop.load(Ordering::Relaxed) {
                // SAFETY: terminated paths. Swaps the object and the link.
                let swapped = unsafe {
                    libc::syscall(
                        libc::SYS_renameat2,
                        libc::AT_FDCWD,
                        c(&path(&name)).as_ptr(),
                        libc::AT_FDCWD,
                        c(&path(&link)).as_ptr(),
                        libc::RENAME_EXCHANGE,
                    )
                };
                assert_eq!(swapped, 0);
            }
        });
        for _ in 0..ROUNDS {
            match SharedMemory::open(&*name) {
                Ok(memory) => {
                    assert_eq!(memory.bytes().get(0).unwrap(), 1);
                    opened += 1;
                }
                Err(error) => {
                    let kind = error.kind();
                    assert!(
                        [ErrorKind::NotAnObject, ErrorKind::NotFound].contains(&kind),
                        "{error}"
                    );
                    refused += 1;
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    eprintln!("{opened} opened, {refused} refused");
    let _ = fs::remove_file(path(&link));
    // `unlink`, by which names are removed on drop, refuses a link.
    for place in [path(&name), path(&link)] {
        let _ = fs::remove_file(place);
    }
}

/// An object without permissions for its owner is `NotWritable`.
#[test]
fn an_object_without_owner_permissions_is_not_writable() {
    use std::os::unix::fs::PermissionsExt;
    if is_root() {
        skip!("root may open anything");
    }
    let name = Name::new();
    SharedMemory::create_new(&*name, 100).unwrap();
    fs::set_permissions(path(&name), fs::Permissions::from_mode(0o400)).unwrap();
    assert_eq!(SharedMemory::open(&*name).unwrap_err().kind(), ErrorKind::NotWritable);
    SharedMemory::open_read_only(&*name).unwrap();
}
