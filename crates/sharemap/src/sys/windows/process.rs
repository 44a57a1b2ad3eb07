//! Limits and counters of this process.

#![allow(unsafe_code, reason = "questions to the system about this process")]

use windows_sys::Win32::System::Memory::MEM_MAPPED;
use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetProcessWorkingSetSize};

use super::section::regions;
use crate::sys::Limits;

/// Windows limits neither handles (short of memory) nor mappings; what may be locked is the
/// process's minimum working set.
pub(crate) fn limits() -> Limits {
    let (mut minimum, mut maximum) = (0, 0);
    // SAFETY: two integers to fill in.
    let known =
        unsafe { GetProcessWorkingSetSize(GetCurrentProcess(), &mut minimum, &mut maximum) };
    Limits {
        open_files: None,
        locked_bytes: (known != 0).then_some(minimum as u64),
        mappings: None,
    }
}

/// The views of sections (files, shared memory) in the address space.
pub(crate) fn mapping_count() -> Option<u64> {
    let mut count = 0;
    let mut last = usize::MAX;
    for region in regions(0, usize::MAX) {
        if region.Type == MEM_MAPPED && region.AllocationBase as usize != last {
            last = region.AllocationBase as usize;
            count += 1;
        }
    }
    Some(count)
}
