//! This process's limits and counters, from `/proc`.

use std::fs::File;
use std::io::Read;

use crate::sys::Limits;
use crate::sys::posix::process::{locked_bytes_limit, open_files_limit};

pub(crate) fn limits() -> Limits {
    Limits {
        open_files: open_files_limit(),
        locked_bytes: locked_bytes_limit(),
        mappings: number_in("/proc/sys/vm/max_map_count"),
    }
}

/// Mappings of this process now. Allocates nothing: it is asked for when there is no room left.
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

/// Bytes that this process has locked in memory (`VmLck`).
pub(crate) fn locked_bytes() -> Option<u64> {
    kilobytes_in("/proc/self/status", "VmLck:")
}

/// The size of reserved huge pages (`Hugepagesize`).
pub(crate) fn huge_page_size() -> Option<usize> {
    usize::try_from(kilobytes_in("/proc/meminfo", "Hugepagesize:")?).ok()
}

fn number_in(path: &str) -> Option<u64> {
    let mut buffer = [0; 32];
    let n = File::open(path).ok()?.read(&mut buffer).ok()?;
    std::str::from_utf8(&buffer[..n]).ok()?.trim().parse().ok()
}

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
    fn the_kernel_tells_the_numbers() {
        assert!(mapping_count().unwrap() > 3);
        assert!(limits().mappings.unwrap() > 0);
        assert_eq!(locked_bytes().map(|bytes| bytes % 1024), Some(0));
    }
}
