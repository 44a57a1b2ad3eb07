//! The library's own faults: guarded accesses to memory that is gone or protected.

use std::fs::File;
use std::os::fd::FromRawFd;
use std::sync::OnceLock;

use sharemap::guard::Recovery;
use sharemap::{ErrorKind, GuardedSlice, Mapping, MappingMut, Protection, Result};

use crate::raw::page;

/// Creates an empty, unnamed file in memory.
pub fn memory_file(len: usize) -> File {
    // SAFETY: the descriptor is new.
    let file = unsafe {
        let descriptor = libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC);
        assert!(descriptor >= 0);
        File::from_raw_fd(descriptor)
    };
    file.set_len(len as u64).unwrap();
    file
}

/// A mapping that faults with SIGBUS, because its file shrank to the first page, a mapping that faults
/// with SIGSEGV, because its second page is protected, and a guarded slice of a file that shrank, where it
/// can be made.
pub struct Ours {
    shrunk: Mapping,
    protected: MappingMut,
    slice: Option<GuardedSlice<u8>>,
}

/// The size of transfers large enough to check the handlers and masks again.
pub const LARGE: usize = 2 << 20;

impl Ours {
    pub fn new() -> Self {
        let file = memory_file(LARGE);
        let shrunk = Mapping::map(&file).unwrap();
        file.set_len(page() as u64).unwrap();
        let protected = MappingMut::anonymous(LARGE).unwrap();
        protected.protect(page().., Protection::None).unwrap();
        Self { shrunk, protected, slice: slice().ok() }
    }

    /// Checks single accesses, good and bad.
    pub fn check(&self) {
        let bytes = self.shrunk.bytes();
        assert_eq!(bytes.get(3).unwrap(), 0);
        let error = bytes.get(page() + 5).unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Fault, Some(page() as u64 + 5)));

        let words = self.protected.view::<u32>().unwrap();
        let index = page() / 4 + 7;
        words.set(3, 1).unwrap();
        let error = words.set(index, 1).unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Fault, Some(4 * index as u64)));
        self.slice.iter().for_each(is_lost);
    }

    /// Checks transfers of 1 MiB and more.
    pub fn check_large(&self) {
        let error = self.shrunk.bytes().to_vec().unwrap_err();
        assert_eq!((error.kind(), error.completed()), (ErrorKind::Fault, Some(page())));
        let error = self.protected.bytes().write_at(0, &vec![1; LARGE]).unwrap_err();
        assert_eq!((error.kind(), error.completed()), (ErrorKind::Fault, Some(page())));
    }

    /// Checks transfers of 1 MiB and more, through the caller's buffer.
    pub fn check_large_with(&self, bytes: &mut [u8]) {
        let error = self.shrunk.bytes().read_at(0, bytes).unwrap_err();
        assert_eq!((error.kind(), error.completed()), (ErrorKind::Fault, Some(page())));
        let error = self.protected.bytes().write_at(0, bytes).unwrap_err();
        assert_eq!((error.kind(), error.completed()), (ErrorKind::Fault, Some(page())));
    }

    /// Checks a transfer of `len` bytes across the end.
    pub fn check_transfer(&self, len: usize) {
        self.check_transfer_with(&mut vec![1; len]);
    }

    /// Checks a transfer of these bytes across the end.
    pub fn check_transfer_with(&self, bytes: &mut [u8]) {
        let error = self.shrunk.bytes().read_at(page() - 10, bytes).unwrap_err();
        assert_eq!((error.kind(), error.completed()), (ErrorKind::Fault, Some(10)));
        assert_eq!(bytes[..10], [0; 10]);
    }
}

/// Returns a guarded slice of four pages, of which the last three are gone when they are first read.
pub fn slice() -> Result<GuardedSlice<u8>> {
    let file = memory_file(4 * page());
    // SAFETY: the tests read single bytes, and expect the loss.
    let slice = unsafe { Mapping::map(&file).unwrap().bytes().guarded_slice() };
    file.set_len(page() as u64).unwrap();
    slice
}

/// Reads the slice's lost pages, and checks that it shows and reports the loss.
pub fn is_lost(slice: &GuardedSlice<u8>) {
    assert_eq!((slice[0], slice[2 * page() + 5], slice[page()]), (0, 0, 0));
    assert_eq!(slice.fault(), Some(page() as u64));
    assert_eq!(slice.check().unwrap_err().kind(), ErrorKind::Fault);
}

/// Loses the pages of a new slice, unless accesses are system calls here.
pub fn check_slice() {
    match slice() {
        Ok(slice) => is_lost(&slice),
        Err(error) => assert_eq!(at_best(), Recovery::Syscall, "{error}"),
    }
}

/// Returns the recovery of this process while no handler interferes; a build with the fallback
/// never recovers in place.
pub fn at_best() -> Recovery {
    static FIRST: OnceLock<Recovery> = OnceLock::new();
    *FIRST.get_or_init(sharemap::guard::recovery)
}
