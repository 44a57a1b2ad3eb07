//! Permissions: an object is private to its user unless the creator asks for more.

#[cfg(unix)]
#[cfg_attr(not(target_os = "linux"), allow(unused_imports, dead_code))]
mod unix {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use sharemap::{ErrorKind, SharedMemory};

    use crate::Name;
    use crate::common::{child, is_root, passes, role, skip};

    fn mode(memory: &SharedMemory) -> u32 {
        memory.file().unwrap().metadata().unwrap().permissions().mode() & 0o7777
    }

    /// The permissions of a new object do not depend on the umask.
    #[test]
    fn permissions_are_exact_whatever_the_umask() {
        const TEST: &str = "sharing::unix::permissions_are_exact_whatever_the_umask";
        if role(TEST).is_none() {
            // A process of its own, because the umask applies to the whole process.
            passes(child(TEST, ""));
            return;
        }
        for umask in [0, 0o022, 0o077, 0o777] {
            // SAFETY: takes only a number.
            unsafe { libc::umask(umask) };
            let (private, public) = (Name::new(), Name::new());
            match SharedMemory::create_new(&*private, 100) {
                Ok(memory) => assert_eq!(mode(&memory), 0o600, "umask {umask:o}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
            }
            match SharedMemory::options().mode(0o664).create_new(&*public, 100) {
                Ok(memory) => assert_eq!(mode(&memory), 0o664, "umask {umask:o}"),
                // macOS cannot add permissions that the umask removed.
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
            }
            let anonymous = SharedMemory::anonymous(100);
            if let Ok(memory) = anonymous {
                assert_eq!(mode(&memory), 0o600, "umask {umask:o}");
            }
        }
    }

    /// An object gets the requested group.
    #[test]
    #[cfg(target_os = "linux")]
    fn an_object_gets_the_requested_group() {
        let name = Name::new();
        // SAFETY: takes no arguments.
        let own = unsafe { libc::getegid() };
        let memory =
            SharedMemory::options().group(own).mode(0o660).create_new(&*name, 100).unwrap();
        let metadata = memory.file().unwrap().metadata().unwrap();
        assert_eq!((metadata.gid(), mode(&memory)), (own, 0o660));
    }

    /// Changes this process's user to one without other processes or files.
    fn become_stranger() {
        // SAFETY: takes numbers; the C library changes all threads.
        unsafe {
            assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
            assert_eq!(libc::setgid(54_321), 0);
            assert_eq!(libc::setuid(54_321), 0);
        }
    }

    /// Another user can open only what was shared, with the shared permissions.
    #[test]
    #[cfg(target_os = "linux")]
    fn another_user_can_open_only_shared_objects() {
        const TEST: &str = "sharing::unix::another_user_can_open_only_shared_objects";
        if let Some(name) = role(TEST) {
            let name = Name::given(&name);
            let (private, public) = (format!("{name}-a"), format!("{name}-b"));
            become_stranger();
            let error = SharedMemory::open(&*private).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("belongs to user 0"), "{error}");
            let error = SharedMemory::open_read_only(&*public).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ForeignOwner);
            let read = SharedMemory::options().allow_any_owner().open_read_only(&*public).unwrap();
            assert_eq!(read.bytes().get(0).unwrap(), 5);
            let error = SharedMemory::options().allow_any_owner().open(&*public).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            for name in [&private, &public] {
                let error = SharedMemory::unlink(name.as_str()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::PermissionDenied);
                let error = SharedMemory::replace(name.as_str(), 10).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            }
            return;
        }
        if !is_root() {
            skip!("only root becomes another user");
        }
        let name = Name::new();
        let (private, public) = (Name(format!("{}-a", &*name)), Name(format!("{}-b", &*name)));
        let _private = SharedMemory::create_new(&*private, 100).unwrap();
        let memory = SharedMemory::options().mode(0o644).create_new(&*public, 100).unwrap();
        memory.bytes().set(0, 5).unwrap();
        passes(child(TEST, &*name));
        let strangers = SharedMemory::list().unwrap();
        let left = strangers.iter().filter(|object| object.user == Some(54_321)).count();
        assert_eq!(left, 0, "drafts were left behind");
    }
}
