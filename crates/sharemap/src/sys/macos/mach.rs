//! The Mach calls that the libc crate does not declare.

#![allow(unsafe_code, reason = "foreign functions")]

use std::ffi::c_int;

pub(super) const SUCCESS: c_int = 0;

/// `VM_REGION_BASIC_INFO_64` and the length of its answer, in 32-bit words.
const BASIC_INFO: c_int = 9;
const BASIC_INFO_WORDS: usize = 9;

unsafe extern "C" {
    static mach_task_self_: u32;

    fn mach_vm_read_overwrite(
        task: u32,
        address: u64,
        size: u64,
        data: u64,
        copied: *mut u64,
    ) -> c_int;

    fn mach_vm_write(task: u32, address: u64, data: usize, count: u32) -> c_int;

    fn mach_vm_region(
        task: u32,
        address: *mut u64,
        size: *mut u64,
        flavor: c_int,
        info: *mut c_int,
        words: *mut u32,
        object: *mut u32,
    ) -> c_int;
}

/// Copies `len` bytes that may be inaccessible into private memory. Returns `true` if all were copied.
///
/// # Safety
/// `to` must have room for `len` bytes.
pub(super) unsafe fn read(from: usize, to: *mut u8, len: usize) -> bool {
    let mut copied = 0;
    // SAFETY: the kernel checks the source; the destination is the caller's.
    unsafe {
        let result = mach_vm_read_overwrite(
            mach_task_self_,
            from as u64,
            len as u64,
            to as u64,
            &mut copied,
        );
        result == SUCCESS && copied == len as u64
    }
}

/// Copies `len` private bytes to memory that may be inaccessible. Returns `true` if all were copied.
///
/// # Safety
/// `from` must have `len` bytes, fewer than 4 GiB.
pub(super) unsafe fn write(to: usize, from: *const u8, len: usize) -> bool {
    // SAFETY: the kernel checks the destination; the source is the caller's.
    unsafe { mach_vm_write(mach_task_self_, to as u64, from as usize, len as u32) == SUCCESS }
}

/// Returns the number of entries in this process's address map.
pub(super) fn region_count() -> u64 {
    let (mut address, mut size, mut count) = (0u64, 0u64, 0);
    loop {
        let mut info = [0; BASIC_INFO_WORDS];
        let (mut words, mut object) = (BASIC_INFO_WORDS as u32, 0);
        // SAFETY: the buffer has the length in `words`; this flavour returns no port right to release.
        let result = unsafe {
            mach_vm_region(
                mach_task_self_,
                &mut address,
                &mut size,
                BASIC_INFO,
                info.as_mut_ptr(),
                &mut words,
                &mut object,
            )
        };
        if result != SUCCESS {
            return count;
        }
        count += 1;
        match address.checked_add(size) {
            Some(next) => address = next,
            None => return count,
        }
    }
}
