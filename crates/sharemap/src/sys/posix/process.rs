//! What both systems know by the same names: limits, and a clock.

#![allow(unsafe_code, reason = "asks the kernel for the time")]

use rustix::process::{Resource, getrlimit};

pub(crate) fn open_files_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

pub(crate) fn locked_bytes_limit() -> Option<u64> {
    getrlimit(Resource::Memlock).current
}

pub(crate) fn address_space_limit() -> Option<u64> {
    getrlimit(Resource::As).current
}

pub(crate) fn file_size_limit() -> Option<u64> {
    getrlimit(Resource::Fsize).current
}

/// Monotonic, and the same for all processes; by the system's tick where that is cheaper to ask for.
pub(crate) fn milliseconds() -> u64 {
    #[cfg(target_os = "linux")]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC_COARSE;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: there is room for the answer. This clock is always there.
    unsafe { libc::clock_gettime(CLOCK, &mut now) };
    #[allow(clippy::unnecessary_cast, reason = "the fields' widths differ between systems")]
    let (seconds, rest) = (now.tv_sec as u64, now.tv_nsec as u64);
    seconds.wrapping_mul(1000).wrapping_add(rest / 1_000_000)
}
