//! Missing resources are reported when memory is created, and leave nothing behind.

use std::fs;
use std::path::Path;

use sharemap::{ErrorKind, HugePages, Location, SharedMemory};

use super::Name;
use super::common::{child, mount_tmpfs, passes, role, skip};

fn names() -> Vec<String> {
    let entries = fs::read_dir("/dev/shm").unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// A full /dev/shm is `NoSpace`, and a failed creation leaves no name behind.
#[test]
fn a_small_shared_memory() {
    const TEST: &str = "full::a_small_shared_memory";
    const SIZE: u64 = 1 << 20;
    if role(TEST).is_none() {
        passes(child(TEST, ""));
        return;
    }
    if let Err(reason) = mount_tmpfs(Path::new("/dev/shm"), SIZE) {
        skip!("no small shared memory can be made here: {reason}");
    }
    let error = SharedMemory::create_new("big", 2 * SIZE).unwrap_err();
    assert_eq!((error.kind(), error.length()), (ErrorKind::NoSpace, Some(2 * SIZE)));
    let text = error.to_string();
    for word in ["big", "1048576", "--shm-size", "remount,size="] {
        assert!(text.contains(word), "{text}");
    }
    assert_eq!(names(), [""; 0]);
    assert_eq!(SharedMemory::replace("big", 2 * SIZE).unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(
        SharedMemory::open_or_create("big", SIZE + 1).unwrap_err().kind(),
        ErrorKind::NoSpace
    );
    assert_eq!(names(), [""; 0]);

    // The whole space is available, as the failed calls released theirs.
    let whole = SharedMemory::options().max(4 * SIZE).create_new("whole", SIZE).unwrap();
    whole.bytes().fill(1).unwrap();
    let error = whole.grow(2 * SIZE as usize).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(error.to_string().contains("--shm-size"), "{error}");
    assert_eq!((whole.len(), names()), (SIZE as usize, vec!["whole".to_owned()]));
    // A replacement needs space beside the old object, which stays.
    assert_eq!(SharedMemory::replace("whole", SIZE).unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(SharedMemory::open("whole").unwrap().bytes().get(7).unwrap(), 1);
    assert_eq!(names(), ["whole"]);

    // Sparse memory allocates nothing, so a store faults.
    let sparse = SharedMemory::options().sparse().create_new("sparse", SIZE).unwrap();
    assert_eq!(sparse.bytes().set(9, 1).unwrap_err().kind(), ErrorKind::Fault);
}

/// Mounts a tmpfs with `options` over /dev/shm, visible to this process only.
fn mount_over(options: &str, flags: libc::c_ulong) -> Result<(), std::io::Error> {
    let options = std::ffi::CString::new(options).unwrap();
    // SAFETY: terminated strings; after `mount_tmpfs` only this process sees the mounts.
    let result = unsafe {
        let kind = c"tmpfs".as_ptr();
        libc::mount(kind, c"/dev/shm".as_ptr(), kind, flags, options.as_ptr().cast())
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// A /dev/shm without inodes, without permissions, read-only or missing is reported with its cause.
#[test]
fn problems_of_the_directory_are_reported() {
    const TEST: &str = "full::problems_of_the_directory_are_reported";
    if role(TEST).is_none() {
        passes(child(TEST, ""));
        return;
    }
    if let Err(reason) = mount_tmpfs(Path::new("/dev/shm"), 1 << 20) {
        skip!("no shared memory of a test's own can be made here: {reason}");
    }
    let refused = |kind: ErrorKind, words: &[&str]| {
        let errors = [
            SharedMemory::create_new("new", 100).unwrap_err(),
            SharedMemory::options().sparse().create_new("new", 100).unwrap_err(),
            SharedMemory::replace("new", 100).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), kind, "{error}");
            for word in words {
                assert!(error.to_string().contains(word), "{word}: {error}");
            }
        }
    };
    // The directory itself is an inode.
    mount_over("nr_inodes=2,mode=1777", 0).unwrap();
    fs::write("/dev/shm/last", "").unwrap();
    refused(ErrorKind::NoSpace, &["all 2 inodes of /dev/shm", "nr_inodes="]);
    mount_over("mode=1777", libc::MS_RDONLY).unwrap();
    refused(ErrorKind::NotWritable, &["/dev/shm is mounted read-only", "remount,rw"]);
    mount_over("mode=755", 0).unwrap();
    let is_root = super::common::is_root();
    // SAFETY: takes only numbers; this process belongs to the test.
    if is_root && unsafe { libc::setegid(65_534) == 0 && libc::seteuid(65_534) == 0 } {
        refused(ErrorKind::PermissionDenied, &["mode 755", "chmod 1777 /dev/shm"]);
        // SAFETY: takes only a number.
        assert_eq!(unsafe { libc::seteuid(0) }, 0);
    } else {
        eprintln!("skipped: a directory of root's alone: this process is not root");
    }
    let before = "/dev/shm";
    // SAFETY: terminated strings; only this process sees the mounts.
    let gone = unsafe {
        while libc::umount2(c"/dev/shm".as_ptr(), libc::MNT_DETACH) == 0 {}
        libc::mount(
            c"/dev".as_ptr(),
            c"/dev".as_ptr(),
            std::ptr::null(),
            libc::MS_BIND,
            std::ptr::null(),
        ) == 0
            && libc::mount(
                c"tmpfs".as_ptr(),
                c"/dev".as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                std::ptr::null(),
            ) == 0
    };
    assert!(gone && !Path::new(before).exists(), "{}", std::io::Error::last_os_error());
    refused(ErrorKind::NotFound, &["/dev/shm", "mount -t tmpfs"]);
    let listed = SharedMemory::list().unwrap_err();
    assert!(listed.to_string().contains("mount -t tmpfs"), "{listed}");
}

/// More memory than exists is `NoSpace`, with a name or without.
#[test]
fn more_memory_than_exists() {
    let name = Name::new();
    let wanted = 1 << 44;
    let error = SharedMemory::create_new(&*name, wanted).unwrap_err();
    if usize::BITS < 64 {
        assert_eq!(error.kind(), ErrorKind::OutOfAddressSpace, "{error}");
        return;
    }
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert_eq!(SharedMemory::open(&*name).unwrap_err().kind(), ErrorKind::NotFound);
    if fs::metadata("/proc/meminfo").is_err() {
        skip!("no /proc to ask for the memory there is");
    }
    let error = SharedMemory::anonymous(wanted).unwrap_err();
    assert_eq!((error.kind(), error.length()), (ErrorKind::NoSpace, Some(wanted)));
}

/// Huge pages are provided, or the error names the setting; named objects do not support them.
#[test]
fn huge_pages_are_provided_or_reported() {
    let huge = SharedMemory::options().huge_pages(HugePages::Reserved);
    match huge.create_new(Location::anonymous(), 3 << 20) {
        Ok(memory) => {
            memory.bytes().set((3 << 20) - 1, 1).unwrap();
            assert_eq!(memory.file_system().unwrap(), "hugetlbfs");
            let growing = huge.clone().max(8 << 20);
            match growing.create_new(Location::anonymous(), 1 << 20) {
                Ok(memory) => {
                    memory.grow(8 << 20).unwrap();
                    memory.bytes().set((8 << 20) - 1, 1).unwrap();
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}"),
            }
        }
        Err(error) if error.kind() == ErrorKind::NoSpace => {
            assert!(error.to_string().contains("vm.nr_hugepages"), "{error}");
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}"),
    }
    let name = Name::new();
    assert_eq!(huge.create_new(&*name, 100).unwrap_err().kind(), ErrorKind::Unsupported);
    let transparent = SharedMemory::options().huge_pages(HugePages::Transparent);
    transparent.create_new(&*name, 4 << 20).unwrap().bytes().set(0, 1).unwrap();
}

/// Named and anonymous memory works without /proc, except for read-only descriptors.
#[test]
fn without_proc() {
    const TEST: &str = "full::without_proc";
    if role(TEST).is_none() {
        passes(child(TEST, ""));
        return;
    }
    // SAFETY: terminated strings; after `unshare` only this process sees the mounts.
    let hidden = unsafe {
        let none = std::ptr::null();
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast())
                == 0
            && libc::umount2(c"/proc".as_ptr(), libc::MNT_DETACH) == 0
    };
    if !hidden || Path::new("/proc/self").exists() {
        skip!("/proc cannot be taken away here: {}", std::io::Error::last_os_error());
    }
    let name = Name::new();
    let memory = SharedMemory::create_new(&*name, 5000).unwrap();
    memory.bytes().set(0, 1).unwrap();
    assert_eq!(SharedMemory::create_new(&*name, 10).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(SharedMemory::open(&*name).unwrap().bytes().get(0).unwrap(), 1);
    let other = SharedMemory::replace(&*name, 6000).unwrap();
    assert_eq!(SharedMemory::open(&*name).unwrap().len(), other.len());
    let nameless = SharedMemory::anonymous(5000).unwrap();
    assert_eq!(nameless.read_only().unwrap_err().kind(), ErrorKind::NotFound);
    // Memory that cannot be reopened is sent by its own descriptor.
    let (here, there) = std::os::unix::net::UnixStream::pair().unwrap();
    nameless.send(&here).unwrap();
    assert_eq!(SharedMemory::receive(&there).unwrap().len(), 5000);
    assert_eq!(nameless.send_read_only(&here).unwrap_err().kind(), ErrorKind::NotFound);
    let beginning = format!(".sharemap-new-{}-", std::process::id());
    assert!(!names().iter().any(|name| name.starts_with(&beginning)));
}
