//! The system's own locks in shared memory.

use std::cell::UnsafeCell;
use std::ffi::{CString, c_int};
use std::fs::File;
use std::mem::MaybeUninit;
use std::path::Path;

use crate::peers::raw::{RawMap, Write};
use crate::reason::{Reason, why};

/// The deaths that a lock survives.
#[derive(Clone, Copy, PartialEq)]
pub enum Robust {
    No,
    Yes,
}

const LEN: usize = 4096;
/// The offset of the counter, on a cache line of its own.
const COUNTER: usize = 256;

/// Creates a file and maps it, for other processes to attach to.
fn create(path: &Path) -> Result<RawMap, Reason> {
    let file = File::options().read(true).write(true).create_new(true).open(path).map_err(why)?;
    file.set_len(LEN as u64).map_err(why)?;
    RawMap::new(&file, LEN, Write::Yes, 0)
}

fn open(path: &Path) -> Result<RawMap, Reason> {
    let file = File::options().read(true).write(true).open(path).map_err(why)?;
    RawMap::new(&file, LEN, Write::Yes, 0)
}

/// A mutex and a counter in a mapped file.
pub struct Mutex {
    map: RawMap,
}

impl Mutex {
    /// Creates the mutex in a new file, to which other processes attach.
    pub fn create(path: &Path, robust: Robust) -> Result<Self, Reason> {
        let mutex = Self { map: create(path)? };
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the attributes are initialized before use, and no other process uses the mutex
        // yet.
        unsafe {
            check(libc::pthread_mutexattr_init(attributes.as_mut_ptr()))?;
            let attributes = attributes.as_mut_ptr();
            check(libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED))?;
            if robust == Robust::Yes {
                check(libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST))?;
            }
            check(libc::pthread_mutex_init(mutex.raw(), attributes))?;
        }
        Ok(mutex)
    }

    pub fn open(path: &Path) -> Result<Self, Reason> {
        Ok(Self { map: open(path)? })
    }

    fn raw(&self) -> *mut libc::pthread_mutex_t {
        self.map.base().cast()
    }

    /// Increments the counter under the lock.
    #[inline]
    pub fn count(&self, inside: impl FnOnce()) -> Result<(), Reason> {
        // SAFETY: the mutex is initialized, and its owner has exclusive access to the counter.
        unsafe {
            check(libc::pthread_mutex_lock(self.raw()))?;
            let counter: *mut u64 = self.map.base().add(COUNTER).cast();
            counter.write_volatile(counter.read_volatile().wrapping_add(1));
            inside();
            check(libc::pthread_mutex_unlock(self.raw()))
        }
    }
}

/// A readers-writer lock between processes, and a value.
pub struct RwLock {
    lock: Box<UnsafeCell<libc::pthread_rwlock_t>>,
    value: UnsafeCell<u64>,
}

impl RwLock {
    pub fn new() -> Result<Self, Reason> {
        let lock = Box::new(UnsafeCell::new(libc::PTHREAD_RWLOCK_INITIALIZER));
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the attributes are initialized before use, and no other process uses the lock
        // yet.
        unsafe {
            check(libc::pthread_rwlockattr_init(attributes.as_mut_ptr()))?;
            let attributes = attributes.as_mut_ptr();
            check(libc::pthread_rwlockattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED))?;
            check(libc::pthread_rwlock_init(lock.get(), attributes))?;
        }
        Ok(Self { lock, value: UnsafeCell::new(0) })
    }

    #[inline]
    pub fn read(&self) -> Result<u64, Reason> {
        // SAFETY: the lock is initialized and guards the value.
        unsafe {
            check(libc::pthread_rwlock_rdlock(self.lock.get()))?;
            let value = self.value.get().read_volatile();
            check(libc::pthread_rwlock_unlock(self.lock.get()))?;
            Ok(value)
        }
    }

    #[inline]
    pub fn write(&self) -> Result<(), Reason> {
        // SAFETY: the lock is initialized and guards the value.
        unsafe {
            check(libc::pthread_rwlock_wrlock(self.lock.get()))?;
            self.value.get().write_volatile(self.value.get().read_volatile().wrapping_add(1));
            check(libc::pthread_rwlock_unlock(self.lock.get()))
        }
    }
}

/// A semaphore with one permit, and a counter, in a mapped file.
pub struct CountingSemaphore {
    map: RawMap,
}

impl CountingSemaphore {
    pub fn create(path: &Path) -> Result<Self, Reason> {
        let semaphore = Self { map: create(path)? };
        // SAFETY: no other process uses the semaphore yet.
        check(unsafe { libc::sem_init(semaphore.raw(), 1, 1) })?;
        Ok(semaphore)
    }

    pub fn open(path: &Path) -> Result<Self, Reason> {
        Ok(Self { map: open(path)? })
    }

    fn raw(&self) -> *mut libc::sem_t {
        self.map.base().cast()
    }

    /// Increments the counter while holding the permit.
    #[inline]
    pub fn count(&self, inside: impl FnOnce()) {
        // SAFETY: the semaphore is initialized, and the holder of its permit has exclusive access
        // to the counter.
        unsafe {
            while libc::sem_wait(self.raw()) != 0 {}
            let counter: *mut u64 = self.map.base().add(COUNTER).cast();
            counter.write_volatile(counter.read_volatile().wrapping_add(1));
            inside();
            libc::sem_post(self.raw());
        }
    }
}

/// A named POSIX semaphore.
pub struct Semaphore(*mut libc::sem_t);

impl Semaphore {
    /// Creates a semaphore and unlinks its name at once.
    pub fn new(value: u32) -> Result<Self, Reason> {
        let name = CString::new(format!("/sharemap-bench-{}", std::process::id())).map_err(why)?;
        // SAFETY: a terminated name, and the arguments that the flags require.
        unsafe {
            let semaphore =
                libc::sem_open(name.as_ptr(), libc::O_CREAT | libc::O_EXCL, 0o600, value);
            if semaphore == libc::SEM_FAILED {
                return Err(format!("sem_open: {}", std::io::Error::last_os_error()));
            }
            libc::sem_unlink(name.as_ptr());
            Ok(Self(semaphore))
        }
    }

    #[inline]
    pub fn wait(&self) {
        // SAFETY: an open semaphore.
        unsafe { libc::sem_wait(self.0) };
    }

    #[inline]
    pub fn post(&self) {
        // SAFETY: an open semaphore.
        unsafe { libc::sem_post(self.0) };
    }
}

impl Drop for Semaphore {
    fn drop(&mut self) {
        // SAFETY: the semaphore is open and is closed once.
        unsafe { libc::sem_close(self.0) };
    }
}

fn check(code: c_int) -> Result<(), Reason> {
    if code == 0 { Ok(()) } else { Err(std::io::Error::from_raw_os_error(code).to_string()) }
}
