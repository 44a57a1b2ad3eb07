//! Limits of this process (`getrlimit`), the processors, and a clock.

#![allow(unsafe_code, reason = "reads limits, and a clock of the kernel")]

use std::sync::OnceLock;

/// Returns the limit of open descriptors (`RLIMIT_NOFILE`).
pub(crate) fn open_files_limit() -> Option<u64> {
    limit(libc::RLIMIT_NOFILE)
}

/// Returns the limit of locked memory (`RLIMIT_MEMLOCK`).
pub(crate) fn locked_bytes_limit() -> Option<u64> {
    limit(libc::RLIMIT_MEMLOCK)
}

/// Returns the limit of address space (`RLIMIT_AS`).
pub(crate) fn address_space_limit() -> Option<u64> {
    limit(libc::RLIMIT_AS)
}

/// Returns the limit of file lengths (`RLIMIT_FSIZE`).
pub(crate) fn file_size_limit() -> Option<u64> {
    limit(libc::RLIMIT_FSIZE)
}

/// Returns the current limit of a resource; `None` if there is none.
// The type of `resource` differs between systems and C libraries.
fn limit(resource: impl TryInto<i32>) -> Option<u64> {
    #[cfg(target_os = "macos")]
    use libc::{RLIM_INFINITY as INFINITY, getrlimit, rlimit};
    #[cfg(target_os = "linux")]
    use libc::{RLIM64_INFINITY as INFINITY, getrlimit64 as getrlimit, rlimit64 as rlimit};

    let mut limits = rlimit { rlim_cur: INFINITY, rlim_max: INFINITY };
    let resource = resource.try_into().ok()?;
    // SAFETY: there is room for the result. A failed call leaves no limit.
    unsafe { getrlimit(resource as _, &raw mut limits) };
    (limits.rlim_cur != INFINITY).then_some(limits.rlim_cur)
}

/// Returns the number of processors of the machine (`_SC_NPROCESSORS_ONLN`), whichever of them this thread may
/// use: other processes may use others. Later calls return the same number.
pub(crate) fn processors() -> usize {
    // The C library reads a file for it.
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        // SAFETY: the call only returns a number.
        let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
        usize::try_from(count).unwrap_or(1)
    })
}

/// Returns the time since a moment that is the same for all processes. The clock is monotonic. On Linux it
/// advances in ticks of a few milliseconds, and is cheap to read.
pub(crate) fn milliseconds() -> u64 {
    #[cfg(target_os = "linux")]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC_COARSE;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes `now`. It cannot fail, because every system has this clock.
    unsafe { libc::clock_gettime(CLOCK, &mut now) };
    #[allow(clippy::unnecessary_cast, reason = "the fields' widths differ between systems")]
    let (seconds, rest) = (now.tv_sec as u64, now.tv_nsec as u64);
    seconds.wrapping_mul(1000).wrapping_add(rest / 1_000_000)
}
