//! A bare futex in memory shared with a forked child.

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

/// The value of a lowered word while a process sleeps on it after it has spun.
const ASLEEP: u32 = 2;
/// The turns of spinning, as many as this library's waiters take.
const TURNS: u32 = 100;

/// A word that one process raises while another waits for it.
pub struct Turn(AtomicU32);

impl Turn {
    /// Raises the word and wakes the waiter.
    #[inline]
    pub fn give(&self) {
        self.0.store(1, Ordering::SeqCst);
        self.call(libc::FUTEX_WAKE, 1, None);
    }

    /// Waits until the word is raised, and lowers it.
    #[inline]
    pub fn take(&self) {
        while self.0.swap(0, Ordering::SeqCst) == 0 {
            self.call(libc::FUTEX_WAIT, 0, None);
        }
    }

    /// Like `take`, but sleeps for at most a tenth of a second at a time, as a waiter must whose
    /// peer may die.
    #[inline]
    pub fn take_by_bounded_sleeps(&self) {
        let most = libc::timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        while self.0.swap(0, Ordering::SeqCst) == 0 {
            self.call(libc::FUTEX_WAIT, 0, Some(&most));
        }
    }

    /// Raises the word, and wakes a waiter that sleeps in `take_after_spinning`.
    #[inline]
    pub fn give_to_spinner(&self) {
        if self.0.swap(1, Ordering::SeqCst) == ASLEEP {
            self.call(libc::FUTEX_WAKE, 1, None);
        }
    }

    /// Spins for some microseconds until the word is raised, then sleeps, and lowers it.
    #[inline]
    pub fn take_after_spinning(&self) {
        let mut turns = 0;
        while self.0.compare_exchange(1, 0, Ordering::SeqCst, Ordering::Relaxed).is_err() {
            if turns < TURNS {
                turns += 1;
                std::hint::spin_loop();
            } else if self.0.compare_exchange(0, ASLEEP, Ordering::SeqCst, Ordering::Relaxed)
                != Err(1)
            {
                self.call(libc::FUTEX_WAIT, ASLEEP, None);
            }
        }
    }

    fn call(&self, operation: i32, value: u32, most: Option<&libc::timespec>) {
        let most = most.map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the word lives as long as `self`, and the timeout outlives the call.
        unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), operation, value, most) };
    }
}

/// Two words on separate cache lines, shared with forked children.
#[repr(C)]
pub struct Turns {
    pub there: Turn,
    _apart: [u8; 124],
    pub back: Turn,
}

impl Turns {
    /// Allocates the words for the lifetime of the process.
    pub fn shared() -> Result<&'static Self, String> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, never unmapped; zeros are two lowered words.
        unsafe {
            let base = libc::mmap(ptr::null_mut(), size_of::<Self>(), access, flags, -1, 0);
            if base == libc::MAP_FAILED {
                return Err(format!("mmap: {}", std::io::Error::last_os_error()));
            }
            Ok(&*base.cast())
        }
    }
}

/// A child that repeats its work until the value is dropped, which kills it.
pub struct Forked(libc::pid_t);

impl Forked {
    pub fn new(mut work: impl FnMut()) -> Result<Self, String> {
        // SAFETY: this process has one thread, and the child does only its work.
        match unsafe { libc::fork() } {
            -1 => Err(format!("fork: {}", std::io::Error::last_os_error())),
            0 => {
                // SAFETY: takes only numbers.
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
        // SAFETY: the child belongs to this process and is waited for once.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, ptr::null_mut(), 0);
        }
    }
}
