//! Limits, counters and identity of this process, from `/proc`.

#![allow(unsafe_code, reason = "requests random bytes from the kernel")]

use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::Limits;
use crate::sys::posix::process::{locked_bytes_limit, open_files_limit};
pub(crate) use crate::sys::posix::process::{milliseconds, processors};

/// Returns the limits of this process and of the system.
pub(crate) fn limits() -> Limits {
    Limits {
        open_files: open_files_limit(),
        locked_bytes: locked_bytes_limit(),
        mappings: number_in("/proc/sys/vm/max_map_count"),
    }
}

/// Returns the number of this process's mappings. Allocates nothing, because callers ask when no mapping can
/// be added.
pub(crate) fn mapping_count() -> Option<u64> {
    let mut file = File::open("/proc/self/maps").ok()?;
    let mut buffer = [0; 4096];
    let mut count = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Some(count),
            Ok(n) => count += buffer[..n].iter().filter(|&&byte| byte == b'\n').count() as u64,
            Err(_) => return None,
        }
    }
}

/// Returns the number of bytes that this process has locked in memory (`VmLck`).
pub(crate) fn locked_bytes() -> Option<u64> {
    kilobytes_in("/proc/self/status", "VmLck:")
}

/// Returns the size of reserved huge pages (`Hugepagesize`).
pub(crate) fn huge_page_size() -> Option<usize> {
    usize::try_from(kilobytes_in("/proc/meminfo", "Hugepagesize:")?).ok()
}

/// Returns `true` if `user` is the overflow user, which the kernel shows for unmapped users, and
/// this user namespace does not map the overflow user itself.
pub(crate) fn is_unknown_user(user: u32) -> bool {
    /// The overflow user plus 1; 0 if it has not been read yet. Concurrent threads read the same
    /// value.
    static OVERFLOW: AtomicU64 = AtomicU64::new(0);
    const USUAL: u64 = 65_534;
    let mut overflow = OVERFLOW.load(Ordering::Relaxed);
    if overflow == 0 {
        overflow = number_in("/proc/sys/kernel/overflowuid").unwrap_or(USUAL) + 1;
        OVERFLOW.store(overflow, Ordering::Relaxed);
    }
    // The map is read each time, because a process may change its namespace.
    u64::from(user) + 1 == overflow
        && !std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| is_mapped(&map, user))
}

/// Returns `true` if a line of the map (first user inside, first user outside, count) covers the
/// user.
fn is_mapped(map: &str, user: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (first, _, count) = (numbers.next(), numbers.next(), numbers.next());
        let (Some(Ok(first)), Some(Ok(count))) = (first, count) else { return false };
        (first..first.saturating_add(count)).contains(&user.into())
    })
}

/// Returns the id of the current boot; `None` without `/proc`.
pub(crate) fn boot_id() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)
}

/// Returns the start time of a process, in clock ticks since boot. Process id and start time together identify
/// a process, because ids are reused.
pub(crate) fn start_time(process: u32) -> Option<u64> {
    // `/proc` may be that of another pid namespace, in which this process's id belongs to another process.
    let text = if process == std::process::id() {
        std::fs::read_to_string("/proc/self/stat").ok()?
    } else {
        std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?
    };
    // The second field is a name in parentheses, which may contain any characters.
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// Returns the pid namespace of this process; 0 if it is unknown.
pub(crate) fn id_space() -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |found| found.ino())
}

/// Returns 16 unpredictable bytes.
pub(crate) fn random_id() -> Result<[u8; 16]> {
    let mut bytes = [0; 16];
    // SAFETY: the buffer has this length. The kernel returns so few bytes at once.
    let result = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    match usize::try_from(result) {
        Ok(n) if n == bytes.len() => Ok(bytes),
        _ => Err(Error::new(ErrorKind::Io, "get random bytes")
            .with_source(std::io::Error::last_os_error())),
    }
}

/// Returns the number that a file contains.
fn number_in(path: &str) -> Option<u64> {
    let mut buffer = [0; 32];
    let n = File::open(path).ok()?.read(&mut buffer).ok()?;
    std::str::from_utf8(&buffer[..n]).ok()?.trim().parse().ok()
}

/// Returns the bytes of memory and swap that the system can still provide.
pub(crate) fn available_memory() -> Option<u64> {
    let memory = kilobytes_in("/proc/meminfo", "MemAvailable:")?;
    Some(memory.saturating_add(kilobytes_in("/proc/meminfo", "SwapFree:").unwrap_or(0)))
}

/// Returns the bytes of a line `key … kB` in a file.
fn kilobytes_in(path: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    let number: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_reports_mappings_limits_and_locked_bytes() {
        assert!(mapping_count().unwrap() > 3);
        assert!(limits().mappings.unwrap() > 0);
        assert_eq!(locked_bytes().map(|bytes| bytes % 1024), Some(0));
    }
}
