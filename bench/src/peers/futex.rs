//! A bare futex, in memory that a forked child shares.

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

/// A word that one side raises and the other waits for.
pub struct Turn(AtomicU32);

impl Turn {
    /// Raises it, and wakes.
    #[inline]
    pub fn give(&self) {
        self.0.store(1, Ordering::SeqCst);
        self.call(libc::FUTEX_WAKE, 1, None);
    }

    /// Waits until it is raised, and lowers it.
    #[inline]
    pub fn take(&self) {
        while self.0.swap(0, Ordering::SeqCst) == 0 {
            self.call(libc::FUTEX_WAIT, 0, None);
        }
    }

    /// The same by sleeps of a tenth of a second at most, as one has to who may be left alone.
    #[inline]
    pub fn take_by_bounded_sleeps(&self) {
        let most = libc::timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        while self.0.swap(0, Ordering::SeqCst) == 0 {
            self.call(libc::FUTEX_WAIT, 0, Some(&most));
        }
    }

    fn call(&self, operation: i32, value: u32, most: Option<&libc::timespec>) {
        let most = most.map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the word is there as long as `self`, and so is the time.
        unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), operation, value, most) };
    }
}

/// Two words on cache lines of their own, shared with children.
#[repr(C)]
pub struct Turns {
    pub there: Turn,
    _apart: [u8; 124],
    pub back: Turn,
}

impl Turns {
    /// Lives as long as the process.
    pub fn shared() -> Result<&'static Self, String> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, never unmapped; zeros are both words lowered.
        unsafe {
            let base = libc::mmap(ptr::null_mut(), size_of::<Self>(), access, flags, -1, 0);
            if base == libc::MAP_FAILED {
                return Err(format!("mmap: {}", std::io::Error::last_os_error()));
            }
            Ok(&*base.cast())
        }
    }
}

/// A child that does this until it is killed, which dropping does.
pub struct Forked(libc::pid_t);

impl Forked {
    pub fn new(mut work: impl FnMut()) -> Result<Self, String> {
        // SAFETY: this process has one thread; the child does its work and nothing else.
        match unsafe { libc::fork() } {
            -1 => Err(format!("fork: {}", std::io::Error::last_os_error())),
            0 => {
                // SAFETY: takes numbers only.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                loop {
                    work();
                }
            }
            child => Ok(Self(child)),
        }
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        // SAFETY: our own child, waited for once.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, ptr::null_mut(), 0);
        }
    }
}
